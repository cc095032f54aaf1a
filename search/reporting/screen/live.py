"""The live table of a search, as it is drawn in a terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from search.engine.events import TrialOutcome
from search.format import format_count, format_epochs, format_millions
from search.reporting.screen.board import Board, Row

ROWS = 12  # trials shown at once
MACS_WIDTH = 90  # columns of a terminal below which the candidate needs the place of the MACs
STYLES = {
    None: "cyan",
    TrialOutcome.COMPLETE: "green",
    TrialOutcome.PAUSED: "",
    TrialOutcome.PRUNED: "dim",
    TrialOutcome.QUEUED: "dim",
    TrialOutcome.REPEATED: "dim",
    TrialOutcome.FAILED: "red",
    TrialOutcome.INFEASIBLE: "red",
}
"""Colour of a row by the trial's outcome; None is a trial that runs."""


def render(board: Board, width: int) -> Group:
    """The trials, the best value so far, and the status.

    Args:
        board: what is known of the search.
        width: columns of the terminal; in a narrow one candidates are cut, and below `MACS_WIDTH` MACs left out.
    """
    return Group(_table(board, macs=width >= MACS_WIDTH), _headline(board), Text(board.status(), "dim"))


def _headline(board: Board) -> Text:
    best = board.best()
    if best is None:
        return Text("searching", "bold")
    headline = Text(f"best so far: trial {best.number}, {board.show(best.value)}", "bold")
    if best.epoch < board.plan.max_epochs:
        headline.append(f" after {best.epoch} of {format_epochs(board.plan.max_epochs)}", "not bold")
    return headline


def _table(board: Board, *, macs: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("epochs", "value", "parameters", *(["MACs"] if macs else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("candidate")  # the one column that rich may narrow: its cells, not it, refuse to wrap
    for row in board.sorted()[:ROWS]:
        candidate = Text(row.summary, no_wrap=True, overflow="ellipsis")
        table.add_row(*_figures(row, board, macs=macs), candidate, style=STYLES[row.outcome])
    return table


def _figures(row: Row, board: Board, *, macs: bool) -> list[str]:
    figures = [
        str(row.number),
        row.state,
        f"{row.epoch}/{board.plan.max_epochs}",
        board.show(row.value),
        format_count(row.parameters, missing=""),
    ]
    return [*figures, "" if row.macs is None else format_millions(row.macs, space="")] if macs else figures
