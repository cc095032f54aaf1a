"""Optuna storages that stand in front of another one.

A study with promotion holds hundreds of running trials, the paused ones. Optuna's own cache reads every unfinished
trial from the database at each question, 0.5 s for 600 of them. `CachedStorage` answers from memory, since a process
knows what it wrote itself, and refreshes from time to time, to see what others wrote.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.study.optuna_internals import FrozenStudy, engine_of, id_of_study, id_of_trial, storage_of
from search.study.retrying import Retrying

STALE_SECONDS = 1.0  # between two refreshes, at least; so long may a call wait for what others have reported
REFRESH_SHARE = 0.05  # share of the time that refreshing may take, at most


class ForwardingStorage(BaseStorage):
    """Does what another storage does; to be overridden in part."""

    def __init__(self, backend: BaseStorage) -> None:
        self.backend = backend

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self.backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self.backend.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self.backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self.backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self.backend.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self.backend.create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self.backend.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self.backend.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.backend.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.backend.set_trial_system_attr(trial_id, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.backend.get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self.backend.get_all_trials(study_id, deepcopy, states)

    def remove_session(self) -> None:
        self.backend.remove_session()


class CachedStorage(ForwardingStorage):
    """Keeps trials in memory; everything is written through at once, and tried again in an outage.

    Args:
        backend: the durable storage.
        clock: tells the time in seconds, which only grow.
    """

    def __init__(self, backend: BaseStorage, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(cast(BaseStorage, Retrying(backend)))
        self.durable = backend
        self.clock = clock
        self.studies: dict[int, dict[int, FrozenTrial]] = {}  # trials of each study by their id, in their order
        self.study_of: dict[int, int] = {}  # by trial id
        self.refresh_at: dict[int, float] = {}  # time of the clock at which a study is due for a refresh

    def refresh(self, study_id: int) -> None:
        """Reads what other processes wrote."""
        started = self.clock()
        trials = self.backend.get_all_trials(study_id, deepcopy=False)
        self.studies[study_id] = {id_of_trial(t): t for t in trials}
        self.study_of |= dict.fromkeys(self.studies[study_id], study_id)
        now = self.clock()
        self.refresh_at[study_id] = now + max(STALE_SECONDS, (now - started) / REFRESH_SHARE)

    def read_again(self, trial_id: int) -> None:
        """Reads what other processes wrote of one trial."""
        if trial_id in self.study_of:
            self._read(self.study_of[trial_id], trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if study_id not in self.studies or self.clock() >= self.refresh_at[study_id]:
            self.refresh(study_id)
        trials = [t for t in self.studies[study_id].values() if states is None or t.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        study_id = self.study_of.get(trial_id)
        if study_id is None:
            return self.backend.get_trial(trial_id)
        trial = self.studies[study_id][trial_id]
        return trial if trial.state.is_finished() else _apart(trial)  # Optuna's Trial writes into what it gets

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = self.backend.create_new_trial(study_id, template_trial)
        self.studies.setdefault(study_id, {})
        self.refresh_at.setdefault(study_id, self.clock())
        self._read(study_id, trial_id)
        if self.studies[study_id][trial_id].number != len(self.studies[study_id]) - 1:  # others made trials before it
            self.refresh(study_id)
        return trial_id

    def delete_study(self, study_id: int) -> None:
        super().delete_study(study_id)
        for trial_id in self.studies.pop(study_id, {}):
            del self.study_of[trial_id]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        try:
            return self.backend.set_trial_state_values(trial_id, state, values)
        finally:  # also where another process was first
            if trial_id in self.study_of:
                self._read(self.study_of[trial_id], trial_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        value = distribution.to_external_repr(param_value_internal)
        self._change(trial_id, "params", param_name, value)
        self._change(trial_id, "distributions", param_name, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._change(trial_id, "intermediate_values", step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_user_attr(trial_id, key, value)
        self._change(trial_id, "user_attrs", key, _as_stored(value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        self._change(trial_id, "system_attrs", key, _as_stored(value))

    def _read(self, study_id: int, trial_id: int) -> None:
        self.studies[study_id][trial_id] = self.backend.get_trial(trial_id)
        self.study_of[trial_id] = study_id

    def _change(self, trial_id: int, field: str, key: Any, value: Any) -> None:
        """Replaces the trial by a changed copy; trials handed out before stay as they were, as Optuna expects."""
        study_id = self.study_of.get(trial_id)
        if study_id is None:
            return
        trial = copy.copy(self.studies[study_id][trial_id])
        setattr(trial, field, {**getattr(trial, field), key: value})
        self.studies[study_id][trial_id] = trial


def _as_stored(value: Any) -> Any:
    """The value as a database gives it back, from JSON: tuples become lists, and later changes do not show."""
    return json.loads(json.dumps(value))


def _apart(trial: FrozenTrial) -> FrozenTrial:
    """A copy that shares no dictionary with the trial."""
    alike = copy.copy(trial)
    for field in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
        setattr(alike, field, dict(getattr(trial, field)))
    return alike


def durable_of(study: optuna.Study) -> BaseStorage:
    """The storage that keeps the study."""
    storage = storage_of(study)
    return storage.durable if isinstance(storage, CachedStorage) else storage


def sqlite_file_of(study: optuna.Study) -> Path | None:
    """The file of a study in SQLite; None of one elsewhere, or in memory."""
    engine = engine_of(durable_of(study))
    if engine is None or engine.dialect.name != "sqlite":
        return None
    database = engine.url.database
    return Path(database) if database and database != ":memory:" else None


def refresh(study: optuna.Study) -> None:
    """Reads what other processes wrote, where the study's storage answers from memory."""
    storage = storage_of(study)
    if isinstance(storage, CachedStorage):
        storage.refresh(id_of_study(study))


def refreshed_trial(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial:
    """The trial as the storage holds it now, whatever other processes wrote since."""
    storage = storage_of(study)
    if isinstance(storage, CachedStorage):
        storage.read_again(id_of_trial(trial))
    return storage.get_trial(id_of_trial(trial))
