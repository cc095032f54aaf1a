"""`python -m search.report`: what a study tells, or, with `--compare`, finished runs side by side.

In the terminal, as CSV files, as Markdown and as an HTML page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, run_command
from search.settings import SearchSettings

if TYPE_CHECKING:
    from search.retraining.finished_run import FinishedRun


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "report",
        "Report a study: whether its short runs can be trusted, plan against actual, accuracy against size. Or compare "
        "finished runs: accuracies, McNemar's test on the paired predictions, costs.",
        ("--study pictures", "--compare final cpu_fast --out comparison"),
    )
    p.add_study_options()
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
    print(f"wrote       {', '.join(str(path) for path in paths)}")


def report_study(name: str, storage: str | None, out: Path | None) -> list[Path]:
    """Prints the report of a study and writes it into `out`, or the study's folder; the files' paths."""
    from rich.console import Console

    from search.reporting.studies.study_files import write_study_report
    from search.reporting.studies.study_report import require_trained, study_report
    from search.reporting.studies.study_sections import sections
    from search.reporting.study_page.page import write_study_page
    from search.reporting.tables import print_sections
    from search.study.folder import claim_folder
    from search.study.study import require_study

    settings = SearchSettings(study=name, storage=storage)
    study = require_study(settings)
    if out is None:
        claim_folder(settings, study)
    report = study_report(study, settings.folder)
    require_trained(report)
    paths = write_study_report(out or settings.folder, report)
    paths.append(write_study_page(study, settings.folder, report, out=out))
    print_sections(sections(report), Console(highlight=False))
    print()
    return paths


def compare_runs(runs: Sequence[str], out: Path) -> list[Path]:
    """Prints a comparison of finished runs and writes it into `out`; the files' paths."""
    from rich.console import Console

    from search.reporting.runs.comparison_files import write_comparison
    from search.reporting.runs.comparison_sections import comparison_sections
    from search.reporting.tables import print_sections
    from search.retraining.comparison import compare

    comparison = compare(_runs(runs))
    paths = write_comparison(out, comparison)
    print_sections(comparison_sections(comparison), Console(highlight=False), wrap=False)
    return paths


def _runs(given: Sequence[str]) -> list[FinishedRun]:
    """The runs, named by their folders; where two folders have one name, as they were given."""
    from search.retraining.finished_run import find_run, load_run

    folders = [find_run(text) for text in given]
    counts = Counter(folder.resolve().name for folder in folders)
    names = [folder.resolve().name if counts[folder.resolve().name] == 1 else str(folder) for folder in folders]
    return [load_run(folder, name) for folder, name in zip(folders, names, strict=True)]


if __name__ == "__main__":
    raise SystemExit(run_command(main))
