"""What a person sees during a search: a live table in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

import optuna
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.engine.events import EpochDone, Event, TrialEnded, TrialStarted
from search.format import format_duration
from search.planning.plan import Plan
from search.settings import SearchSettings
from search.study.trials import ranked, reached
from spaces.base import SearchSpace

ROWS = 12  # trials shown at once


@dataclass
class Row:
    """A trial as shown."""

    number: int
    summary: str = ""
    parameters: int | None = None
    macs: int | None = None
    state: str = "running"
    epoch: int = 0
    value: float | None = None
    reason: str = ""


@dataclass
class Board:
    """What is known of the search so far."""

    plan: Plan
    percent: bool
    maximize: bool
    deadline: float | None
    max_trials: int | None
    rows: dict[int, Row] = field(default_factory=dict)
    images: float = 0.0
    started: float = field(default_factory=time.time)

    def update(self, event: Event) -> Row:
        """Takes in an event; the row that it changed."""
        row = self.rows.setdefault(event.number, Row(event.number))
        if isinstance(event, TrialStarted):
            row.summary, row.parameters, row.macs = event.summary, event.parameters, event.macs
            row.state = "running"
        elif isinstance(event, EpochDone):
            row.epoch, row.value = event.epoch, event.value
            self.images += event.details.get("images", 0.0)
        else:
            row.state, row.reason = event.outcome.value, event.reason
        return row

    def sorted(self) -> list[Row]:
        """Running trials, then the others, best first."""
        return sorted(self.rows.values(), key=lambda row: (row.state != "running", self._rank(row)))

    def _rank(self, row: Row) -> tuple[bool, int, float]:
        """As `search.study.study.ranked`: complete ones first, then those that got furthest, then by value."""
        sign = -1 if self.maximize else 1
        return (row.state != "complete", -row.epoch, float("inf") if row.value is None else sign * row.value)

    def best(self) -> Row | None:
        """The row that ranks first among those with a value that are not infeasible or failed."""
        rows = [
            r for r in self.rows.values() if r.value is not None and r.state not in ("infeasible", "failed", "repeated")
        ]
        return min(rows, key=self._rank, default=None)

    def show(self, value: float | None) -> str:
        """A value for a person."""
        if value is None:
            return ""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.5g}"

    def counts(self) -> str:
        """Such as `12 trials: 3 complete, 8 pruned, 1 running`."""
        kinds = ("complete", "pruned", "paused", "running", "repeated", "infeasible", "failed")
        states = [row.state for row in self.rows.values()]
        parts = ", ".join(f"{states.count(kind)} {kind}" for kind in kinds if kind in states)
        return f"{len(states)} trials: {parts}" if parts else "no trials yet"

    def status(self) -> str:
        """Counts, speed and time left."""
        parts = [self.counts()]
        if self.images:
            parts.append(f"{self.images / (time.time() - self.started):,.0f} images/s")
        if self.deadline is not None:
            parts.append(f"{format_duration(max(0.0, self.deadline - time.time()))} left")
        elif self.max_trials is not None:
            parts.append(f"until {self.max_trials} trials")
        return " · ".join(parts)


class Display:
    """Shows a search; this one shows plain lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.board: Board | None = None

    def say(self, line: str) -> None:
        """Shows one line."""
        print(line, file=self.stream, flush=True)

    def event(self, event: Event) -> None:
        """Shows what happened."""
        assert self.board is not None
        row = self.board.update(event)
        if isinstance(event, TrialStarted):
            size = f", {event.parameters:,} parameters" if event.parameters is not None else ""
            self.say(f"trial {row.number:<3} starts    {row.summary}{size}")
        elif isinstance(event, EpochDone):
            value = self.board.show(event.value)
            self.say(f"trial {row.number:<3} epoch {event.epoch:<3} {value}  ({event.seconds:.1f} s)")
        elif isinstance(event, TrialEnded):
            self.say(f"trial {row.number:<3} {event.outcome.value:<9} {self.board.show(event.value)}  {event.reason}")
            best = self.board.best()
            if best:
                self.say(
                    f"          best so far: trial {best.number}, {self.board.show(best.value)}; {self.board.status()}"
                )

    @contextmanager
    def showing(
        self,
        settings: SearchSettings,
        plan: Plan,
        study: optuna.Study,
        deadline: float | None,
        max_trials: int | None,
        space: SearchSpace,
    ) -> Iterator[None]:
        """Shows a study while the block runs, the trials of earlier calls included."""
        self.board = Board(plan, space.uses_images, space.direction == "maximize", deadline, max_trials)
        for trial in ranked(study):
            attributes = trial.user_attrs
            self.board.rows[trial.number] = Row(
                trial.number,
                "(earlier)",
                attributes.get("parameters"),
                attributes.get("macs"),
                trial.state.name.lower(),
                reached(trial),
                trial.value,
            )
        with self._drawing():
            yield

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        yield


class QuietDisplay(Display):
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Shows nothing."""


class LiveDisplay(Display):
    """A table that is drawn anew in a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console()
        self.live: Live | None = None

    def say(self, line: str) -> None:
        """Shows one line above the table."""
        self.console.print(line, markup=False, highlight=False)

    def event(self, event: Event) -> None:
        """Takes the event into the table, which is drawn four times a second."""
        assert self.board is not None
        self.board.update(event)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        with Live(get_renderable=self._render, console=self.console, refresh_per_second=4):
            yield

    def _render(self) -> Group:
        assert self.board is not None
        best = self.board.best()
        headline = Text(
            "searching" if best is None else f"best so far: trial {best.number}, {self.board.show(best.value)}",
            "bold",
        )
        if best is not None and best.epoch < self.board.plan.max_epochs:
            headline.append(f" after {best.epoch} of {self.board.plan.max_epochs} epochs", "not bold")
        return Group(_table(self.board), headline, Text(self.board.status(), "dim"))


def _table(board: Board) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("trial", "right"), ("state", "left"), ("epochs", "right"), ("value", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("candidate", no_wrap=True, overflow="ellipsis")
    styles = {
        "running": "cyan",
        "complete": "green",
        "paused": "",
        "pruned": "dim",
        "repeated": "dim",
        "failed": "red",
        "infeasible": "red",
    }
    for row in board.sorted()[:ROWS]:
        table.add_row(
            str(row.number),
            row.state,
            f"{row.epoch}/{board.plan.max_epochs}",
            board.show(row.value),
            f"{row.parameters:,}" if row.parameters is not None else "",
            f"{row.macs / 1e6:,.1f}M" if row.macs is not None else "",
            row.summary,
            style=styles[row.state],
        )
    return table


def choose_display(quiet: bool) -> Display:
    """Live in a terminal, plain lines elsewhere, or nothing."""
    if quiet:
        return QuietDisplay()
    return LiveDisplay() if sys.stdout.isatty() else Display()
