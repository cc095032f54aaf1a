"""Seconds a step of this trainer beside those of another checkout's: `python -m benchmarks.step_time --against PATH`.

Trains each network by the command of either checkout, `search.retrain --recipe NAME`, in turn, each in a process of its
own, on images made here. A run's step time is the median of its epochs but the first, as `history.csv` has it; what is
compared is the median of several pairs of runs. Use a machine that does nothing else.

Each pair is written to `--out` at its end, and a repetition of the command runs only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.resumable import append, is_done, read
from cifar.candidate import Candidate
from cifar.data.toy import toy_npz
from cifar.recipe import recipe_names

HERE = Path(__file__).parents[1]
VAL_SIZE = 100  # which some of the recipes need; their evaluation is a small part of the seconds
RECIPES = ("resnet_16_32_64", "resnet_fast", "resnet24_budget5m")


def step_seconds(checkout: Path, recipe: str, data: Path, images: int, epochs: int) -> float:
    """Seconds a step of a run by the checkout's command, its first epoch aside.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "search.retrain", "--recipe", recipe, "--data", str(data), "--out", folder]
        command += ["--val-size", str(VAL_SIZE), "--epochs", str(epochs + 1)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        with (Path(folder) / "history.csv").open() as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return statistics.median(seconds[1:]) / (images / Candidate.named(recipe).recipe.batch_size)


def pair(against: Path, recipe: str, images: int, epochs: int) -> dict[str, float]:
    """Seconds a step of both, one after the other on the same images."""
    with tempfile.TemporaryDirectory() as folder:
        data = toy_npz(Path(folder) / "images.npz", train=images + VAL_SIZE, test=10, classes=10)
        return {
            side: step_seconds(checkout, recipe, data, images, epochs)
            for side, checkout in (("there", against), ("here", HERE))
        }


def table(rows: list[dict[str, Any]]) -> str:
    """Medians of each recipe's runs, and of the ratios of its pairs."""
    lines = ["| seconds a step | there | here | here / there | pairs |", "|---|---|---|---|---|"]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        pairs = [row for row in rows if row["recipe"] == recipe]
        there, here = (statistics.median(row[side] for row in pairs) for side in ("there", "here"))
        ratio = statistics.median(row["here"] / row["there"] for row in pairs)
        lines.append(f"| {recipe} | {there:.4f} | {here:.4f} | {ratio:.3f}x | {len(pairs)} |")
    return "\n".join(lines)


def main() -> int:
    """Times what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_time", description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, required=True, help="folder of another checkout of this repository")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help=f"of {', '.join(recipe_names())}")
    parser.add_argument("--images", type=int, default=1024, help="of an epoch, a multiple of the batches' size")
    parser.add_argument("--epochs", type=int, default=5, help="of a run, besides the first")
    parser.add_argument("--pairs", type=int, default=5, help="of runs for each recipe")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    for number in range(args.pairs):
        for recipe in args.recipes:
            wanted = {"recipe": recipe, "images": args.images, "epochs": args.epochs, "pair": number}
            if not is_done(read(args.out), wanted):
                append(args.out, wanted | pair(args.against.resolve(), recipe, args.images, args.epochs))
    print(table(read(args.out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
