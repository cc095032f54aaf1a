"""Paused trials are claimed here, and those whose driver is gone closed, as are paused ones when a search ends.

A trial with a checkpoint is told PRUNED, and a later call resumes it as a new trial; one without fails, and its
parameters are queued again. No finished trial is ever touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.format import format_epochs
from search.study.attributes import CONTINUES, LAST_JOB, PAUSED, REASON, RETRY_OF, TRY_AGAIN, WORKER, given, record
from search.study.cached_storage import refresh, refresh_if_grown, refreshed_trial
from search.study.exclusion import exclusive
from search.study.leases import Lease
from search.study.optuna_internals import live_trial, set_attribute
from search.study.trials import is_paused

KILLED = "its process ended"
INTERRUPTED = "interrupted"


def recover_stale_trials(study: optuna.Study, lease: Lease, *, close_paused: bool) -> int:
    """Closes trials whose driver is gone.

    Args:
        study: the study whose trials are checked.
        lease: of this driver; it tells which others are gone. Once it has ended, this driver's own trials are too.
        close_paused: whether paused trials are told PRUNED with their last value, as when a search begins or ends;
            otherwise they stay open, since any driver may resume them. Those of a driver that runs always do.

    Returns:
        How many of them must be trained again from the start.
    """
    if not _stale(study, lease, close_paused):
        return 0
    with exclusive(study):  # another call may recover them too
        refresh(study)
        stale = _stale(study, lease, close_paused)
        return sum(_recovered_unless_ended(study, trial) for trial in stale)


def _stale(study: optuna.Study, lease: Lease, close_paused: bool) -> list[FrozenTrial]:
    """Running trials without a driver, and failed ones whose driver was gone before it had queued them again."""
    trials = study.get_trials(deepcopy=False)
    retried = {t.user_attrs[RETRY_OF] for t in trials if RETRY_OF in t.user_attrs}
    failed = [t for t in trials if t.user_attrs.get(TRY_AGAIN) and t.state is TrialState.FAIL]
    running = [t for t in trials if t.state is TrialState.RUNNING and (close_paused or not is_paused(t))]
    return lease.without_driver([*running, *(t for t in failed if t.number not in retried)])


def _recovered_unless_ended(study: optuna.Study, trial: FrozenTrial) -> bool:
    """`_recovered`; nothing where a driver that was taken for gone has ended the trial since it was read."""
    with suppress(UpdateFinishedTrialError):
        return _recovered(study, trial)
    return False


def _recovered(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Closes a stale trial; whether it must be trained again from the start."""
    kept = record(trial).kept
    if trial.state is TrialState.FAIL:
        requeue(study, trial)
    elif is_paused(trial):
        _tell(study, trial, TrialState.PRUNED, f"waited at {format_epochs(record(trial).paused)} for promotion")
    elif kept:  # its process ended after the trial had written a checkpoint
        set_attribute(study, trial, PAUSED, kept)
        _tell(study, trial, TrialState.PRUNED, KILLED)
    else:
        set_attribute(study, trial, TRY_AGAIN, True)
        if _tell(study, trial, TrialState.FAIL, KILLED) is TrialState.FAIL:
            requeue(study, trial)
    return not (is_paused(trial) or kept)


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues the trial's parameters, to be tried next."""
    study.enqueue_trial(dict(trial.params), user_attrs={**given(trial.user_attrs), RETRY_OF: trial.number})


def claim(study: optuna.Study, trial: FrozenTrial, driver: Mapping[str, Any], epochs: int) -> optuna.Trial | None:
    """Takes a paused trial for a driver, to be trained up to `epochs`; None where another call was first.

    A trial that is still open is taken as it is; one that was closed is resumed by a new trial.
    """
    taken = {WORKER: dict(driver), LAST_JOB: [record(trial).paused, epochs], PAUSED: 0}  # the last one takes it
    with exclusive(study):
        if _is_claimed(study, trial):
            return None
        if trial.state is TrialState.PRUNED:
            return _reopened(study, trial, taken)
        claimed = live_trial(study, trial)
        for key, value in taken.items():
            claimed.set_user_attr(key, value)
        return claimed


def _reopened(study: optuna.Study, trial: FrozenTrial, taken: Mapping[str, Any]) -> optuna.Trial:
    """A new trial that resumes one that was closed while it was paused: same parameters, values and seed."""
    epochs = record(trial).paused
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, CONTINUES: trial.number, **taken},
            system_attrs={k: v for k, v in trial.system_attrs.items() if k.startswith("constraints")},
            intermediate_values={step: v for step, v in trial.intermediate_values.items() if step <= epochs},
        )
    )
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return live_trial(study, next(t for t in reversed(running) if record(t).resumes == trial.number))


def _is_claimed(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether another call has claimed a paused trial since this one read it."""
    if trial.state is TrialState.PRUNED:  # a trial that resumes it is a new one
        refresh_if_grown(study)
        return any(record(t).resumes == trial.number for t in study.get_trials(deepcopy=False))
    now = refreshed_trial(study, trial)
    return now.state is not TrialState.RUNNING or record(now).paused != record(trial).paused


def _tell(study: optuna.Study, trial: FrozenTrial, state: TrialState, reason: str) -> TrialState:
    """Ends a trial, unless its driver does so in the same moment; the state that it has then."""
    set_attribute(study, trial, REASON, reason)
    return study.tell(trial.number, state=state, skip_if_finished=True).state
