"""How the sampler is asked: what it is shown, with which seed, and when proposals are random instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar.runtime.seeds import derive_seed
from search.engine.samplers import RANDOM_SHARE, FreshSampler
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

    def make(*trials: FrozenTrial, seed: int = 3, **options: bool) -> tuple[optuna.Study, list[Spy]]:
        spies: list[Spy] = []
        sampler = FreshSampler(lambda number: Spy(number, spies), seed, **options)
        study = optuna.create_study(storage=open_storage(SearchSettings()), sampler=sampler)
        study.add_trials(trials)
        return study, spies

    return make


def test_paused_trials_are_shown_as_pruned_ones(study_of: StudyOf) -> None:
    study, spies = study_of(
        stored(TrialState.COMPLETE, 0.3),
        stored(TrialState.RUNNING, **{PAUSED: 2}),
        stored(TrialState.RUNNING, **{PAUSED: 1}),  # interrupted in its third job: a checkpoint of epoch 1
        stored(TrialState.RUNNING, **{PAUSED: 0}),  # has just been resumed
        stored(TrialState.COMPLETE, 0.3, **{REPEAT_OF: 0}),
        stored(TrialState.PRUNED, 0.7, **{PAUSED: 2}),
        stored(TrialState.RUNNING, **{PAUSED: 2, CONTINUES: 5}),
    )
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == 0.5
    running, pruned, complete = TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE
    assert [(t.number, t.state, t.value) for t in spies[-1].shown] == [
        (0, complete, 0.3),
        (1, pruned, 0.7),
        (2, pruned, 0.9),
        (3, running, None),
        (6, pruned, 0.7),
        (7, running, None),
    ]
    assert [t.state for t in study.trials[1:4]] == [running] * 3  # in truth
    shown = spies[-1].shown[1]
    second = study.ask()
    second.suggest_float("x", 0, 1)
    assert spies[-1].shown[1] is shown  # made once
    study._storage.set_trial_user_attr(study.trials[1]._trial_id, PAUSED, 0)
    third = study.ask()
    third.suggest_float("x", 0, 1)
    assert spies[-1].shown[1].state is running


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


def test_a_wary_sampler_is_random_until_a_trial_is_complete(study_of: StudyOf) -> None:
    study, _ = study_of(stored(TrialState.RUNNING, **{PAUSED: 2}), stored(TrialState.PRUNED, 0.7), wary=True)
    drawn = [study.ask().suggest_float("x", 0, 1) for _ in range(8)]
    assert 0.5 not in drawn
    assert len(set(drawn)) == 8
    study.add_trial(stored(TrialState.COMPLETE, 0.3))
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
