"""Rank correlation between rungs: the arithmetic, and what is said of few or equal values."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.reporting.studies.rank_correlation import (
    fisher_interval,
    rank_correlation,
    rank_correlations,
    spearman,
    winner_history,
)

PAIRS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=30)


@given(PAIRS)
def test_spearman_is_that_of_pandas(pairs: list[tuple[int, int]]) -> None:
    mine = spearman(*zip(*pairs, strict=True))
    theirs = float(pd.DataFrame(pairs, dtype=float).corr(method="spearman").to_numpy()[0, 1])
    assert (mine is None) == math.isnan(theirs)
    if mine is not None:
        assert mine == pytest.approx(theirs, abs=1e-9)


@given(PAIRS, st.sampled_from([lambda x: x**3, lambda x: math.exp(x / 20), lambda x: 2 * x - 7]))
def test_spearman_sees_only_the_order(pairs: list[tuple[int, int]], rising: object) -> None:
    first, second = zip(*pairs, strict=True)
    rho = spearman(first, second)
    assert spearman([rising(x) for x in first], second) == rho  # type: ignore[operator]
    assert spearman(second, first) == pytest.approx(rho)
    if rho is not None:
        assert spearman([-x for x in first], second) == pytest.approx(-rho, abs=1e-12)


def test_the_interval_of_a_published_example() -> None:
    """The example of `ci.spear` in the authors' R package statpsych."""
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    rho = spearman(y, x)
    assert rho == pytest.approx(0.8699639)
    assert rho is not None
    assert fisher_interval(rho, 15) == pytest.approx((0.5840951, 0.9638297), abs=1e-6)


@given(st.floats(-1, 1), st.integers(4, 500))
def test_the_interval_holds_the_correlation_and_narrows(rho: float, count: int) -> None:
    low, high = fisher_interval(rho, count)
    assert -1 <= low <= rho <= high <= 1
    assert low < high
    wider = fisher_interval(rho, 4)
    assert high - low <= wider[1] - wider[0] + 1e-9


def test_four_trials_in_perfect_order_prove_little() -> None:
    assert fisher_interval(1.0, 4)[0] < 0


FIVE = {
    0: {1: 0.1, 2: 0.3, 4: 0.5},
    1: {1: 0.2, 2: 0.2, 4: 0.6},
    2: {1: 0.3, 2: 0.1, 4: 0.2},
    3: {1: 0.15, 2: 0.4},
    4: {1: 0.9},
}


def test_lower_rungs_are_set_beside_the_highest_that_enough_trials_reached() -> None:
    found = rank_correlations(FIVE, [1, 2, 4, 8])
    assert [(pair.low, pair.high, pair.both, pair.reached_low) for pair in found] == [(1, 2, 4, 5), (2, 4, 3, 4)]
    assert found[0].rho == pytest.approx(pd.DataFrame(FIVE).T.corr(method="spearman").loc[1, 2])
    assert all(pair.selected for pair in found)
    assert (found[1].rho, found[1].interval) == (None, None)  # three trials: too few


def test_the_later_best_is_placed_among_those_at_both_and_among_all() -> None:
    first, second = rank_correlations(FIVE, [1, 2, 4])
    assert (first.winner, first.place, first.place_of_all) == (3, 3, 4)  # behind 1 and 2, and 4 that was dropped
    assert (second.winner, second.place, second.place_of_all) == (1, 2, 3)


def test_the_history_is_that_of_the_best_at_the_highest_rung_that_any_reached() -> None:
    found = winner_history(FIVE, [1, 2, 4, 8])
    assert [(pair.low, pair.high, pair.winner, pair.place_of_all) for pair in found] == [(1, 4, 1, 3), (2, 4, 1, 3)]


@given(st.dictionaries(st.integers(0, 20), st.dictionaries(st.sampled_from([1, 2, 4]), st.floats(0, 1))))
def test_places_lie_among_the_trials(values: dict[int, dict[int, float]]) -> None:
    for pair in (*rank_correlations(values, [1, 2, 4]), *winner_history(values, [1, 2, 4])):
        assert pair.both <= pair.reached_low
        if pair.both:
            assert pair.place
            assert pair.place_of_all
            assert 1 <= pair.place <= pair.both
            assert pair.place <= pair.place_of_all <= pair.reached_low
        assert (pair.winner is None) == (pair.both == 0)


def test_equal_values_have_no_correlation() -> None:
    found = rank_correlation({n: {1: 0.5, 2: n} for n in range(6)}, 1, 2)
    assert (found.both, found.rho, found.interval) == (6, None, None)


def test_nothing_is_said_without_trials() -> None:
    assert rank_correlations({}, [1, 2, 4]) == []
    assert winner_history({0: {1: 0.5}}, [1, 2, 4]) == []
