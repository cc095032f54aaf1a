"""The record of the real space's curves, and searches that replay it in simulated time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial, TrialState

from benchmarks import record_curves, recorded, replay
from benchmarks.resumable import append
from benchmarks.simulation import Clock, Simulation
from cifar.data.toy import toy_npz
from search.engine.driver import SearchRequest
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from spaces.base import Problem

CANDIDATES = 9


def row(number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A candidate whose values approach a quality of its own, which the stretched scheme shows at the end only."""
    draw = random.Random(number)
    quality, seconds = draw.uniform(0.2, 0.6), draw.uniform(0.5, 2)
    annealed = [quality - 0.1 / epoch for epoch in range(1, 9)]
    stretched = [0.1 + draw.random() / 10 for _ in range(7)] + [annealed[-1]]
    space = record_curves.space_of()
    params = record_curves.proposed(space, number, rows).params
    cost = space.suggest(FixedTrial(params)).cost
    assert cost is not None
    curves = {"annealed": annealed, "stretched": stretched}
    return {
        "number": number,
        "source": record_curves.SOURCES[number % 3],
        "params": params,
        "parameters": cost.parameters,
        "macs": cost.macs,
        **{scheme: {"values": values, "seconds": [seconds] * 8} for scheme, values in curves.items()},
        **({"longer": {"values": [quality] * 8, "seconds": [1.0] * 8}} if number % 4 == 0 else {}),
    }


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(CANDIDATES):
        found.append(row(number, found))
    return found


@pytest.fixture(scope="module")
def curves(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> recorded.Curves:
    path = tmp_path_factory.mktemp("curves") / "curves.npz"
    recorded.save(path, rows, 8)
    return recorded.Curves(path)


def test_the_first_candidate_is_the_priors_point(rows: list[dict[str, Any]]) -> None:
    prior = record_curves.space_of().prior(1.0)
    assert prior is not None
    assert rows[0]["params"].items() <= prior.point.items()


def test_a_recorded_candidate_is_nearest_to_itself(curves: recorded.Curves, rows: list[dict[str, Any]]) -> None:
    space = recorded.RecordedSpace(curves, record_curves.space_of(), "annealed", 1.0)
    assert [space.suggest(FixedTrial(r["params"])).index for r in rows] == list(range(CANDIDATES))


def test_what_diverges_is_packed_as_no_number(rows: list[dict[str, Any]]) -> None:
    broken = {**rows[1], "annealed": {"values": [0.3], "seconds": [1.0]}}
    arrays = recorded.packed([broken, rows[0]], 8)
    assert np.isnan(arrays["annealed"]).sum(axis=1).tolist() == [0, 7]
    assert np.isnan(arrays["longer"]).tolist() == [False, True]


@given(
    st.dictionaries(st.sampled_from("abc"), st.one_of(st.floats(0, 1), st.sampled_from(["x", "y"]))),
    st.dictionaries(st.sampled_from("abc"), st.one_of(st.floats(0, 1), st.sampled_from(["x", "y"]))),
)
def test_the_distance_is_symmetric_and_at_most_1(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert recorded.gower(first, second) == recorded.gower(second, first) <= 1
    assert (recorded.gower(first, second) == 0) == (first == second)


def test_rungs_of_the_better_scheme_rank_better(curves: recorded.Curves) -> None:
    lines = record_curves.correlations(curves).splitlines()
    assert len(lines) == 6
    first_rung = [float(line.split("|")[2].split()[0]) for line in lines[2:]]
    assert first_rung[0] == first_rung[1] == 1.0 > first_rung[2]


def test_later_lines_add_to_a_candidate() -> None:
    lines = [{"number": 3, "macs": 1}, {"number": 0, "macs": 2}, {"number": 3, "longer": 4}]
    assert record_curves.merged(lines) == [{"number": 3, "macs": 1, "longer": 4}, {"number": 0, "macs": 2}]


def test_the_best_are_trained_for_longer_unless_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_curves, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    monkeypatch.setattr(record_curves, "run_job", lambda job: {"longer": (job.number, job.only_longer)})
    monkeypatch.setattr(record_curves, "BEST", 2)
    out = tmp_path / "curves.jsonl"
    for number, values, more in (
        (0, [0.5] * 8, {}),
        (1, [0.9] * 3, {}),
        (2, [0.7] * 8, {"longer": 1}),
        (3, [0.6] * 8, {}),
    ):
        append(out, {"number": number, "params": {}, "annealed": {"values": values}, **more})
    assert list(record_curves.of_the_best(out, None, 1)) == [{"number": 3, "longer": (3, True)}]


@pytest.mark.parametrize("method", replay.METHODS)
def test_every_method_recommends_something(method: str, curves: recorded.Curves) -> None:
    run = replay.Run(curves.path, method, full_trials=2, workers=2, seed=1)
    assert 0 <= replay.regret(run) < 0.4


def test_equal_seeds_recommend_the_same(curves: recorded.Curves) -> None:
    run = replay.Run(curves.path, "engine", full_trials=2, workers=2, seed=1)
    assert replay.regret(run) == replay.regret(run)


def test_simulated_time_is_what_was_recorded(curves: recorded.Curves) -> None:
    space = recorded.RecordedSpace(curves, record_curves.space_of(), "annealed", 1.0)
    settings, clock = SearchSettings(space="recorded", time_budget=60, workers=2), Clock()
    plan = plan_without_images(settings, space)
    study = optuna.create_study(direction="maximize")
    simulation = Simulation(space, 2, clock)
    request = SearchRequest(settings, plan, Problem(), clock, deadline=60.0)
    simulation.run(study, request, lambda event: None)
    seconds = [curves.arrays["annealed_seconds"][t.user_attrs["candidate"]["row"], 0] for t in study.trials]
    epochs = [0 if "repeat_of" in t.user_attrs else max(t.intermediate_values, default=0) for t in study.trials]
    trained = sum(s * e for s, e in zip(seconds, epochs, strict=True))
    assert trained == pytest.approx(simulation.busy)
    assert trained <= 2 * clock.now
    assert any(t.state is TrialState.COMPLETE for t in study.trials)


def test_curves_are_recorded_resumed_and_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = toy_npz(tmp_path / "toy.npz", train=80, test=20, size=32), tmp_path / "curves.jsonl"
    for name, value in (("TRAIN_SIZE", 16), ("VAL_SIZE", 16), ("VAL_LIMIT", 16)):
        monkeypatch.setattr(record_curves, name, value)
    job = record_curves.Job(0, record_curves.proposed(record_curves.space_of(), 0, []).params, str(data))
    trained = record_curves.run_job(job)
    assert [len(trained[scheme]["values"]) for scheme in ("annealed", "stretched", "longer")] == [8, 8, 8]
    assert record_curves.run_job(replace(job, only_longer=True)) == {"longer": {**trained["longer"], "seconds": ANY}}
    out.write_text("")
    monkeypatch.setattr("sys.argv", ["record_curves", "--candidates", "0", "--out", str(out)])
    assert record_curves.main() == 0
    assert capsys.readouterr().out == ""
