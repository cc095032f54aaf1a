"""`python -m search.retrain`: trains the best trials, or a recipe, in full and reports them on the test images.

With --seeds each candidate is trained once a seed, and the candidates are compared over the seeds.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.recipe import recipe_names
from search.cli import Parser, duration, natural, non_negative_count, positive, run_command
from search.settings import STUDIES_FOLDER, SearchSettings

if TYPE_CHECKING:
    from cifar.candidate import Candidate
    from cifar.data.prepare import PreparedData
    from search.retraining.retrainer import RetrainSettings
    from search.retraining.run_record import Outcome

VAL_SIZE = 5000
"""Validation images that are kept where there is something to choose by them."""


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
    p.add_argument("--time-budget", type=duration, help="fit the epochs of a run to this time, such as 5m")
    p.add_argument(
        "--val-size",
        type=non_negative_count,
        help=f"training images kept for validation (default: 0 for trials, the recipe's for recipes; with --seeds "
        f"above 1, and for trials with --keep best, {VAL_SIZE} where that is 0)",
    )
    p.add_argument("--train-size", type=natural, help="train on a fixed stratified subset of this size")
    p.add_argument("--keep", choices=("last", "best", "ema"), help="weights to keep (default: the recipe's)")
    p.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights: a torchvision state dict")
    p.add_argument("--unfreeze", metavar="PARTS", help="pretrained parts to train, such as layer3,layer4; all; none")
    p.add_argument("--tta", action="store_true", help="report test-time augmentation too, apart")
    p.add_argument("--tensorboard", action="store_true", help="write a TensorBoard event file too (needs tensorboard)")
    p.add_argument("--seed", type=int, default=0, help="of weights, data order and augmentation")
    p.add_argument(
        "--seeds",
        type=natural,
        default=1,
        help="train each candidate once for each of so many seeds, --seed, --seed + 1 and on, and compare the "
        "candidates over them: by validation accuracy, test accuracy beside it",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps")
    p.add_argument("--deterministic", action="store_true", help="equal seeds give equal weights")
    p.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="compile the network; auto does on CUDA, after the first epoch if 5 more minutes are to come, and never "
        "with --deterministic: a compiled run that is continued ends in slightly other weights",
    )
    p.add_argument(
        "--out",
        type=Path,
        help="folder of the run, or of several runs' folders (default: studies/<study>/runs/<name>)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, trains each candidate, prints its report."""
    args = parser().parse_args(argv)
    if args.list_recipes:
        from search.reporting.recipe_table import print_recipes

        print_recipes()
        return
    from cifar.data.prepare import prepare
    from cifar.runtime.device import choose_device
    from cifar.runtime.seeds import use_deterministic_algorithms
    from search.retraining.retrainer import RetrainSettings, retrain

    device = choose_device(args.device)
    if args.deterministic:
        use_deterministic_algorithms()
    named, source = recipe_candidate(args.recipe) if args.recipe else trial_candidates(args)
    if args.weights is not None or args.unfreeze is not None:
        named = [(name, title, transferred(candidate, args)) for name, title, candidate in named]
    settings = RetrainSettings(
        epochs=args.epochs,
        time_budget=args.time_budget,
        val_size=validation_size(args, named),
        keep=args.keep,
        tta=args.tta,
        seed=args.seed,
        train_size=args.train_size,
    )
    data = prepare(args.data or source)
    runs = planned_runs(args, named)
    require_folders(args, runs, data, settings)
    if args.seeds > 1:
        print(announcement(args, runs, settings), flush=True)
    outcomes: dict[str, dict[int, Outcome]] = {run.name: {} for run in runs}
    for run in runs:
        seed = f", seed {run.seed}" if args.seeds > 1 else ""
        cost = f"{run.candidate.cost.parameters:,} parameters"
        print(f"{run.title}{seed}: {cost}, on {device.describe()}", flush=True)
        outcome = retrain(
            run.candidate,
            run.title,
            run.folder,
            data,
            settings_of(run, settings, outcomes[run.name]),
            device,
            say=_say,
            tensorboard=args.tensorboard,
            compile=args.compile,
        )
        outcomes[run.name][run.seed] = outcome
        (print_briefly if args.seeds > 1 else print_outcome)(outcome)
        if args.recipe in recipe_names() and args.out is None:
            from search.reporting.reference_card import record

            print(f"card    {record(args.recipe, outcome)}")
    if len(runs) > 1:
        report_finals(args, outcomes)


@dataclass(frozen=True)
class PlannedRun:
    """One candidate with one seed."""

    name: str
    """Of the candidate, such as `trial-7`."""
    title: str
    """Of the candidate, for people."""
    candidate: Candidate
    """What is trained."""
    seed: int
    """Of weights, data order and augmentation."""
    folder: Path
    """Where the files of the run go."""


def planned_runs(args: Namespace, named: Named) -> list[PlannedRun]:
    """Every candidate with the first seed, then every candidate with the next."""
    runs = []
    for seed in range(args.seed, args.seed + args.seeds):
        for name, title, candidate in named:
            folder = args.out or default_folder(args, name, seed)
            if args.out and args.seeds > 1:
                folder = folder / f"{name}-seed{seed}"
            elif args.out and len(named) > 1:
                folder = folder / name
            runs.append(PlannedRun(name, title, candidate, seed, folder))
    return runs


def require_folders(args: Namespace, runs: Sequence[PlannedRun], data: PreparedData, settings: RetrainSettings) -> None:
    """Checks before the first run that every run will find a folder.

    Raises:
        StudyError: one is taken by another run, or --out cannot hold the runs.
    """
    from search.retraining.retrainer import require_same_run
    from search.retraining.run_record import RUN
    from search.settings import StudyError

    taken = [path for path in (args.out, *args.out.parents) if path.exists() and not path.is_dir()] if args.out else []
    if taken:
        raise StudyError("--out must be a folder", got=f"{taken[0]}, a file", remedy="Give another --out")
    if args.out and (args.out / RUN).exists() and len(runs) > 1:
        raise StudyError(
            "--out must be a folder that can hold a folder for each run",
            got=f"{args.out}, the folder of one run",
            remedy="Give another --out",
        )
    for run in runs:
        if run.seed == args.seed or settings.time_budget is None:  # else its epochs are not known yet
            require_same_run(run.candidate, run.folder, data, settings_of(run, settings, {}))


def settings_of(run: PlannedRun, settings: RetrainSettings, earlier: Mapping[int, Outcome]) -> RetrainSettings:
    """The settings with the run's seed; with a time budget, all seeds train as long as the candidate's first.

    Args:
        run: which run.
        settings: of the command.
        earlier: runs of the same candidate, by seed, the first seed first.
    """
    if settings.time_budget is not None and earlier:
        settings = replace(settings, time_budget=None, epochs=next(iter(earlier.values())).epochs)
    return replace(settings, seed=run.seed)


def validation_size(args: Namespace, named: Named) -> int | None:
    """--val-size or its default; None leaves the recipe's own."""
    if args.val_size is not None:
        return int(args.val_size)
    if args.recipe:
        return VAL_SIZE if args.seeds > 1 and named[0][2].recipe.val_size == 0 else None
    return VAL_SIZE if args.seeds > 1 or args.keep == "best" else 0


def announcement(args: Namespace, runs: Sequence[PlannedRun], settings: RetrainSettings) -> str:
    """What several seeds will train, and what the choice will be made by."""
    size = runs[0].candidate.recipe.val_size if settings.val_size is None else settings.val_size
    chosen = f"compared on {size:,} validation images" if size else "no validation images, so nothing will be chosen"
    return f"{len(runs)} runs, seeds {args.seed} to {runs[-1].seed}: {chosen}"


def report_finals(args: Namespace, outcomes: Mapping[str, Mapping[int, Outcome]]) -> None:
    """Compares the candidates and prints what came out; with several seeds, writes it too."""
    from search.reporting.finalists_report import print_finals, write_finals
    from search.retraining.finalists import compare_finalists, finalist

    finals = compare_finalists([finalist(name.replace("-", " ", 1), runs) for name, runs in outcomes.items()])
    print_finals(finals)
    if args.seeds > 1:
        study = study_name(args)
        stem = f"finalists-{finals.leader.name.replace(' ', '-', 1)}" if args.recipe else "finalists"
        title = f"Seeds of {finals.leader.name}" if args.recipe else f"Finalists of study `{study}`"
        paths = write_finals(args.out or STUDIES_FOLDER / study, stem, title, finals)
        print(f"wrote   {', '.join(map(str, paths))}")


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

    from cifar.networks.imagenet import with_options

    weights, unfreeze = (getattr(args, name) for name in ("weights", "unfreeze"))
    return replace(candidate, network=with_options(candidate.network, weights=weights, unfreeze=unfreeze))


def trial_candidates(args: object) -> tuple[Named, str | None]:
    """The candidates of the chosen trials, and the data source of their study."""
    from cifar.candidate import Candidate
    from search.retraining.models import register_networks
    from search.study.attributes import CANDIDATE, SOURCE
    from search.study.study import require_study
    from search.study.trials import choose_trials

    study_name, storage, space, wanted = (getattr(args, name) for name in ("study", "storage", "space", "trial"))
    register_networks(space)
    study = require_study(SearchSettings(study=study_name, storage=storage))
    named: Named = []
    for trial in choose_trials(study, wanted):
        title = f"trial {trial.number} of study {study_name}"
        named.append((f"trial-{trial.number}", title, Candidate.from_dict(trial.user_attrs[CANDIDATE], where=title)))
    source = study.user_attrs.get(SOURCE)
    return named, None if source == "official CIFAR-10" else source


def default_folder(args: Namespace, name: str, seed: int | None = None) -> Path:
    """`studies/<study>/runs/<name>-seed<seed>`, by default with the seed of the arguments."""
    return STUDIES_FOLDER / study_name(args) / "runs" / f"{name}-seed{args.seed if seed is None else seed}"


def study_name(args: Namespace) -> str:
    """The study that runs belong to; that of a recipe's is `reference`."""
    return "reference" if args.recipe else str(args.study)


def _say(line: str) -> None:
    print(line, flush=True)


def print_briefly(outcome: Outcome) -> None:
    """Prints the validation accuracy and where the report is."""
    if outcome.val_accuracy is not None:
        print(f"validation {100 * outcome.val_accuracy:.2f} %")
    print(f"report  {outcome.folder / 'report.html'}", flush=True)


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


if __name__ == "__main__":
    raise SystemExit(run_command(main))
