"""What is projected from a trial's values at the rungs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import create_trial

from search.planning.plan import Plan
from search.study.projection import Point, points_of, projected, value_after

PLAN = Plan(1, 8, 2, 1000, 500, 500, None, None, from_top=True, anneals=True)


@given(st.floats(0.05, 1.0), st.floats(0.0, 0.6), st.floats(1.0, 100.0))
def test_errors_that_fall_by_a_power_go_on_doing_so(error: float, slope: float, times: float) -> None:
    points = [Point(1000.0 * n, 1 - error * n**-slope) for n in (1, 2, 4, 8)]
    assert projected(points, 8000 * times) == pytest.approx(1 - error * (8 * times) ** -slope, abs=1e-6)


def test_what_rises_early_and_then_slowly_is_behind_in_the_end() -> None:
    slow = [Point(1000, 0.38), Point(2000, 0.50), Point(4000, 0.60)]
    fast = [Point(1000, 0.54), Point(2000, 0.60), Point(4000, 0.64)]
    near, far = ((projected(slow, n), projected(fast, n)) for n in (4000, 100_000))
    assert near[0] < near[1]  # type: ignore[operator]
    assert far[0] > far[1]  # type: ignore[operator]


def test_errors_that_rise_do_not_rise_beyond_all() -> None:
    points = [Point(1000, 0.9), Point(2000, 0.5), Point(4000, 0.1)]
    assert projected(points, 1e9) == 0.0


def test_only_the_last_rungs_count() -> None:
    later = [Point(2000, 0.4), Point(4000, 0.5), Point(8000, 0.6)]
    assert projected([Point(1000, 0.0), *later], 1e5) == projected(later[::-1], 1e5)


@pytest.mark.parametrize("values", [{}, {8: 0.5}, {4: 0.4, 8: 0.5}, {1: 0.1, 3: 0.2, 5: 0.3, 7: 0.4}])
def test_too_few_rungs_tell_nothing(values: dict[int, float]) -> None:
    trial = create_trial(value=0.5, intermediate_values=values)
    assert value_after(1e5, [(trial, PLAN)]) is None


def test_rungs_of_several_trials_count_together_and_only_where_schedules_end_at_them() -> None:
    search = create_trial(value=0.6, intermediate_values={1: 0.3, 2: 0.4, 3: 0.1, 4: 0.5, 8: 0.6})
    finals = create_trial(value=0.7, intermediate_values={4: 0.65, 8: 0.7})
    longer = replace(PLAN, min_epochs=4, train_size=3000)
    assert [point.images for point in points_of(search, PLAN)] == [1000, 2000, 4000, 8000]
    together = [Point(8000, 0.6), Point(12_000, 0.65), Point(24_000, 0.7)]
    assert value_after(1e5, [(search, PLAN), (finals, longer)]) == projected(together, 1e5)
    assert points_of(search, replace(PLAN, anneals=False)) == []
