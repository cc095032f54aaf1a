"""Is the fast trainer as good? `python -m benchmarks.accuracy --data PATH`.

The same network, recipe and number of epochs on real images through the usual float32 pipeline of
`benchmarks/naive.py` and through `cifar.train`, several seeds each; validation accuracy, its mean and spread.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import replace
from typing import Any

import torch

from benchmarks import naive
from benchmarks.throughput import AUGMENTATION
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.networks.resnet import ResNetConfig
from cifar.normalization import normalization_for
from cifar.optim import lr_factor, set_lr
from cifar.runtime.device import Device, choose_device
from cifar.train import Training


def usual_accuracy(candidate: Candidate, split: TrainingSplit, device: Device, epochs: int, seed: int) -> float:
    """Validation accuracy in [0, 1] of the usual pipeline, its learning rate following the same schedule."""
    torch.manual_seed(seed)
    normalization = normalization_for(candidate.recipe, split.train)
    network = candidate.network.build()
    usual = naive.NaiveTraining(network, candidate.recipe, split.train, normalization, device.torch_device)
    total, step = epochs * len(usual.loader), 0
    for _ in range(epochs):
        network.train()
        for images, labels in usual.loader:
            set_lr(usual.optimizer, candidate.recipe.optimizer.peak_lr, lr_factor(candidate.recipe, step / total))
            usual.step(images.to(device.torch_device), labels.to(device.torch_device))
            step += 1
    logits = naive.predict(network, split.val, normalization, device.torch_device)
    return (logits.argmax(1) == split.val.labels).float().mean().item()


def trainer_accuracy(candidate: Candidate, split: TrainingSplit, device: Device, epochs: int, seed: int) -> float:
    """Validation accuracy in [0, 1] of this trainer."""
    results = list(Training(candidate, split, device=device, epochs=epochs, seed=seed).run())
    accuracy = results[-1].val_accuracy
    assert accuracy is not None
    return accuracy


def summary(accuracies: list[float]) -> dict[str, Any]:
    """Mean and standard error of the mean."""
    spread = statistics.stdev(accuracies) / math.sqrt(len(accuracies))
    return {
        "accuracies": [round(a, 4) for a in accuracies],
        "mean": round(statistics.mean(accuracies), 4),
        "stderr": round(spread, 4),
    }


def main() -> int:
    """Trains, prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side, at least 2")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the training images")
    parser.add_argument("--train-size", type=int, default=5000, help="training images, a fixed stratified subset")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    device, data = choose_device(args.device), prepare(args.data)
    split = load_training_split(data, val_size=5000, train_size=args.train_size)
    fast = Candidate.named("resnet_fast").recipe
    candidate = Candidate(ResNetConfig(blocks=(1, 1, 1)), replace(fast, augmentation=AUGMENTATION))
    found: dict[str, list[float]] = {"naive": [], "trainer": []}
    for seed in range(args.seeds):
        for name, run in (("naive", usual_accuracy), ("trainer", trainer_accuracy)):
            found[name].append(run(candidate, split, device, args.epochs, seed))
            print(f"seed {seed} {name}: {found[name][-1]:.4f}", file=sys.stderr, flush=True)
    result = {name: summary(accuracies) for name, accuracies in found.items()}
    difference = result["trainer"]["mean"] - result["naive"]["mean"]
    noise = math.hypot(result["trainer"]["stderr"], result["naive"]["stderr"])
    result["difference"] = {"mean": round(difference, 4), "stderr": round(noise, 4)}
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print("| validation accuracy | mean | standard error |\n|---|---|---|")
    for name, row in result.items():
        print(f"| {name} | {100 * row['mean']:.2f} % | {100 * row['stderr']:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
