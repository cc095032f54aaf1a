"""How fast the trainer is beside the usual pipeline: `python -m benchmarks.throughput --data PATH`.

The same network, batch size and augmentation (crop, flip, RandAugment(2, 9), random erasing) through the pipeline of
`benchmarks/naive.py`, in a fresh process, and through `cifar.train`, in turn in one run; medians of several repeats,
and their ratio. Compiled training is timed too. Some 16 minutes on two cores; `--only training` measures a part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import naive, step_profile
from benchmarks.speed import side_by_side, synchronize, trainer_speed
from cifar.candidate import Candidate
from cifar.compilation import Effort
from cifar.data.prepare import PreparedData, prepare
from cifar.data.splits import load_training_split
from cifar.networks.batch_norm import norm_act
from cifar.networks.max_pool import max_pool
from cifar.networks.resnet import ResNetConfig
from cifar.normalization import normalization_for
from cifar.optim import set_lr
from cifar.prediction import predict_probabilities
from cifar.recipe import Augmentation
from cifar.runtime.device import Device, choose_device
from cifar.train import Training

AUGMENTATION = Augmentation(flip=True, crop_padding=4, randaugment_ops=2, randaugment_magnitude=9, erasing=0.5)
TINY = "resnet_1_1_1_x_16_32_64"
SECONDS = 10.0  # length of one timed stretch
PARTS = ("training", "parts", "evaluation", "input", "kernels", "scales")
SIDE_BY_SIDE = "side_by_side"  # a part that is measured only if asked for: it takes minutes, mostly to begin processes
EFFORTS: dict[str, Effort] = {"training_recorded": "record", "training_compiled": "compile"}
NORMS = ((16, 32), (32, 16), (64, 8), (66, 32), (132, 16), (264, 8))  # channels and side of the maps
POOLS = ((32, 31), (192, 15), (64, 31), (256, 15))
SCALES = (5_000, 20_000, 50_000)


def candidates(batch_size: int = naive.BATCH, recipes: Sequence[str] = ()) -> dict[str, Candidate]:
    """The networks to time, those of the recipes or the usual three, all with the same augmentation and batch size."""
    found = {name: Candidate.named(name) for name in recipes or ("resnet24_budget5m", "resnet_16_32_64")}
    if not recipes:
        found[TINY] = Candidate(ResNetConfig(blocks=(1, 1, 1)), found["resnet_16_32_64"].recipe)
    return {
        name: replace(c, recipe=replace(c.recipe, augmentation=AUGMENTATION, batch_size=batch_size))
        for name, c in found.items()
    }


def in_turn(usual: Callable[[], float], *ours: Callable[[], float], repeats: int) -> list[dict[str, float]]:
    """Images/s of the usual way and of each of ours, measured A B C A B C ...; for each of ours a row.

    A row has the medians, and the median of the ratios of measurements that followed one another.
    """
    rounds = [[side() for side in (usual, *ours)] for _ in range(repeats)]
    medians = [statistics.median(side) for side in zip(*rounds, strict=True)]
    return [
        {
            "naive": round(medians[0], 1),
            "trainer": round(medians[i], 1),
            "ratio": round(statistics.median(row[i] / row[0] for row in rounds), 2),
        }
        for i in range(1, len(medians))
    ]


def time_training(
    candidate: Candidate, data: PreparedData, device: Device, repeats: int, apart: naive.Apart
) -> dict[str, dict[str, float]]:
    """Training images/s, the usual way beside the trainer as it is, and beside each quicker pass that can be made."""
    ours = {"training": Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)}
    for name, effort in EFFORTS.items():
        if effort == "record" and device.torch_device.type != "cuda":
            continue
        training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)
        started = time.perf_counter()
        result = training.compile(effort)
        print(f"{result.told}, in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        if result.quicker:
            ours[name] = training
    rows = in_turn(
        lambda: apart(naive.training_speed, candidate, data, device, SECONDS),
        *(partial(trainer_speed, training, SECONDS) for training in ours.values()),
        repeats=repeats,
    )
    return dict(zip(ours, rows, strict=True))


def time_input(
    candidate: Candidate, data: PreparedData, device: Device, repeats: int, apart: naive.Apart
) -> dict[str, float]:
    """Images/s of augmentation and normalisation alone, both ways."""
    training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)

    def batches() -> Iterator[int]:
        return (len(labels) for _, labels in training.loader.batches(torch.Generator().manual_seed(0)))

    return in_turn(
        lambda: apart(naive.input_speed, candidate, data, device, SECONDS),
        lambda: naive.images_per_s(batches, SECONDS, partial(synchronize, device)),
        repeats=repeats,
    )[0]


def time_evaluation(
    candidate: Candidate, data: PreparedData, device: Device, repeats: int, apart: naive.Apart
) -> dict[str, float]:
    """Evaluation images/s, both ways: float32 NCHW behind the usual loader, and the trainer's own evaluation."""
    normalization = normalization_for(candidate.recipe, naive.split_of(data).train)
    network = candidate.network.build().to(device.torch_device).to(memory_format=torch.channels_last)
    images = naive.evaluated(data).images

    def usual() -> float:
        return apart(naive.evaluation_speed, candidate, data, device)

    def trainer() -> float:
        started = time.perf_counter()
        predict_probabilities(network, images, normalization, device=device.torch_device, autocast=device.autocast)
        return len(images) / (time.perf_counter() - started)

    usual(), trainer()  # warm up
    return in_turn(usual, trainer, repeats=repeats)[0]


def time_parts(candidate: Candidate, data: PreparedData, device: Device, repeats: int) -> dict[str, float]:
    """Seconds a step of each part on a ready batch, and the share of a whole step outside of them, in [0, 1]."""
    training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)
    images, labels = next(training.loader.batches(torch.Generator().manual_seed(0)))
    training.network.train()
    set_lr(training.optimizer, training.peak_lr, 0.1)

    def forward() -> torch.Tensor:
        with training.device.autocasting():
            logits = training.network(images)
        return F.cross_entropy(logits.float(), labels)

    def forward_backward() -> None:
        forward().backward()  # type: ignore[no-untyped-call]

    rounds: dict[str, list[float]] = {name: [] for name in ("forward", "forward_backward", "optimizer", "step")}
    for _ in range(repeats):
        rounds["forward"].append(seconds_a_call(forward, device))
        rounds["forward_backward"].append(seconds_a_call(forward_backward, device))
        rounds["optimizer"].append(seconds_a_call(training.optimizer.step, device))
        training.optimizer.zero_grad(set_to_none=True)
        rounds["step"].append(training.batch_size / trainer_speed(training, SECONDS))
    parts = {name: statistics.median(seconds) for name, seconds in rounds.items()}
    outside = 1 - (parts["forward_backward"] + parts["optimizer"]) / parts["step"]
    return {
        **{name: round(seconds, 5) for name, seconds in parts.items()},
        "share_outside": round(max(0.0, outside), 3),
    }


def time_norm(channels: int, side: int, device: Device, repeats: int) -> dict[str, float]:
    """Milliseconds of batch norm, addition and ReLU, forward and backward: PyTorch's operations, and the kernel."""
    shape, dtype = (naive.BATCH, channels, side, side), device.autocast or torch.float32
    x, residual, gradient = (torch.randn(shape).to(dtype, memory_format=torch.channels_last) for _ in range(3))
    x.requires_grad_(), residual.requires_grad_()
    norm, relu = torch.nn.BatchNorm2d(channels), torch.nn.ReLU(inplace=True)
    inputs = (x, residual, norm.weight, norm.bias)

    def pytorch() -> None:
        torch.autograd.grad(relu(norm(x).add_(residual)), inputs, gradient)

    def ours() -> None:
        torch.autograd.grad(norm_act(norm, relu, x, residual), inputs, gradient)

    return compared(pytorch, ours, device, repeats)


def time_pool(channels: int, side: int, device: Device, repeats: int) -> dict[str, float]:
    """Milliseconds of max pooling of 2 x 2 pixels, forward and backward: PyTorch's operation, and the kernel."""
    dtype, pool = device.autocast or torch.float32, torch.nn.MaxPool2d(2)
    x = torch.randn(naive.BATCH, channels, side, side).to(dtype, memory_format=torch.channels_last).requires_grad_()
    gradient = torch.ones_like(pool(x))

    def pytorch() -> None:
        torch.autograd.grad(pool(x), x, gradient)

    def ours() -> None:
        torch.autograd.grad(max_pool(pool, x), x, gradient)

    return compared(pytorch, ours, device, repeats)


def compared(
    pytorch: Callable[[], object], ours: Callable[[], object], device: Device, repeats: int
) -> dict[str, float]:
    """Milliseconds of a part of a step both ways, in turn."""
    rounds = [(seconds_a_call(pytorch, device), seconds_a_call(ours, device)) for _ in range(repeats)]
    before, after = (1000 * statistics.median(side) for side in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    return {"pytorch": round(before, 3), "kernel": round(after, 3), "ratio": round(ratio, 2)}


def seconds_a_call(part: Callable[[], object], device: Device) -> float:
    """Mean over as many calls as a quarter of `SECONDS` holds, at least two, after a first."""
    part()
    synchronize(device)
    started, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - started < SECONDS / 4:
        part()
        synchronize(device)
        calls += 1
    return (time.perf_counter() - started) / calls


def time_scales(candidate: Candidate, data: PreparedData, device: Device) -> dict[str, float]:
    """Images/s of one whole epoch of the augmentation alone for several sizes: the cost is linear in images."""
    speeds = {}
    for size in SCALES:
        if size > data.train_count:
            continue
        split = load_training_split(data, val_size=0, train_size=size)
        training = Training(candidate, split, device=device, epochs=1, seed=0)
        result = next(training.run())
        speeds[str(size)] = round(result.images / result.seconds, 1)
    return speeds


def measure(
    parts: Collection[str], named: dict[str, Candidate], data: PreparedData, device: Device, repeats: int
) -> dict[str, Any]:
    """The parts that are asked for, of `PARTS` and `SIDE_BY_SIDE`, for candidates of one batch size by their names."""
    result: dict[str, Any] = {
        "machine": f"{device.describe()}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "batch_size": next(iter(named.values())).recipe.batch_size,
        "training": {},
        **{name: {} for name in EFFORTS},
        SIDE_BY_SIDE: {},
        "parts": {},
        "evaluation": {},
        "input_pipeline": {},
        "kernels": {},
        "epoch_images_per_s": {},
    }
    for name, candidate in named.items():
        print(f"timing {name} ...", file=sys.stderr, flush=True)
        with naive.apart() as apart:
            if "training" in parts:
                for way, row in time_training(candidate, data, device, repeats, apart).items():
                    result[way][name] = row
            if "evaluation" in parts:
                result["evaluation"][name] = time_evaluation(candidate, data, device, repeats, apart)
        if SIDE_BY_SIDE in parts:
            result[SIDE_BY_SIDE][name] = side_by_side(candidate, data, device, SECONDS)
        if "parts" in parts:
            result["parts"][name] = time_parts(candidate, data, device, repeats)
    if "input" in parts:
        with naive.apart() as apart:
            row = time_input(next(iter(named.values())), data, device, repeats, apart)
        result["input_pipeline"] = {"crop_flip_randaugment_erasing": row}
    if "kernels" in parts and device.torch_device.type == "cpu":
        result["kernels"] = {
            f"{what}, {channels} channels, {side} x {side}": timed(channels, side, device, repeats)
            for what, timed, maps in (
                ("batch norm, addition, ReLU", time_norm, NORMS),
                ("max pooling", time_pool, POOLS),
            )
            for channels, side in maps
        }
    if "scales" in parts:
        result["epoch_images_per_s"] = time_scales(list(named.values())[-1], data, device)
    return result


def main() -> int:
    """Measures, prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side; medians are printed")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch-size", type=int, default=naive.BATCH, help="images a training step, of both sides")
    parser.add_argument(
        "--only", action="append", choices=(*PARTS, SIDE_BY_SIDE), help="measure this part; may be given several times"
    )
    parser.add_argument("--profile", action="store_true", help="print instead where the time of a step goes")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write instead a trace of the first network's steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    device, data = choose_device(args.device), prepare(args.data)
    named = candidates(args.batch_size, args.recipe or ())
    if args.trace:
        step_profile.write_trace(next(iter(named.values())), data, device, args.trace)
        return 0
    if args.profile:
        result = step_profile.profiles(named, data, device)
        print(json.dumps(result, indent=2) if args.json else step_profile.table(result))
        return 0
    result = measure(args.only or PARTS, named, data, device, args.repeats)
    print(json.dumps(result, indent=2) if args.json else table(result))
    return 0


def table(result: dict[str, Any]) -> str:
    """The result as Markdown; what was not measured is left out."""
    lines = [result["machine"]]
    rows = [
        f"| {part.replace('_', ' ')}: {name} | {row['naive']:,} | {row['trainer']:,} | {row['ratio']}x |"
        for part in ("training", *EFFORTS, "input_pipeline", "evaluation")
        for name, row in result[part].items()
    ]
    if rows:
        lines += ["", "| images/s | naive | trainer | ratio |", "|---|---|---|---|", *rows]
    for name, speeds in result[SIDE_BY_SIDE].items():
        lines += ["", f"| side by side: {name} | {' | '.join(map(str, speeds))} |", "|---" * (len(speeds) + 1) + "|"]
        lines.append(f"| images/s in all | {' | '.join(f'{speed:,.0f}' for speed in speeds.values())} |")
    if result["parts"]:
        columns = ("forward", "forward + backward", "optimizer", "whole step", "share outside")
        lines += [
            "",
            f"| seconds a step of {result['batch_size']} | {' | '.join(columns)} |",
            "|---|---|---|---|---|---|",
        ]
    for name, row in result["parts"].items():
        cells = " | ".join(f"{row[key]:.4f}" for key in ("forward", "forward_backward", "optimizer", "step"))
        lines.append(f"| {name} | {cells} | {100 * row['share_outside']:.1f} % |")
    if result["kernels"]:
        lines += ["", "| forward and backward, ms | PyTorch | kernel | ratio |", "|---|---|---|---|"]
    for shape, row in result["kernels"].items():
        lines.append(f"| {shape} | {row['pytorch']:.2f} | {row['kernel']:.2f} | {row['ratio']}x |")
    if result["epoch_images_per_s"]:
        lines += ["", "| images an epoch | images/s |", "|---|---|"]
    lines += [f"| {int(size):,} | {speed:,} |" for size, speed in result["epoch_images_per_s"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
