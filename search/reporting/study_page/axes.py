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
FEWEST_POWERS, POWERS = 0.5, 2.5
"""Powers of ten up to which marks at 1, 2 and 5 of each are too few, and from which an axis has no room for them."""
FEWEST_NUMBERS = 6
"""Trials up to which plotly would put marks between their numbers."""
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
    shares = {"tickformat": ".0%", "minallowed": -0.02, "maxallowed": 1.02}  # a single mark's axis ends there
    figure.update_yaxes(title_text=value_name(report), **(shares if report.percent else {"tickformat": "~g"}))


def mark_size(count: int) -> int:
    """Diameter in pixels of each of so many marks in a figure."""
    return 9 if count <= MANY else 6


def log_axis(values: Sequence[float]) -> dict[str, object]:
    """An axis of logarithms: marks at 1, 2 and 5 of each power of ten, over many powers only at 1.

    Where the values fill less than a power, plotly finds the marks; a single value's axis is two powers long.
    """
    powers = math.log10(max(values) / min(values))
    if 0 < powers < FEWEST_POWERS:
        return {"type": "log", "nticks": 6}
    return {"type": "log", "dtick": "D2" if powers < POWERS else 1}


def number_axis(last: int) -> dict[str, object]:
    """An axis of trials' numbers, 0 to the last, with marks at whole numbers only."""
    few = {"dtick": 1} if last <= FEWEST_NUMBERS else {}
    return {"range": [-0.02 * last - 0.5, 1.02 * last + 0.5], **few}


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
