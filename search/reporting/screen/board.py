"""What is known of a running search: its trials, how fast it trains, how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from search.engine.events import EpochDone, Event, TrialEnded, TrialOutcome, TrialStarted
from search.engine.outcomes import counts, word
from search.format import format_duration, format_trials, format_value
from search.planning.plan import Plan


@dataclass
class Row:
    """A trial as displays show it."""

    number: int
    summary: str = ""
    """The candidate in a few words."""
    parameters: int | None = None
    macs: int | None = None
    outcome: TrialOutcome | None = None
    """How the trial's last job ended; None while it runs."""
    epoch: int = 0
    """Epochs trained."""
    value: float | None = None
    """Value after the last epoch."""

    @property
    def state(self) -> str:
        """The outcome, or that the trial runs, as a word."""
        return word(self.outcome)


@dataclass
class Board:
    """All trials of a search, kept up to date by its events."""

    plan: Plan
    percent: bool
    """Whether values are accuracies."""
    maximize: bool
    """Whether larger values are better."""
    deadline: float | None
    """Time of the clock at which the search ends; None is no deadline."""
    max_trials: int | None
    """Trials of the study in all; None is no limit."""
    clock: Callable[[], float] = time.monotonic
    """Tells the time in seconds."""
    rows: dict[int, Row] = field(default_factory=dict)
    """Trials by number."""
    images: float = 0.0
    """Training images that all trials have passed since the board was made."""
    promotions: int = 0
    """Times that a paused trial was trained beyond a rung, since the board was made."""
    started: float = field(init=False)
    """Time at which the board was made."""

    def __post_init__(self) -> None:
        self.started = self.clock()

    def update(self, event: Event) -> Row:
        """Takes in an event; returns the row that it changed."""
        row = self.rows.setdefault(event.number, Row(event.number))
        if isinstance(event, TrialStarted):
            self._take_over(row, event)
            self.promotions += self.is_promotion(event)
            row.summary, row.parameters, row.macs = event.summary, event.parameters, event.macs
            row.outcome = None
        elif isinstance(event, EpochDone):
            row.epoch, row.value = event.epoch, event.value
            self.images += event.details.get("images", 0.0)
        elif isinstance(event, TrialEnded):
            row.outcome = event.outcome
        return row

    def is_promotion(self, event: TrialStarted) -> bool:
        """Whether a paused trial is trained beyond a rung; others begin, or go on to the rung that a stop kept away."""
        return event.start in self.plan.rungs

    def _take_over(self, row: Row, event: TrialStarted) -> None:
        """Gives the row the epochs and value of the trial that goes on in it, which has a row no more."""
        earlier = None if event.replaces is None else self.rows.pop(event.replaces, None)
        if earlier is not None and event.start:
            row.epoch, row.value = earlier.epoch, earlier.value

    def sorted(self) -> list[Row]:
        """Running trials, then the others, best first."""
        return sorted(self.rows.values(), key=lambda row: (row.outcome is not None, self._rank(row)))

    def best(self) -> Row | None:
        """The row that ranks first among running and trained trials that have a value."""
        valued = [r for r in self.rows.values() if r.value is not None and (r.outcome is None or r.outcome.trained)]
        return min(valued, key=self._rank, default=None)

    def _rank(self, row: Row) -> tuple[bool, int, float]:
        """As `search.study.study.ranked`: complete ones first, then those that got furthest, then by value."""
        sign = -1 if self.maximize else 1
        value = float("inf") if row.value is None else sign * row.value
        return (row.outcome is not TrialOutcome.COMPLETE, -row.epoch, value)

    def show(self, value: float | None) -> str:
        """A value for a person."""
        return format_value(value, self.percent)

    def counts(self) -> str:
        """Such as `12 trials: 3 complete, 8 pruned, 1 running`."""
        return counts(row.outcome for row in self.rows.values())

    def status(self) -> str:
        """Counts, speed and time left."""
        parts, now = [self.counts()], self.clock()
        if self.promotions:
            parts.append(f"{self.promotions} promotion{'s' * (self.promotions > 1)}")
        if self.images and now > self.started:
            parts.append(f"{self.images / (now - self.started):,.0f} images/s")
        if self.deadline is not None:
            parts.append(f"{format_duration(max(0.0, self.deadline - now))} left")
        elif self.max_trials is not None:
            parts.append(f"until {format_trials(self.max_trials)}")
        return " · ".join(parts)
