"""Finalists in the terminal, as `finalists.csv` (one row a finalist) and as `finalists.md`."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cifar.files import write_text
from search.format import (
    format_duration,
    format_millions,
    format_p_value,
    format_percent,
    format_points,
    format_points_range,
    format_range,
)
from search.reporting.tables import Section, Table, markdown, print_sections, write_csv
from search.retraining.finalists import FinalistPair, Finals, Sample

SPREAD = (
    "Intervals are Student's over training seeds; few seeds make them wide, and they do not tell how far other images "
    "would move the figures. One seed, or seeds that all gave the same, have no interval."
)
PAIRS = (
    "Differences are taken seed by seed; each interval is of its pair alone. P-values are of Student's paired t test "
    "and, in the last column, after Holm's correction for all pairs."
)
CHOSEN = (
    "A search picks trials by validation images that may be among these, which flatters the trials picked; test images "
    "pick nothing."
)


def print_finals(finals: Finals) -> None:
    """Prints the finalists, the verdict, and then what the test images say."""
    console = Console(highlight=False)
    for section in _validation(finals):
        console.print()
        print_sections([section], console)
    console.print(Text(f"\n{finals.verdict}\n", style="bold"), soft_wrap=True)
    print_sections([_test_and_cost(finals)], console)
    console.print(f"\n{SPREAD}", style="dim")


def write_finals(folder: Path, stem: str, title: str, finals: Finals) -> list[Path]:
    """Writes `<stem>.csv` and `<stem>.md`; returns their paths.

    Args:
        folder: where.
        stem: beginning of the files' names.
        title: heading of the page.
        finals: what to write.
    """
    table, page = folder / f"{stem}.csv", folder / f"{stem}.md"
    write_csv(table, _rows(finals))
    write_text(page, "\n".join(_lines(title, finals)).rstrip() + "\n")
    return [table, page]


# ---- for people


def _lines(title: str, finals: Finals) -> list[str]:
    run = finals.leader.record
    sections = _validation(finals, (SPREAD, CHOSEN) if len(finals.finalists) > 1 else (SPREAD,))
    sections += [_pairs(finals)] if finals.pairs else []
    return [
        f"# {title}",
        "",
        f"Written by `python -m search.retrain --seeds` on {time.strftime('%Y-%m-%d')}; {run.train_images:,} "
        f"training images of `{Path(run.source).name}`, {run.device}.",
        "",
        f"Verdict: **{finals.verdict}**.",
        "",
        *markdown([*sections, _test_and_cost(finals), _runs(finals)]),
    ]


def _validation(finals: Finals, notes: tuple[str, ...] = ()) -> list[Section]:
    """The accuracy that the choice is made by; nothing without validation images."""
    rows = [(one.name, *_spread(one.validation)) for one in finals.finalists if one.validation]
    if not rows:
        return []
    seeds = f"seed{'s' * (len(finals.leader.seeds) > 1)} {', '.join(map(str, finals.leader.seeds))}"
    title = f"Validation accuracy: {finals.leader.record.val_images:,} images, {seeds}"
    columns = ("finalist", "mean", "95 % interval", "standard deviation", "least", "most")
    return [Section(title, (Table(columns, tuple(rows)),), notes)]


def _spread(sample: Sample) -> tuple[str, ...]:
    deviation = "none" if sample.deviation is None else format_percent(sample.deviation, unit="")
    ends = (format_percent(end, unit="") for end in (min(sample.values), max(sample.values)))
    return format_percent(sample.mean), _interval(sample), deviation, *ends


def _test_and_cost(finals: Finals) -> Section:
    rows = [
        (
            one.name,
            format_percent(one.test.mean),
            _interval(one.test),
            f"{one.cost.parameters:,}",
            format_millions(one.cost.macs),
            format_duration(one.seconds),
        )
        for one in finals.finalists
    ]
    columns = ("finalist", "mean", "95 % interval", "parameters", "MACs", "time")
    return Section("Test accuracy, by which nothing was chosen, and cost of one run", (Table(columns, tuple(rows)),))


def _pairs(finals: Finals) -> Section:
    rows = [(f"{pair.better.name} less {pair.other.name}", *_figures(pair)) for pair in finals.pairs]
    columns = ("pair", "difference", "95 % interval", "p", "after Holm")
    return Section("Pairs, on the validation images", (Table(columns, tuple(rows)),), (PAIRS,))


def _figures(pair: FinalistPair) -> tuple[str, ...]:
    test = pair.test
    interval = "none" if test.interval is None else format_points_range(*test.interval)
    return f"{format_points(test.difference)} points", interval, format_p_value(test.p), format_p_value(pair.adjusted_p)


def _runs(finals: Finals) -> Section:
    rows = [
        (
            one.name,
            str(seed),
            "none" if one.validation is None else format_percent(one.validation.values[index]),
            format_percent(one.test.values[index]),
            f"{one.epochs[index]:g}",
            f"`{one.folders[index].as_posix()}`",
        )
        for one in finals.finalists
        for index, seed in enumerate(one.seeds)
    ]
    columns = ("finalist", "seed", "validation", "test", "passes", "folder")
    return Section("Runs", (Table(columns, tuple(rows)),))


def _interval(sample: Sample) -> str:
    return "none" if sample.interval is None else format_range(*sample.interval)


# ---- for programs


def _rows(finals: Finals) -> list[dict[str, object]]:
    against = {pair.other.name: pair for pair in finals.leaders_pairs}
    return [
        {
            "finalist": one.name,
            "seeds": " ".join(map(str, one.seeds)),
            "val_images": one.record.val_images,
            **_columns("val", one.validation),
            **_against(against.get(one.name)),
            **_columns("test", one.test),
            "parameters": one.cost.parameters,
            "macs": one.cost.macs,
            "epochs": statistics.fmean(one.epochs),
            "training_seconds": one.seconds,
        }
        for one in finals.finalists
    ]


def _columns(split: str, sample: Sample | None) -> dict[str, object]:
    """Columns of one split's accuracy; empty cells where there is none."""
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
