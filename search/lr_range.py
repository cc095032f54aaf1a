"""`python -m search.lr_range`: the learning-rate range test of a recipe or trial, as a CSV and a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, natural, non_negative_count, positive, run_command

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from cifar.candidate import Candidate
    from cifar.lr_range import RangeTest
    from search.retrain import Named

TOP = 1.6
"""Greatest loss in the figure, as a multiple of the first: a diverging loss would flatten everything else."""


def parser() -> Parser:
    """The command's options."""
    p = Parser("lr_range", "Find a learning rate: train a few steps at a growing rate and watch the loss.")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--trial", default="best", help="best or a trial's number")
    what.add_argument("--recipe", help="a built-in recipe or a TOML file; search.retrain knows their names")
    p.add_argument("--study", default="resnet_budget5m", help="name of the study")
    p.add_argument("--storage", help="Optuna storage of the study (default: studies/<study>/study.db)")
    p.add_argument("--space", help="space that defines the study's own network classes (a Python file or module)")
    p.add_argument("--data", help="images, as for search.run (default: the study's)")
    p.add_argument(
        "--val-size",
        type=non_negative_count,
        help="training images left out, as for search.retrain (default: 0 for trials, the recipe's for recipes)",
    )
    p.add_argument("--train-size", type=natural, help="use a fixed stratified subset of this size")
    p.add_argument("--low", type=positive, default=1e-5, help="rate of the first step")
    p.add_argument("--high", type=positive, default=10.0, help="rate of the last step")
    p.add_argument("--steps", type=natural, default=100, help="batches to train on")
    p.add_argument("--linear", action="store_true", help="equal differences between rates, not equal factors")
    p.add_argument("--seed", type=int, default=0, help="of weights, data order and augmentation")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps")
    p.add_argument("--out", type=Path, help="folder of the two files (default: studies/<study>/lr_range/<name>)")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, tests, writes the files, prints the suggestion."""
    args = parser().parse_args(argv)
    from cifar.data.prepare import prepare
    from cifar.data.splits import load_training_split
    from cifar.files import write_text
    from cifar.lr_range import check_range, range_test
    from cifar.runtime.device import choose_device
    from search.retrain import default_folder, recipe_candidate, trial_candidates

    check_range(args.low, args.high, args.steps)
    device = choose_device(args.device)
    named, source = recipe_candidate(args.recipe) if args.recipe else trial_candidates(args)
    name, title, candidate = _only(named)
    data = prepare(args.data or source)
    val_size = args.val_size
    if val_size is None:
        val_size = candidate.recipe.val_size if args.recipe else 0
    split = load_training_split(data, val_size=val_size, train_size=args.train_size)
    candidate = candidate.for_data(len(data.class_names), data.image_size)
    print(f"{title}: {candidate.cost.parameters:,} parameters, on {device.describe()}", flush=True)
    result = range_test(
        candidate,
        split,
        device=device,
        seed=args.seed,
        low=args.low,
        high=args.high,
        steps=args.steps,
        linear=args.linear,
    )
    facts = {
        "parameters": f"{candidate.cost.parameters:,}",
        "optimizer": candidate.recipe.optimizer.name,
        "the recipe's own rate": _shown(candidate.recipe.optimizer.lr),
        "batch": f"{min(candidate.recipe.batch_size, len(split.train)):,} images",
        "training images": f"{len(split.train):,} of {data.source}",
        "rates": f"{args.low:g} to {args.high:g}, {'linear' if args.linear else 'exponential'}",
        "steps": f"{len(result.lrs)} of {args.steps}",
        "device": device.describe(),
        "seed": str(args.seed),
    }
    run = default_folder(args, name)  # studies/<study>/runs/<name>-seed<seed>
    folder = args.out or run.parents[1] / "lr_range" / run.name
    write_text(folder / "lr_range.csv", csv_text(result))
    write_text(folder / "lr_range.html", html_text(RangePage(title, facts, result, args.linear)))
    print_result(result, _shown(candidate.recipe.optimizer.lr), folder)


def print_result(result: RangeTest, own_lr: str, folder: Path) -> None:
    """Prints the suggestion, beside the recipe's own rate, and where the files are."""
    print(f"{len(result.lrs)} steps, {result.stopped}")
    print(f"least smoothed loss {result.smoothed[result.least]:.4f} at {_shown(result.lrs[result.least])}")
    print(f"suggested learning rate: {_suggestion(result)}; the recipe's own is {own_lr}")
    if result.doubt:
        print(f"note: {result.doubt}")
    print(f"numbers  {folder / 'lr_range.csv'}")
    print(f"figure   {folder / 'lr_range.html'}")


def _only(named: Named) -> tuple[str, str, Candidate]:
    from search.settings import StudyError

    if len(named) > 1:
        raise StudyError("a range test takes one trial", got=f"{len(named)}", remedy="Give --trial best or a number")
    return named[0]


def _suggestion(result: RangeTest) -> str:
    return _shown(result.suggested) if result.falls else "none"


def _shown(lr: float | str) -> str:
    return lr if isinstance(lr, str) else f"{lr:.3g}"


def csv_text(result: RangeTest) -> str:
    """One row a step: step, lr, loss, smoothed; numbers in full."""
    rows = zip(result.lrs, result.losses, result.smoothed, strict=True)
    lines = [f"{step},{lr!r},{loss!r},{smoothed!r}" for step, (lr, loss, smoothed) in enumerate(rows, start=1)]
    return "\n".join(["step,lr,loss,smoothed", *lines, ""])


# ---- page


@dataclass(frozen=True)
class RangePage:
    """What the page of a range test shows."""

    title: str
    """Names the candidate."""
    facts: dict[str, str]
    """What was run."""
    result: RangeTest
    """The measurement."""
    linear: bool
    """Whether the axis of rates is linear."""


def html_text(page: RangePage) -> str:
    """The page, self-contained."""
    from search.reporting.pages import html

    result = page.result
    caption = (
        "Loss of each batch, and its moving average, at a rate that grows from step to step. The dotted line is the "
        "suggested rate, a tenth of that of the least average (circle). Losses above the figure are in the table."
    )
    stopped = "divergence" if result.diverged else "the highest rate"
    headline = html.tiles(
        [
            ("suggested learning rate", _suggestion(result), result.doubt),
            ("least average loss", f"{result.smoothed[result.least]:.4f}", f"at {_shown(result.lrs[result.least])}"),
            ("stopped at", _shown(result.lrs[-1]), f"by {stopped}, after {len(result.lrs)} steps"),
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
    from search.reporting.pages.html import new_figure

    result = page.result
    figure = new_figure()
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
        text=f"suggested {_shown(lr)}",
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


if __name__ == "__main__":
    raise SystemExit(run_command(main))
