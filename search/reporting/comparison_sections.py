"""The words and tables of a comparison of finished runs."""

from __future__ import annotations

from search.format import format_duration, format_millions
from search.reporting.tables import Section, Table
from search.retraining.comparison import CAVEAT, Comparison, Pair, letter, p_words, points


def comparison_sections(comparison: Comparison) -> list[Section]:
    """The runs, each run against the first, and what the verdicts do not say."""
    pairs = [_pair_section(comparison, pair, letter(index)) for index, pair in enumerate(comparison.pairs, start=1)]
    return [Section("", (_run_table(comparison),)), *pairs, Section("", (), (CAVEAT,))]


def _run_table(comparison: Comparison) -> Table:
    rows = []
    for index, run in enumerate(comparison.runs):
        low, high = run.interval
        rows.append(
            (
                letter(index),
                run.name,
                f"{100 * run.accuracy:.2f} %",
                f"{100 * low:.2f} to {100 * high:.2f}",
                f"{run.parameters:,}",
                format_millions(run.macs),
                format_duration(run.seconds),
            )
        )
    columns = ("", "run", "test accuracy", "95 % interval", "parameters", "MACs", "training")
    return Table(columns, tuple(rows), words=(0, 1))


def _pair_section(comparison: Comparison, pair: Pair, name: str) -> Section:
    test, p = pair.test, p_words(pair.test.p)
    if len(comparison.pairs) > 1:
        p += f", {p_words(pair.adjusted_p)} after Holm's correction for {len(comparison.pairs)} comparisons"
    return Section(
        f"{name} against A: {pair.verdict}",
        (
            f"difference {points(pair.difference)} points, 95 % interval {points(pair.low)} to {points(pair.high)}",
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
            f"{100 * row.first:.1f} %",
            f"{100 * row.second:.1f} %",
            points(row.difference, 1),
            f"{points(row.low, 1)} to {points(row.high, 1)}",
        )
        for row in pair.classes
    ]
    return Table(("class", "images", "A", name, f"{name} - A", "95 % interval"), tuple(rows))
