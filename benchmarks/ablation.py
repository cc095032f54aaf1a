"""What a setting is worth in equal seconds: `python -m benchmarks.ablation --recipe NAME --seconds 300 --vary ...`.

The recipe as it is, and once for each `--vary` with that setting changed, are trained for the same time on the same
real images, several seeds each, in turn, so that the machine's slow stretches fall on all alike. Compared are
validation accuracies, seed by seed, with Student's interval of the mean difference; test images are never read.

Each run is written to `--out` at its end, and a repetition of the command trains only what is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar.candidate import Candidate, RecipeFile
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.errors import ConfigError
from cifar.recipe import recipe_names
from cifar.runtime.device import Device, choose_device
from cifar.stats.student import mean_interval
from cifar.train import Training
from search.retraining.run_length import planned_epochs
from search.retraining.settings import RetrainSettings

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


def run(variant: Variant, split: TrainingSplit, device: Device, seconds: float, seed: int) -> dict[str, Any]:
    """Trains a variant for a time; what came out, as a line of the results."""
    settings = RetrainSettings(epochs=1e9, time_budget=seconds, seed=seed)
    started = time.monotonic()
    epochs = planned_epochs(variant.candidate, split, settings, device, lambda line: None)
    results = list(Training(variant.candidate, split, device=device, epochs=epochs, seed=seed).run())
    return {
        "variant": variant.name,
        "seed": seed,
        "budget": seconds,
        "accuracy": results[-1].val_accuracy,
        "passes": epochs,
        "seconds": round(time.monotonic() - started, 1),
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


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_done(rows: list[dict[str, Any]], wanted: Mapping[str, Any]) -> bool:
    """Whether a run with these fields is among the results."""
    return any(all(row[key] == value for key, value in wanted.items()) for row in rows)


def main() -> int:
    """Trains what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--recipe", required=True, help=f"one of {', '.join(recipe_names())}, or a TOML file")
    parser.add_argument("--vary", action="append", default=[], metavar="SETTINGS", help="changes; repeatable")
    parser.add_argument("--seconds", type=float, default=300, help="that each run may take")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    device = choose_device(args.device)
    file = RecipeFile.read(Path(args.recipe)) if args.recipe.endswith(".toml") else RecipeFile.named(args.recipe)
    data = prepare(args.data)
    candidate = file.candidate.for_data(len(data.class_names), data.image_size)
    variants = [Variant(AS_IT_IS, candidate), *(varied(candidate, changes) for changes in args.vary)]
    split = load_training_split(data, val_size=5000)
    for seed in range(args.seeds):
        for variant in variants:
            wanted = {"variant": variant.name, "seed": seed, "budget": args.seconds}
            if is_done(read(args.out), wanted):
                continue
            row = run(variant, split, device, args.seconds, seed)
            with args.out.open("a") as results:
                results.write(json.dumps(row) + "\n")
            print(f"{variant.name}, seed {seed}: {100 * row['accuracy']:.2f} %", file=sys.stderr, flush=True)
    print(table([row for row in read(args.out) if row["budget"] == args.seconds]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
