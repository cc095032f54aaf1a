"""The page of a comparison: runs side by side, paired tests, differences by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar.files import write_text
from search.format import format_duration, format_p_value, format_points
from search.reporting.pages import html
from search.reporting.pages.html import COLOURS, interval, percent
from search.retraining.comparison import CAVEAT, Comparison, Pair, letter

if TYPE_CHECKING:
    import plotly.graph_objects as go


"""Colours of the page for categories, --c0 to --c9."""


def write_comparison_page(path: Path, comparison: Comparison) -> None:
    """Writes the page as one HTML file of about 5 MB, whole or not at all."""
    figures = {"accuracy": _accuracies(comparison)}
    for index, pair in enumerate(comparison.pairs, start=1):
        figures[f"classes-{letter(index)}"] = _class_differences(pair, index)
    write_text(path, html.document(_title(comparison), _body(comparison), figures))


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.runs)} runs compared"


def _body(comparison: Comparison) -> str:
    sections = [html.section("Runs", _runs(comparison)), html.section("Tests", _tests(comparison))]
    sections += [
        html.section(f"{letter(index)} against A, class by class", _classes(pair, index))
        for index, pair in enumerate(comparison.pairs, start=1)
    ]
    return html.main_part(_title(comparison), _headline(comparison), sections)


def _headline(comparison: Comparison) -> str:
    return html.tiles(
        (f"{letter(index)}: {run.name}", percent(run.accuracy), f"95\u00a0% interval {interval(*run.interval)}")
        for index, run in enumerate(comparison.runs)
    )


def _runs(comparison: Comparison) -> str:
    rows = [
        (
            f"{letter(index)}: {run.name}",
            percent(run.accuracy),
            interval(*run.interval),
            f"{run.cost.parameters:,}",
            f"{run.cost.macs:,}",
            format_duration(run.record.seconds),
            f"{len(run.record.history):,}",
            f"{run.record.train_images:,}",
        )
        for index, run in enumerate(comparison.runs)
    ]
    columns = ("run", "accuracy", "95 % interval", "parameters", "MACs", "training time", "epochs", "training images")
    figure = html.figure(
        "accuracy",
        "Test accuracy",
        f"Whiskers are 95 % intervals of each run alone; all runs predicted the same {len(comparison.runs[0].true):,} "
        "images, so the paired tests below see differences that these intervals hide.",
        height=90 + 44 * len(comparison.runs),
    )
    note = html.note("MACs are multiply-accumulates an image. Training times compare only on the same machine.")
    return f"{figure}{html.table('Accuracy and cost.', columns, rows)}{note}"


def _tests(comparison: Comparison) -> str:
    several = len(comparison.pairs) > 1
    rows = []
    for index, pair in enumerate(comparison.pairs, start=1):
        cells = [
            f"{letter(index)} \u2212 A",
            pair.verdict,
            f"{_signed(pair.difference, 2)} points",
            f"{_signed(pair.low, 2)} to {_signed(pair.high, 2)}",
            f"{pair.test.only_second:,}",
            f"{pair.test.only_first:,}",
            format_p_value(pair.test.p),
        ]
        rows.append((*cells, *([format_p_value(pair.adjusted_p)] if several else [])))
    columns = ["pair", "verdict", "difference", "95 % interval", "only it right", "only A right", "McNemar"]
    columns += ["after Holm"] if several else []
    methods = " and ".join(sorted({pair.test.method for pair in comparison.pairs}))
    note = (
        f"McNemar's test ({methods}) compares how often only one of the two runs is right. A difference counts as "
        "shown below 5\u00a0%"
        + (", after Holm's correction for the number of pairs. " if several else ". ")
        + f"Intervals are Agresti and Min's for paired shares, of each pair alone. {CAVEAT}"
    )
    return html.table("Each run against the first.", columns, rows) + html.note(note)


def _classes(pair: Pair, index: int) -> str:
    name = letter(index)
    rows = [
        (
            row.name,
            f"{row.images:,}",
            percent(row.first, 1),
            percent(row.second, 1),
            _signed(row.difference, 1),
            f"{_signed(row.low, 1)} to {_signed(row.high, 1)}",
        )
        for row in pair.classes
    ]
    figure = html.figure(
        f"classes-{name}",
        f"Accuracy of {name} less that of A",
        "In percentage points; whiskers are 95 % intervals.",
        height=80 + 34 * len(rows),
    )
    table = html.table(
        f"A is {pair.first.name}, {name} is {pair.second.name}.",
        ("class", "images", "A", name, f"{name} \u2212 A", "95 % interval"),
        rows,
    )
    note = html.note(
        f"{len(rows)} intervals at once: about one in twenty leaves out its true difference, so a class that alone "
        "stands out is a hint, not a finding."
    )
    return f'<div class="grid uneven">{figure}<div>{table}{note}</div></div>'


def _signed(difference: float, digits: int) -> str:
    """A difference in points, with a minus sign as wide as the plus."""
    return format_points(difference, digits).replace("-", "\u2212")


def _accuracies(comparison: Comparison) -> go.Figure:
    runs = comparison.runs
    figure = html.new_figure()
    for index, run in enumerate(runs):
        low, high = run.interval
        figure.add_scatter(
            x=[run.accuracy],
            y=[index],
            mode="markers",
            marker={"size": 11, "color": f"var(--c{index % COLOURS})"},
            error_x=_whiskers([high - run.accuracy], [run.accuracy - low], f"var(--c{index % COLOURS})"),
            hovertemplate=f"{percent(run.accuracy)}, 95 % interval {interval(low, high)}<extra></extra>",
        )
    names = [f"{letter(index)}: {run.name}" for index, run in enumerate(runs)]
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="accuracy", tickformat=",.2~%")
    figure.update_yaxes(
        tickvals=list(range(len(runs))),
        ticktext=[html.plot_text(name, 28) for name in names],
        range=[len(runs) - 0.5, -0.5],
        showgrid=False,
    )
    return figure


def _class_differences(pair: Pair, index: int) -> go.Figure:
    rows = pair.classes
    figure = html.new_figure()
    figure.add_scatter(
        x=[100 * row.difference for row in rows],
        y=list(range(len(rows))),
        mode="markers",
        marker={"size": 9, "color": f"var(--c{index % COLOURS})"},
        error_x=_whiskers(
            [100 * (row.high - row.difference) for row in rows],
            [100 * (row.difference - row.low) for row in rows],
            f"var(--c{index % COLOURS})",
        ),
        hovertemplate="%{x:+.1f} points<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": "var(--text)", "width": 1})
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="difference, percentage points", tickformat="+~g")
    names = [row.name for row in rows]
    figure.update_yaxes(**html.name_axis(names), range=[len(rows) - 0.5, -0.5], showgrid=False)
    return figure


def _whiskers(up: list[float], down: list[float], colour: str) -> dict[str, object]:
    return {"array": up, "arrayminus": down, "color": colour, "thickness": 2, "width": 5}
