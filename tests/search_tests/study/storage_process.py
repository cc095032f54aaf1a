"""What a process of `test_storage` or `test_leases` does; apart, so that a new process imports little."""

from __future__ import annotations

import signal
from multiprocessing.synchronize import Event

import optuna

from search.settings import SearchSettings
from search.study.attributes import WORKER
from search.study.leases import Lease
from search.study.storage import open_storage


def open_and_tell(settings: SearchSettings) -> None:
    """Creates or loads the study and runs three trials."""
    study = optuna.create_study(study_name=settings.study_name, storage=open_storage(settings), load_if_exists=True)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    assert numbers == list(range(len(numbers)))  # none of other processes is missing in between


def hold_a_trial(settings: SearchSettings, ready: Event) -> None:
    """Begins a trial under a lease, and trains it until it is killed."""
    study = optuna.load_study(study_name=settings.study_name, storage=open_storage(settings))
    with Lease(study, settings.folder) as lease:
        trial = study.ask()
        trial.set_user_attr(WORKER, lease.driver)
        trial.suggest_float("x", 0, 1)
        ready.set()
        while True:
            signal.pause()
