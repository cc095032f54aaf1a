"""`python -m search.lr_range`: the learning-rate range test of a recipe or trial, as a CSV and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, natural, non_negative_count, positive, run_command
from search.format import format_lr

if TYPE_CHECKING:
    from cifar.lr_range import RangeTest


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "lr_range",
        "Find a learning rate: train a few steps at a growing rate and watch the loss.",
        ("--recipe resnet9_onecycle", "--study pictures --trial 7 --steps 200"),
    )
    what = p.choice_of_one()
    what.add_argument("--trial", default="best", help="best or a trial's number")
    what.add_argument("--recipe", help="a built-in recipe or a TOML file; search.retrain knows their names")
    p.add_study_options()
    p.add_space_option("the study's own network classes")
    p.add_argument("--data", help="images, as for search.run (default: the study's)")
    p.add_split_option()
    p.add_argument(
        "--val-size",
        type=non_negative_count,
        help="training images left out, as for search.retrain (default: 0 for trials, the recipe's for recipes)",
    )
    p.add_argument("--train-size", type=natural, help="use a fixed stratified subset of this size")
    p.add_argument("--low", type=positive, default=1e-5, help="rate of the first step")
    p.add_argument("--high", type=positive, default=10.0, help="rate of the last step")
    p.add_argument("--steps", type=natural, default=100, help="batches to train on")
    p.add_argument("--linear", action="store_true", help="equal differences between rates, not equal factors")
    p.add_argument("--seed", type=int, default=0, help="of weights, data order and augmentation")
    p.add_device_option()
    p.add_argument("--out", type=Path, help="folder of the two files (default: studies/<study>/lr_range/<name>)")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, tests, writes the files, prints the suggestion."""
    args = parser().parse_args(argv)
    from cifar.data.prepare import prepare
    from cifar.data.splits import fitting_val_size, load_training_split
    from cifar.lr_range import check_range, range_test
    from cifar.runtime.device import choose_device
    from search.reporting.pages.lr_range_page import RangePage, write_range_test
    from search.retraining.candidates import choose

    check_range(args.low, args.high, args.steps)
    device = choose_device(args.device)
    chosen = choose(
        recipe=args.recipe,
        trial=args.trial,
        study=args.study,
        storage=args.storage,
        space=args.space,
        in_folder=args.out is None,
    )
    one = chosen.only("a range test")
    data = prepare(args.data or chosen.source, split=args.split or chosen.split)
    val_size = args.val_size
    if val_size is None:
        val_size = fitting_val_size(one.candidate.recipe.val_size, data.train_count) if chosen.by_recipe else 0
    split = load_training_split(data, val_size=val_size, train_size=args.train_size)
    candidate = one.candidate.for_data(len(data.class_names), data.image_size)
    print(f"{one.title}: {candidate.cost.parameters:,} parameters, on {device.describe()}", flush=True)
    result = range_test(
        candidate,
        split,
        device=device,
        seed=args.seed,
        low=args.low,
        high=args.high,
        steps=args.steps,
        linear=args.linear,
    )
    images = len(split.train)
    facts = {
        "parameters": f"{candidate.cost.parameters:,}",
        "optimizer": candidate.recipe.optimizer.name,
        "the recipe's own rate": format_lr(candidate.recipe.optimizer.lr),
        "batch": f"{min(candidate.recipe.batch_size, images):,} images",
        "training images": f"{images:,} of {data.source}",
        "rates": f"{args.low:g} to {args.high:g}, {'linear' if args.linear else 'exponential'}",
        "steps": f"{len(result.lrs)} of {args.steps}",
        "device": device.describe(),
        "seed": str(args.seed),
    }
    folder = args.out or chosen.folder / "lr_range" / one.run_name(args.seed)
    paths = write_range_test(folder, RangePage(one.title, facts, result, args.linear))
    print_result(result, candidate.recipe.optimizer.lr, paths)


def print_result(result: RangeTest, own_lr: float | str, paths: tuple[Path, Path]) -> None:
    """Prints the suggestion, beside the recipe's own rate, and where numbers and figure are."""
    from search.reporting.pages.lr_range_page import suggestion

    print(f"{len(result.lrs)} steps, {result.stopped}")
    print(f"least smoothed loss {result.smoothed[result.least]:.4f} at {format_lr(result.lrs[result.least])}")
    print(f"suggested learning rate: {suggestion(result)}; the recipe's own is {format_lr(own_lr)}")
    if result.doubt:
        print(f"note: {result.doubt}")
    print(f"numbers     {paths[0]}")
    print(f"figure      {paths[1]}")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
