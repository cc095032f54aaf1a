"""Parts of a network, named and counted: one description that both the counting and the building read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from cifar.networks.complexity import Cost, Layer, norm_layer, total_cost
from cifar.networks.sequence import Sequence


@dataclass(frozen=True)
class Part:
    """One module of a network."""

    name: str
    """Dotted path of the module."""
    make: Callable[[], nn.Module]
    """Builds it."""
    layer: Layer | None = None
    """Its shapes, if it has parameters or changes the resolution."""


class Residual(Sequence):
    """The sum of the input and what the modules inside make of it."""

    def forward(self, x: Tensor) -> Tensor:
        """The input plus the output of the last module."""
        return x + super().forward(x)


class GlobalMax(nn.Module):
    """The maximum of each channel's map, of any size; AdaptiveMaxPool2d has no deterministic backward pass on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 1, 1)."""
        return x.amax((2, 3), keepdim=True)


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.factor


def nested(parts: Iterable[Part], containers: Mapping[str, type[nn.Sequential]]) -> nn.Sequential:
    """The parts, one after the other, in containers named by their paths.

    Args:
        parts: in the order of the forward pass.
        containers: the class of containers that are no plain `Sequence`, by path; the path of the whole is "".
    """
    network = containers.get("", Sequence)()
    for part in parts:
        parent, path = network, ""
        *outer, name = part.name.split(".")
        for step in outer:
            path = f"{path}.{step}" if path else step
            if step not in dict(parent.named_children()):
                parent.add_module(step, containers.get(path, Sequence)())
            parent = parent.get_submodule(step)  # type: ignore[assignment]
        parent.add_module(name, part.make())
    return network


def conv(
    name: str,
    inputs: int,
    outputs: int,
    out_size: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    padded: bool = True,
) -> Part:
    """A convolution that keeps the resolution but for its stride and, unpadded, the kernel's overhang."""
    padding = dilation * (kernel // 2) if padded else 0
    make = partial(nn.Conv2d, inputs, outputs, kernel, stride, padding, dilation, groups, bias)
    return Part(name, make, Layer(name, "conv", inputs, outputs, out_size, kernel, stride, bias, dilation, groups))


def norm(name: str, channels: int, size: int) -> Part:
    """Batch norm."""
    return Part(name, partial(nn.BatchNorm2d, channels), norm_layer(name, channels, size))


def max_pool(name: str, channels: int, in_size: int, side: int) -> Part:
    """The maximum of each square of `side` pixels; a remainder at the border is left out."""
    # of fixed size even where it pools the whole map: AdaptiveMaxPool2d has no deterministic backward pass on CUDA
    layer = Layer(name, "pool", channels, channels, in_size // side, kernel=side, stride=side)
    return Part(name, partial(nn.MaxPool2d, side), layer)


def global_average(name: str, channels: int, in_size: int) -> Part:
    """The mean of the whole map."""
    layer = Layer(name, "pool", channels, channels, 1, kernel=in_size, stride=in_size)
    return Part(name, partial(nn.AdaptiveAvgPool2d, 1), layer)


def global_max(name: str, channels: int, in_size: int) -> Part:
    """The maximum of the whole map, whatever its size."""
    return Part(name, GlobalMax, Layer(name, "pool", channels, channels, 1, kernel=in_size, stride=in_size))


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Part:
    """A linear layer."""
    return Part(name, partial(nn.Linear, inputs, outputs, bias), Layer(name, "linear", inputs, outputs, bias=bias))


def conv_norm_act(
    name: str, inputs: int, outputs: int, size: int, act: Callable[[], nn.Module] = nn.ReLU
) -> Iterator[Part]:
    """A 3x3 convolution, batch norm and an activation."""
    yield conv(f"{name}.conv", inputs, outputs, size)
    yield norm(f"{name}.norm", outputs, size)
    yield Part(f"{name}.act", act)


class Described(ABC):
    """A network whose configuration names its parts, one after the other."""

    containers: ClassVar[Mapping[str, type[nn.Sequential]]] = {}

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """Every module, in the order of the forward pass."""

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters and every pooling, in the order of the forward pass."""
        return (part.layer for part in self.parts() if part.layer is not None)

    def cost(self) -> Cost:
        """Parameters and multiply-accumulates, exact, without building the network."""
        return total_cost(self.layers())

    def build(self) -> nn.Sequential:
        """The network, by PyTorch's own initialisation from torch's global generator."""
        return nested(self.parts(), self.containers)
