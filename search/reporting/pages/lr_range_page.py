"""The learning-rate range test as a page, `lr_range.html`, and its numbers, `lr_range.csv`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.files import write_text
from cifar.lr_range import RangeTest
from search.format import format_lr
from search.reporting.pages import html

if TYPE_CHECKING:
    import plotly.graph_objects as go

TOP = 1.6
"""Greatest loss in the figure, as a multiple of the first: a diverging loss would flatten everything else."""


@dataclass(frozen=True)
class RangePage:
    """What the page of a range test shows."""

    title: str
    """Name of the candidate for people."""
    facts: dict[str, str]
    """What was run, by name."""
    result: RangeTest
    """What was measured."""
    linear: bool
    """Whether the axis of rates is linear."""


def write_range_test(folder: Path, page: RangePage) -> tuple[Path, Path]:
    """Writes the numbers and the page into `folder`; returns their paths."""
    numbers, figure = folder / "lr_range.csv", folder / "lr_range.html"
    write_text(numbers, csv_text(page.result))
    write_text(figure, html_text(page))
    return numbers, figure


def suggestion(result: RangeTest) -> str:
    """The suggested rate for a person, or `none`."""
    return format_lr(result.suggested) if result.falls else "none"


def csv_text(result: RangeTest) -> str:
    """One row a step: step, lr, loss, smoothed; numbers in full."""
    rows = zip(result.lrs, result.losses, result.smoothed, strict=True)
    lines = [f"{step},{lr!r},{loss!r},{smoothed!r}" for step, (lr, loss, smoothed) in enumerate(rows, start=1)]
    return "\n".join(["step,lr,loss,smoothed", *lines, ""])


def html_text(page: RangePage) -> str:
    """The page, self-contained."""
    result = page.result
    caption = (
        "Loss of each batch, and its moving average, at a rate that grows from step to step. The dotted line is the "
        "suggested rate, a tenth of that of the least average (circle). Losses above the figure are in the table."
    )
    stopped = "divergence" if result.diverged else "the highest rate"
    headline = html.tiles(
        [
            ("suggested learning rate", suggestion(result), result.doubt),
            ("least average loss", f"{result.smoothed[result.least]:.4f}", f"at {format_lr(result.lrs[result.least])}"),
            ("stopped at", format_lr(result.lrs[-1]), f"by {stopped}, after {len(result.lrs)} steps"),
        ]
    )
    rows = (
        (str(step), f"{lr:.4g}", f"{loss:.4f}", f"{smoothed:.4f}")
        for step, (lr, loss, smoothed) in enumerate(
            zip(result.lrs, result.losses, result.smoothed, strict=True), start=1
        )
    )
    numbers = html.table("The numbers behind the curve.", ("step", "learning rate", "loss", "average"), rows)
    sections = [
        html.section("Loss by learning rate", html.figure("lr_range", "Range test", caption, height=440)),
        html.section("Run", html.table("What was run.", ("", ""), list(page.facts.items()), kind="facts")),
        html.section("Numbers", html.details("Step by step", numbers)),
    ]
    title = f"Learning-rate range test: {page.title}"
    return html.document(title, html.main_part(title, headline, sections), {"lr_range": _curve(page)})


def _curve(page: RangePage) -> go.Figure:
    result = page.result
    figure = html.new_figure()
    figure.add_scatter(
        x=result.lrs,
        y=list(_gaps(result.losses)),
        name="loss of a batch",
        mode="markers",
        marker={"color": "var(--bar)", "size": 5},
        hovertemplate="%{x:.3~g}: %{y:.4f}<extra>loss of a batch</extra>",
    )
    figure.add_scatter(
        x=result.lrs,
        y=list(_gaps(result.smoothed)),
        name="moving average",
        mode="lines",
        line={"color": "var(--train)", "width": 2.5},
        hovertemplate="%{x:.3~g}: %{y:.4f}<extra>moving average</extra>",
    )
    figure.add_scatter(
        x=[result.lrs[result.least]],
        y=list(_gaps([result.smoothed[result.least]])),
        name="least average",
        mode="markers",
        marker={"color": "var(--card)", "size": 10, "line": {"color": "var(--train)", "width": 2.5}},
        hovertemplate="%{x:.3~g}: %{y:.4f}<extra>least average</extra>",
    )
    if result.falls:
        _mark_suggestion(figure, page)
    figure.update_xaxes(title_text="learning rate", type="linear" if page.linear else "log")
    if not page.linear:
        figure.update_xaxes(dtick=1, exponentformat="power")  # one tick a power of ten
    figure.update_yaxes(title_text="training loss", range=_loss_range(result))
    return figure


def _mark_suggestion(figure: go.Figure, page: RangePage) -> None:
    lr = page.result.suggested
    figure.add_shape(
        type="line",
        x0=lr,
        x1=lr,
        y0=0,
        y1=1,
        yref="y domain",
        line={"color": "var(--val)", "width": 2, "dash": "dot"},
    )
    figure.add_annotation(
        x=lr if page.linear else math.log10(lr),  # plotly places shapes by value, annotations by exponent
        y=0.02,
        yref="y domain",
        yanchor="bottom",
        xanchor="left",
        xshift=6,
        showarrow=False,
        text=f"suggested {format_lr(lr)}",
        font={"color": "var(--val)"},
        bgcolor="var(--card)",
    )


def _loss_range(result: RangeTest) -> list[float]:
    finite = [loss for loss in (*result.losses, *result.smoothed) if math.isfinite(loss)]
    if not finite:
        return [0.0, 1.0]
    least, top = min(finite), min(max(finite), TOP * finite[0])
    room = 0.08 * max(top - least, 1e-3)
    return [least - room, top + room]


def _gaps(values: Sequence[float]) -> Iterator[float | None]:
    return (value if math.isfinite(value) else None for value in values)
