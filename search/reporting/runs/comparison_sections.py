"""The words and tables of a comparison of finished runs."""

from __future__ import annotations

from search.format import (
    format_duration,
    format_millions,
    format_p_value,
    format_percent,
    format_points,
    format_points_range,
    format_range,
)
from search.reporting.tables import Section, Table
from search.retraining.comparison import CAVEAT, Comparison, Pair, letter


def comparison_sections(comparison: Comparison) -> list[Section]:
    """The runs, each run against the first, and what the verdicts do not say."""
    pairs = [_pair_section(comparison, pair, letter(index)) for index, pair in enumerate(comparison.pairs, start=1)]
    return [Section("", (_run_table(comparison),)), *pairs, Section("", (), (CAVEAT,))]


def _run_table(comparison: Comparison) -> Table:
    rows = [
        (
            letter(index),
            run.name,
            format_percent(run.accuracy),
            format_range(*run.interval),
            f"{run.cost.parameters:,}",
            format_millions(run.cost.macs),
            format_duration(run.record.seconds),
        )
        for index, run in enumerate(comparison.runs)
    ]
    columns = ("", "run", "test accuracy", "95 % interval", "parameters", "MACs", "training")
    return Table(columns, tuple(rows), words=(0, 1))


def _pair_section(comparison: Comparison, pair: Pair, name: str) -> Section:
    test, p = pair.test, format_p_value(pair.test.p)
    if len(comparison.pairs) > 1:
        p += f", {format_p_value(pair.adjusted_p)} after Holm's correction for {len(comparison.pairs)} comparisons"
    return Section(
        f"{name} against A: {pair.verdict}",
        (
            f"difference {format_points(pair.difference)} points, "
            f"95 % interval {format_points_range(pair.low, pair.high)}",
            f"images that only {name} got right: {test.only_second:,}; only A: {test.only_first:,}",
            f"McNemar's test ({test.method}): {p}",
            _class_table(pair, name),
        ),
    )


def _class_table(pair: Pair, name: str) -> Table:
    rows = [
        (
            row.name,
            f"{row.images:,}",
            format_percent(row.first, 1),
            format_percent(row.second, 1),
            format_points(row.difference, 1),
            format_points_range(row.low, row.high, 1),
        )
        for row in pair.classes
    ]
    return Table(("class", "images", "A", name, f"{name} - A", "95 % interval"), tuple(rows))
