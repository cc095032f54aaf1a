"""How the time of a search with --retrain is divided, and the plan of its finals."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.planning.division import divide
from search.planning.finals import LONGEST, OVERHEAD, SHORTEST, finals_plan
from search.planning.plan import Plan

seconds = st.floats(1, 1e7)
PLAN = Plan(1, 8, 2, 6_200, 5_000, 1_860, None, None, from_top=True)


@given(seconds, seconds)
def test_the_parts_are_the_whole_and_each_grows_with_it(one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert sum(astuple(divide(short))) == pytest.approx(short)
    assert all(0 <= a <= b * (1 + 1e-9) for a, b in zip(astuple(divide(short)), astuple(divide(long)), strict=True))
    assert 0.55 - 1e-9 <= divide(long).training / long <= divide(short).training / short + 1e-9 <= 0.88 + 2e-9


@pytest.mark.parametrize(("minutes", "share"), [(2, 0.88), (10, 0.88), (15, 0.88), (60, 0.71), (600, 0.55)])
def test_the_share_of_the_final_training(minutes: int, share: float) -> None:
    assert divide(60 * minutes).training == pytest.approx(60 * minutes * share)


def test_short_budgets_have_no_finals() -> None:
    assert divide(15 * 60).finals == 0 < divide(16 * 60).finals


@given(st.floats(1, 1e5), st.floats(0.1, 1e3), st.integers(1, 8), st.integers(6_200, 45_000))
def test_finals_are_longer_than_the_search_and_fit_into_their_time(
    time: float, full_trial: float, workers: int, train_count: int
) -> None:
    plan = finals_plan(PLAN, time, full_trial, workers, train_count)
    if plan is None:
        assert finals_plan(PLAN, time / 2, full_trial, workers, train_count) is None
        return
    length = plan.train_size * plan.max_epochs / (PLAN.train_size * PLAN.max_epochs)
    assert SHORTEST - 0.1 <= length <= LONGEST + 0.5
    assert plan.train_size <= train_count
    assert plan.max_epochs >= PLAN.max_epochs
    assert plan.val_limit == PLAN.val_size
    assert len(plan.rungs) == 2
    assert length * 2.5 * full_trial / workers <= time * 1.1 * OVERHEAD


def test_finals_of_an_hour_are_some_two_full_trials_long() -> None:
    parts = divide(3600)
    plan = finals_plan(PLAN, parts.finals, parts.search / 8, 1, 45_000)
    assert plan is not None
    assert (plan.rungs, plan.train_size) == ([4, 8], 12_732)
    assert finals_plan(PLAN, divide(1800).finals, divide(1800).search / 8, 1, 45_000) is None
