"""`python -m search.retrain`: trains the best trials, or a recipe, in full and reports them on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.recipe import recipe_names
from search.cli import Parser, duration, natural, non_negative_count, positive, run_command
from search.settings import STUDIES_FOLDER, SearchSettings

if TYPE_CHECKING:
    from cifar.candidate import Candidate
    from search.run_report import Outcome


def parser() -> Parser:
    """The command's options."""
    p = Parser("retrain", "Train the best trials of a study, or a recipe, in full; report them on the test images.")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--trial", default="best", help="best, a trial's number, or top-K")
    what.add_argument("--recipe", help=f"a built-in recipe ({', '.join(recipe_names())}) or a TOML file")
    what.add_argument("--list-recipes", action="store_true", help="print the built-in recipes with what they cost")
    p.add_argument("--study", default="resnet_budget5m", help="name of the study")
    p.add_argument("--storage", help="Optuna storage of the study (default: studies/<study>/study.db)")
    p.add_argument("--space", help="space that defines the study's own network classes (a Python file or module)")
    p.add_argument("--data", help="images, as for search.run (default: the study's)")
    p.add_argument("--epochs", type=positive, help="passes over the training images (default: the recipe's)")
    p.add_argument("--time-budget", type=duration, help="fit the epochs to this time, such as 5m")
    p.add_argument(
        "--val-size",
        type=non_negative_count,
        help="training images kept for validation (default: 0 for trials, the recipe's for recipes)",
    )
    p.add_argument("--train-size", type=natural, help="train on a fixed stratified subset of this size")
    p.add_argument("--keep", choices=("last", "best", "ema"), help="weights to keep (default: the recipe's)")
    p.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights: a torchvision state dict")
    p.add_argument("--unfreeze", metavar="PARTS", help="pretrained parts to train, such as layer3,layer4; all; none")
    p.add_argument("--tta", action="store_true", help="report test-time augmentation too, apart")
    p.add_argument("--tensorboard", action="store_true", help="write a TensorBoard event file too (needs tensorboard)")
    p.add_argument("--seed", type=int, default=0, help="of weights, data order and augmentation")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps")
    p.add_argument("--deterministic", action="store_true", help="equal seeds give equal weights")
    p.add_argument("--out", type=Path, help="folder of the run (default: studies/<study>/runs/<name>)")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, trains each candidate, prints its report."""
    args = parser().parse_args(argv)
    if args.list_recipes:
        from search.recipe_table import print_recipes

        print_recipes()
        return
    from cifar.data import prepare
    from cifar.device import choose_device
    from cifar.seeds import use_deterministic_algorithms
    from search.retraining import RetrainSettings, retrain

    device = choose_device(args.device)
    if args.deterministic:
        use_deterministic_algorithms()
    named, source = recipe_candidate(args.recipe) if args.recipe else trial_candidates(args)
    if args.weights is not None or args.unfreeze is not None:
        named = [(name, title, transferred(candidate, args)) for name, title, candidate in named]
    val_size = args.val_size
    if val_size is None and not args.recipe:
        val_size = 5000 if args.keep == "best" else 0
    settings = RetrainSettings(
        epochs=args.epochs,
        time_budget=args.time_budget,
        val_size=val_size,
        keep=args.keep,
        tta=args.tta,
        seed=args.seed,
        train_size=args.train_size,
    )
    data = prepare(args.data or source)
    outcomes = []
    for name, title, candidate in named:
        folder = args.out or default_folder(args, name)
        folder = folder / name if args.out and len(named) > 1 else folder
        print(f"{title}: {candidate.cost.parameters:,} parameters, on {device.describe()}", flush=True)
        outcome = retrain(candidate, title, folder, data, settings, device, say=_say, tensorboard=args.tensorboard)
        outcomes.append(outcome)
        print_outcome(outcome)
        if args.recipe in recipe_names() and args.out is None:
            from search.reference_card import record

            print(f"card    {record(args.recipe, outcome)}")
    if len(outcomes) > 1:
        print_comparison(outcomes)


Named = list[tuple[str, str, "Candidate"]]  # folder name, title, candidate


def recipe_candidate(recipe: str) -> tuple[Named, None]:
    """The candidate of a built-in recipe or a TOML file; it brings no data source."""
    from cifar.candidate import Candidate

    path = Path(recipe)
    candidate = Candidate.from_toml(path) if path.suffix == ".toml" else Candidate.named(recipe)
    return [(f"recipe-{path.stem}", f"recipe {path.stem}", candidate)], None


def transferred(candidate: Candidate, args: object) -> Candidate:
    """The candidate with --weights and --unfreeze, for networks that start from ImageNet weights."""
    from dataclasses import replace

    from cifar.transfer import with_options

    weights, unfreeze = (getattr(args, name) for name in ("weights", "unfreeze"))
    return replace(candidate, network=with_options(candidate.network, weights=weights, unfreeze=unfreeze))


def trial_candidates(args: object) -> tuple[Named, str | None]:
    """The candidates of the chosen trials, and the data source of their study."""
    from cifar.candidate import Candidate
    from search.models import register_networks
    from search.study import CANDIDATE, SOURCE, choose_trials, require_study

    study_name, storage, space, wanted = (getattr(args, name) for name in ("study", "storage", "space", "trial"))
    register_networks(space)
    study = require_study(SearchSettings(study=study_name, storage=storage))
    named: Named = []
    for trial in choose_trials(study, wanted):
        title = f"trial {trial.number} of study {study_name}"
        named.append((f"trial-{trial.number}", title, Candidate.from_dict(trial.user_attrs[CANDIDATE], where=title)))
    source = study.user_attrs.get(SOURCE)
    return named, None if source == "official CIFAR-10" else source


def default_folder(args: object, name: str) -> Path:
    """`studies/<study>/runs/<name>-seed<seed>`; a recipe's run belongs to the study `reference`."""
    study = "reference" if getattr(args, "recipe", None) else getattr(args, "study", "")
    return STUDIES_FOLDER / study / "runs" / f"{name}-seed{getattr(args, 'seed', 0)}"


def _say(line: str) -> None:
    print(line, flush=True)


def print_outcome(outcome: Outcome) -> None:
    """Prints the per-class table, the accuracies and where the files are."""
    from rich.console import Console
    from rich.table import Table

    main_evaluation = next(iter(outcome.evaluations.values()))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("class", no_wrap=True)
    for name in ("images", "accuracy", "95 % interval", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in main_evaluation.classes:
        table.add_row(
            row.name,
            f"{row.support:,}",
            f"{100 * row.accuracy:.1f} %",
            f"{100 * row.low:.1f}–{100 * row.high:.1f}",  # noqa: RUF001
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            f"{row.f1:.3f}",
        )
    console = Console(highlight=False)
    console.print(table)
    for name, evaluation in outcome.evaluations.items():
        console.print(
            f"{name}: {100 * evaluation.accuracy:.2f} % "
            f"(95 % interval {100 * evaluation.low:.2f} to {100 * evaluation.high:.2f}) of {evaluation.count:,} images",
            soft_wrap=True,
        )
    console.print(f"report  {outcome.folder / 'report.html'}", soft_wrap=True)
    console.print(
        f"submit  python -m search.submit --model {outcome.folder} --pkl FILE.pkl --out submission.csv",
        soft_wrap=True,
    )


def print_comparison(outcomes: Sequence[Outcome]) -> None:
    """Prints the runs side by side, best test accuracy first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run", no_wrap=True)
    for name in ("test accuracy", "95 % interval", "parameters", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in sorted(outcomes, key=lambda o: -o.evaluations["test"].accuracy):
        test = outcome.evaluations["test"]
        table.add_row(
            outcome.title,
            f"{100 * test.accuracy:.2f} %",
            f"{100 * test.low:.2f} to {100 * test.high:.2f}",
            f"{outcome.parameters:,}",
            f"{outcome.seconds:.0f}",
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
