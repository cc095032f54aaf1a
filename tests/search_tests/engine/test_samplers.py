"""How the sampler is asked: what it is shown, with which seed, and when proposals are random instead."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar.runtime.seeds import derive_seed
from search.engine.samplers import RANDOM_SHARE, FreshSampler, make_sampler
from search.settings import SearchSettings
from search.study.attributes import CONTINUES, PAUSED, REPEAT_OF
from search.study.storage import open_storage

X = FloatDistribution(0, 1)


class Spy(BaseSampler):
    """Proposes 0.5 and keeps what it is shown."""

    def __init__(self, seed: int, log: list[Spy]) -> None:
        self.seed = seed
        self.shown: list[FrozenTrial] = []
        log.append(self)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        self.shown = study.get_trials(deepcopy=False)
        return 0.5


def stored(state: TrialState, value: float | None = None, **attributes: object) -> FrozenTrial:
    values = {1: 0.9, 2: 0.7} if state is not TrialState.COMPLETE else {1: 0.9, 2: 0.7, 4: 0.3}
    return create_trial(
        state=state,
        value=value,
        params={"x": 0.1},
        distributions={"x": X},
        intermediate_values=values,
        user_attrs=attributes,
    )


StudyOf = Callable[..., tuple[optuna.Study, list[Spy]]]


@pytest.fixture
def study_of(workplace: Path) -> StudyOf:
    """A study that is asked through a `FreshSampler`."""

    def make(*trials: FrozenTrial, seed: int = 3, **options: Any) -> tuple[optuna.Study, list[Spy]]:
        spies: list[Spy] = []
        sampler = FreshSampler(lambda number: Spy(number, spies), seed, **options)
        study = optuna.create_study(storage=open_storage(SearchSettings()), sampler=sampler)
        study.add_trials(trials)
        return study, spies

    return make


def test_trials_are_shown_as_pruned_at_the_last_rung_that_they_reached(study_of: StudyOf) -> None:
    study, spies = study_of(
        stored(TrialState.COMPLETE, 0.3),
        stored(TrialState.RUNNING, **{PAUSED: 2}),
        stored(TrialState.RUNNING, **{PAUSED: 1}),  # interrupted in its third job: a checkpoint of epoch 1
        stored(TrialState.RUNNING, **{PAUSED: 0}),  # is trained beyond the second rung
        stored(TrialState.COMPLETE, 0.3, **{REPEAT_OF: 0}),
        stored(TrialState.PRUNED, 0.7, **{PAUSED: 2}),
        stored(TrialState.RUNNING, **{PAUSED: 2, CONTINUES: 5}),
        stored(TrialState.PRUNED, 0.7),  # diverged
        rungs=(1, 4),
    )
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == 0.5
    running, pruned, complete = TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE
    assert [(t.number, t.state, t.value) for t in spies[-1].shown] == [
        (0, complete, 0.3),
        (1, pruned, 0.9),
        (2, pruned, 0.9),
        (3, pruned, 0.9),
        (6, pruned, 0.9),
        (7, pruned, 0.7),
        (8, running, None),
    ]
    assert [t.intermediate_values for t in spies[-1].shown[1:5]] == [{1: 0.9}] * 4
    assert [t.state for t in study.trials[1:4]] == [running] * 3  # in truth
    shown = spies[-1].shown[1]
    second = study.ask()
    second.suggest_float("x", 0, 1)
    assert spies[-1].shown[1] is shown  # made once
    study._storage.set_trial_intermediate_value(study.trials[1]._trial_id, 4, 0.2)
    third = study.ask()
    third.suggest_float("x", 0, 1)
    assert (spies[-1].shown[1].state, spies[-1].shown[1].value) == (pruned, 0.2)


def test_without_rungs_nothing_is_shown_as_pruned(study_of: StudyOf) -> None:
    study, spies = study_of(stored(TrialState.RUNNING))
    study.ask().suggest_float("x", 0, 1)
    assert [t.state for t in spies[-1].shown] == [TrialState.RUNNING] * 2


def test_tpe_learns_from_values_of_the_highest_rung_first(study_of: StudyOf) -> None:
    """Before any trial is complete."""
    study = optuna.create_study()
    study.sampler = FreshSampler(lambda seed: make_sampler("tpe", seed % 2**32, 10), 0, rungs=(1, 2))
    for i in range(40):
        x, values = i / 40, {1: abs(i / 40 - 0.2)}
        if i % 4 == 0 and x > 0.5:  # few reach the second rung, where 0.8 is the best
            values[2] = 1 + abs(x - 0.8)
        trial = create_trial(
            state=TrialState.RUNNING,
            params={"x": x},
            distributions={"x": X},
            intermediate_values=values,
            user_attrs={PAUSED: max(values)},
        )
        study.add_trial(trial)
    drawn = [study.ask().suggest_float("x", 0, 1) for _ in range(20)]
    assert abs(statistics.median(drawn) - 0.8) < 0.1


@pytest.mark.parametrize("same", [False, True])
def test_the_seed_follows_from_the_study_and_the_number(same: bool, study_of: StudyOf) -> None:
    study, spies = study_of(same_seed=same)
    del spies[:]
    for _ in range(4):
        study.ask().suggest_float("x", 0, 1)
    derived = [derive_seed(3, "sampler", number) for number in range(4)]
    assert [spy.seed for spy in spies] == ([3] * 4 if same else derived)
    assert len(set(derived)) == 4


def test_a_trial_asks_one_sampler_for_all_of_its_parameters(study_of: StudyOf) -> None:
    study, spies = study_of()
    del spies[:]
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_float("y", 0, 1)
    assert len(spies) == 1


def test_a_wary_sampler_is_random_now_and_then(study_of: StudyOf) -> None:
    study, _ = study_of(stored(TrialState.RUNNING, **{PAUSED: 2}), wary=True)
    drawn = [study.ask().suggest_float("x", 0, 1) for _ in range(60)]
    at_random = sum(x != 0.5 for x in drawn) / 60
    assert 0.3 * RANDOM_SHARE < at_random < 2 * RANDOM_SHARE  # of seeds that are fixed


def test_a_wary_sampler_is_random_after_a_repeat(study_of: StudyOf) -> None:
    complete = stored(TrialState.COMPLETE, 0.3)
    repeat = stored(TrialState.COMPLETE, 0.3, **{REPEAT_OF: 0})
    for last, is_random in ((complete, False), (repeat, True)):
        study, _ = study_of(complete, last, wary=True)
        assert (study.ask().suggest_float("x", 0, 1) != 0.5) == is_random


def test_one_that_is_not_wary_is_asked_at_once(study_of: StudyOf) -> None:
    study, _ = study_of(wary=False)
    assert [study.ask().suggest_float("x", 0, 1) for _ in range(8)] == [0.5] * 8


def test_of_very_many_trials_the_best_and_the_newest_are_shown(study_of: StudyOf) -> None:
    study, log = study_of(most=6)
    for value in (0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5):
        study.add_trial(stored(TrialState.PRUNED, value))
    study.add_trial(stored(TrialState.COMPLETE, 5.0))  # the longest precedes all
    study.ask().suggest_float("x", 0, 1)
    assert [t.number for t in log[-1].shown] == [1, 3, 7, 8, 9, 10]
    assert [t.value for t in log[-1].shown[:-1]] == [0.1, 0.2, 0.4, 0.5, 5.0]
