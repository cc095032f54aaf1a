"""Which choices mattered: importances, values by each of the choices that mattered most, and all of these together.

Spaces may be conditional, so that a trial has only some of the parameters: a figure of one parameter shows the trials
that have it, and the lines of the figure of several pass below the axis of what a trial does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.format import format_epochs, format_percent
from search.reporting.pages import html
from search.reporting.pages.html import plot_text
from search.reporting.studies.importance import FEWEST_TRIALS, FEWEST_WITH, Importance
from search.reporting.studies.study_report import StudyReport
from search.reporting.study_page.axes import SHADES, hover, log_axis, mark_size, name_values, show

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_BARS = 12
"""Parameters in the figure of importances."""
MOST_SLICES = 6
"""Parameters of which values are shown; the first of them are also the axes of the figure of several."""


def section(report: StudyReport) -> str:
    """The places of the figures, or what it would take to tell."""
    found = report.importance
    if found is None:
        return html.paragraph(f"Too few trials to tell: it takes {FEWEST_TRIALS} that were trained to the same rung.")
    after = f"after {format_epochs(found.rung)}"
    first = found.shares[0][0]
    bars = html.figure(
        "importance",
        f"{first} decided most about being among the best {after}",
        f"Share of each parameter in what sets the best tenth of {len(found.values)} trials apart {after} (PED-ANOVA, "
        "arXiv 2304.10255). With so few trials at the top it is a hint, not a finding.",
        kind="wide",
        height=90 + 28 * len(found.shares[:MOST_BARS]),
    )
    slices = [
        html.figure(
            f"slice-{index}",
            f"{name}: {_best_place(report, found, name)}",
            f"{found.trials[name]} trials {after}; {format_percent(part, 0)} of the importance.",
            height=280,
        )
        for index, (name, part) in enumerate(found.shares[:MOST_SLICES])
    ]
    together = html.figure(
        "parallel",
        f"What the best {after} have in common",
        f"A line is a trial, the {SHADES} shades are fifths of the trials by value, the strongest the best fifth. "
        "A line at the bottom means that the trial does not have this parameter.",
        kind="wide roomy",
        height=440,
    )
    parts = [bars, *slices, together]
    if pair := _pair(found):
        caption = (
            f"Colour is the mean of the trials near each point, weighted by their distance, {after}; where no trial "
            "is near it is left empty. Marks are trials."
        )
        parts.append(html.figure("map", f"{pair[0]} and {pair[1]} together", caption, kind="wide", height=440))
    return f"<div class=grid>{''.join(parts)}</div>\n{_table(found)}"


def figures(report: StudyReport) -> dict[str, go.Figure]:
    """The figures by key; none with too few trials."""
    found = report.importance
    if found is None:
        return {}
    from search.reporting.study_page.joint_figures import parallel, smoothed_map

    names = [name for name, _ in found.shares[:MOST_SLICES]]
    made = {"importance": _bars(found), "parallel": parallel(report, found, names)}
    made |= {f"slice-{index}": _slice(report, found, name) for index, name in enumerate(names)}
    if pair := _pair(found):
        made["map"] = smoothed_map(report, found, pair)
    return made


def _pair(found: Importance) -> tuple[str, str] | None:
    """The two most important numbers that enough trials share; None without."""
    numbers = [
        name for name, _ in found.shares if found.scales[name] != "choice" and found.trials[name] >= FEWEST_TRIALS
    ]
    return (numbers[0], numbers[1]) if len(numbers) > 1 else None


def _bars(found: Importance) -> go.Figure:
    shown = found.shares[:MOST_BARS]
    figure = html.new_figure()
    figure.add_bar(
        x=[share for _, share in shown],
        y=list(range(len(shown))),
        orientation="h",
        marker={"color": "var(--bar)"},
        customdata=[f"{name}: {format_percent(share, 1)}, in {found.trials[name]} trials" for name, share in shown],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_layout(showlegend=False, bargap=0.3)
    figure.update_xaxes(title_text="share of the importance", tickformat=".0%")
    names = [plot_text(name, 28) for name, _ in shown]
    figure.update_yaxes(
        tickvals=list(range(len(shown))), ticktext=names, autorange="reversed", showgrid=False, ticks=""
    )
    return figure


def _slice(report: StudyReport, found: Importance, name: str) -> go.Figure:
    rows = [row for row in report.trials if row.number in found.values and name in row.params]
    figure, choice = html.new_figure(), found.scales[name] == "choice"
    figure.add_scatter(
        x=[_named(row.params[name]) if choice else row.params[name] for row in rows],
        y=[found.values[row.number] for row in rows],
        mode="markers",
        marker={"size": mark_size(len(rows)), "color": "var(--c0)", "opacity": 0.7},
        customdata=[hover(report, row) for row in rows],
        hovertemplate="%{x}<br>%{customdata}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    kinds: dict[str, dict[str, Any]] = {"choice": {"type": "category"}, "linear": {"nticks": 6}}
    if found.scales[name] == "log":
        kinds["log"] = log_axis([row.params[name] for row in rows]) | {"tickformat": ".2~g"}
    figure.update_xaxes(title_text=plot_text(name, 40), tickangle=0, **kinds[found.scales[name]])
    name_values(figure, report)
    return figure


def _named(value: object) -> str:
    return plot_text(str(value), 24)


def _best_place(report: StudyReport, found: Importance, name: str) -> str:
    """Where the best trial lies among those that have the parameter."""
    rows = [row for row in report.trials if row.number in found.values and name in row.params]
    best = (max if report.maximize else min)(rows, key=lambda row: found.values[row.number])
    value = best.params[name]
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"best with {shown}, {show(report, found.values[best.number])}"


def _table(found: Importance) -> str:
    rows = [(name, format_percent(share, 1), str(found.trials[name])) for name, share in found.shares]
    table = html.table("Importance.", ("parameter", "share", "trials with it"), rows)
    rare = f"Not told, since fewer than {FEWEST_WITH} of these trials have them: {', '.join(found.rare)}."
    return html.details("All parameters", table + (html.note(rare) if found.rare else ""))
