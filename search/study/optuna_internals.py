"""Every use of Optuna's private names, for the one thing that its public interface lacks.

Optuna's public calls write only to trials that the same process asked for. A driver also writes to trials that an
earlier process began: they are paused, or their process was killed.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from search.study.cached_storage import CachedStorage


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that the study reads and writes."""
    return study._storage


def study_id(study: optuna.Study) -> int:
    """The study's id in its storage."""
    return study._study_id


def trial_id(trial: FrozenTrial) -> int:
    """The trial's id in its storage."""
    return trial._trial_id


def live_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A stored, running trial as one that can report; its sampler proposes nothing, since its parameters are known."""
    plain = optuna.Study(study.study_name, study._storage, sampler=optuna.samplers.RandomSampler())
    return optuna.Trial(plain, trial._trial_id)


def set_attribute(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Sets a user attribute of a stored trial that is not finished."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def refresh(study: optuna.Study) -> None:
    """Reads what other processes wrote, where the storage answers from memory."""
    if isinstance(study._storage, CachedStorage):
        study._storage.refresh(study._study_id)


def refreshed_trial(study: optuna.Study, trial: FrozenTrial) -> FrozenTrial:
    """The trial as the storage holds it now, whatever other processes wrote since."""
    if isinstance(study._storage, CachedStorage):
        study._storage.read_again(trial._trial_id)
    return study._storage.get_trial(trial._trial_id)
