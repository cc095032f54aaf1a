"""`python -m search.report`: what a study tells, or, with `--compare`, finished runs side by side.

In the terminal, as CSV files, and as Markdown or an HTML page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, run_command
from search.format import (
    format_duration,
    format_millions,
    format_p_value,
    format_percent,
    format_points,
    format_points_range,
    format_range,
)
from search.settings import SearchSettings

if TYPE_CHECKING:
    from rich.table import Table

    from search.retraining.comparison import Comparison, Pair
    from search.retraining.finished_run import FinishedRun


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "report",
        "Report a study: whether its short runs can be trusted, plan against actual, accuracy against size. Or compare "
        "finished runs: accuracies, McNemar's test on the paired predictions, costs.",
    )
    p.add_argument("--study", default="resnet_budget5m", help="name of the study")
    p.add_argument("--storage", help="Optuna storage of the study (default: studies/<study>/study.db)")
    p.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="folders of finished runs, or names of runs in studies/*/runs/; each is compared with the first",
    )
    p.add_argument(
        "--out", type=Path, help="folder for the files (default: studies/<study>; with --compare, comparison)"
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reports or compares, prints, writes."""
    args = parser().parse_args(argv)
    if args.compare is None:
        paths = report_study(args.study, args.storage, args.out)
    else:
        paths = compare_runs(args.compare, args.out or Path("comparison"))
    print(f"wrote   {', '.join(str(path) for path in paths)}")


def report_study(name: str, storage: str | None, out: Path | None) -> list[Path]:
    """Prints the report of a study and writes it into `out`, or the study's folder; the files' paths."""
    from rich.console import Console

    from search.reporting.study_report import study_report, write_study_report
    from search.reporting.study_sections import sections
    from search.reporting.tables import print_sections
    from search.study.study import require_study

    settings = SearchSettings(study=name, storage=storage)
    report = study_report(require_study(settings), settings.folder)
    paths = write_study_report(out or settings.folder, report)
    print_sections(sections(report), Console(highlight=False))
    print()
    return paths


def compare_runs(runs: Sequence[str], out: Path) -> list[Path]:
    """Prints a comparison of finished runs and writes it into `out`; the files' paths."""
    from search.reporting.comparison_files import write_comparison
    from search.retraining.comparison import compare

    comparison = compare(_runs(runs))
    paths = write_comparison(out, comparison)
    print_comparison(comparison)
    return paths


def _runs(given: Sequence[str]) -> list[FinishedRun]:
    """The runs, named by their folders; where two folders have one name, as they were given."""
    from search.retraining.finished_run import find_run, load_run

    folders = [find_run(text) for text in given]
    counts = Counter(folder.resolve().name for folder in folders)
    names = [folder.resolve().name if counts[folder.resolve().name] == 1 else str(folder) for folder in folders]
    return [load_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def print_comparison(comparison: Comparison) -> None:
    """Prints the runs, the tests and the differences by class."""
    from rich.console import Console

    from search.retraining.comparison import CAVEAT, letter

    console = Console(highlight=False)
    console.print(_run_table(comparison))
    for index, pair in enumerate(comparison.pairs, start=1):
        console.print()
        console.print(f"{letter(index)} against A: {pair.verdict}", style="bold")
        console.print("\n".join(_pair_lines(comparison, pair, letter(index))), soft_wrap=True)
        console.print(_class_table(pair, letter(index)))
    console.print()
    console.print(CAVEAT, style="dim")


def _run_table(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    from search.retraining.comparison import letter

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("run", overflow="fold")
    for name in ("test accuracy", "95 % interval", "parameters", "MACs", "training"):
        table.add_column(name, justify="right", no_wrap=True)
    for index, run in enumerate(comparison.runs):
        table.add_row(
            letter(index),
            Text(run.name),
            format_percent(run.accuracy),
            format_range(*run.interval),
            f"{run.cost.parameters:,}",
            format_millions(run.cost.macs),
            format_duration(run.record.seconds),
        )
    return table


def _pair_lines(comparison: Comparison, pair: Pair, name: str) -> list[str]:
    test, p = pair.test, format_p_value(pair.test.p)
    if len(comparison.pairs) > 1:
        p += f", {format_p_value(pair.adjusted_p)} after Holm's correction for {len(comparison.pairs)} comparisons"
    return [
        f"difference {format_points(pair.difference)} points, 95 % interval {format_points_range(pair.low, pair.high)}",
        f"images that only {name} got right: {test.only_second:,}; only A: {test.only_first:,}",
        f"McNemar's test ({test.method}): {p}",
    ]


def _class_table(pair: Pair, name: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("class", overflow="fold")
    for column in ("images", "A", name, f"{name} - A", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in pair.classes:
        table.add_row(
            Text(row.name),
            f"{row.images:,}",
            format_percent(row.first, 1),
            format_percent(row.second, 1),
            format_points(row.difference, 1),
            format_points_range(row.low, row.high, 1),
        )
    return table


if __name__ == "__main__":
    raise SystemExit(run_command(main))
