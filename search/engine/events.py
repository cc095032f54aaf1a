"""What happens during a search, as told to displays and callbacks; plain data that crosses process borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class TrialOutcome(Enum):
    """How a job of a trial ended; the value is the word that people read."""

    COMPLETE = "complete"
    """Trained in full."""
    PRUNED = "pruned"
    """Ended early: not among the best, out of time, or diverged."""
    PAUSED = "paused"
    """Waits with a checkpoint; may be resumed."""
    QUEUED = "queued"
    """Put back before it had a checkpoint: its candidate is tried again, as another trial."""
    REPEATED = "repeated"
    """Proposed a candidate that had been tried; its result is reused."""
    FAILED = "failed"
    """Raised an exception, or lost its worker."""
    INFEASIBLE = "infeasible"
    """Breaks a hard limit; never trained."""

    @property
    def trained(self) -> bool:
        """Whether the job ended as trained jobs do."""
        return self in (TrialOutcome.COMPLETE, TrialOutcome.PRUNED, TrialOutcome.PAUSED)


@dataclass(frozen=True)
class TrialStarted:
    """A candidate is about to be trained."""

    number: int
    summary: str
    """The candidate in a few words."""
    parameters: int | None
    macs: int | None
    start: int = 0
    """Epochs that the trial has been trained for; 0 is a new one."""
    replaces: int | None = None
    """Number of the closed or failed trial that goes on as this one."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The trial's hyperparameters, by name, as Optuna holds them."""


@dataclass(frozen=True)
class EpochDone:
    """A trial reported a value."""

    number: int
    epoch: int
    value: float
    seconds: float
    details: Mapping[str, float]


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over, or paused."""

    number: int
    outcome: TrialOutcome
    """How; a paused trial may start again."""
    value: float | None
    epoch: int
    reason: str
    """Why it ended, in a few words."""


@dataclass(frozen=True)
class TrialNoted:
    """Something that people should know of a trial that runs."""

    number: int
    text: str


Event = TrialStarted | EpochDone | TrialNoted | TrialEnded
