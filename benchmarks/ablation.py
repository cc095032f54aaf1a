"""What a setting is worth in equal time: `python -m benchmarks.ablation --recipe NAME --seconds 300 --vary ...`.

The recipe as it is, and once for each `--vary` with that setting changed, are trained for the same time on the same
real images, several seeds each. Compared are validation accuracies, seed by seed, with Student's interval of the mean
difference; test images are never read.

On a CPU a run has one thread and its seconds are CPU time, so that what else the machine does changes nothing and
`--jobs` runs train side by side, a core each. On a GPU the seconds are the clock's, and runs follow one another.

Each run is written to `--out` at its end, and a repetition of the command trains only what is missing.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.resumable import append, is_done, read, side_by_side
from cifar.candidate import Candidate, RecipeFile
from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.errors import ConfigError
from cifar.recipe import recipe_names
from cifar.runtime.device import Device, choose_device
from cifar.stats.student import mean_interval
from cifar.train import EpochResult, Training
from search.retraining.run_length import refitted_epochs
from search.retraining.settings import VAL_SIZE

AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Variant:
    """A recipe with some settings changed."""

    name: str
    """The changes, as they were given."""
    candidate: Candidate
    """What is trained."""


def varied(recipe: Candidate, changes: str) -> Variant:
    """The recipe with changes such as `recipe.label_smoothing = 0.1; network.residual = false`.

    Raises:
        ConfigError: no such setting, or a value out of its range.
    """
    described = recipe.to_dict()
    for change in changes.split(";"):
        key, _, value = change.partition("=")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raise ConfigError(
                "--vary is settings as in a recipe file", got=change, remedy="Try recipe.label_smoothing=0.1"
            ) from None
        *path, last = key.strip().split(".")
        table: dict[str, Any] = described
        for part in path:
            table = table.setdefault(part, {})
        table[last] = parsed
    return Variant(changes, Candidate.from_dict(described, where="--vary"))


def timed_by(device: Device) -> Callable[[], float]:
    """The clock that counts on the device."""
    return time.process_time if device.torch_device.type == "cpu" else time.perf_counter


def first_guess(candidate: Candidate, split: TrainingSplit, device: Device, seconds: float) -> float:
    """About how many passes fit into the seconds; training corrects it."""
    size = 4 * candidate.recipe.batch_size
    some = ImageSet(split.train.images[:size], split.train.labels[:size])
    short = replace(split, train=some, val=ImageSet(split.val.images[:0], split.val.labels[:0]))
    training = Training(candidate, short, device=device, epochs=2, seed=0)
    epochs = training.run()
    next(epochs)
    clock = timed_by(device)
    began = clock()
    images = next(epochs).images
    return seconds / ((clock() - began) / images * len(split.train))


def run(variant: Variant, split: TrainingSplit, device: Device, seconds: float, seed: int) -> dict[str, Any]:
    """Trains a variant for a time; what came out, as a line of the results."""
    clock = timed_by(device)
    epochs = first_guess(variant.candidate, split, device, seconds)
    began = last = clock()
    training = Training(variant.candidate, split, device=device, epochs=epochs, seed=seed)
    history: list[EpochResult] = []
    for result in training.run():
        now = clock()
        history.append(replace(result, seconds=now - last))
        last = now
        if training.epoch < training.total_epochs:
            training.set_length(refitted_epochs(training, history, began + seconds - now, math.inf))
    return {
        "variant": variant.name,
        "seed": seed,
        "budget": seconds,
        "accuracy": history[-1].val_accuracy,
        "passes": round(training.length, 2),
        "seconds": round(clock() - began, 1),
        "parameters": variant.candidate.cost.parameters,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Mean validation accuracies, and each variant's difference from the recipe as it is with its interval."""
    lines = [
        "| | validation accuracy | difference, points | 95 % interval | passes | runs |",
        "|---|---|---|---|---|---|",
    ]
    base = {row["seed"]: row["accuracy"] for row in rows if row["variant"] == AS_IT_IS}
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        pairs = [100 * (row["accuracy"] - base[row["seed"]]) for row in own if row["seed"] in base]
        interval = mean_interval(pairs) if name != AS_IT_IS and len(pairs) > 1 else None
        difference = "" if name == AS_IT_IS or not pairs else f"{statistics.mean(pairs):+.2f}"
        lines.append(
            f"| {name} | {100 * statistics.mean(row['accuracy'] for row in own):.2f} % | {difference} "
            f"| {f'{interval[0]:+.2f} to {interval[1]:+.2f}' if interval else ''} "
            f"| {statistics.mean(row['passes'] for row in own):.1f} | {len(own)} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Job:
    """A run for a process of its own."""

    variant: Variant
    """What is trained."""
    seed: int
    """Seed of weights, data order and augmentation."""
    data: str | None
    """Source of the images."""
    device: str
    """Where to train."""
    seconds: float
    """That the run may take."""


def run_job(job: Job) -> dict[str, Any]:
    """What came out of a run, as a line of the results."""
    torch.set_num_threads(1)
    split = load_training_split(prepare(job.data), val_size=VAL_SIZE)
    return run(job.variant, split, choose_device(job.device), job.seconds, job.seed)


def main() -> int:
    """Trains what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--recipe", required=True, help=f"one of {', '.join(recipe_names())}, or a TOML file")
    parser.add_argument("--vary", action="append", default=[], metavar="SETTINGS", help="changes; repeatable")
    parser.add_argument("--seconds", type=float, default=300, help="that each run may take")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--jobs", type=int, help="runs at once (default: one a core; one on a GPU)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    file = RecipeFile.read(Path(args.recipe)) if args.recipe.endswith(".toml") else RecipeFile.named(args.recipe)
    data = prepare(args.data)
    candidate = file.candidate.for_data(len(data.class_names), data.image_size)
    variants = [Variant(AS_IT_IS, candidate), *(varied(candidate, changes) for changes in args.vary)]
    done = read(args.out)
    jobs = [
        Job(variant, seed, args.data, args.device, args.seconds)
        for seed in range(args.seeds)
        for variant in variants
        if not is_done(done, {"variant": variant.name, "seed": seed, "budget": args.seconds})
    ]
    cores = os.cpu_count() or 1
    at_once = args.jobs or (cores if choose_device(args.device).torch_device.type == "cpu" else 1)
    for row in side_by_side(run_job, jobs, at_once):
        append(args.out, row)
        print(f"{row['variant']}, seed {row['seed']}: {100 * row['accuracy']:.2f} %", file=sys.stderr, flush=True)
    print(table([row for row in read(args.out) if row["budget"] == args.seconds]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
