"""The trials of a study as its figures and tables show them: how each ended, and its value after each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.planning.plan import Plan
from search.reporting.candidate_words import in_short
from search.study.attributes import BASELINE, record
from search.study.trials import distinct, is_feasible, is_paused


class Fate(Enum):
    """What became of a trial; the value is the word that people read."""

    COMPLETE = "trained in full"
    """Trained to the full length."""
    STOPPED = "stopped early"
    """Not promoted, out of time, or diverged."""
    WAITING = "waiting"
    """Paused, and may be promoted."""
    RUNNING = "running"
    """Being trained, or queued."""
    FAILED = "failed"
    """Raised an exception, or lost its worker."""
    INFEASIBLE = "over a limit"
    """Never trained."""


@dataclass(frozen=True)
class TrialRow:
    """A trial in figures."""

    number: int
    """Number of the trial."""
    fate: Fate
    """What became of it."""
    values: Mapping[int, float]
    """Finite values by epoch."""
    rung: int
    """Epochs of the highest rung that it has a value at; 0 below the first."""
    parameters: int | None
    """Parameters of the network; None where the candidate has no cost, or before it was proposed."""
    macs: int | None
    """Multiply-accumulates an image; None likewise."""
    latency: float | None
    """Milliseconds in which the network answers one image; None where that is no objective."""
    baseline: bool
    """Whether it is the baseline."""
    reason: str
    """Why it ended, in a few words; empty while it has not."""
    words: str
    """The candidate in a few words; empty where it is not known."""
    params: Mapping[str, Any]
    """Optuna's parameters; a conditional space gives trials different ones."""

    @property
    def epochs(self) -> int:
        """The last epoch with a value; 0 without one."""
        return max(self.values, default=0)

    @property
    def value(self) -> float | None:
        """The last value; None without one."""
        return self.values[self.epochs] if self.values else None


def trial_rows(trials: Iterable[FrozenTrial], plan: Plan) -> list[TrialRow]:
    """The trials in the order of their numbers, without repeats and without closed ones that others resume."""
    return [_row(trial, plan.rungs) for trial in distinct(trials) if trial.state is not TrialState.WAITING]


def _row(trial: FrozenTrial, rungs: Sequence[int]) -> TrialRow:
    held = record(trial)
    values = {epoch: value for epoch, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)}
    return TrialRow(
        number=trial.number,
        fate=_fate(trial),
        values=values,
        rung=max((rung for rung in rungs if rung in values), default=0),
        parameters=held.parameters,
        macs=held.macs,
        latency=held.latency,
        baseline=BASELINE in trial.user_attrs,
        reason=held.reason,
        words=in_short(held.candidate or {}),
        params=trial.params,
    )


def _fate(trial: FrozenTrial) -> Fate:
    if not is_feasible(trial):
        return Fate.INFEASIBLE
    if trial.state is TrialState.COMPLETE:
        return Fate.COMPLETE
    if trial.state is TrialState.FAIL:
        return Fate.FAILED
    if trial.state is TrialState.PRUNED:
        return Fate.STOPPED
    return Fate.WAITING if is_paused(trial) else Fate.RUNNING
