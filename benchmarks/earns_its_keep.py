"""Does a search earn its keep? `python -m benchmarks.earns_its_keep --minutes 15 --repeats 3 --out FILE`.

Each arm has the same time, everything included, on the same real images, and reads the test images once, at its end:

    search      `search.run --time-budget T --retrain`
    default     the recipe that searches start from, by `search.retrain --recipe cpu_fast --time-budget T`
    hyperband   as search, with `--pruner hyperband`
    random      as search, with random trials at full length, without prior and known recipes
    usual       `resnet_16_32_64` by its own recipe through the usual float32 pipeline (`benchmarks/naive.py`)

The arms take turns, one process at a time: use a machine that does nothing else. A run is written to `--out` at its
end, and a repetition of the command runs only what is missing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import naive
from benchmarks.minutes import STDERR, figures
from benchmarks.minutes import run as trained
from benchmarks.resumable import append, is_done, read
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import load_test, load_training_split
from cifar.normalization import normalization_for
from cifar.optim import lr_factor, set_lr
from cifar.runtime.device import choose_device
from cifar.stats.intervals import difference_interval
from cifar.stats.student import mean_interval
from spaces.resnet_budget5m import BASE_RECIPE

DEFAULT = "default"
SEARCHES: Mapping[str, tuple[str, ...]] = {
    "search": (),
    "hyperband": ("--pruner", "hyperband"),
    "random": ("--sampler", "random", "--pruner", "none", "--prior", "none", "--no-warm-start"),
}
"""Options of the arms that search, beside the time."""
USUAL_NETWORK = "resnet_16_32_64"


def by_search(
    minutes: float, seed: int, data: str | None, options: tuple[str, ...], space: str, keep: Path | None
) -> dict[str, Any]:
    """Searches and retrains by command; what came out. The study is copied to `keep`.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    command = ["search.run", "--space", space, "--study", "arm", "--time-budget", f"{60 * minutes:g}s", "--retrain"]
    command += ["--seed", str(seed), *options, *(["--data", str(Path(data).resolve())] if data else [])]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", *command], check=True, cwd=folder, stdout=STDERR)
        if keep:
            shutil.copytree(Path(folder) / "studies/arm", keep)
        return figures(Path(folder) / "studies/arm/runs/final")


def by_recipe(minutes: float, seed: int, data: str | None) -> dict[str, Any]:
    """Trains the default recipe by command; its figures, those of `benchmarks.minutes`, which reads this row too."""
    return {"recipe": BASE_RECIPE, **trained(BASE_RECIPE, minutes, seed, data)}


def by_usual_pipeline(minutes: float, seed: int, data: str | None) -> dict[str, Any]:
    """Trains the usual network by the usual pipeline, its schedule stretched over the time; the test's figures."""
    ends = time.monotonic() + 60 * minutes
    torch.manual_seed(seed)
    images, device = prepare(data), choose_device("auto")
    candidate = Candidate.named(USUAL_NETWORK).for_data(len(images.class_names), images.image_size)
    train = load_training_split(images, val_size=0).train
    normalization = normalization_for(candidate.recipe, train)
    network = candidate.network.build()
    usual = naive.NaiveTraining(network, candidate.recipe, train, normalization, device.torch_device)
    began = time.monotonic()
    while time.monotonic() < ends:
        for _ in usual.steps():
            progress = (time.monotonic() - began) / (ends - began)
            if progress >= 1:
                break
            set_lr(usual.optimizer, candidate.recipe.optimizer.peak_lr, lr_factor(candidate.recipe, progress))
    test = load_test(images)
    right = naive.predict(network, test, normalization, device.torch_device).argmax(1) == test.labels
    return {"test_accuracy": right.float().mean().item(), "test_images": len(test)}


def arms(space: str, keep: Path | None = None) -> dict[str, Callable[[float, int, str | None], dict[str, Any]]]:
    """Every arm by name, the default first: it takes minutes, a seed and the images' source.

    Args:
        space: what the arms that search search.
        keep: folder for their studies, `ARM-MINUTES-SEED` each; None keeps none.
    """

    def searching(name: str, options: tuple[str, ...]) -> Callable[[float, int, str | None], dict[str, Any]]:
        def run(minutes: float, seed: int, data: str | None) -> dict[str, Any]:
            kept = keep and keep / f"{name}-{minutes:g}-{seed}"
            return by_search(minutes, seed, data, options, space, kept)

        return run

    searches = {name: searching(name, options) for name, options in SEARCHES.items()}
    return {DEFAULT: by_recipe, **searches, "usual": by_usual_pipeline}


def table(rows: list[dict[str, Any]]) -> str:
    """Test accuracies, and each arm's difference from the default with its 95 % interval.

    Over several repeats the interval is Student's, of the differences repeat by repeat; of one repeat it is Newcombe's,
    of two shares of the test images, which leaves out what another seed would change.
    """
    lines = [
        "| minutes | arm | test accuracy | against the default, points | 95 % interval | runs |",
        "|---|---|---|---|---|---|",
    ]
    for minutes in sorted({row["minutes"] for row in rows}):
        own = [row for row in rows if row["minutes"] == minutes]
        default = {row["seed"]: row for row in own if row["arm"] == DEFAULT}
        for arm in dict.fromkeys(row["arm"] for row in own):
            runs = [row for row in own if row["arm"] == arm]
            pairs = [(row, default[row["seed"]]) for row in runs if row["seed"] in default and arm != DEFAULT]
            mean = statistics.mean(row["test_accuracy"] for row in runs)
            lines.append(
                f"| {minutes:g} | {arm} | {100 * mean:.2f} % | {' | '.join(_difference(pairs))} | {len(runs)} |"
            )
    return "\n".join(lines)


def _difference(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[str, str]:
    """Mean difference in points and its interval, as cells of the table."""
    if not pairs:
        return "", ""
    differences = [100 * (row["test_accuracy"] - other["test_accuracy"]) for row, other in pairs]
    if len(pairs) > 1:
        interval = mean_interval(differences)
    else:
        row, other = pairs[0]
        first, second = (round(one["test_accuracy"] * one["test_images"]) for one in (other, row))
        low, high = difference_interval(first, second, other["test_images"], row["test_images"])
        interval = (100 * low, 100 * high)
    shown = "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return f"{statistics.mean(differences):+.2f}", shown


def main() -> int:
    """Runs what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.earns_its_keep", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--space", default="resnet_budget5m", help="of the arms that search")
    parser.add_argument("--minutes", type=float, default=15, help="that an arm may take")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each arm, each with another seed")
    parser.add_argument("--arms", nargs="+", default=[DEFAULT, "search"], choices=list(arms("")), help="which arms")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave the studies of arms that search")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    for seed in range(args.repeats):
        for arm in args.arms:
            wanted = {"arm": arm, "minutes": args.minutes, "seed": seed}
            if is_done(read(args.out), wanted):
                continue
            began = time.monotonic()
            came_out = arms(args.space, args.keep)[arm](args.minutes, seed, args.data)
            append(args.out, {**wanted, **came_out, "seconds": round(time.monotonic() - began, 1)})
    print(table(read(args.out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
