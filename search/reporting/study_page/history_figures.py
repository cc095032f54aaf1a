"""How a search went: every trial's value in the order of the trials, and every trial's learning curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from search.format import format_epochs, format_trials
from search.reporting.pages import html
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.trial_rows import Fate, TrialRow
from search.reporting.study_page.axes import hover, mark_size, name_values, number_axis, rung_name, rung_shade, show

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = {
    Fate.COMPLETE: "circle",
    Fate.STOPPED: "circle-open",
    Fate.WAITING: "diamond-open",
    Fate.RUNNING: "triangle-right-open",
    Fate.FAILED: "x-thin-open",
    Fate.INFEASIBLE: "square-open",
}
"""Marks by what became of a trial."""
FEWEST_LARGE = 12
"""Learning curves above which their marks are drawn smaller."""
MOST_MARKS = 5_000
"""Points of curves that have marks: a browser needs 2 s for 29,000 marks, and they are too near to be told apart."""
MOST_POINTS = 30_000
"""Points of all learning curves together, beyond which curves are thinned, so that a page stays small."""


def section(report: StudyReport) -> str:
    """The places of the figures and the table of trials; empty before the first value."""
    if not _valued(report):
        return ""
    count = sum(row.fate is Fate.COMPLETE for row in report.trials)
    of = f"of {format_trials(len(report.trials))} {'were' if count != 1 else 'was'}"
    titles = f"{count or 'None'} {of} trained in full, {format_epochs(report.plan.max_epochs)}"
    history = html.figure(
        "history",
        _history_title(report),
        "Each mark is a trial, at its last value; the darker, the longer it was trained (in a dark page: the lighter). "
        "Filled marks were trained in full, open ones were stopped or wait, crosses failed. Values after different "
        "numbers of epochs do not compare: the line is the best full-length value so far.",
        kind="wide",
        height=400,
    )
    curves = html.figure(
        "curves",
        titles,
        "The value of every trial after each epoch. Dotted lines are rungs, at which only the better trials are "
        "trained on; dashed curves are of trials that failed.",
        kind="wide",
        height=420,
    )
    return f"<div class=grid>{history}{curves}</div>\n{_table(report)}"


def figures(report: StudyReport) -> dict[str, go.Figure]:
    """Both figures by key; none before the first value."""
    return {"history": _history(report), "curves": _curves(report)} if _valued(report) else {}


def _valued(report: StudyReport) -> list[TrialRow]:
    return [row for row in report.trials if row.values]


def _history_title(report: StudyReport) -> str:
    complete = [row for row in report.trials if row.fate is Fate.COMPLETE and row.values]
    if not complete:
        return "No trial has been trained in full yet"
    best = (max if report.maximize else min)(complete, key=lambda row: row.value or 0.0)
    return f"Trial {best.number} has the best full-length value: {show(report, best.value)}"


def _history(report: StudyReport) -> go.Figure:
    figure, rungs, last = html.new_figure(), report.plan.rungs, report.trials[-1].number
    by_rung = sorted(_valued(report), key=lambda row: row.rung)
    for rung, rows in groupby(by_rung, key=lambda row: row.rung):
        members = list(rows)
        figure.add_scatter(
            x=[row.number for row in members],
            y=[row.value for row in members],
            name=rung_name(rung),
            mode="markers",
            marker={
                "size": mark_size(len(by_rung)),
                "color": rung_shade(rung, rungs),
                "symbol": [SYMBOLS[row.fate] for row in members],
                "line": {"width": 2, "color": rung_shade(rung, rungs)},
            },
            customdata=[hover(report, row) for row in members],
            hovertemplate="%{customdata}<extra></extra>",
        )
    _add_best(figure, report)
    figure.update_xaxes(title_text="trial, in the order of proposal", **number_axis(last))
    figure.update_layout(showlegend=True)
    name_values(figure, report)
    return figure


def _add_best(figure: go.Figure, report: StudyReport) -> None:
    """The best full-length value so far, and a line at the baseline's."""
    better = max if report.maximize else min
    numbers: list[int] = []
    best: list[float] = []
    for row in report.trials:
        if row.fate is Fate.COMPLETE and row.value is not None:
            numbers.append(row.number)
            best.append(row.value if not best else better(best[-1], row.value))
            if row.baseline:
                line = {"color": "var(--muted)", "width": 1, "dash": "dot"}
                words = {"text": "baseline", "font_color": "var(--muted)"}
                figure.add_hline(y=row.value, line=line, annotation=words, annotation_position="bottom right")
    if best:
        numbers, best = [*numbers, report.trials[-1].number], [*best, best[-1]]
        line = {"color": "var(--best)", "width": 2, "shape": "hv"}
        figure.add_scatter(x=numbers, y=best, name="best so far", mode="lines", line=line, hoverinfo="skip")


def _curves(report: StudyReport) -> go.Figure:
    figure, rows, rungs = html.new_figure(), _valued(report), report.plan.rungs
    points = sum(len(row.values) for row in rows)
    step = -(-points // MOST_POINTS)

    def kind(row: TrialRow) -> tuple[int, bool]:
        return row.rung, row.fate is Fate.FAILED

    for (rung, failed), members in groupby(sorted(rows, key=kind), key=kind):
        epochs, values, numbers = _joined(members, rungs, step)
        figure.add_scatter(
            x=epochs,
            y=values,
            customdata=numbers,
            name=f"failed after {rung_name(rung)}" if failed else f"up to {rung_name(rung)}",
            mode="lines" if points >= MOST_MARKS and rung != rungs[0] else "lines+markers",
            line={
                "color": "var(--fail)" if failed else rung_shade(rung, rungs),
                "width": 2 if rung == rungs[-1] else 1.2,
                "dash": "dash" if failed else "solid",
            },
            marker={"size": 4 if len(rows) > FEWEST_LARGE else 6},
            hovertemplate="trial %{customdata}, epoch %{x}: %{y:" + (".2%" if report.percent else ".5~g") + "}"
            "<extra></extra>",
        )
    for rung in rungs[:-1]:
        figure.add_vline(x=rung, line={"color": "var(--muted)", "width": 1, "dash": "dot"}, layer="below")
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title_text="epochs trained", range=[0, report.plan.max_epochs * 1.02])
    name_values(figure, report)
    return figure


def _joined(
    rows: Iterator[TrialRow], rungs: Sequence[int], step: int
) -> tuple[list[int | None], list[float | None], list[int | None]]:
    """The curves one after the other with gaps between: epochs, values, trials. Thinned to every `step`th epoch."""
    epochs: list[int | None] = []
    values: list[float | None] = []
    numbers: list[int | None] = []
    for row in rows:
        kept = [epoch for epoch in row.values if epoch % step == 0 or epoch in rungs or epoch == row.epochs]
        epochs += [*kept, None]
        values += [*(round(row.values[epoch], 6) for epoch in kept), None]
        numbers += [*([row.number] * len(kept)), None]
    return epochs, values, numbers


def _table(report: StudyReport) -> str:
    sign = -1 if report.maximize else 1
    best_first = sorted(
        report.trials, key=lambda row: (-row.epochs, sign * (row.value if row.value is not None else 0.0), row.number)
    )
    rows = [
        (
            f"{row.number}{' (baseline)' if row.baseline else ''}",
            row.words,
            row.fate.value,
            str(row.epochs),
            show(report, row.value),
            "" if row.parameters is None else f"{row.parameters:,}",
            row.reason,
        )
        for row in best_first
    ]
    columns = ("trial", "candidate", "fate", "epochs", "value", "parameters", "why it ended")
    caption = "The longest trained first, then the best; trials.csv holds every setting of each."
    return html.details("All trials", html.table(caption, columns, rows, kind="tall"))
