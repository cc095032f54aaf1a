"""Training's passes through a network, compiled by torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cifar.runtime.device import Device

Forward = Callable[[Tensor], Tensor]
"""From images to logits."""


class CannotCompile(Exception):
    """The network cannot be compiled; the message says why in one line."""


def compiled(network: nn.Module, shape: torch.Size, device: Device) -> Forward:
    """The network's compiled passes in training; the network itself stays as it is.

    Args:
        network: on `device`, without gradients.
        shape: shape of every batch, (B, 3, H, W).
        device: where it trains.

    Raises:
        CannotCompile: for reasons such as a missing C++ compiler.
    """
    # reduce-overhead captures CUDA graphs, which not every network allows
    modes = ("reduce-overhead", "default") if device.torch_device.type == "cuda" else ("default",)
    problem = ""
    for mode in modes:
        torch._dynamo.reset()  # networks compiled before count towards the limit of recompilations
        forward: Forward = torch.compile(network, mode=mode, dynamic=False)
        try:
            _try_passes(forward, network, shape, device)
        except Exception as error:  # of any kind; the uncompiled network tells its own errors
            reason, _, _ = str(error).partition("\n\n")  # what follows is advice on logging
            problem = " ".join(f"{type(error).__name__}: {reason}".split())
        else:
            return forward
    raise CannotCompile(problem)


def _try_passes(forward: Forward, network: nn.Module, shape: torch.Size, device: Device) -> None:
    """A forward and a backward pass that leave weights, statistics, gradients and generators as they were."""
    images = torch.zeros(shape, device=device.torch_device)
    before = copy.deepcopy(network.state_dict())
    network.train()
    try:
        with device.forked_generators():
            with device.autocasting():
                logits = forward(images.contiguous(memory_format=torch.channels_last))
            logits.float().sum().backward()  # type: ignore[no-untyped-call]
    finally:
        network.load_state_dict(before)
        network.zero_grad(set_to_none=True)
