"""The arithmetic behind the figures of a study's page."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.reporting.studies.importance import ENOUGH_TRIALS, FEWEST_TRIALS, FEWEST_WITH, importance
from search.reporting.studies.job_log import Job, lanes, read_jobs
from search.reporting.study_page.axes import log_axis, number_axis
from search.reporting.study_page.joint_figures import ABSENT, Axis, smoothed, stacked
from search.reporting.study_page.timeline_figure import IDLE, shown_starts

# ---- jobs


@st.composite
def some_jobs(draw: st.DrawFn) -> list[Job]:
    """Jobs by the times at which they began."""
    spans = draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 300)), min_size=1, max_size=40))
    return [Job(n, float(start), float(start + length), 1, "paused") for n, (start, length) in enumerate(sorted(spans))]


@given(some_jobs())
def test_jobs_of_a_lane_never_overlap_and_lanes_are_as_few_as_can_be(jobs: list[Job]) -> None:
    found = lanes(jobs)
    for lane in set(found):
        own = [job for job, place in zip(jobs, found, strict=True) if place == lane]
        assert all(first.ended <= second.began for first, second in pairwise(own))
    at_once = max(
        sum(other.began <= job.began < other.ended or other is job for other in jobs[: index + 1])
        for index, job in enumerate(jobs)
    )
    assert max(found) + 1 == len(set(found)) == at_once


@given(some_jobs())
def test_only_idle_time_is_left_out(jobs: list[Job]) -> None:
    starts, gaps = shown_starts(jobs)
    assert starts[0] == 0
    end, left_out = jobs[0].ended, 0.0
    for (before, start), job in zip(pairwise(starts), jobs[1:], strict=True):
        if job.began - end > IDLE:
            left_out += job.began - end
        assert start == pytest.approx(job.began - jobs[0].began - left_out)
        assert start >= before
        end = max(end, job.ended)
    assert gaps == sorted(gaps)
    assert bool(gaps) == bool(left_out)


def test_a_line_that_was_cut_off_is_left_out(workplace: Path) -> None:
    path = workplace / "jobs.csv"
    assert read_jobs(path) == []
    path.write_text("trial,began,ended,epoch,outcome\n4,10.5,12,3,pruned\n3,9,11,1,paused\n5,13,1")
    assert read_jobs(path) == [Job(3, 9.0, 11.0, 1, "paused"), Job(4, 10.5, 12.0, 3, "pruned")]


# ---- importance


def a_trial(number: int, decides: float, **others: object) -> FrozenTrial:
    """A trial at rung 1 that has the deciding parameter and others by chance."""
    noise = float(np.random.default_rng(number).uniform())
    distributions: dict[str, BaseDistribution] = {"decides": FloatDistribution(0, 1), "noise": FloatDistribution(0, 1)}
    params = {"decides": decides, "noise": noise, **others}
    distributions |= {name: CategoricalDistribution(("a", "b")) for name in others}
    trial = create_trial(
        state=TrialState.PRUNED, params=params, distributions=distributions, intermediate_values={1: decides}
    )
    trial.number = number
    return trial


def spread(count: int) -> list[FrozenTrial]:
    return [a_trial(number, number * 0.618034 % 1.0) for number in range(count)]


def values_of(trials: list[FrozenTrial], rung: int = 1) -> dict[int, dict[int, float]]:
    return {trial.number: {rung: trial.params["decides"]} for trial in trials}


def test_the_parameter_that_decides_comes_first() -> None:
    trials = spread(80)
    found = importance(trials, values_of(trials), [1, 3])
    assert found is not None
    assert found.shares[0][0] == "decides"
    assert sum(share for _, share in found.shares) == pytest.approx(1)
    assert (found.rung, found.scales) == (1, {"decides": "linear", "noise": "linear"})


def test_few_trials_and_rare_parameters_tell_nothing() -> None:
    assert importance(spread(FEWEST_TRIALS - 1), values_of(spread(FEWEST_TRIALS - 1)), [1]) is None
    trials = [a_trial(n, n / 40, **({"rare": "a"} if n < FEWEST_WITH - 1 else {"often": "b"})) for n in range(40)]
    found = importance(trials, values_of(trials), [1])
    assert found is not None
    assert found.rare == ("rare",)
    assert found.trials == {"decides": 40, "noise": 40, "often": 41 - FEWEST_WITH}
    assert found.scales["often"] == "choice"


@pytest.mark.parametrize(("reached", "rung"), [(ENOUGH_TRIALS - 1, 1), (ENOUGH_TRIALS, 3)])
def test_trials_are_compared_at_the_highest_rung_that_enough_reached(reached: int, rung: int) -> None:
    trials = spread(100)
    values = values_of(trials)
    for trial in trials[:reached]:
        trial.intermediate_values = {1: 0.1, 3: trial.params["decides"]}
        values[trial.number][3] = trial.params["decides"]
    found = importance(trials, values, [1, 3])
    assert found is not None
    assert found.rung == rung
    assert len(found.values) == (reached if rung == 3 else 100)


# ---- figures of several parameters


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=30),
    st.integers(2, 12),
)
def test_the_map_stays_within_the_values_near_it(points: list[tuple[float, float, float]], cells: int) -> None:
    data = np.array(points)
    grid = np.linspace(0, 1, cells)
    found = smoothed(data[:, :2], data[:, 2], grid)
    for y, row in zip(grid, found, strict=True):
        for x, mean in zip(grid, row, strict=True):
            distances = np.hypot(data[:, 0] - x, data[:, 1] - y)
            if mean is None:
                assert distances.min() > 0.2
            else:
                assert data[:, 2].min() - 1e-5 <= mean <= data[:, 2].max() + 1e-5


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20), st.sampled_from(("linear", "log")))
def test_places_on_an_axis_keep_the_order(values: list[float], scale: str) -> None:
    axis = Axis("lr", scale, tuple(sorted(set(values))))  # type: ignore[arg-type]
    places = [axis.place({"lr": value}) for value in axis.known]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert axis.place({}) == ABSENT


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ([5e4], {"type": "log", "dtick": "D2"}),  # alone on two powers
        ([7.89e6, 8e6], {"type": "log", "nticks": 6}),  # no 1, 2 or 5 of a power lies between them
        ([1e4, 2e5], {"type": "log", "dtick": "D2"}),
        ([1e2, 1e6], {"type": "log", "dtick": 1}),
    ],
)
def test_an_axis_of_logarithms_has_marks(values: list[float], axis: dict[str, object]) -> None:
    assert log_axis(values) == axis


def test_few_trials_have_whole_numbers() -> None:
    assert number_axis(0) == {"range": [-0.5, 0.5], "dtick": 1}
    assert "dtick" not in number_axis(50)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("one_cycle_warmup_share", ["one_cycle_", "warmup_share"]),
        ("muon_lr", ["muon_lr"]),
        ("averylongnamewithoutany", ["averylongnamewithoutany"]),
        ("_private__name", ["_private__", "name"]),
    ],
)
def test_long_names_are_broken_at_their_underscores(name: str, lines: list[str]) -> None:
    assert stacked(name).split("<br>") == lines
