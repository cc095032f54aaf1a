"""What happens during a search, as told to displays; plain data that crosses process borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TrialStarted:
    """A candidate is about to be trained."""

    number: int
    summary: str
    """The candidate in a few words."""
    parameters: int | None
    macs: int | None


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
    state: str
    """complete, pruned, paused, repeated, failed or infeasible; a paused trial may start again."""
    value: float | None
    epoch: int
    reason: str
    """Why it ended, in a few words."""


Event = TrialStarted | EpochDone | TrialEnded
