"""`python -m search.show`: a study, one of its trials, or the list of all studies, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from search.cli import Parser, run_command
from search.settings import SearchSettings


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "show",
        "Show a study, one of its trials, or which studies there are; nothing is written or served.",
        ("--list", "--study pictures --trial 7"),
    )
    p.add_study_options()
    what = p.choice_of_one()
    what.add_argument("--trial", help="show these trials: best, a trial's number, top-K (by value), or front")
    what.add_argument(
        "--list",
        action="store_true",
        help="list the studies in studies/, or of --storage, with their trials, best values and sizes on disk",
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses and prints."""
    args = parser().parse_args(argv)
    from rich.console import Console

    from search.reporting.studies.show_sections import list_section, study_sections, trial_sections
    from search.reporting.tables import print_sections
    from search.study.standing import choose_trials
    from search.study.study import require_study

    if args.list:
        sections = [list_section(args.storage)]
    else:
        study = require_study(SearchSettings(study=args.study, storage=args.storage))
        trials = choose_trials(study, args.trial) if args.trial else []
        sections = trial_sections(study, trials) if trials else study_sections(study)
    print_sections(sections, Console(highlight=False))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
