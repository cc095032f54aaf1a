"""What the driver remembers of a trial while a worker trains it."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import Trial

from search.engine.events import TrialEnded


@dataclass
class OpenTrial:
    """A trial that a worker trains, or is about to."""

    trial: Trial
    """The trial, which reports to the study."""
    kept: int
    """Epochs that are not lost where its worker ends: those at which its job began, or of a checkpoint since then."""
    reported: int = 0
    """Epochs whose values earlier jobs reported, more than are kept where a process ended."""
    value: float | None = None
    """The last value reported by this job."""
    epoch: int = 0
    """The epoch of that value."""
    seconds: list[float] = field(default_factory=list)
    """Seconds of each epoch that this job reported."""
    unsaved: float = 0.0
    """Seconds of those since the last checkpoint."""
    pausing: str = ""
    """Why its checkpoint is being written; empty while it trains."""
    ended: TrialEnded | None = None
    """How it ended, once it has."""
