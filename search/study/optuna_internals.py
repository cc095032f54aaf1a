"""Every use of Optuna's private names, for the one thing that its public interface lacks.

Optuna's public calls write only to trials that the same process asked for. A driver also writes to trials that an
earlier process began: they are paused, or their process was killed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

__all__ = [
    "FrozenStudy",
    "engine_of",
    "id_of_frozen_study",
    "id_of_study",
    "id_of_trial",
    "journal_of",
    "live_trial",
    "report_value",
    "set_attribute",
    "storage_of",
    "was_queued",
]


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that the study reads and writes."""
    return study._storage


def engine_of(storage: BaseStorage) -> sqlalchemy.Engine | None:
    """The engine of a database's storage; None of another one."""
    database = storage._backend if isinstance(storage, _CachedStorage) else storage
    return database.engine if isinstance(database, RDBStorage) else None


def journal_of(storage: BaseStorage) -> Path | None:
    """The file of a journal's storage; None of another one."""
    backend = storage._backend if isinstance(storage, JournalStorage) else None
    return Path(backend._file_path) if isinstance(backend, JournalFileBackend) else None


def id_of_study(study: optuna.Study) -> int:
    """The study's id in its storage."""
    return study._study_id


def id_of_frozen_study(study: FrozenStudy) -> int:
    """The id of a study, as its storage lists it."""
    return study._study_id


def id_of_trial(trial: FrozenTrial) -> int:
    """The trial's id in its storage."""
    return trial._trial_id


def was_queued(trial: FrozenTrial) -> bool:
    """Whether parameters were given to the trial before it was asked for, as to a warm start."""
    return "fixed_params" in trial.system_attrs  # what Optuna's `enqueue_trial` writes


def live_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A stored, running trial as one that can report; its sampler proposes nothing, since its parameters are known."""
    plain = optuna.Study(study.study_name, study._storage, sampler=optuna.samplers.RandomSampler())
    return optuna.Trial(plain, trial._trial_id)


def report_value(trial: optuna.Trial, value: float, step: int) -> None:
    """Reports a value, also where Optuna 5 refuses: in a study of two objectives, and in place of an earlier value."""
    trial.study._storage.set_trial_intermediate_value(trial._trial_id, step, value)


def set_attribute(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Sets a user attribute of a stored trial that is not finished."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)
