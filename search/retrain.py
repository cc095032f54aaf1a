"""`python -m search.retrain`: trains the best trials, or a recipe, in full and reports them on the test images.

With --seeds each candidate is trained once a seed, and the candidates are compared over the seeds.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.recipe import recipe_names
from search.cli import Parser, duration, natural, non_negative_count, positive, run_command
from search.retraining.settings import VAL_SIZE, RetrainSettings

if TYPE_CHECKING:
    from cifar.data.prepare import PreparedData
    from cifar.runtime.device import Device
    from search.retraining.candidates import Chosen
    from search.retraining.final_evaluation import Outcome
    from search.retraining.seeds import PlannedRun


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "retrain",
        "Train the best trials of a study, or a recipe, in full; report them on the test images.",
        ("--study pictures --trial top-3 --time-budget 5m", "--recipe cpu_fast --time-budget 5m"),
    )
    p.group("what is trained")
    what = p.choice_of_one()
    what.add_argument(
        "--trial",
        default="best",
        help="best (the baseline, until another beats it by more than chance), a trial's number, top-K "
        "(by value), or front (all that none beats in both objectives)",
    )
    what.add_argument("--recipe", help=f"a built-in recipe ({', '.join(recipe_names())}) or a TOML file")
    what.add_argument("--list-recipes", action="store_true", help="print the built-in recipes with what they cost")
    p.add_study_options()
    p.add_space_option("the study's own network classes")
    p.add_argument("--data", help="images, as for search.run (default: the study's)")
    p.add_split_option()
    p.group("how long, and on which images")
    p.add_argument("--epochs", type=positive, help="passes over the training images (default: the recipe's)")
    p.add_argument("--time-budget", type=duration, help="fit the epochs of a run to this time, such as 5m")
    p.add_argument(
        "--val-size",
        type=non_negative_count,
        help=f"training images kept for validation (default: 0 for trials, the recipe's for recipes; with --seeds "
        f"above 1, and for trials with --keep best, {VAL_SIZE} where that is 0; a share of a set that is too small)",
    )
    p.add_argument("--train-size", type=natural, help="train on a fixed stratified subset of this size")
    p.group("how it is trained")
    p.add_argument("--keep", choices=("last", "best", "ema"), help="weights to keep (default: the recipe's)")
    p.add_argument("--weights", type=Path, metavar="FILE", help="pretrained weights: a torchvision state dict")
    p.add_argument("--unfreeze", metavar="PARTS", help="pretrained parts to train, such as layer3,layer4; all; none")
    p.group("seeds, machine and files")
    p.add_argument("--tta", action="store_true", help="report test-time augmentation too, separately")
    p.add_argument("--tensorboard", action="store_true", help="write a TensorBoard event file too (needs tensorboard)")
    p.add_argument("--seed", type=int, default=0, help="of weights, data order and augmentation")
    p.add_argument(
        "--seeds",
        type=natural,
        default=1,
        help="train each candidate with this many seeds (--seed, --seed + 1 and so on) and compare the candidates "
        "over them by validation accuracy, with test accuracy beside it",
    )
    p.add_device_option()
    p.add_argument("--deterministic", action="store_true", help="equal seeds give equal weights")
    p.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="compile the network; auto does on CUDA, after the first epoch if 5 more minutes are to come (from 20 "
        "seconds on, its launches are recorded as a CUDA graph), and never with --deterministic: a compiled run that "
        "is continued ends in slightly other weights",
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
        from search.reporting.runs.recipe_table import print_recipes

        print_recipes()
        return
    from cifar.data.prepare import prepare
    from cifar.runtime.device import choose_device
    from cifar.runtime.seeds import use_deterministic_algorithms
    from search.retraining.seeds import announcement, planned_runs, require_folders

    device = choose_device(args.device)
    if args.deterministic:
        use_deterministic_algorithms()
    chosen = _chosen(args)
    data = prepare(args.data or chosen.source, split=args.split or chosen.split)
    settings = _settings(args, chosen, data.train_count)
    runs = planned_runs(chosen, range(args.seed, args.seed + args.seeds), args.out)
    require_folders(runs, args.out, data, settings)
    if args.seeds > 1:
        print(announcement(runs, settings), flush=True)
    outcomes = _train(args, runs, data, settings, device)
    if len(runs) > 1:
        _report_finals(args, chosen, outcomes)
    if not chosen.by_recipe:
        _update_page(args)


def _train(
    args: Namespace, runs: Sequence[PlannedRun], data: PreparedData, settings: RetrainSettings, device: Device
) -> dict[str, dict[int, Outcome]]:
    """Trains and reports every run; what they gave, by candidate and seed."""
    from search.reporting.runs.run_report import print_briefly, print_outcome, write_run_report
    from search.retraining.retrainer import retrain
    from search.retraining.seeds import settings_of

    outcomes: dict[str, dict[int, Outcome]] = {run.named.name: {} for run in runs}
    for run in runs:
        one, earlier = run.named, outcomes[run.named.name]
        seed = f", seed {run.seed}" if args.seeds > 1 else ""
        print(f"{one.title}{seed}: {one.candidate.cost.parameters:,} parameters, on {device.describe()}", flush=True)
        result = retrain(
            one.candidate,
            one.title,
            run.folder,
            data,
            settings_of(run, settings, earlier),
            device,
            say=_say,
            longer=one.longer,
            tensorboard=args.tensorboard,
            compile=args.compile,
        )
        write_run_report(result, one.origin)
        earlier[run.seed] = result.outcome
        (print_briefly if args.seeds > 1 else print_outcome)(result.outcome)
        _record_reference(args, result.outcome)
    return outcomes


def _chosen(args: Namespace) -> Chosen:
    """The candidates that the options name."""
    from search.retraining.candidates import choose

    chosen = choose(
        recipe=args.recipe,
        trial=args.trial,
        study=args.study,
        storage=args.storage,
        space=args.space,
        in_folder=args.out is None,
    )
    return chosen.transferred(args.weights, args.unfreeze)


def _settings(args: Namespace, chosen: Chosen, train_count: int) -> RetrainSettings:
    """The settings that the options give, for so many images."""
    from search.retraining.seeds import validation_size

    settings = RetrainSettings(
        epochs=args.epochs,
        time_budget=args.time_budget,
        val_size=args.val_size,
        keep=args.keep,
        tta=args.tta,
        seed=args.seed,
        train_size=args.train_size,
    )
    return replace(settings, val_size=validation_size(chosen, settings, args.seeds, train_count))


def _record_reference(args: Namespace, outcome: Outcome) -> None:
    """Puts the run of a built-in recipe on the card of the reference recipes, unless its files lie elsewhere."""
    if args.recipe in recipe_names() and args.out is None:
        from search.reporting.runs.reference_card import record_run

        print(f"card        {record_run(args.recipe, outcome)}")


def _report_finals(args: Namespace, chosen: Chosen, outcomes: Mapping[str, Mapping[int, Outcome]]) -> None:
    """Compares the candidates and prints what came out; with several seeds, writes it too."""
    from search.reporting.runs.finalists_report import print_finals, write_finals
    from search.retraining.finalists import compare_finalists, finalist

    finals = compare_finalists([finalist(name.replace("-", " ", 1), runs) for name, runs in outcomes.items()])
    print_finals(finals)
    if args.seeds > 1:
        stem, title = "finalists", f"Finalists of study `{chosen.study}`"
        if chosen.by_recipe:
            stem, title = f"finalists-{chosen.candidates[0].name}", f"Seeds of {finals.leader.name}"
        paths = write_finals(args.out or chosen.folder, stem, title, finals)
        print(f"wrote       {', '.join(map(str, paths))}")


def _update_page(args: Namespace) -> None:
    """Writes the study's page again, with the runs that are finished."""
    from search.reporting.study_page.page import write_study_page
    from search.settings import SearchSettings
    from search.study.study import require_study

    settings = SearchSettings(study=args.study, storage=args.storage)
    print(f"page        {write_study_page(require_study(settings), settings.folder)}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
