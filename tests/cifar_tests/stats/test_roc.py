"""ROC curves and the area under them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cifar.stats.roc import RocCurve, mean_auc, roc_curve, roc_curves


def curve(scores: list[float], positive: list[bool]) -> RocCurve:
    return roc_curve(torch.tensor(scores), torch.tensor(positive))


def test_a_case_by_hand() -> None:
    """Descending: +, -, +, then a tie of one + and one -, then -."""
    result = curve([0.9, 0.8, 0.7, 0.4, 0.4, 0.1], [True, False, True, True, False, False])
    assert (result.positives, result.negatives) == (3, 3)
    assert result.false_positive_rates == pytest.approx((0, 0, 1 / 3, 1 / 3, 2 / 3, 1))
    assert result.true_positive_rates == pytest.approx((0, 1 / 3, 1 / 3, 2 / 3, 1, 1))
    # of 9 pairs the positive is ahead in 3 + 2 + 1 of them, and one is a tie
    assert result.auc == pytest.approx((3 + 2 + 1 + 0.5) / 9)


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([3.0, 2.0, 1.0], [True, True, False], 1.0),
        ([1.0, 2.0, 3.0], [True, True, False], 0.0),
        ([0.5] * 7, [True, False, True, False, False, True, False], 0.5),  # constant scores say nothing
        ([math.inf, 0.0, -math.inf], [True, False, False], 1.0),
        ([math.inf, math.inf, -math.inf, -math.inf], [True, False, True, False], 0.5),
    ],
)
def test_the_ends_of_the_scale(scores: list[float], positive: list[bool], expected: float) -> None:
    assert curve(scores, positive).auc == expected


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_a_class_without_images_or_without_others_has_no_area(positive: list[bool]) -> None:
    result = curve([0.1, 0.2][: len(positive)], positive)
    assert result.auc is None
    assert result.false_positive_rates == result.true_positive_rates == ()


def mann_whitney(scores: list[float], positive: list[bool]) -> float:
    """The statistic by its definition: every pair of a positive and a negative, ties one half."""
    own = [score for score, flag in zip(scores, positive, strict=True) if flag]
    others = [score for score, flag in zip(scores, positive, strict=True) if not flag]
    wins = sum((a > b) + 0.5 * (a == b) for a in own for b in others)
    return wins / (len(own) * len(others))


cases = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32), st.booleans()), min_size=2
).filter(lambda pairs: len({flag for _, flag in pairs}) == 2)


@given(cases)
def test_the_area_is_the_mann_whitney_statistic(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = [score for score, _ in pairs], [flag for _, flag in pairs]
    result = curve(scores, positive)
    assert result.auc == pytest.approx(mann_whitney(scores, positive), abs=1e-12)
    steps = list(zip(result.false_positive_rates, result.true_positive_rates, strict=True))
    assert steps[0] == (0, 0)
    assert steps[-1] == (1, 1)
    assert all(a <= c and b <= d and (a, b) != (c, d) for (a, b), (c, d) in pairwise(steps))
    assert len(steps) == len(set(scores)) + 1
    trapezoids = sum((c - a) * (b + d) / 2 for (a, b), (c, d) in pairwise(steps))
    assert result.auc == pytest.approx(trapezoids)


@given(cases)
def test_only_the_order_of_scores_counts(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = torch.tensor([score for score, _ in pairs]), torch.tensor([flag for _, flag in pairs])
    once = roc_curve(scores, positive)
    assert roc_curve(4 * scores.double(), positive) == once
    shuffled = torch.randperm(len(scores))
    assert roc_curve(scores[shuffled], positive[shuffled]) == once
    turned, opposite = roc_curve(-scores, positive).auc, roc_curve(scores, ~positive).auc
    assert once.auc is not None
    assert turned == opposite == pytest.approx(1 - once.auc)


def test_one_curve_a_class() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    a, b, c = roc_curves(probabilities, torch.tensor([0, 1, 0, 1]), ("a", "b", "c"))
    assert (a.name, a.auc, b.auc, c.auc) == ("a", 1.0, 1.0, None)
    assert mean_auc((a, b, c)) == 1.0
    assert mean_auc((c,)) is None


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="without NaN"):
        curve([0.1, math.nan], [True, False])
    with pytest.raises(ValueError, match="as many flags"):
        curve([0.1], [True, False])
