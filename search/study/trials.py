"""What the stored trials of a study say about its progress: which are paused, repeat or continue others.

Everything is in the trials' own attributes, so any process that opens the study knows as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.engine.promotion import Status, TrialView
from search.planning.plan import Plan
from search.study.attributes import CONTINUES, EPOCH_SECONDS, FINGERPRINT, PAUSED, REPEAT_OF, STINT


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether the trial kept every hard limit."""
    return all(value <= 0 for value in trial.constraints.values())


def is_paused(trial: FrozenTrial) -> bool:
    """Whether the trial waits and can go on, be it open or closed."""
    return bool(trial.user_attrs.get(PAUSED)) and trial.state in (TrialState.RUNNING, TrialState.PRUNED)


def distinct(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without those that others continue, and without repeats."""
    first = [t for t in trials if REPEAT_OF not in t.user_attrs]
    continued = {t.user_attrs[CONTINUES] for t in first if CONTINUES in t.user_attrs}
    return [t for t in first if t.number not in continued] if continued else first


def views(trials: Iterable[FrozenTrial], plan: Plan, *, maximize: bool, timed: bool) -> list[TrialView]:
    """The trials as the policy sees them: distinct, feasible, started, not failed.

    Args:
        trials: of a study, all of them.
        plan: its rungs.
        maximize: whether larger values are better.
        timed: whether an epoch counts by the seconds it takes; otherwise all count alike.
    """
    states = (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE)
    counting = [t for t in distinct(trials) if t.state in states and is_feasible(t)]
    mean = mean_epoch_seconds(counting) if timed else None
    return [_view(t, plan.rungs, maximize, mean) for t in counting]


def _view(trial: FrozenTrial, rungs: Sequence[int], maximize: bool, mean: float | None) -> TrialView:
    running = Status.RUNNING if trial.state is TrialState.RUNNING else Status.ENDED
    status, epochs = Status.PAUSED if is_paused(trial) else running, epochs_of(trial, rungs[0])
    sign = -1.0 if maximize else 1.0
    values = trial.intermediate_values
    losses = {r: sign * values[r] for r in rungs if r <= epochs and math.isfinite(values.get(r, math.nan))}
    seconds = trial.user_attrs.get(EPOCH_SECONDS)
    return TrialView(trial.number, status, epochs, losses, seconds / mean if seconds and mean else 1.0)


def epochs_of(trial: FrozenTrial, first_rung: int) -> int:
    """Epochs trained; of a paused trial those that it goes on from, of a running one those at which it will pause.

    One that diverged or failed in its first epoch counts that one, so that a search of such trials ends.
    """
    if is_paused(trial):
        return int(trial.user_attrs[PAUSED])
    if trial.state is TrialState.RUNNING:
        return int(trial.user_attrs.get(STINT, (0, first_rung))[1])
    return trial.last_step or int(trial.state.is_finished() and is_feasible(trial))


def mean_epoch_seconds(trials: Iterable[FrozenTrial]) -> float | None:
    """Mean wall-clock time of an epoch over all epochs trained; None before the first."""
    timed = [(t.user_attrs[EPOCH_SECONDS], t.last_step or 0) for t in trials if EPOCH_SECONDS in t.user_attrs]
    epochs = sum(count for _, count in timed)
    return sum(seconds * count for seconds, count in timed) / epochs if epochs else None


def trained(trials: Iterable[FrozenTrial], first_rung: int) -> int:
    """Epochs of all trials, failed ones included, and those to come of running ones."""
    return sum(epochs_of(trial, first_rung) for trial in distinct(trials))


def known_result(trials: Iterable[FrozenTrial], fingerprint: str, number: int) -> FrozenTrial | None:
    """The trial, started before trial `number`, whose candidate is the same and did not fail."""
    same = [t for t in trials if t.number < number and t.user_attrs.get(FINGERPRINT) == fingerprint]
    return next((t for t in distinct(same) if t.state is not TrialState.FAIL), None)
