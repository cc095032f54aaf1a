"""Where a training step's time goes, beside what the machine's arithmetic allows: `benchmarks.throughput --profile`.

Convolutions are most of a step. Where they run near the speed of a plain matrix product in the same precision, only
the rest of the step is left to gain, and a trainer's speed beside the float32 pipeline is bounded by how long both
sides' kernels take.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import naive
from benchmarks.speed import synchronize
from cifar.candidate import Candidate
from cifar.data.prepare import PreparedData
from cifar.optim import set_lr
from cifar.runtime.device import Device
from cifar.train import Training

KINDS = {  # kinds of operations, by parts of their names
    "convolution": ("conv",),
    "batch norm": ("batch_norm", "BatchNorm"),
    "pooling": ("max_pool", "MaxPool"),
    "activation": ("relu", "clamp_min", "threshold", "silu", "gelu"),
}
STEPS = 5
TRACED_STEPS = 50
WARM_UP_STEPS = 10  # until memory is reused
SIDE = 2048  # rows and columns of the matrices whose product is timed


def matmul_speed(dtype: torch.dtype, device: Device) -> float:
    """GFLOP/s of a product of two square matrices, the best of ten."""
    a = torch.randn(SIDE, SIDE, device=device.torch_device).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        (a @ a)[0, 0].item()  # reading waits for a GPU
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds) / 1e9


def step_profile(step: Callable[[], object], macs: int, device: Device) -> dict[str, float]:
    """Seconds a step, the share of each kind of operation in [0, 1], and GFLOP/s of the convolutions.

    Args:
        step: one training step on a ready batch.
        macs: multiply-accumulates of the batch's forward pass; the gradients of inputs and of weights take as many
            each. (The first layer's input needs no gradient: some 2 % of a small network.)
        device: where it runs.
    """
    for _ in range(WARM_UP_STEPS):
        step()
    on_cuda = device.torch_device.type == "cuda"
    with profile(activities=_activities(device)) as profiled:
        for _ in range(STEPS):
            step()
    seconds = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in profiled.key_averages():
        took = event.self_device_time_total if on_cuda else event.self_cpu_time_total  # microseconds
        seconds[_kind(event.key)] += took / 1e6 / STEPS
    whole = sum(seconds.values())
    shares = {kind: round(part / whole, 3) for kind, part in seconds.items()}
    return {"seconds": round(whole, 4), **shares, "conv_gflops": round(6 * macs / seconds["convolution"] / 1e9, 1)}


def _activities(device: Device) -> list[ProfilerActivity]:
    on_cuda = device.torch_device.type == "cuda"
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]


def _kind(operation: str) -> str:
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), "other")


def trainer_profile(candidate: Candidate, data: PreparedData, device: Device) -> dict[str, float]:
    """`step_profile` of the trainer."""
    training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)
    training.network.train()
    set_lr(training.optimizer, training.peak_lr, 0.01)
    images, labels = next(training.loader.batches(torch.Generator().manual_seed(0)))
    macs = candidate.cost.macs * len(labels)
    return step_profile(lambda: training.step(images, labels, torch.Generator().manual_seed(0)), macs, device)


def write_trace(candidate: Candidate, data: PreparedData, device: Device, path: Path) -> None:
    """Writes what the CPU and the GPU did in `TRACED_STEPS` steps, input included, its launches recorded if possible.

    Args:
        candidate: what is trained.
        data: images.
        device: where it is trained.
        path: of a file for chrome://tracing or Perfetto; compressed if its name ends in .gz.
    """
    training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)
    training.compile("record")
    steps = training.steps([0.01 * training.peak_lr] * (WARM_UP_STEPS + TRACED_STEPS))
    for _ in range(WARM_UP_STEPS):
        next(steps)
    with profile(activities=_activities(device)) as profiled:
        for _ in steps:
            pass
        synchronize(device)
    profiled.export_chrome_trace(str(path))


def usual_profile(candidate: Candidate, data: PreparedData, device: Device) -> dict[str, float]:
    """`step_profile` of the usual pipeline, for a process of its own."""
    usual = naive.usual_training(candidate, data, device)
    images, labels = (batch.to(device.torch_device) for batch in next(iter(usual.loader)))
    usual.network.train()
    return step_profile(lambda: usual.step(images, labels), candidate.cost.macs * len(labels), device)


def profiles(named: dict[str, Candidate], data: PreparedData, device: Device) -> dict[str, Any]:
    """The machine's matrix products, and both sides' steps of each candidate."""
    fast = device.autocast or torch.float32
    speeds = {str(t).removeprefix("torch."): round(matmul_speed(t, device)) for t in (torch.float32, fast)}
    steps = {}
    for name, candidate in named.items():
        with naive.apart() as apart:
            usual = apart(usual_profile, candidate, data, device)
        steps[name] = {"naive": usual, "trainer": trainer_profile(candidate, data, device)}
    return {"matmul_gflops": speeds, "steps": steps}


def table(found: dict[str, Any]) -> str:
    """The profiles as Markdown."""
    products = ", ".join(f"{dtype} {speed:,}" for dtype, speed in found["matmul_gflops"].items())
    lines = [f"Matrix product of {SIDE} x {SIDE}, GFLOP/s: {products}", ""]
    lines.append(f"| a step on a ready batch | seconds | {' | '.join((*KINDS, 'other'))} | convolution GFLOP/s |")
    lines.append("|---" * (len(KINDS) + 4) + "|")
    for name, sides in found["steps"].items():
        for side, row in sides.items():
            shares = " | ".join(f"{100 * row[kind]:.0f} %" for kind in (*KINDS, "other"))
            lines.append(f"| {name}, {side} | {row['seconds']:.3f} | {shares} | {row['conv_gflops']:,.0f} |")
        ratio = sides["naive"]["seconds"] / sides["trainer"]["seconds"]
        lines.append(f"| {name}, naive / trainer | {ratio:.2f}x |" + " |" * (len(KINDS) + 2))
    return "\n".join(lines)
