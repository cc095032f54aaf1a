"""Rungs and brackets."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner

from search.engine.pruners import make_pruner
from search.planning.plan import Plan
from search.planning.rungs import bracket_epochs, bracket_shares, divisions, mean_epochs, rungs


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "expected"),
    [
        (1, 9, 3, [1, 3, 9]),
        (3, 243, 3, [3, 9, 27, 81, 243]),
        (1, 243, 3, [1, 3, 9, 27, 81, 243]),
        (2, 51, 3, [2, 6, 18, 51]),
        (5, 5, 3, [5]),
    ],
)
def test_rungs(min_epochs: int, max_epochs: int, eta: int, expected: list[int]) -> None:
    assert rungs(min_epochs, max_epochs, eta) == expected


@given(st.integers(1, 50), st.integers(1, 1000), st.integers(2, 6))
def test_rungs_climb_to_the_full_length(min_epochs: int, extra: int, eta: int) -> None:
    ladder = rungs(min_epochs, min_epochs + extra, eta)
    assert ladder[0] == min_epochs
    assert ladder[-1] == min_epochs + extra
    assert all(high == low * eta for low, high in pairwise(ladder[:-1]))
    assert ladder[-2] < ladder[-1] <= ladder[-2] * eta


@given(st.integers(1, 9), st.integers(0, 6), st.integers(2, 5))
def test_hyperband_has_a_bracket_for_every_rung(first: int, power: int, eta: int) -> None:
    pruner = make_pruner("hyperband", Plan(first, first * eta**power, eta, 1000, 100, 100, None, None))
    assert isinstance(pruner, HyperbandPruner)
    counted = math.floor(math.log(pruner._max_resource / pruner._min_resource, eta)) + 1  # type: ignore[operator]
    assert counted == power + 1 == len(rungs(first, first * eta**power, eta))


def test_mean_epochs_of_known_ladders() -> None:
    assert mean_epochs([5], 3) == 5
    # brackets 1-3-9, 3-9, 9 with weights 3, 1.5, 1 and means 1 + 2/3 + 6/9, 3 + 6/3, 9
    assert mean_epochs([1, 3, 9], 3) == pytest.approx((3 * (7 / 3) + 1.5 * 5 + 9) / 5.5)


def test_brackets_of_a_known_ladder() -> None:
    assert bracket_epochs([1, 3, 9], 3) == pytest.approx([7 / 3, 5, 9])
    assert bracket_shares([1, 3, 9], 3) == pytest.approx([3 / 5.5, 1.5 / 5.5, 1 / 5.5])


@given(st.integers(1, 10**6), st.integers(2, 6))
def test_divisions_is_the_whole_logarithm(max_epochs: int, eta: int) -> None:
    count = divisions(max_epochs, eta)
    assert eta**count <= max_epochs < eta ** (count + 1)
