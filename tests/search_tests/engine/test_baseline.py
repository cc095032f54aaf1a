"""The baseline is trained in full before anything else, with every pruner, and resumed where a search is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.engine.engine import Engine, LocalEngine
from search.session import run_search
from search.settings import PRUNERS, SearchSettings
from search.study.attributes import BASELINE
from search.study.standing import standing
from search.study.trials import counted, distinct, reached
from tests.search_tests.logged_space import CountingClock, InterleavedEngine, Watched, logged_space, trained

WORST = 0.99
"""The first known good point, which every pruner would end early, and another one."""
STARTS = (WORST, 0.5)

every_pruner = pytest.mark.parametrize("pruner", PRUNERS)


def baseline(study: optuna.Study) -> FrozenTrial:
    (found,) = (t for t in distinct(study.trials) if BASELINE in t.user_attrs)
    assert found.params["x"] == WORST
    return found


def seeds_in_order(folder: Path) -> list[int]:
    """Seed of the trial of each epoch, as they were trained."""
    return [int(line.split()[0]) for line in (folder / "trained.log").read_text().splitlines()]


@every_pruner
@pytest.mark.parametrize(("engine", "workers"), [(LocalEngine, 1), (InterleavedEngine, 2)])
def test_the_baseline_is_complete_first(
    engine: Callable[[], Engine], workers: int, pruner: str, workplace: Path
) -> None:
    space = logged_space(workplace, starts=STARTS)
    study = run_search(SearchSettings(space=space, max_trials=9, workers=workers, pruner=pruner), engine=engine())
    first = baseline(study)
    assert (first.number, first.state, first.last_step) == (0, TrialState.COMPLETE, 8)
    order = seeds_in_order(workplace)
    assert order[: 8 * workers].count(first.user_attrs["seed"]) == 8  # beside it, the other worker trained others
    assert set(trained(workplace).values()) == {1}
    assert counted(study.trials) == 9
    if pruner == "promotion":  # it takes no place from the others: 8 trials were started besides
        others = [reached(t) for t in study.trials if t.number]
        assert [sum(epochs >= rung for epochs in others) for rung in (1, 2, 4, 8)] == [8, 4, 2, 1]


@every_pruner
def test_a_baseline_that_was_cut_off_is_resumed_where_it_paused(pruner: str, workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace, starts=STARTS), time_budget=1000, pruner=pruner)
    study = run_search(settings, clock=CountingClock(workplace, 5))
    assert [reached(t) for t in distinct(study.trials)] == [5, 0]  # the other one is queued
    study = run_search(SearchSettings(space=settings.space, max_trials=3, pruner=pruner))
    assert (baseline(study).state, baseline(study).last_step) == (TrialState.COMPLETE, 8)
    assert set(trained(workplace).values()) == {1}
    assert set(seeds_in_order(workplace)[:8]) == {baseline(study).user_attrs["seed"]}


@every_pruner
def test_the_baseline_keeps_the_limit_of_epochs(pruner: str, workplace: Path) -> None:
    watched = Watched()
    space = logged_space(workplace, starts=STARTS)
    for budget, done in ((5, 5), (2, 7), (12, 19)):
        watched = Watched()
        study = run_search(SearchSettings(space=space, epoch_budget=budget, pruner=pruner), engine=watched)
        assert watched.epochs <= budget
        assert trained(workplace).total() <= done
    assert baseline(study).state is TrialState.COMPLETE
    assert len(distinct(study.trials)) > 1


def test_without_warm_starts_there_is_no_baseline(workplace: Path) -> None:
    space = logged_space(workplace, starts=STARTS)
    study = run_search(SearchSettings(space=space, max_trials=3, warm_start=False))
    assert not [t for t in study.trials if BASELINE in t.user_attrs]


def test_however_late_it_is_the_baseline_gets_a_value(toy_search: Callable[..., SearchSettings]) -> None:
    study = run_search(toy_search(max_trials=None, max_epochs=4, time_budget=1e-3))  # setting up takes longer
    (began,) = [trial for trial in study.trials if reached(trial)]
    assert BASELINE in began.user_attrs
    assert standing(study) is not None
