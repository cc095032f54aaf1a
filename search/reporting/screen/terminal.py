"""What a person sees during a search: a live table in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

import optuna
from rich.console import Console
from rich.live import Live

from search.engine.events import EpochDone, Event, TrialNoted, TrialOutcome, TrialStarted
from search.engine.outcomes import outcomes
from search.format import format_epochs
from search.planning.plan import Plan
from search.reporting.runs.run_report import print_outcome
from search.reporting.screen.board import Board, Row
from search.reporting.screen.closing import best_line, closing_lines, final_line
from search.reporting.screen.json_lines import event_line, message_line, result_line
from search.reporting.screen.live import render
from search.reporting.summary import summary_of
from search.retraining.final_evaluation import Outcome
from search.settings import SearchSettings
from search.study.attributes import record
from search.study.trials import reached
from spaces.base import SearchSpace

COMMAND = re.compile(r"python -m |optuna-dashboard ")
"""What a line has that is to be copied."""
NAME = 12
"""Columns of the name that a line of a search begins with."""


class Display(ABC):
    """Shows a search: single lines at any time, events while its trials run."""

    board: Board
    """What is known of the search that is shown."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Shows one line."""

    @abstractmethod
    def event(self, event: Event) -> None:
        """Shows what happened; only within `showing`."""

    def end(
        self, study: optuna.Study, settings: SearchSettings, arguments: Sequence[str], outcome: Outcome | None
    ) -> None:
        """Shows what came out, and what to do next.

        Args:
            study: the study that was searched.
            settings: what the search was asked to do.
            arguments: the command's arguments.
            outcome: what the final training gave; None without one.
        """
        if outcome is not None:
            print_outcome(outcome)
            self.say(final_line(study, outcome))
        for line in closing_lines(study, settings, arguments):
            self.say(line)

    @contextmanager
    def showing(
        self,
        study: optuna.Study,
        plan: Plan,
        space: SearchSpace,
        deadline: float | None,
        max_trials: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[None]:
        """Shows a study while the block runs, the trials of earlier calls included.

        Args:
            study: the study that is searched.
            plan: the study's plan.
            space: the study's space.
            deadline: time of the clock at which the search ends; None is no deadline.
            max_trials: trials of the study in all; None is no limit.
            clock: tells the time in seconds.
        """
        self.board = Board(plan, space.uses_images, space.direction == "maximize", deadline, max_trials, clock)
        earlier = outcomes(study.get_trials(deepcopy=False))
        self.board.rows |= {trial.number: _earlier(trial, outcome) for trial, outcome in earlier}
        with self._drawing():
            yield

    def _drawing(self) -> AbstractContextManager[object]:
        """What draws the board while a study is shown."""
        return nullcontext()


def _earlier(trial: optuna.trial.FrozenTrial, outcome: TrialOutcome | None) -> Row:
    """The row of a trial of an earlier call, or of one that runs elsewhere."""
    held, epochs = record(trial), reached(trial)
    value = trial.intermediate_values.get(epochs)
    return Row(trial.number, summary_of(trial), held.parameters, held.macs, outcome, epochs, value)


class LineDisplay(Display):
    """Prints plain lines, one an event."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def say(self, line: str) -> None:
        """Prints one line."""
        print(line, file=self.stream, flush=True)

    def event(self, event: Event) -> None:
        """Prints what happened, and after a trial's end the best value so far."""
        board = self.board
        row = board.update(event)
        if isinstance(event, TrialStarted):
            self.say(f"trial {row.number:<3} {_beginning(event, board):<9} {_described(event)}")
        elif isinstance(event, EpochDone):
            self.say(f"trial {row.number:<3} epoch {event.epoch:<3} {board.show(event.value)}  ({event.seconds:.1f} s)")
        elif isinstance(event, TrialNoted):
            self.say(_noted(event))
        else:
            self.say(f"trial {row.number:<3} {row.state:<9} {board.show(event.value)}  {event.reason}")
            best = board.best()
            if best:
                self.say(f"          best so far: trial {best.number}, {board.show(best.value)}; {board.status()}")


def _noted(event: TrialNoted) -> str:
    return f"trial {event.number:<3} {event.text}"


def _beginning(event: TrialStarted, board: Board) -> str:
    """What begins: a new trial, its promotion beyond a rung, or what a stop had cut off."""
    return "promoted" if board.is_promotion(event) else "resumed" if event.start else "starts"


def _described(event: TrialStarted) -> str:
    """The candidate, its size, and what of it was trained before."""
    parts = [event.summary]
    if event.parameters is not None:
        parts.append(f"{event.parameters:,} parameters")
    if event.start:
        parts.append(f"after {format_epochs(event.start)}")
    if event.replaces is not None:
        parts.append(f"until now trial {event.replaces}")
    return ", ".join(parts)


class JsonDisplay(Display):
    """Prints JSON objects, one a line, see `search.reporting.screen.json_lines`."""

    def say(self, line: str) -> None:
        """Prints a message."""
        print(message_line(line), flush=True)

    def event(self, event: Event) -> None:
        """Prints what happened."""
        print(event_line(event), flush=True)

    def end(
        self, study: optuna.Study, settings: SearchSettings, arguments: Sequence[str], outcome: Outcome | None
    ) -> None:
        """Prints the result."""
        print(result_line(study, outcome), flush=True)


class QuietDisplay(Display):
    """Shows nothing but what came out."""

    def say(self, line: str) -> None:
        """Shows nothing."""

    def event(self, event: Event) -> None:
        """Shows nothing."""

    def end(
        self, study: optuna.Study, settings: SearchSettings, arguments: Sequence[str], outcome: Outcome | None
    ) -> None:
        """Prints the result in one line."""
        print(best_line(study) if outcome is None else final_line(study, outcome))


class LiveDisplay(Display):
    """A table in a terminal, drawn anew four times a second."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()

    def say(self, line: str) -> None:
        """Shows a line above the table; what is too long goes on below, but a command stays one line to copy."""
        for part in folded(line, self.console.width):
            self.console.print(part, markup=False, highlight=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Takes the event into the table."""
        self.board.update(event)
        if isinstance(event, TrialNoted):
            self.say(_noted(event))

    def _drawing(self) -> AbstractContextManager[object]:
        return Live(
            get_renderable=lambda: render(self.board, self.console.width), console=self.console, refresh_per_second=4
        )


def folded(line: str, width: int) -> list[str]:
    """The line in parts of a width, those after the first indented as what it says is; a command is not parted."""
    if len(line) <= width or COMMAND.search(line):
        return [line]
    return textwrap.wrap(
        line,
        max(width, 2 * NAME),
        subsequent_indent=" " * NAME,
        break_long_words=False,
        break_on_hyphens=False,
    )


def choose_display(*, quiet: bool = False, verbose: bool = False, json: bool = False) -> Display:
    """Live in a terminal, plain lines elsewhere or where they are asked for, JSON lines, or the result alone."""
    if quiet or json:
        return QuietDisplay() if quiet else JsonDisplay()
    return LiveDisplay() if sys.stdout.isatty() and not verbose else LineDisplay()
