"""Parameters and multiply-accumulates of a network, from its layers' shapes alone (no torch, microseconds).

A multiply-accumulate (MAC) is one multiplication and addition in a convolution or linear layer; normalisation,
activations, pooling and bias additions are not counted (the convention of fvcore and torch.utils.flop_counter,
whose FLOPs are 2 x MACs). thop counts normalisation and pooling too, so its MACs are a few percent higher.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

LayerKind = Literal["conv", "norm", "linear", "pool"]


@dataclass(frozen=True)
class Layer:
    """One layer that has parameters or changes the resolution."""

    name: str
    """Dotted name of the module."""
    kind: LayerKind
    """conv (2-d), norm (batch norm), linear or pool (maximum or average, without parameters)."""
    in_channels: int
    """Input channels or features."""
    out_channels: int
    """Output channels or features."""
    out_size: int = 1
    """Height and width of the output in pixels; 1 for linear."""
    kernel: int = 1
    """Height and width of the kernel; 1 for norm and linear."""
    stride: int = 1
    """Step of the kernel in pixels."""
    bias: bool = False
    """Whether a conv or linear layer adds a bias."""
    dilation: int = 1
    """Distance in pixels of the inputs that neighbouring weights of the kernel read (arXiv 1511.07122)."""
    groups: int = 1
    """Groups of channels that a conv keeps apart; as many as channels is a depthwise convolution."""
    branch: bool = False
    """Whether it lies beside the main path, as on a shortcut or in squeeze-and-excitation."""

    @property
    def parameters(self) -> int:
        """Weights and biases, frozen ones included."""
        if self.kind == "norm":
            return 2 * self.out_channels
        return self._weights + (self.out_channels if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates an image."""
        return 0 if self.kind == "norm" else self._weights * self.out_size**2

    @property
    def _weights(self) -> int:
        return 0 if self.kind == "pool" else self.in_channels // self.groups * self.out_channels * self.kernel**2


def norm_layer(name: str, channels: int, size: int) -> Layer:
    """Batch norm of a map of `size` x `size` pixels."""
    return Layer(name, "norm", channels, channels, size)


def strided(size: int, stride: int) -> int:
    """Side of what a convolution or pooling puts out that keeps the resolution but for its stride."""
    return -(-size // stride)


@dataclass(frozen=True)
class Cost:
    """What a network costs: exact, and known before anything is built."""

    parameters: int
    """Weights and biases, frozen ones included."""
    macs: int
    """Multiply-accumulates an image."""


def total_cost(layers: Iterable[Layer]) -> Cost:
    """The sum over `layers`."""
    parameters = macs = 0
    for layer in layers:
        parameters += layer.parameters
        macs += layer.macs
    return Cost(parameters, macs)


def measure_cost(network: nn.Module, image_size: int) -> Cost:
    """The cost of a built network, for those without a closed form.

    Args:
        network: takes (N, 3, image_size, image_size); may be on PyTorch's `meta` device, without weights.
        image_size: height and width in pixels.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    copied = copy.deepcopy(network).cpu().float().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copied(torch.zeros(1, 3, image_size, image_size))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


def thop_parameters(network: nn.Module, image_size: int = 32) -> int:
    """Parameters as thop counts them, the contest's yardstick.

    thop registers buffers that break a strict `load_state_dict`, so it profiles a copy. It sees leaf modules only:
    a bare `nn.Parameter` in a module with children is missed; the networks here have none.

    Args:
        network: takes (N, 3, image_size, image_size).
        image_size: height and width in pixels.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # thop 0.1.1 imports distutils
        from thop import profile

    device = "meta" if next(network.parameters()).is_meta else "cpu"
    throw_away = copy.deepcopy(network).to(device).float().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # and asks it for versions
        image = torch.zeros(1, 3, image_size, image_size, device=device)
        _, parameters = profile(throw_away, inputs=(image,), verbose=False)
    return int(parameters)
