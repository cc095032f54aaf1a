"""What the figures of a study's page share: the axis of values, the colours of rungs, the words of a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.format import format_count, format_epochs, format_value
from search.reporting.pages.html import plot_text
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.trial_rows import TrialRow

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHADES = 5
"""Shades of `page.css`, s0 to s4: from the shortest training to the longest, from the worst value to the best."""
MANY = 300
"""Marks in a figure above which they are drawn smaller."""
POWERS = 2.5
"""Powers of ten from which an axis has no room for marks between them."""
WORDS_LENGTH = 70
"""Most characters of a candidate in a figure; the table of trials shows all of them."""


def value_name(report: StudyReport) -> str:
    """What the values are."""
    return "validation accuracy" if report.percent else "objective"


def show(report: StudyReport, value: float | None) -> str:
    """A value for a person."""
    return format_value(value, report.percent)


def name_values(figure: go.Figure, report: StudyReport) -> None:
    """Makes the vertical axis that of the values."""
    figure.update_yaxes(title_text=value_name(report), tickformat=".0%" if report.percent else "~g")


def mark_size(count: int) -> int:
    """Diameter in pixels of each of so many marks in a figure."""
    return 9 if count <= MANY else 6


def log_axis(values: Sequence[float]) -> dict[str, object]:
    """An axis of logarithms: marks at 1, 2 and 5 of each power of ten, over many powers only at 1."""
    powers = math.log10(max(values) / min(values))
    return {"type": "log", "dtick": "D2" if powers < POWERS else 1}


def shade(place: int, count: int) -> str:
    """Colour of the place 0 to count - 1; the last is the strongest."""
    step = SHADES - 1 if count < 2 else round(place * (SHADES - 1) / (count - 1))
    return f"var(--s{step})"


def rung_shade(rung: int, rungs: Sequence[int]) -> str:
    """Colour of the trials whose highest rung this is; 0 is below the first."""
    return shade(rungs.index(rung) if rung else 0, len(rungs))


def rung_name(rung: int) -> str:
    """The rung in a legend."""
    return format_epochs(rung) if rung else "below the first rung"


def hover(report: StudyReport, row: TrialRow) -> str:
    """What a trial's mark says: number, candidate, size, value and fate."""
    lines = [
        f"<b>trial {row.number}{', the baseline' if row.baseline else ''}</b>",
        plot_text(row.words, WORDS_LENGTH),
        "" if row.parameters is None else f"{format_count(row.parameters)} parameters, {format_count(row.macs)} MACs",
        f"{show(report, row.value)} after {format_epochs(row.epochs)}; {row.fate.value}" if row.values else "",
    ]
    return "<br>".join(filter(None, lines))
