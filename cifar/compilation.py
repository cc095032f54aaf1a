"""Quicker passes for training: when they are worth their making, and what is made where something cannot be.

On CUDA a step of a small network takes as long as launching its kernels, some 400 of them. Two remedies:

- *record*: the launches become one CUDA graph. That takes the time of a few steps, and the kernels stay PyTorch's.
- *compile*: torch.compile makes fewer kernels, and a CUDA graph of them where it can (`reduce-overhead`). That takes a
  minute. A network that was compiled before, such as that of a resumed trial, is found in the cache that PyTorch keeps
  on the disk for all processes (docs.pytorch.org, "Compile Time Caching in torch.compile").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from cifar.passes import Batch, Losses, Pass, RecordedPass, cuda_graph_on, plain_pass
from cifar.runtime.device import Device

Effort = Literal["record", "compile"]

RECORD_FROM = {"cuda": 20.0}
"""Seconds of training to come from which on recording pays, by type of device: it takes some 2 s, warm-up included."""
COMPILE_FROM = {"cuda": 300.0}
"""Seconds of training to come from which on compiling pays: a minute is won back where a fifth of the time is saved.
On a CPU a compiled step is slower than the trainer's own (benchmarks/README.md)."""
TRIAL_PASSES = 3
"""Passes that a new pass is tried with: CUDA graphs of torch.compile warm up in the first, are recorded in the second
and replayed from the third on, and fail only then (docs.pytorch.org, "CUDAGraph Trees")."""


@dataclass(frozen=True)
class Compilation:
    """What came of making a pass quicker."""

    quicker: Pass | None
    """The pass; None where none could be made."""
    told: str
    """What was done, or why not, in one line."""


def effort_worth(seconds_left: float, device: Device) -> Effort | None:
    """What pays where training goes on for so long at its present speed; nothing where runs must repeat exactly."""
    if torch.are_deterministic_algorithms_enabled():
        return None
    kind = device.torch_device.type
    if seconds_left >= COMPILE_FROM.get(kind, math.inf):
        return "compile"
    return "record" if seconds_left >= RECORD_FROM.get(kind, math.inf) else None


def make_quicker(
    effort: Effort, losses: Losses, scaler: torch.amp.GradScaler, network: nn.Module, batch: Batch, device: Device
) -> Compilation:
    """A quicker pass; the next best one where the best cannot be made. The network itself stays as it is.

    Args:
        effort: the most to do.
        losses: of the network.
        scaler: of the loss.
        network: on `device`, without gradients.
        batch: of the shape and types of every batch.
        device: where it trains.
    """
    problem = ""
    for told, make in _ways(effort, losses, scaler, network, batch, device):
        try:
            found = _tried(make, network, batch, device)
        except Exception as error:  # of any kind; the plain pass tells its own errors
            problem = problem or _in_one_line(error)
        else:
            return Compilation(found, f"{told}; not compiled: {problem}" if problem else told)
    return Compilation(None, f"not compiled, which costs only speed: {problem or 'recording needs CUDA'}")


def _ways(
    effort: Effort, losses: Losses, scaler: torch.amp.GradScaler, network: nn.Module, batch: Batch, device: Device
) -> Iterator[tuple[str, Callable[[], Pass]]]:
    """What each way did, in words, and what makes its pass; the best first."""
    on_cuda = device.torch_device.type == "cuda"
    if effort == "compile" and on_cuda:
        yield "compiled for CUDA graphs", partial(_compiled, losses, scaler, "reduce-overhead")
    if effort == "compile":
        yield "compiled", partial(_compiled, losses, scaler, "default")
    if on_cuda:
        record = cuda_graph_on(device.torch_device)
        yield "recorded as a CUDA graph", partial(RecordedPass, losses, scaler, network, batch, record)


def _compiled(losses: Losses, scaler: torch.amp.GradScaler, mode: str) -> Pass:
    torch._dynamo.reset()  # networks compiled before count towards the limit of recompilations, and hold memory
    return plain_pass(torch.compile(losses, mode=mode, dynamic=False), scaler)


def _tried(make: Callable[[], Pass], network: nn.Module, batch: Batch, device: Device) -> Pass:
    """The pass, run a few times; weights, statistics, gradients and generators are left as they were."""
    before = copy.deepcopy(network.state_dict())
    network.train()
    try:
        with device.forked_generators():
            found = make()
            for _ in range(TRIAL_PASSES):
                network.zero_grad(set_to_none=True)
                totals = found(*batch)
            totals.tolist()  # waits for a GPU, whose errors come late
    finally:
        network.zero_grad(set_to_none=True)
        network.load_state_dict(before)
    return found


def _in_one_line(error: Exception) -> str:
    reason, _, _ = str(error).partition("\n\n")  # what follows is advice on logging
    return " ".join(f"{type(error).__name__}: {reason}".split())
