"""Searches from start to end on real parts: what is recorded, continued, refused, and never touched."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.toy import toy_npz
from search.format import format_value
from search.session import run_search
from search.settings import PRUNERS, SAMPLER_PACKAGES, SAMPLERS, SearchSettings, StudyError
from search.study.attributes import CANDIDATE, REASON
from search.study.standing import choose_trials
from search.study.trials import counted, ranked

Settings = Callable[..., SearchSettings]


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


@pytest.mark.usefixtures("measured_speed")
def test_a_search_on_images_records_everything(toy_search: Settings) -> None:
    study = run_search(toy_search())
    trials = finished(study)
    assert len(trials) == 4
    for trial in trials:
        candidate = Candidate.from_dict(trial.user_attrs[CANDIDATE], where="trial")
        assert candidate.cost.parameters == trial.user_attrs["parameters"] <= 30_000
        assert candidate.cost.macs == trial.user_attrs["macs"] <= 3_000_000
        assert trial.user_attrs["epoch_seconds"] > 0
        assert trial.user_attrs["seed"] >= 0
        assert trial.user_attrs[REASON]
        assert trial.intermediate_values
    assert study.best_value == max(t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None)
    table = pd.read_csv("studies/toy/trials.csv")
    assert list(table["number"]) == [t.number for t in study.trials]
    assert {"value", "parameters", "macs", "params_optimizer", "candidate", "reason"} <= set(table.columns)
    assert [json.loads(text) for text in table["candidate"]] == [t.user_attrs[CANDIDATE] for t in study.trials]
    card = Path("studies/toy/README.md").read_text()
    assert format_value(ranked(study)[0].value, percent=True) in card
    assert "| prior | space |" in card
    assert re.search(r"\| \d+-\d+-\d+ fast_resnet \|", card)


def test_a_search_never_reads_test_images(toy_search: Settings, toy: Path) -> None:
    data = prepare(str(toy))
    for path in data.folder.glob("test_*"):
        path.write_bytes(b"\0" * path.stat().st_size)  # whoever opens it fails
    assert len(finished(run_search(toy_search(max_trials=2)))) == 2


def test_one_worker_and_one_seed_give_one_study(curves: str) -> None:
    first = run_search(SearchSettings(space=curves, study="a", max_trials=15, seed=7))
    again = run_search(SearchSettings(space=curves, study="b", max_trials=15, seed=7, pruner="successive_halving"))
    other = run_search(SearchSettings(space=curves, study="c", max_trials=15, seed=8))
    assert [t.params for t in first.trials][:10] == [t.params for t in again.trials][:10]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_equal_settings_give_equal_values(toy_search: Settings) -> None:
    values = [
        [t.value for t in run_search(toy_search(study=name, deterministic=True, max_trials=2)).trials]
        for name in ("first", "first-again")
    ]
    assert values[0][0] == values[1][0] is not None


def test_the_same_call_continues_and_draws_anew(curves: str) -> None:
    settings = SearchSettings(space=curves, max_trials=5, sampler="random")
    before = [t.params for t in run_search(settings).trials]
    study = run_search(SearchSettings(space=curves, max_trials=10, sampler="random"))
    assert len(study.trials) == 10
    assert [t.params for t in study.trials[:5]] == before
    assert [t.params for t in study.trials[5:]] != before
    assert len(run_search(settings).trials) == 10  # already there: nothing to do


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"param_budget": 20_000}, "--param-budget"),
        ({"max_epochs": 9}, "--max-epochs"),
        ({"space": "resnet_budget300k"}, "--space"),
        ({"mac_budget": 2_900_000}, "--mac-budget"),
        ({"val_size": 59}, "--val-size"),
    ],
)
def test_a_study_does_not_continue_under_other_rules(
    toy_study: SearchSettings, changes: dict[str, Any], option: str
) -> None:
    with pytest.raises(StudyError, match=f"continues with the {option}.*--study NAME"):
        run_search(replace(toy_study, **changes))


def test_a_study_does_not_continue_with_other_images(toy_study: SearchSettings, workplace: Path) -> None:
    other = toy_npz(workplace / "other.npz", train=400, test=100, size=16, seed=5)
    with pytest.raises(StudyError, match=r"continues with the --data.*toy\.npz.*other images"):
        run_search(replace(toy_study, data=str(other)))


SPACE_WITH = """
from cifar.networks.complexity import Cost
from cifar.errors import Diverged
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class C(OwnCandidate):
    def __init__(self, x):
        self.x = x
        self.cost = Cost(int(100 * x), 1)
    def to_dict(self):
        return {{"x": self.x}}

class S(SearchSpace):
    uses_images = False
    max_epochs = 3
    param_budget = {limit}
    def suggest(self, trial):
        return C(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        for epoch in (1, 2, 3):
            {body}
            yield EpochReport(epoch, candidate.x)

space = S()
"""


def space_with(folder: Path, body: str, limit: str = "None") -> str:
    path = folder / "special.py"
    path.write_text(SPACE_WITH.format(body=body, limit=limit))
    return str(path)


def test_infeasible_proposals_are_never_trained_and_told(workplace: Path) -> None:
    body = "assert candidate.cost.parameters <= 40, 'trained above the limit'"
    study = run_search(SearchSettings(space=space_with(workplace, body, "40"), max_trials=8, pruner="none"))
    infeasible = [t for t in study.trials if t.user_attrs["parameters"] > 40]
    feasible = [t for t in study.trials if t.user_attrs["parameters"] <= 40]
    assert len(feasible) == 8
    assert infeasible
    for trial in infeasible:
        assert trial.state == TrialState.PRUNED
        assert not trial.intermediate_values
        assert max(trial.constraints.values()) > 0
        assert "exceed the limit of 40" in trial.user_attrs[REASON]
    assert all(max(t.constraints.values()) <= 0 for t in feasible)
    assert study.best_trial.user_attrs["parameters"] <= 40


def test_divergence_ends_a_trial_with_its_reason_not_the_study(workplace: Path) -> None:
    body = "if candidate.x > 0.5: raise Diverged('loss is NaN')"
    study = run_search(SearchSettings(space=space_with(workplace, body), max_trials=10, pruner="none"))
    diverged = [t for t in study.trials if t.params["x"] > 0.5]
    assert diverged
    assert len(study.trials) == 10
    assert all(t.state == TrialState.PRUNED and t.user_attrs[REASON] == "diverged: loss is NaN" for t in diverged)
    assert study.best_trial.params["x"] <= 0.5


def test_infinite_values_count_as_divergence(workplace: Path) -> None:
    body = "candidate.x = float('inf') if candidate.x > 0.5 else candidate.x"
    study = run_search(SearchSettings(space=space_with(workplace, body), max_trials=10, pruner="none"))
    assert study.best_value <= 0.5
    assert all(value < 1 for t in study.trials for value in t.intermediate_values.values())


def test_a_failing_trial_does_not_end_the_study(workplace: Path) -> None:
    body = "if context.seed % 3 == 0: raise RuntimeError(f'out of memory at {context.seed}')"
    study = run_search(SearchSettings(space=space_with(workplace, body), max_trials=10, pruner="none"))
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert failed
    assert counted(study.trials) == 10
    assert all("RuntimeError: out of memory" in t.user_attrs[REASON] for t in failed)


def test_a_cause_that_fails_every_trial_ends_the_search(workplace: Path) -> None:
    body = "raise RuntimeError('no such layer')"
    with pytest.raises(StudyError, match="must not fail 3 times in a row; got RuntimeError: no such layer"):
        run_search(SearchSettings(space=space_with(workplace, body), max_trials=10))


def test_errors_of_a_worker_process_reach_the_caller(workplace: Path) -> None:
    body = "raise RuntimeError('no such layer')"
    with pytest.raises(StudyError, match="must not fail 3 times in a row"):
        run_search(SearchSettings(space=space_with(workplace, body), max_trials=10, workers=2))


def test_choosing_trials(curves: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=8, pruner="none"))
    best = choose_trials(study, "best")
    assert [t.number for t in best] == [study.best_trial.number]
    top = choose_trials(study, "top-3")
    assert [t.value for t in top] == sorted(t.value for t in study.trials if t.value is not None)[:3]
    assert choose_trials(study, "5")[0].number == 5
    for wrong in ("99", "worst", "top-0", "-1"):
        with pytest.raises(StudyError, match="--trial"):
            choose_trials(study, wrong)


def test_trials_stopped_early_never_precede_complete_ones(curves: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=20))
    states = [t.state for t in ranked(study)]
    assert states == sorted(states, key=lambda s: s != TrialState.COMPLETE)
    assert TrialState.PRUNED in states


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("pruner", ["hyperband", "none"])
def test_every_sampler_searches_or_names_what_it_lacks(curves: str, sampler: str, pruner: str) -> None:
    package = SAMPLER_PACKAGES.get(sampler)
    if package and importlib.util.find_spec(package) is None:
        with pytest.raises(StudyError, match=f"needs the package {package}.*pip install {package}"):
            SearchSettings(sampler=sampler)
    else:
        settings = SearchSettings(space=curves, max_trials=14, sampler=sampler, pruner=pruner)
        assert counted(run_search(settings).trials) == 14


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_searches(curves: str, pruner: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=12, pruner=pruner))
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert bool(pruned) == (pruner != "none")
