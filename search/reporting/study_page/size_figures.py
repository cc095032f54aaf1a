"""Accuracy against size: every trial by parameters and by multiply-accumulates, with the Pareto front.

Where latency is an objective, a third figure shows every trial by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from search.format import format_count
from search.reporting.pages import html
from search.reporting.studies.objectives_section import format_second, objectives_section
from search.reporting.studies.pareto import CostedTrial
from search.reporting.studies.pareto_sections import front_section, limits_section
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.trial_rows import Fate, TrialRow
from search.reporting.study_page.axes import hover, log_axis, mark_size, name_values, rung_name, rung_shade, show

if TYPE_CHECKING:
    import plotly.graph_objects as go

NEAR = 10
"""Factor of the largest network within which a limit is drawn; farther away it would squeeze the trials together."""


@dataclass(frozen=True)
class Size:
    """A way to measure how large a network is."""

    key: str
    """Name in `TrialRow`, and of the figure."""
    title: str
    """Name of the axis, with its unit."""
    noun: str
    """Name in a sentence."""
    limits: tuple[int, ...]
    """The study's limits; none where there is none."""

    def of(self, trial: TrialRow | CostedTrial) -> float:
        """The size of a trial's network."""
        return float(getattr(trial, self.key))

    def words(self, trial: TrialRow | CostedTrial) -> str:
        """The size for a person."""
        return format_second(self.of(trial), self.key)

    def on_front(self, trial: CostedTrial) -> bool:
        """Whether the trial is non-dominated by value and this size."""
        return bool(getattr(trial, f"on_{self.key}_front"))


def section(report: StudyReport) -> str:
    """The places of the figures, the front as a table, and the best within each limit; empty without costs."""
    if not any(_drawn(report, size) for size in _sizes(report)):
        return ""
    places = "".join(_place(report, size) for size in _sizes(report) if _drawn(report, size))
    tables = [html.report_parts(limits_section(report.best, report.percent), "Best within each limit")]
    tables = tables if report.best else []
    if report.second is not None:
        both = objectives_section(report.second, report.front, report.percent)
        tables.insert(0, html.report_parts(both, "Both objectives"))
    if report.costed:
        tables.append(html.report_parts(front_section(report.costed, report.percent), "Pareto front"))
    return f"<div class=grid>{places}</div>\n" + "".join(f"<div class=after>{table}</div>" for table in tables)


def figures(report: StudyReport) -> dict[str, go.Figure]:
    """Both figures by key; none where nothing has a cost."""
    return {size.key: _figure(report, size) for size in _sizes(report) if _drawn(report, size)}


def _sizes(report: StudyReport) -> tuple[Size, ...]:
    plan = report.plan
    limits = plan.param_budgets or tuple(filter(None, (plan.param_budget,)))
    sizes = (
        Size("parameters", "parameters", "parameters", limits),
        Size("macs", "multiply-accumulates an image", "MACs", tuple(filter(None, (plan.mac_budget,)))),
    )
    return (*sizes, Size("latency", "milliseconds for one image", "ms", ())) if report.second == "latency" else sizes


def _drawn(report: StudyReport, size: Size) -> list[TrialRow]:
    return [row for row in report.trials if row.values and getattr(row, size.key) is not None]


def _place(report: StudyReport, size: Size) -> str:
    front = [trial for trial in report.costed if size.on_front(trial)]
    title = f"No trial has been trained in full yet: values by {size.noun}"
    if front:
        smallest = min(front, key=size.of)
        title = (
            f"{show(report, front[0].value)} with {size.words(front[0])} {size.noun}"
            if len(front) == 1
            else f"From {show(report, smallest.value)} with {size.words(smallest)} {size.noun} to "
            f"{show(report, front[0].value)} with {size.words(front[0])}"
        )
    far = [limit for limit in size.limits if not _is_near(report, size, limit)]
    outside = f" The limit of {', '.join(map(format_count, far))} lies to the right of the figure." if far else ""
    caption = (
        f"The line joins the trials that none beats with as few {size.noun}. Filled marks were trained in full; open "
        f"ones were not, so they lie lower than they would.{outside}"
    )
    return html.figure(size.key, title, caption, height=380)


def _is_near(report: StudyReport, size: Size, limit: int) -> bool:
    return limit <= NEAR * max(map(size.of, _drawn(report, size)))


def _figure(report: StudyReport, size: Size) -> go.Figure:
    figure, rungs, rows = html.new_figure(), report.plan.rungs, _drawn(report, size)
    for rung, at_rung in groupby(sorted(rows, key=lambda row: row.rung), key=lambda row: row.rung):
        members = list(at_rung)
        figure.add_scatter(
            x=[size.of(row) for row in members],
            y=[row.value for row in members],
            name=rung_name(rung),
            mode="markers",
            marker={
                "size": mark_size(len(rows)),
                "color": rung_shade(rung, rungs),
                "symbol": ["circle" if row.fate is Fate.COMPLETE else "circle-open" for row in members],
                "line": {"width": 2, "color": rung_shade(rung, rungs)},
            },
            customdata=[hover(report, row) for row in members],
            hovertemplate="%{customdata}<extra></extra>",
        )
    front = sorted((size.of(trial), trial.value) for trial in report.costed if size.on_front(trial))
    if front:
        line = {"color": "var(--best)", "width": 2, "shape": "hv"}
        x, y = zip(*front, strict=True)
        figure.add_scatter(x=x, y=y, name="Pareto front", mode="lines", line=line, hoverinfo="skip")
    if size.key == report.second and (bulge := next((row for row in report.front if row.is_knee), None)):
        mark = {"size": 16, "symbol": "star-open", "line": {"width": 2}, "color": "var(--best)"}
        figure.add_scatter(
            x=[bulge.second], y=[bulge.value], name="knee", mode="markers", marker=mark, hoverinfo="skip"
        )
    near = [limit for limit in size.limits if _is_near(report, size, limit)]
    for limit in near:
        line = {"color": "var(--fail)", "width": 1.5, "dash": "dash"}
        figure.add_vline(x=limit, line=line, name=f"limit {limit:,}", showlegend=True)
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title_text=size.title, tickformat=".3~s", **log_axis([*map(size.of, rows), *near]))
    name_values(figure, report)
    return figure
