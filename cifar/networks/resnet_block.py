"""One residual block of a ResNet: its shapes, which are counted, and the module that is built from them.

Blocks: basic and bottleneck (He et al., arXiv 1512.03385), pre-activation (arXiv 1603.05027); squeeze-and-excitation
(arXiv 1709.01507); stochastic depth (arXiv 1603.09382).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from cifar.networks.batch_norm import norm_act
from cifar.networks.complexity import Layer, norm_layer, strided
from cifar.networks.sequence import Sequence

BlockName = Literal["basic", "preact", "bottleneck"]
ActivationName = Literal["relu", "silu", "gelu", "leaky_relu"]

# In place where the backward pass needs no more than the output. Neither batch norm nor a convolution, which make what
# is overwritten, look at their own output again.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
}
EXPANSION = 4  # bottleneck: output channels over inner channels, arXiv 1512.03385 table 1
SQUEEZE = 16  # squeeze-and-excitation: reduction ratio, arXiv 1709.01507 section 6.4


def expansion(block: BlockName) -> int:
    """Output channels of a block over its inner ones."""
    return EXPANSION if block == "bottleneck" else 1


@dataclass(frozen=True)
class BlockSpec:
    """Shapes of one block; both the counting and the building of the block read them."""

    name: str
    """Dotted path of the module."""
    block: BlockName
    """basic, preact or bottleneck."""
    in_channels: int
    """Channels that the block gets."""
    channels: int
    """Channels of its inner convolutions."""
    stride: int
    """1, or 2 where the block halves height and width."""
    in_size: int
    """Height and width of its input in pixels."""
    kernel: int
    """Kernel size of its convolutions, F."""
    shortcut_kernel: int
    """Kernel size of its shortcut's convolution, K."""
    conv_bias: bool
    """Whether convolutions have a bias."""
    squeeze_excitation: bool
    """Whether squeeze-and-excitation ends the residual branch."""
    activation: ActivationName
    """Activation function."""
    drop_probability: float
    """Probability of dropping the residual branch a sample."""

    @property
    def preact(self) -> bool:
        """Whether norm and activation come before each convolution."""
        return self.block == "preact"

    @property
    def out_channels(self) -> int:
        """Channels the block puts out."""
        return self.channels * expansion(self.block)

    @property
    def projects(self) -> bool:
        """Whether the shortcut needs a convolution because the shape changes."""
        return self.stride != 1 or self.in_channels != self.out_channels

    @property
    def out_size(self) -> int:
        """Height and width of the block's output in pixels."""
        return strided(self.in_size, self.stride)

    def convs(self) -> tuple[Layer, ...]:
        """Convolutions of the residual branch; the one with the F x F kernel of the first pair has the stride."""
        if self.block == "bottleneck":
            return (
                self._conv("convs.0", self.in_channels, self.channels, 1, self.in_size),
                self._conv("convs.1", self.channels, self.channels, self.kernel, self.out_size, self.stride),
                self._conv("convs.2", self.channels, self.out_channels, 1, self.out_size),
            )
        return (
            self._conv("convs.0", self.in_channels, self.channels, self.kernel, self.out_size, self.stride),
            self._conv("convs.1", self.channels, self.channels, self.kernel, self.out_size),
        )

    def shortcut(self) -> Layer:
        """Convolution of the shortcut; only where `projects`."""
        k = self.shortcut_kernel
        conv = self._conv("shortcut.0", self.in_channels, self.out_channels, k, self.out_size, self.stride)
        return replace(conv, branch=True)

    def squeeze(self) -> int:
        """Hidden units of squeeze-and-excitation."""
        return max(4, self.out_channels // SQUEEZE)

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters."""
        size = self.in_size
        for i, conv in enumerate(self.convs()):
            if self.preact:
                yield norm_layer(f"{self.name}.norms.{i}", conv.in_channels, size)
            yield conv
            size = conv.out_size
            if not self.preact:
                yield norm_layer(f"{self.name}.norms.{i}", conv.out_channels, size)
        if self.squeeze_excitation:
            yield Layer(f"{self.name}.se.fc1", "linear", self.out_channels, self.squeeze(), bias=True, branch=True)
            yield Layer(f"{self.name}.se.fc2", "linear", self.squeeze(), self.out_channels, bias=True, branch=True)
        if self.projects:
            yield self.shortcut()
            if not self.preact:
                yield replace(norm_layer(f"{self.name}.shortcut.1", self.out_channels, size), branch=True)

    def _conv(self, name: str, inputs: int, outputs: int, kernel: int, size: int, stride: int = 1) -> Layer:
        return Layer(f"{self.name}.{name}", "conv", inputs, outputs, size, kernel, stride, bias=self.conv_bias)


def _build(layer: Layer) -> nn.Conv2d:
    padding = layer.kernel // 2
    return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, padding, bias=layer.bias)


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples in training, and scales the others to keep the mean.

    As torchvision.ops.StochasticDepth(p, "row"), whose import would double the start-up time of every worker.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), zero for the samples that are dropped."""
        if not self.training or not self.p:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.p  # (B, 1, 1, 1)
        return x * (kept / (1 - self.p)).to(x.dtype)


class SqueezeExcitation(nn.Module):
    """Channel attention: (B, C, H, W) times a factor in (0, 1) a channel."""

    def __init__(self, channels: int, squeeze: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeeze)
        self.act = activation()
        self.fc2 = nn.Linear(squeeze, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The weighted channels."""
        pooled = x.mean((2, 3))  # (B, C)
        factor = torch.sigmoid(self.fc2(self.act(self.fc1(pooled))))
        return x * factor[:, :, None, None]


class Block(nn.Module):
    """A residual block: basic or bottleneck (norm after conv), or pre-activation (norm before conv)."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        convs, activation = spec.convs(), ACTIVATIONS[spec.activation]
        self.preact = spec.preact
        self.convs = nn.ModuleList(_build(conv) for conv in convs)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(conv.in_channels if self.preact else conv.out_channels) for conv in convs
        )
        self.act = activation()
        self.se = (
            SqueezeExcitation(spec.out_channels, spec.squeeze(), activation)
            if spec.squeeze_excitation
            else nn.Identity()
        )
        self.shortcut = self._shortcut(spec)
        self.drop = StochasticDepth(spec.drop_probability)

    def _shortcut(self, spec: BlockSpec) -> nn.Module:
        if not spec.projects:
            return nn.Identity()
        conv = _build(spec.shortcut())
        return Sequence(conv) if self.preact else Sequence(conv, nn.BatchNorm2d(spec.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return self._forward_preact(x) if self.preact else self._forward_postact(x)

    def _forward_postact(self, x: Tensor) -> Tensor:
        out, last = x, len(self.convs) - 1
        for i in range(last):
            out = norm_act(self.norms[i], self.act, self.convs[i](out))
        out, short = self.convs[last](out), self.shortcut(x)
        if isinstance(self.se, nn.Identity) and not self.drop.p:
            return norm_act(self.norms[last], self.act, out, short)
        out = self.drop(self.se(norm_act(self.norms[last], None, out)))
        out += short
        result: Tensor = self.act(out)
        return result

    def _forward_preact(self, x: Tensor) -> Tensor:
        out = norm_act(self.norms[0], self.act, x)
        # the projection reads the activated input, the identity the raw one (arXiv 1603.05027, appendix)
        short = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(out)
        out = self.convs[0](out)
        out = self.convs[1](norm_act(self.norms[1], self.act, out))
        result: Tensor = self.drop(self.se(out))
        result += short
        return result
