"""The storage that answers from memory says what its backend says."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.cached_storage import REFRESH_SHARE, STALE_SECONDS, CachedStorage

PARAMETERS = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "depth": IntDistribution(1, 9),
    "optimizer": CategoricalDistribution(("sgd", "adamw", None)),
}
ATTRIBUTES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-5, 5),
    st.text("ab", max_size=3),
    st.none(),
    st.lists(st.integers(0, 3), max_size=3),
    st.tuples(st.integers(0, 3), st.booleans()),
    st.dictionaries(st.sampled_from("ab"), st.tuples(st.integers(0, 3)), max_size=2),
)
VALUES = st.one_of(st.floats(-10, 10), st.sampled_from((float("inf"), float("-inf"))))
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
WHICH = st.integers(0, 10)
WRITES = st.one_of(
    st.tuples(st.just("new"), st.sampled_from((None, TrialState.RUNNING, TrialState.WAITING, TrialState.PRUNED))),
    st.tuples(st.just("param"), WHICH, st.sampled_from(sorted(PARAMETERS)), st.integers(0, 2)),
    st.tuples(st.just("report"), WHICH, st.integers(0, 4), VALUES),
    st.tuples(st.just("user"), WHICH, st.sampled_from("ab"), ATTRIBUTES),
    st.tuples(st.just("system"), WHICH, st.sampled_from("ab"), ATTRIBUTES),
    st.tuples(st.just("end"), WHICH, st.sampled_from(STATES), st.floats(-10, 10)),
    st.tuples(st.just("look")),
)


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> tuple[RDBStorage, RDBStorage]:
    """Two connections to one database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('storage')}/study.db"
    return RDBStorage(url), RDBStorage(url)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def two(connections: tuple[RDBStorage, RDBStorage]) -> Iterator[tuple[CachedStorage, Clock, RDBStorage, int]]:
    """A cached storage, its clock, another connection, and a study."""
    clock = Clock()
    storage = CachedStorage(connections[0], clock)
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    yield storage, clock, connections[1], study_id
    storage.delete_study(study_id)


def write(storage: CachedStorage, study_id: int, change: tuple[Any, ...]) -> None:
    """Does one of `WRITES`, where it is possible."""
    what, *rest = change
    if what == "new":
        template = None if rest[0] is None else create_trial(state=rest[0], user_attrs={"template": True})
        storage.create_new_trial(study_id, template)
        return
    trials = [t for t in storage.get_all_trials(study_id) if t.state is TrialState.RUNNING]
    if what == "look":
        storage.get_all_trials(study_id)
        return
    if not trials:
        return
    trial, (*names, value) = trials[rest[0] % len(trials)], rest[1:]
    number = trial._trial_id
    if what == "param" and names[0] not in trial.params:
        distribution = PARAMETERS[names[0]]
        external = {"lr": 10.0**-value, "depth": value + 1, "optimizer": ("sgd", "adamw", None)[value]}[names[0]]
        storage.set_trial_param(number, names[0], distribution.to_internal_repr(external), distribution)
    elif what == "report":
        storage.set_trial_intermediate_value(number, names[0], value)
    elif what == "user":
        storage.set_trial_user_attr(number, names[0], value)
    elif what == "system":
        storage.set_trial_system_attr(number, names[0], value)
    elif what == "end":
        storage.set_trial_state_values(number, names[0], [value] if names[0] is TrialState.COMPLETE else None)


@settings(max_examples=40)
@given(st.lists(WRITES, max_size=20))
def test_any_writes_read_as_from_the_backend(
    connections: tuple[RDBStorage, RDBStorage], changes: list[tuple[Any, ...]]
) -> None:
    storage, other = CachedStorage(connections[0], Clock()), connections[1]
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    handed_out: list[tuple[FrozenTrial, FrozenTrial]] = []
    for change in changes:
        write(storage, study_id, change)
        trials = storage.get_all_trials(study_id, deepcopy=False)
        handed_out += [(trial, copy.deepcopy(trial)) for trial in trials]
    assert storage.get_all_trials(study_id) == other.get_all_trials(study_id)
    for trial in other.get_all_trials(study_id):
        assert storage.get_trial(trial._trial_id) == trial
    for state in TrialState:
        assert storage.get_n_trials(study_id, state) == other.get_n_trials(study_id, state)
    assert all(trial == as_it_was for trial, as_it_was in handed_out)


def test_changes_of_others_are_seen_after_a_while(two: tuple[CachedStorage, Clock, RDBStorage, int]) -> None:
    storage, clock, other, study_id = two
    assert storage.get_all_trials(study_id) == []
    trial_id = other.create_new_trial(study_id)
    assert storage.get_all_trials(study_id) == []  # from memory
    clock.now += STALE_SECONDS
    assert [t._trial_id for t in storage.get_all_trials(study_id)] == [trial_id]
    other.set_trial_intermediate_value(trial_id, 1, 0.5)
    other.set_trial_state_values(trial_id, TrialState.PRUNED, [0.5])
    assert storage.get_all_trials(study_id)[0].state is TrialState.RUNNING
    storage.refresh(study_id)
    assert storage.get_all_trials(study_id) == other.get_all_trials(study_id)
    assert storage.get_trial(trial_id).state is TrialState.PRUNED


def test_slow_databases_are_asked_less_often(two: tuple[CachedStorage, Clock, RDBStorage, int]) -> None:
    _, clock, _, _ = two

    class Slow(optuna.storages.InMemoryStorage):
        """Takes a second to read."""

        def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
            clock.now += 1.0
            return super().get_all_trials(*args, **options)

    slow = CachedStorage(Slow(), clock)
    study_id = slow.create_new_study([StudyDirection.MINIMIZE])
    for _ in range(200):
        slow.get_all_trials(study_id)
        clock.now += 0.5
    assert clock.now == pytest.approx(100, rel=2 * REFRESH_SHARE)


def test_the_second_to_end_a_trial_is_told_so(two: tuple[CachedStorage, Clock, RDBStorage, int]) -> None:
    storage, _, other, study_id = two
    trial_id = storage.create_new_trial(study_id)
    other.set_trial_state_values(trial_id, TrialState.FAIL)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    assert storage.get_trial(trial_id).state is TrialState.FAIL


@pytest.mark.parametrize("order", ["abab", "aabb", "abba", "bbba"])
def test_two_writers_number_their_trials_in_turn(order: str, connections: tuple[RDBStorage, RDBStorage]) -> None:
    writers = {"a": CachedStorage(connections[0], Clock()), "b": CachedStorage(connections[1], Clock())}
    study_id = writers["a"].create_new_study([StudyDirection.MINIMIZE])
    for storage in writers.values():
        storage.get_all_trials(study_id)
    for number, writer in enumerate(order):
        storage = writers[writer]
        trial_id = storage.create_new_trial(study_id)
        assert storage.get_trial(trial_id).number == number
        assert [t.number for t in storage.get_all_trials(study_id)] == list(range(number + 1))


def test_trials_handed_out_stay_as_they_were(two: tuple[CachedStorage, Clock, RDBStorage, int]) -> None:
    storage, _, _, study_id = two
    study = optuna.Study(storage.get_study_name_from_id(study_id), storage)
    trial = study.ask()
    before = study.get_trials(deepcopy=False)[0]
    trial.suggest_float("x", 0, 1)
    trial.report(1.0, 1)
    trial.set_user_attr("a", shared := {"b": [1]})
    assert (before.params, before.intermediate_values, before.user_attrs) == ({}, {}, {})
    shared["b"].append(2)
    after = study.get_trials(deepcopy=False)[0]
    assert after.user_attrs == {"a": {"b": [1]}}
    assert (after.params, after.intermediate_values) == (trial.params, {1: 1.0})
    study.tell(trial, 1.0)
    assert after.state is TrialState.RUNNING


def test_paused_trials_are_not_read_again(two: tuple[CachedStorage, Clock, RDBStorage, int]) -> None:
    storage, _, _, study_id = two
    reads = itertools.count()
    backend = storage.backend

    class Counting:
        """The backend; counts reads of all trials."""

        def __getattr__(self, name: str) -> Any:
            if name == "get_all_trials":
                next(reads)
            return getattr(backend, name)

    storage.backend = Counting()  # type: ignore[assignment]
    study = optuna.Study(storage.get_study_name_from_id(study_id), storage)
    for _ in range(20):
        trial = study.ask()
        trial.report(trial.suggest_float("x", 0, 1), 1)
        study.get_trials(deepcopy=False)
    storage.backend = backend
    assert next(reads) <= 1


def test_a_deleted_study_is_forgotten(connections: tuple[RDBStorage, RDBStorage], workplace: Path) -> None:
    storage = CachedStorage(connections[0], Clock())
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    trial_id = storage.create_new_trial(study_id)
    storage.delete_study(study_id)
    with pytest.raises(KeyError):
        storage.get_trial(trial_id)
    again = storage.create_new_study([StudyDirection.MINIMIZE])
    assert storage.get_all_trials(again) == []
