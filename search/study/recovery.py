"""What becomes of trials whose process ended, and of trials that are paused when a search ends.

A trial with a checkpoint is told PRUNED, and a later call resumes it as a new trial; one without fails, and its
parameters are queued again. No finished trial is ever touched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.format import format_epochs
from search.study.attributes import CONTINUES, PAUSED, REASON, RETRY_OF, WORKER, given, record
from search.study.cached_storage import refresh, refreshed_trial
from search.study.optuna_internals import live_trial, set_attribute
from search.study.trials import is_paused

KILLED = "its process ended"
INTERRUPTED = "interrupted"
UNCLAIMED = timedelta(minutes=1)  # after which a running trial that names no process is stale


def this_process() -> dict[str, Any]:
    """Host and process id of a driver, kept in the trials that it runs."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def recover_stale_trials(study: optuna.Study, own: Collection[int] | None = None) -> int:
    """Closes trials whose driver on this machine is gone.

    Args:
        study: the study whose trials are checked.
        own: numbers of the trials that this process trains; paused trials then stay open. None says that this
            process trains nothing: each of its running trials is stale, and paused trials are closed too.

    Returns:
        How many of them must be trained again from the start.
    """
    stale = [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_stale(t)]
    if own is not None:
        stale = [t for t in stale if not is_paused(t) and t.number not in own]
    again = [t for t in stale if not (is_paused(t) or record(t).start)]
    for trial in stale:
        if trial in again:
            _tell(study, trial, TrialState.FAIL, KILLED)
            requeue(study, trial)
        elif is_paused(trial):
            _tell(study, trial, TrialState.PRUNED, _waited(trial))
        else:  # its process ended after the trial was resumed from a checkpoint
            set_attribute(study, trial, PAUSED, record(trial).start)
            _tell(study, trial, TrialState.PRUNED, KILLED)
    return len(again)


def close_paused_trials(study: optuna.Study) -> None:
    """Tells paused trials PRUNED with their last value, as a search ends; a later call can resume them.

    Paused trials of another process that still runs stay open: that process closes them.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_paused(trial) and _is_stale(trial):
            _tell(study, trial, TrialState.PRUNED, _waited(trial))


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues the trial's parameters, to be tried next."""
    study.enqueue_trial(dict(trial.params), user_attrs={**given(trial.user_attrs), RETRY_OF: trial.number})


def reopen(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A new trial that resumes one that was closed while it was paused: same parameters, values and seed."""
    epochs = record(trial).paused
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, CONTINUES: trial.number, WORKER: this_process()},
            system_attrs={k: v for k, v in trial.system_attrs.items() if k.startswith("constraints")},
            intermediate_values={step: v for step, v in trial.intermediate_values.items() if step <= epochs},
        )
    )
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return live_trial(study, next(t for t in reversed(running) if record(t).resumes == trial.number))


def is_claimed(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether another call has claimed a paused trial since this one read it.

    Two calls on one storage can still both resume a trial within the milliseconds between this check and the claim:
    Optuna's storages cannot claim a running trial atomically.
    """
    if trial.state is TrialState.PRUNED:
        refresh(study)
        return any(record(t).resumes == trial.number for t in study.get_trials(deepcopy=False))
    now = refreshed_trial(study, trial)
    return now.state is not TrialState.RUNNING or not is_paused(now)


def _waited(trial: FrozenTrial) -> str:
    return f"waited at {format_epochs(record(trial).paused)} for promotion"


def _tell(study: optuna.Study, trial: FrozenTrial, state: TrialState, reason: str) -> None:
    set_attribute(study, trial, REASON, reason)
    study.tell(trial.number, state=state)


def _is_stale(trial: FrozenTrial) -> bool:
    driver = trial.user_attrs.get(WORKER)
    if not isinstance(driver, dict):  # killed between asking for the trial and claiming it
        started = trial.datetime_start
        return started is not None and datetime.now() - started > UNCLAIMED
    if driver.get("host") != socket.gethostname():
        return False
    pid = int(driver["pid"])
    return pid == os.getpid() or not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    return True
