"""Figures of several parameters at once: lines across the axes of all, and a map of two.

Plotly's own parallel coordinates compile code in the browser, which the page's security policy does not allow; these
are plain lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.format import format_epochs
from search.reporting.pages import html
from search.reporting.pages.html import plot_text
from search.reporting.studies.importance import Importance, Scale
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.trial_rows import TrialRow
from search.reporting.study_page.axes import SHADES, hover, shade, show, value_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

ABSENT = -0.16
"""Height, below the axes' 0, of a trial that does not have the parameter."""
CELLS = 40
"""Cells of the map in each direction."""
REACH = 0.08
"""Standard deviation of the map's weights, as a fraction of an axis; cells from which every trial is farther than
three of them are left empty."""


@dataclass(frozen=True)
class Axis:
    """A parameter's values, placed between 0 and 1."""

    name: str
    """Name of the parameter."""
    scale: Scale
    """What it is drawn from."""
    known: tuple[Any, ...]
    """The values that trials have, in order."""

    @classmethod
    def of(cls, name: str, scale: Scale, rows: Sequence[TrialRow]) -> Axis:
        """The axis of the trials that have the parameter."""
        values = {row.params[name] for row in rows if name in row.params}
        return cls(name, scale, tuple(sorted(values, key=str if scale == "choice" else float)))

    def place(self, params: Mapping[str, Any]) -> float:
        """Where a trial lies on the axis; `ABSENT` if it does not have the parameter."""
        if self.name not in params:
            return ABSENT
        if len(self.known) < 2:
            return 0.5
        value = params[self.name]
        if self.scale == "choice":
            return self.known.index(value) / (len(self.known) - 1)
        low, high = self._measure(self.known[0]), self._measure(self.known[-1])
        return (self._measure(value) - low) / (high - low)

    def marks(self) -> list[tuple[float, str]]:
        """Places and words of the marks: every name, or the two ends of numbers."""
        shown = self.known if self.scale == "choice" else tuple(dict.fromkeys((self.known[0], self.known[-1])))
        return [(self.place({self.name: value}), _shown(value)) for value in shown]

    def _measure(self, value: float) -> float:
        return math.log(value) if self.scale == "log" else float(value)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plot_text(str(value), 14)


def stacked(name: str, width: int = 12) -> str:
    """A name in lines of about a width, broken at its underscores."""
    lines: list[str] = []
    for part in re.findall(r"[^_]*_*", name):
        if lines and len(lines[-1]) + len(part) <= width:
            lines[-1] += part
        elif part:
            lines.append(part)
    return "<br>".join(lines)


def parallel(report: StudyReport, found: Importance, names: Sequence[str]) -> go.Figure:
    """A line a trial across the axes of the parameters, shaded by the fifth of its value."""
    rows = [row for row in report.trials if row.number in found.values]
    axes = [Axis.of(name, found.scales[name], rows) for name in names]
    figure = html.new_figure()
    sign = 1 if report.maximize else -1
    ordered = sorted(rows, key=lambda row: sign * found.values[row.number])
    for fifth, members in enumerate(np.array_split(np.arange(len(ordered)), SHADES)):
        _add_lines(figure, [ordered[i] for i in members], axes, found, report, fifth)
    for position, axis in enumerate(axes):
        figure.add_vline(x=position, line={"color": "var(--muted)", "width": 1})
        for height, words in axis.marks():
            figure.add_annotation(x=position, y=height, text=words, showarrow=False, bgcolor="var(--card)", opacity=0.9)
    figure.update_layout(showlegend=True)
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[stacked(plot_text(axis.name, 32)) for axis in axes],
        tickangle=0,
        range=[-0.4, len(axes) - 0.6],
        showgrid=False,
    )
    figure.update_yaxes(range=[ABSENT - 0.06, 1.08], tickvals=[ABSENT], ticktext=["without"], showgrid=False)
    return figure


def _add_lines(
    figure: go.Figure,
    rows: Sequence[TrialRow],
    axes: Sequence[Axis],
    found: Importance,
    report: StudyReport,
    fifth: int,
) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for row in rows:
        x += [*range(len(axes)), None]
        y += [*(round(axis.place(row.params), 4) for axis in axes), None]
        words += [f"trial {row.number}: {show(report, found.values[row.number])}"] * (len(axes) + 1)
    names = {0: "worst fifth", SHADES - 1: "best fifth"}
    figure.add_scatter(
        x=x,
        y=y,
        customdata=words,
        name=names.get(fifth, ""),
        showlegend=fifth in names,
        mode="lines",
        line={"color": shade(fifth, SHADES), "width": 2.5 if fifth == SHADES - 1 else 1},
        hovertemplate="%{customdata}<extra></extra>",
    )


def smoothed_map(report: StudyReport, found: Importance, pair: tuple[str, str]) -> go.Figure:
    """Mean values near each point of two parameters' plane, and the trials that have both."""
    rows = [row for row in report.trials if row.number in found.values and set(pair) <= row.params.keys()]
    axes = [Axis.of(name, found.scales[name], rows) for name in pair]
    places = np.array([[axis.place(row.params) for axis in axes] for row in rows])  # (trials, 2)
    values = np.array([found.values[row.number] for row in rows])
    grid = np.linspace(0, 1, CELLS)
    figure = html.new_figure()
    figure.add_heatmap(
        x=grid,
        y=grid,
        z=smoothed(places, values, grid),
        colorscale=[[i / (SHADES - 1), f"var(--s{i})"] for i in range(SHADES)],
        reversescale=not report.maximize,
        zsmooth="best",
        colorbar={"title": {"text": value_name(report), "side": "right"}, "thickness": 14, "outlinewidth": 0}
        | ({"tickformat": ".0%"} if report.percent else {}),
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers",
        marker={"size": 8, "color": "var(--card)", "line": {"color": "var(--text)", "width": 1.5}},
        customdata=[
            f"{hover(report, row)}<br>{show(report, found.values[row.number])} after {format_epochs(found.rung)}"
            for row in rows
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    for update, axis in ((figure.update_xaxes, axes[0]), (figure.update_yaxes, axes[1])):
        marks = _marks_along(axis)
        logarithmic = ", logarithmic" if axis.scale == "log" else ""
        update(
            title_text=f"{plot_text(axis.name, 30)}{logarithmic}",
            tickvals=[place for place, _ in marks],
            ticktext=[words for _, words in marks],
            range=[-0.03, 1.03],
            showgrid=False,
        )
    return figure


def smoothed(places: np.ndarray, values: np.ndarray, grid: np.ndarray) -> list[list[float | None]]:
    """Weighted means of the values at each cell, rows from the bottom; None where no value is near.

    Args:
        places: (N, 2) in [0, 1].
        values: (N,).
        grid: the cells' centres along either axis, (C,).
    """
    dx = (grid[:, None] - places[None, :, 0]) ** 2  # (C, N)
    dy = (grid[:, None] - places[None, :, 1]) ** 2
    squared = dy[:, None, :] + dx[None, :, :]  # (C, C, N)
    weights = np.exp(-squared / (2 * REACH**2))
    near = squared.min(axis=2) <= (3 * REACH) ** 2
    means = (weights @ values) / np.maximum(weights.sum(axis=2), 1e-300)
    return [
        [round(float(m), 6) if ok else None for m, ok in zip(*row, strict=True)]
        for row in zip(means, near, strict=True)
    ]


def _marks_along(axis: Axis) -> list[tuple[float, str]]:
    """Five marks from one end of an axis of numbers to the other."""
    low, high = float(axis.known[0]), float(axis.known[-1])
    if axis.scale == "log":
        return [(i / 4, f"{low * (high / low) ** (i / 4):.2g}") for i in range(5)]
    return [(i / 4, f"{low + (high - low) * i / 4:.3g}") for i in range(5)]
