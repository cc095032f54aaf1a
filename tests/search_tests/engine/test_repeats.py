"""A candidate that was tried already is not trained again, unless that is wanted."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.engine.events import TrialEnded, TrialOutcome
from search.engine.scheduler import MOST_REPEATS, Limits, Scheduler
from search.planning.plan import Plan
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import PAUSED, REASON, REPEAT_OF
from search.study.trials import counted, distinct, ranked, reached
from tests.search_tests.logged_space import Watched, logged_space, trained

FEW = "trial.suggest_int('x', 1, 6)"


@pytest.mark.parametrize("pruner", ["promotion", "hyperband", "none"])
def test_repeats_take_the_known_result(pruner: str, workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace, suggest=FEW), max_trials=5, pruner=pruner, sampler="random")
    study = run_search(settings)
    repeats = [t for t in study.trials if REPEAT_OF in t.user_attrs]
    assert repeats
    assert counted(study.trials) == len(distinct(study.trials)) == 5
    assert {t.params["x"] for t in distinct(study.trials)} == {t.params["x"] for t in study.trials}
    assert set(trained(workplace).values()) == {1}
    assert len({seed for seed, _ in trained(workplace)}) == 5
    for trial in repeats:
        known = study.trials[trial.user_attrs[REPEAT_OF]]
        assert known.number < trial.number
        assert known.params == trial.params
        assert trial.user_attrs[REASON] == f"repeats trial {known.number}"
        assert trial.intermediate_values.items() <= known.intermediate_values.items()
        if trial.state is TrialState.COMPLETE:
            assert trial.value == known.value
    assert not any(REPEAT_OF in t.user_attrs for t in ranked(study))


def test_repeats_cost_no_epochs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.engine.scheduler.MOST_REPEATS", 25)
    space = logged_space(workplace, suggest=FEW)
    for pruner in ("promotion", "none"):
        watched = Watched()
        settings = SearchSettings(space=space, study=pruner, epoch_budget=32, pruner=pruner, sampler="random")
        study = run_search(settings, engine=watched)
        assert [t for t in study.trials if REPEAT_OF in t.user_attrs]
        assert watched.epochs == sum(reached(t) for t in distinct(study.trials)) == 32


def test_replicates_are_trained_with_a_seed_of_their_own(workplace: Path) -> None:
    space = logged_space(workplace, suggest="trial.suggest_int('x', 1, 1)")
    study = run_search(SearchSettings(space=space, max_trials=6, pruner="none", replicate=True))
    assert [reached(t) for t in study.trials] == [8] * 6
    assert len({seed for seed, _ in trained(workplace)}) == 6
    assert not any(REPEAT_OF in t.user_attrs for t in study.trials)


@pytest.mark.parametrize(("pruner", "epochs"), [("promotion", None), ("promotion", 1000), ("none", None)])
def test_a_space_of_few_candidates_ends(
    pruner: str, epochs: int | None, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.engine.scheduler.MOST_REPEATS", 25)
    space = logged_space(workplace, suggest="trial.suggest_int('x', 1, 3)")
    study = run_search(SearchSettings(space=space, epoch_budget=epochs, max_trials=50, pruner=pruner))
    tried = distinct(study.trials)
    assert sorted(t.params["x"] for t in tried) == [1, 2, 3]
    assert study.best_trial.params["x"] == 1
    complete = [t for t in tried if t.state is TrialState.COMPLETE]
    if pruner == "promotion" and epochs is None:  # of three, one is promoted to each rung
        assert len(complete) == 1
        assert all(t.user_attrs.get(PAUSED) for t in tried if t.state is TrialState.PRUNED)
    else:
        assert len(complete) == 3


def test_no_trials_start_once_nine_of_ten_proposals_repeat_others() -> None:
    plan = Plan(1, 8, 2, 0, 0, 0, None, None)
    scheduler = Scheduler(optuna.create_study(), plan, Limits(), lambda: 0.0, pauses=True)

    def note(outcome: TrialOutcome) -> None:
        scheduler.note(TrialEnded(0, outcome, None, 1, "reason"), 0.1)

    for number in range(MOST_REPEATS):
        assert not scheduler.exhausted
        note(TrialOutcome.PAUSED if number % 10 == 0 else TrialOutcome.REPEATED)
        note(TrialOutcome.INFEASIBLE)  # tells nothing of how many candidates there are
        scheduler.begun(0, 1, 2)  # a promotion, which is no proposal
        note(TrialOutcome.PAUSED)
    assert scheduler.exhausted
