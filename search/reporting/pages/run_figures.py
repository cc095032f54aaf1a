"""Figures of a finished run: curves of training, accuracy per class, confusion matrix, ROC curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cifar.evaluate import Evaluation
from cifar.stats.roc import RocCurve
from search.reporting.pages.html import COLOURS, interval, name_axis, new_figure, percent, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

Epoch = Mapping[str, float]

ANNOTATED_CLASSES = 20
"""Most classes whose confusion matrix still has room for counts."""
MOST_CURVES = 10
"""ROC curves in the figure: those of the smallest areas."""
DARK_SHARE = 0.4
"""Share of a true class above which a cell of the confusion matrix is dark; in a dark page, light."""
CURVE_POINTS = 500
"""Most points of a drawn ROC curve; the area is that of all points."""

"""Colours of the page for categories, --c0 to --c9."""
CORNERS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Sides that the second ROC figure's part of the unit square may have: the corner where good networks differ."""


def figures(history: Sequence[Epoch], result: Evaluation, curves: Sequence[RocCurve] = ()) -> dict[str, go.Figure]:
    """Figures of a run by key; what is missing in `history` has none."""
    made = {"classes": _class_bars(result), "confusion": _heat_map(result)}
    if history:
        made["loss"] = _curves(history, "loss", "loss", ",.3~g")
        made["accuracy"] = _curves(history, "accuracy", "accuracy", ".0%")
    if any("lr" in epoch for epoch in history):
        made["lr"] = _learning_rate(history)
    if drawn_curves(curves):
        made["roc"] = _roc(curves)
        side = corner(curves)
        if side:
            made["roc-corner"] = _roc_corner(curves, side)
    return made


def corner(curves: Sequence[RocCurve]) -> float | None:
    """Side of the upper left square in which every drawn curve crosses the middle; None if that is no detail."""
    equal_errors = [
        min(max(x, 1 - y) for x, y in zip(curve.false_positive_rates, curve.true_positive_rates, strict=True))
        for curve in drawn_curves(curves)
    ]  # where as large a share of the others is let in as of the class is missed
    return next((side for side in CORNERS if side >= 2 * max(equal_errors)), None)


def drawn_curves(curves: Sequence[RocCurve]) -> list[RocCurve]:
    """The curves that there is room for, in the order of the classes."""
    known = [(curve.auc, index) for index, curve in enumerate(curves) if curve.auc is not None]
    return [curves[index] for index in sorted(index for _, index in sorted(known)[:MOST_CURVES])]


def epoch_numbers(history: Sequence[Epoch]) -> list[float]:
    """Each epoch's number; its place where it has none."""
    return [epoch.get("epoch", index) for index, epoch in enumerate(history, start=1)]


def _series(history: Sequence[Epoch], key: str) -> list[float | None]:
    values = (epoch.get(key) for epoch in history)
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _curves(history: Sequence[Epoch], quantity: str, title: str, form: str) -> go.Figure:
    figure = new_figure()
    looks = {"train": ("training", "solid", "circle"), "val": ("validation", "dash", "diamond")}
    for split, (name, dash, symbol) in looks.items():
        values = _series(history, f"{split}_{quantity}")
        if any(value is not None for value in values):
            figure.add_scatter(
                x=epoch_numbers(history),
                y=values,
                name=name,
                mode="lines+markers",
                line={"color": f"var(--{split})", "width": 2, "dash": dash},
                marker={"size": 5 if len(history) <= 40 else 1, "symbol": symbol},
                hovertemplate=f"epoch %{{x}}: %{{y:{'.2%' if '%' in form else '.4f'}}}",
            )
    figure.update_layout(hovermode="x unified", showlegend=True)
    figure.update_xaxes(title_text="epoch", hoverformat="~g")
    shares = {"minallowed": -0.02, "maxallowed": 1.02} if "%" in form else {}  # a single epoch's axis ends there
    figure.update_yaxes(title_text=title, tickformat=form, **shares)
    return figure


def _learning_rate(history: Sequence[Epoch]) -> go.Figure:
    figure = new_figure()
    figure.add_scatter(
        x=epoch_numbers(history),
        y=_series(history, "lr"),
        mode="lines+markers",
        line={"color": "var(--lr)", "width": 2},
        marker={"size": 5 if len(history) <= 40 else 1},
        hovertemplate="epoch %{x}: %{y:.4~g}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="e")
    return figure


def _class_bars(result: Evaluation) -> go.Figure:
    rows = result.classes
    names, positions = [row.name for row in rows], list(range(len(rows)))
    figure = new_figure()
    figure.add_bar(
        x=[row.accuracy for row in rows],
        y=positions,
        orientation="h",
        marker={"color": "var(--bar)"},
        error_x={
            "array": [row.high - row.accuracy for row in rows],
            "arrayminus": [row.accuracy - row.low for row in rows],
            "color": "var(--text)",
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[[f"{row.correct:,} of {row.support:,}", interval(row.low, row.high, 1)] for row in rows],
        hovertemplate="%{customdata[0]} correct, 95 % interval %{customdata[1]}<extra></extra>",
    )
    figure.add_vline(x=result.accuracy, line={"color": "var(--text)", "width": 1, "dash": "dot"})
    for position, row in enumerate(rows):  # beside the bars, where no whisker is
        figure.add_annotation(
            x=1,
            xref="paper",
            xanchor="left",
            xshift=6,
            y=position,
            text=percent(row.accuracy, 1),
            showarrow=False,
        )
    figure.update_layout(bargap=0.3, showlegend=False, margin_r=68)
    figure.update_xaxes(title_text="accuracy", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(**name_axis(names), autorange="reversed", showgrid=False)
    return figure


def _heat_map(result: Evaluation) -> go.Figure:
    names = [row.name for row in result.classes]
    labels = [plot_text(name) for name in names]
    shares = [[count / (sum(row) or 1) for count in row] for row in result.confusion]
    positions = list(range(len(names)))
    figure = new_figure()
    figure.add_heatmap(
        x=positions,
        y=positions,
        z=[[math.sqrt(share) for share in row] for row in shares],
        zmin=0,
        zmax=1,
        colorscale=[[0, "var(--heat-0)"], [0.5, "var(--heat-1)"], [1, "var(--heat-2)"]],
        showscale=False,
        xgap=1,
        ygap=1,
        text=[[str(count) for count in row] for row in result.confusion],
        customdata=[
            [
                f"true {true}, predicted {predicted}: {count:,} ({percent(share)})"
                for predicted, count, share in zip(labels, counts, row, strict=True)
            ]
            for true, counts, row in zip(labels, result.confusion, shares, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    if len(names) <= ANNOTATED_CLASSES:
        _add_counts(figure, result, shares)
    figure.update_xaxes(**name_axis(names), title_text="predicted", showgrid=False, tickangle=-45)
    figure.update_yaxes(**name_axis(names), title_text="true", showgrid=False, autorange="reversed")
    return figure


def _add_counts(figure: go.Figure, result: Evaluation, shares: list[list[float]]) -> None:
    """Writes each count in a colour that stands out from its cell's."""
    places = range(len(shares))
    figure.add_scatter(
        x=[column for _ in places for column in places],
        y=[row for row in places for _ in places],
        mode="text",
        text=[str(count) for row in result.confusion for count in row],
        textfont={"color": [f"var(--{'card' if share > DARK_SHARE else 'text'})" for row in shares for share in row]},
        hoverinfo="skip",
        showlegend=False,
    )


def _roc(curves: Sequence[RocCurve]) -> go.Figure:
    figure = _roc_lines(curves)
    chance = {"color": "var(--muted)", "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=chance, layer="below")
    figure.add_annotation(
        x=0.3,
        y=0.3,
        text="chance",
        font={"color": "var(--muted)"},
        showarrow=False,
        xanchor="left",
        yshift=-8,
        xshift=6,
    )
    figure.update_layout(legend={"orientation": "v", "x": 1, "y": 0, "xanchor": "right", "yanchor": "bottom"})
    figure.update_xaxes(range=[-0.005, 1])
    figure.update_yaxes(range=[0, 1.005])
    return figure


def _roc_corner(curves: Sequence[RocCurve], side: float) -> go.Figure:
    figure = _roc_lines(curves, side)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(range=[-side / 200, side])
    figure.update_yaxes(range=[1 - side, 1 + side / 200])
    return figure


def _roc_lines(curves: Sequence[RocCurve], side: float = 1.0) -> go.Figure:
    figure = new_figure()
    for index, curve in enumerate(drawn_curves(curves)):
        alarms, hits = _thinned(curve, side)
        figure.add_scatter(
            x=alarms,
            y=hits,
            name=plot_text(curve.name),
            mode="lines",
            line={
                "color": f"var(--c{index % COLOURS})",
                "width": 2,
                "dash": ("solid", "dash")[index % 2],
                "shape": "linear",
            },
            hovertemplate="%{x:.1%} of the others, %{y:.1%} of the class",
        )
    figure.update_layout(showlegend=True, margin_t=28)
    figure.update_xaxes(title_text="false positive rate", tickformat=".0%")
    figure.update_yaxes(title_text="true positive rate", tickformat=".0%")
    return figure


def _thinned(curve: RocCurve, side: float) -> tuple[list[float], list[float]]:
    """Points of the upper left square and the next beyond it; of those too near to tell apart, only the first."""
    points = list(zip(curve.false_positive_rates, curve.true_positive_rates, strict=True))
    start = next(k for k, (_, y) in enumerate(points) if y >= 1 - side)
    end = next(k for k, (x, _) in enumerate(points) if x >= side)
    points = points[max(0, start - 1) : max(start, end) + 1]
    kept = points[:1]
    for point in points[1:-1]:
        if sum(point) - sum(kept[-1]) >= 2 * side / (CURVE_POINTS - 4):
            kept.append(point)
    kept += points[1:][-1:]
    return [round(x, 5) for x, _ in kept], [round(y, 5) for _, y in kept]
