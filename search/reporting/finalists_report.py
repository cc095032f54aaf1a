"""Finalists in the terminal, as `finalists.csv` (one row a finalist) and as `finalists.md`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cifar.files import read_json, write_text
from search.format import format_duration
from search.retraining.comparison import p_words, points
from search.retraining.finalists import FinalistPair, Finals, Sample
from search.retraining.run_record import RUN

SPREAD = (
    "Intervals are Student's over training seeds; few seeds make them wide, and how far other images would move the "
    "figures they do not tell. One seed, or seeds that all gave the same, have no interval."
)
PAIRS = (
    "Differences are taken seed by seed; each interval is of its pair alone, p-values are of Student's paired t test "
    "and, in the last column, after Holm's correction for all pairs."
)
CHOSEN = (
    "A search picks trials by validation images that may be among these, which flatters the trials picked; test images "
    "pick nothing."
)


@dataclass(frozen=True)
class Section:
    """A table with its title."""

    title: str
    columns: tuple[str, ...]
    """The first names a row, the others hold figures."""
    rows: tuple[tuple[str, ...], ...]


def print_finals(finals: Finals) -> None:
    """Prints the finalists, the verdict, and then what the test images say."""
    console = Console(highlight=False)
    before, after = _validation(finals), _test_and_cost(finals)
    for section in before:
        _print(console, section)
    console.print(Text(f"\n{finals.verdict}", style="bold"), soft_wrap=True)
    _print(console, after)
    console.print(f"\n{SPREAD}", style="dim")


def _print(console: Console, section: Section) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(section.columns[0], overflow="fold")
    for name in section.columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in section.rows:
        table.add_row(*map(Text, row))
    console.print(f"\n{section.title}", soft_wrap=True)
    console.print(table)


def write_finals(folder: Path, stem: str, title: str, finals: Finals) -> list[Path]:
    """Writes `<stem>.csv` and `<stem>.md`; returns their paths.

    Args:
        folder: where.
        stem: of the files' names.
        title: heading of the page.
        finals: what to write.
    """
    table, page = folder / f"{stem}.csv", folder / f"{stem}.md"
    write_text(table, pd.DataFrame(_rows(finals)).to_csv(index=False, lineterminator="\n"))
    write_text(page, "\n".join(_lines(title, finals)) + "\n")
    return [table, page]


# ---- tables for people


def _validation(finals: Finals) -> list[Section]:
    if finals.leader.validation is None:
        return []
    seeds = f"seed{'s' * (len(finals.leader.seeds) > 1)} {', '.join(map(str, finals.leader.seeds))}"
    found = (one.validation for one in finals.finalists)
    rows = [(one.name, *_spread(sample)) for one, sample in zip(finals.finalists, found, strict=True) if sample]
    return [
        Section(
            f"Validation accuracy: {finals.leader.val_images:,} images, {seeds}",
            ("finalist", "mean", "95 % interval", "standard deviation", "least", "most"),
            tuple(rows),
        )
    ]


def _spread(sample: Sample) -> tuple[str, ...]:
    deviation = "none" if sample.deviation is None else f"{100 * sample.deviation:.2f}"
    return (
        _mean(sample),
        _interval(sample),
        deviation,
        f"{100 * min(sample.values):.2f}",
        f"{100 * max(sample.values):.2f}",
    )


def _test_and_cost(finals: Finals) -> Section:
    rows = [
        (
            one.name,
            _mean(one.test),
            _interval(one.test),
            f"{one.parameters:,}",
            f"{one.macs / 1e6:,.1f} M",
            format_duration(one.seconds),
        )
        for one in finals.finalists
    ]
    return Section(
        "Test accuracy, by which nothing was chosen, and cost of one run",
        ("finalist", "mean", "95 % interval", "parameters", "MACs", "time"),
        tuple(rows),
    )


def _pairs(finals: Finals) -> Section:
    return Section(
        "Pairs, on the validation images",
        ("pair", "difference", "95 % interval", "p", "after Holm"),
        tuple((f"{pair.better.name} less {pair.other.name}", *_figures(pair)) for pair in finals.pairs),
    )


def _figures(pair: FinalistPair) -> tuple[str, ...]:
    ends = pair.test.interval
    interval = "none" if ends is None else f"{points(ends[0])} to {points(ends[1])}"
    return f"{points(pair.test.difference)} points", interval, p_words(pair.test.p), p_words(pair.adjusted_p)


def _runs(finals: Finals) -> Section:
    rows = [
        (
            one.name,
            str(seed),
            "none" if one.validation is None else f"{100 * one.validation.values[index]:.2f} %",
            f"{100 * one.test.values[index]:.2f} %",
            f"{one.epochs[index]:g}",
            f"`{one.folders[index].as_posix()}`",
        )
        for one in finals.finalists
        for index, seed in enumerate(one.seeds)
    ]
    return Section("Runs", ("finalist", "seed", "validation", "test", "passes", "folder"), tuple(rows))


def _mean(sample: Sample) -> str:
    return f"{100 * sample.mean:.2f} %"


def _interval(sample: Sample) -> str:
    return "none" if sample.interval is None else f"{100 * sample.interval[0]:.2f} to {100 * sample.interval[1]:.2f}"


# ---- files


def _lines(title: str, finals: Finals) -> Iterator[str]:
    run = read_json(finals.leader.folders[0] / RUN)
    yield from (
        f"# {title}",
        "",
        f"Written by `python -m search.retrain --seeds` on {time.strftime('%Y-%m-%d')}; {run['train_images']:,} "
        f"training images of `{Path(run['source']).name}`, {run['device']}.",
        "",
        f"Verdict: **{finals.verdict}**.",
    )
    for section in _validation(finals):
        yield from (*_markdown(section), "", SPREAD)
    if len(finals.finalists) > 1:
        yield from ("", CHOSEN)
    if finals.pairs:
        yield from (*_markdown(_pairs(finals)), "", PAIRS)
    for section in (_test_and_cost(finals), _runs(finals)):
        yield from _markdown(section)


def _markdown(section: Section) -> Iterator[str]:
    yield from ("", f"## {section.title}", "")
    yield from (_cells(section.columns), "|---" + "|---:" * (len(section.columns) - 1) + "|")
    yield from map(_cells, section.rows)


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(finals: Finals) -> list[dict[str, object]]:
    against = {pair.other.name: pair for pair in finals.leaders_pairs}
    return [
        {
            "finalist": one.name,
            "seeds": " ".join(map(str, one.seeds)),
            "val_images": one.val_images,
            **_columns("val", one.validation),
            **_against(against.get(one.name)),
            **_columns("test", one.test),
            "parameters": one.parameters,
            "macs": one.macs,
            "epochs": statistics.fmean(one.epochs),
            "training_seconds": one.seconds,
        }
        for one in finals.finalists
    ]


def _columns(split: str, sample: Sample | None) -> dict[str, object]:
    """Of one split's accuracy; empty cells where there is none."""
    names = [f"{split}_{name}" for name in ("accuracies", "mean", "low", "high", "deviation", "min", "max")]
    if sample is None:
        return dict.fromkeys(names)
    values = " ".join(f"{value:.6g}" for value in sample.values)
    low, high = sample.interval or (None, None)
    figures = (values, sample.mean, low, high, sample.deviation, min(sample.values), max(sample.values))
    return dict(zip(names, figures, strict=True))


def _against(pair: FinalistPair | None) -> dict[str, object]:
    """The leader less this finalist, on the validation images; empty cells for the leader itself."""
    names = ("leader_less_this", "difference_low", "difference_high", "p", "p_holm")
    if pair is None:
        return dict.fromkeys(names)
    low, high = pair.test.interval or (None, None)
    return dict(zip(names, (pair.test.difference, low, high, pair.test.p, pair.adjusted_p), strict=True))
