"""The trials of a study as the promotion policy sees them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.engine.promotion import Status, TrialView
from search.planning.plan import Plan
from search.study.attributes import record
from search.study.trials import distinct, epochs_of, is_feasible, is_paused, mean_epoch_seconds

STATES = (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE)


def views(trials: Iterable[FrozenTrial], plan: Plan, *, maximize: bool, timed: bool) -> list[TrialView]:
    """The distinct, feasible trials that were started and have not failed.

    Args:
        trials: all trials of a study.
        plan: the study's plan.
        maximize: whether larger values are better.
        timed: whether an epoch costs as many seconds as it takes; otherwise all epochs cost the same.
    """
    counting = [t for t in distinct(trials) if t.state in STATES and is_feasible(t)]
    mean = mean_epoch_seconds(counting) if timed else None
    return [_view(t, plan.rungs, maximize, mean) for t in counting]


def _view(trial: FrozenTrial, rungs: Sequence[int], maximize: bool, mean: float | None) -> TrialView:
    running = Status.RUNNING if trial.state is TrialState.RUNNING else Status.ENDED
    status, epochs = Status.PAUSED if is_paused(trial) else running, epochs_of(trial, rungs[0])
    sign = -1.0 if maximize else 1.0
    values = trial.intermediate_values
    losses = {r: sign * values[r] for r in rungs if r <= epochs and math.isfinite(values.get(r, math.nan))}
    seconds = record(trial).epoch_seconds
    return TrialView(trial.number, status, epochs, losses, seconds / mean if seconds and mean else 1.0)
