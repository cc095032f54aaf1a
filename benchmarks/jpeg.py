"""What JPEG costs in accuracy: `python -m benchmarks.jpeg --data EXACT --out FILE`.

Figures on images that went through JPEG cannot be set beside published ones. How far apart they lie is measured on
exact images and the same ones written as JPEG and read again: a recipe is trained on either for as many passes, with
the same split, seed and order, and validated on the rest of the same kind. Test images are never read.

On a CPU a run has one thread, and `--jobs` train side by side. Each is written to `--out` at its end, and a repetition
of the command trains only what is missing.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.resumable import append, is_done, read, side_by_side
from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split, usual_val_size
from cifar.recipe import recipe_names
from cifar.runtime.device import choose_device
from cifar.stats.student import mean_interval
from cifar.train import Training

KINDS = ("exact", "jpeg")


@dataclass(frozen=True)
class Job:
    """A run for a process of its own."""

    kind: str
    """`exact` or `jpeg`."""
    seed: int
    """Seed of the split and of the training."""
    recipe: str
    """What is trained."""
    passes: float
    """Length of the run in passes over the training images."""
    quality: int
    """JPEG quality, 1 to 95."""
    data: str | None
    """Source of the images."""


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """The images written as JPEG, by Pillow's defaults but for the quality, and read again; uint8 (N, 3, H, W)."""
    return torch.stack([_through_jpeg(image, quality) for image in images])


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    written = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(written, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(written))).permute(2, 0, 1).contiguous()


def run_job(job: Job) -> dict[str, Any]:
    """What came out of a run, as a line of the results."""
    torch.set_num_threads(1)
    data, device = prepare(job.data), choose_device("auto")
    split = load_training_split(data, val_size=usual_val_size(data.train_count), seed=job.seed)
    if job.kind == "jpeg":
        train, val = (
            ImageSet(through_jpeg(part.images, job.quality), part.labels) for part in (split.train, split.val)
        )
        split = TrainingSplit(train, val, split.class_names)
    candidate = Candidate.named(job.recipe).for_data(len(data.class_names), data.image_size)
    training = Training(candidate, split, device=device, epochs=job.passes, seed=job.seed)
    *_, last = training.run()
    return {**_wanted(job), "accuracy": last.val_accuracy, "train_images": len(split.train)}


def _wanted(job: Job) -> dict[str, Any]:
    """What tells a run's line from others."""
    return {key: getattr(job, key) for key in ("kind", "seed", "recipe", "passes", "quality")}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean validation accuracies of both kinds of images, and the difference with its 95 % interval."""
    found = {kind: {row["seed"]: 100 * row["accuracy"] for row in rows if row["kind"] == kind} for kind in KINDS}
    exact, jpeg = (found[kind] for kind in KINDS)
    differences = [jpeg[seed] - exact[seed] for seed in exact if seed in jpeg]
    interval = mean_interval(differences) if len(differences) > 1 else None
    shown = "" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return "\n".join(
        [
            "| training images | exact | through JPEG | difference, points | 95 % interval | seeds |",
            "|---|---|---|---|---|---|",
            f"| {rows[0]['train_images']:,} | {statistics.mean(exact.values()):.2f} % "
            f"| {statistics.mean(jpeg.values()):.2f} % | {statistics.mean(differences):+.2f} | {shown} "
            f"| {len(differences)} |",
        ]
    )


def main() -> int:
    """Trains what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jpeg", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="exact images, as for search.run")
    parser.add_argument("--recipe", default="cpu_fast", help=f"one of {', '.join(recipe_names())}")
    parser.add_argument("--passes", type=float, default=30.0, help="over the training images")
    parser.add_argument("--quality", type=int, default=75, help="of JPEG")
    parser.add_argument("--seeds", type=int, default=6, help="splits, each trained on both kinds of images")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    jobs = [
        Job(kind, seed, args.recipe, args.passes, args.quality, args.data)
        for seed in range(args.seeds)
        for kind in KINDS
    ]
    asked = {key: value for key, value in _wanted(jobs[0]).items() if key not in ("kind", "seed")}
    missing = [job for job in jobs if not is_done(read(args.out), _wanted(job))]
    for row in side_by_side(run_job, missing, args.jobs):
        append(args.out, row)
        print(f"{row['kind']}, seed {row['seed']}: {100 * row['accuracy']:.2f} %", file=sys.stderr, flush=True)
    print(table([row for row in read(args.out) if asked.items() <= row.items()]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
