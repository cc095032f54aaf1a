"""The front of a study of two objectives, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from search.format import format_value
from search.reporting.tables import Section, Table
from search.study.objectives import NAMES, FrontTrial

NOTES = (
    "On the front: no other complete trial is at least as good in both objectives and better in one. The knee is where "
    "the front bulges most above the line between its ends (Das 1999): up to it, value is cheap. "
    "`search.retrain --trial front` trains all of the front in full.",
)


def objectives_section(objective: str, trials: Sequence[FrontTrial], percent: bool, most: int | None = None) -> Section:
    """The complete trials by both objectives.

    Args:
        objective: the second objective, as `--objective` names it.
        trials: the complete trials, the best first.
        percent: whether values are accuracies.
        most: most rows to show, those on the front first; None is all.
    """
    title = f"Value and {NAMES[objective]}"
    if not trials:
        return Section(title, ("No trial is complete yet: the front is not known.",))
    shown = sorted(trials, key=lambda row: not row.on_front)[:most]
    rows = tuple(
        (str(row.trial.number), format_value(row.value, percent), format_second(row.second, objective), row.place)
        for row in shown
    )
    table = Table(("trial", "value", NAMES[objective], "place"), rows, words=(3,))
    hidden = len(trials) - len(rows)
    notes = (*NOTES, f"{hidden} more in the study's report, which `search.report` writes.") if hidden else NOTES
    return Section(title, (front_line(objective, trials, percent), table), notes)


def front_line(objective: str, trials: Sequence[FrontTrial], percent: bool) -> str:
    """The front in a sentence; empty before the first complete trial."""
    front = [row for row in trials if row.on_front]
    if not front:
        return ""
    best, smallest = (_words(row, objective, percent) for row in (front[0], front[-1]))
    bulge = next((row for row in front if row.is_knee), None)
    knee = "" if bulge is None else f"; its knee is trial {bulge.trial.number}, {_words(bulge, objective, percent)}"
    if len(front) == 1:
        return f"Trial {front[0].trial.number} is the front: {best}."
    numbers = ", ".join(str(row.trial.number) for row in front)
    return f"The front is trials {numbers}, from {best} to {smallest}{knee}."


def _words(row: FrontTrial, objective: str, percent: bool) -> str:
    return f"{format_value(row.value, percent)} with {format_second(row.second, objective, unit=True)}"


def format_second(value: float | None, objective: str, *, unit: bool = False) -> str:
    """A second objective for a person; empty for None.

    Args:
        value: the objective.
        objective: its name, as `--objective` has it.
        unit: whether to say what is counted; a heading may do so.
    """
    if value is None:
        return ""
    if objective == "latency":
        return f"{value:.3g}{' ms' if unit else ''}"
    return f"{value:,.0f}" + (f" {NAMES[objective]}" if unit else "")
