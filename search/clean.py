"""`python -m search.clean`: removes checkpoints that nobody will use, which only killed processes leave behind."""

from __future__ import annotations

from collections.abc import Sequence

from search.cli import Parser, run_command
from search.settings import SearchSettings


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "clean",
        "Remove a study's checkpoints that no trial continues from and no model is made of, as killed processes leave "
        "them; a search may run meanwhile. Trials, models, runs and paused trials' checkpoints stay.",
        ("--study pictures --dry-run", "--study pictures"),
    )
    p.add_study_options()
    p.add_argument("--checkpoints", help="folder or URL of the checkpoints, where search.run was given one")
    p.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, removes, and says what that freed."""
    args = parser().parse_args(argv)
    from search.format import format_bytes
    from search.study.checkpoints import CHECKPOINTS, checkpoint_folder_of
    from search.study.leftovers import leftovers
    from search.study.study import require_study

    settings = SearchSettings(study=args.study, storage=args.storage, checkpoints=args.checkpoints)
    study = require_study(settings)
    folder = checkpoint_folder_of(study, settings)
    freed, found = 0, leftovers(study, folder, own=folder == settings.folder / CHECKPOINTS)
    for path in found:
        freed += path.stat().st_size
        if not args.dry_run:
            path.unlink(missing_ok=True)
    said = "would free" if args.dry_run else "freed"
    print(f"{said} {format_bytes(freed)}: {len(found)} checkpoint{'s' * (len(found) != 1)} in {folder}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
