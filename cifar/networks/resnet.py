"""ResNets for small images: any depth and width a stage, counted exactly before they are built.

A 3x3 stem, 3 or 4 stages that halve the resolution, average pooling, one linear layer. Blocks: basic and
bottleneck (He et al., arXiv 1512.03385), pre-activation (arXiv 1603.05027); squeeze-and-excitation
(arXiv 1709.01507); stochastic depth (arXiv 1603.09382).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cifar.networks.batch_norm import Sequence, norm_act
from cifar.networks.complexity import Cost, Layer, total_cost
from cifar.recipe import require

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


@dataclass(frozen=True)
class ResNetConfig:
    """A ResNet for 3-channel images; every field is part of the JSON form."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["resnet"] = "resnet"
    """Tells this network apart from others in JSON and TOML."""
    blocks: tuple[int, ...] = (2, 2, 2)
    """Blocks a stage, B; 3 or 4 stages, each after the first halves height and width."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Channels a stage, C; the inner channels of bottleneck blocks, which put out four times as many."""
    stem: int = 16
    """Channels of the 3x3 stem convolution."""
    block: BlockName = "basic"
    """basic, preact (pre-activation basic) or bottleneck."""
    kernel: int = 3
    """Kernel size of the block convolutions, F: 3 or 5."""
    shortcut_kernel: int = 1
    """Kernel size of the shortcut convolution where the shape changes, K: 1 or 3."""
    pool: int = 0
    """Side of the average pooling before the linear layer, P; 0 pools the whole map."""
    squeeze_excitation: bool = False
    """Squeeze-and-excitation at the end of each block's residual branch."""
    activation: ActivationName = "relu"
    """Activation function."""
    dropout: float = 0.0
    """Dropout probability before the linear layer."""
    stochastic_depth: float = 0.0
    """Probability of dropping the last block's residual branch a sample; falls linearly to 0 at the first block."""
    conv_bias: bool = False
    """Whether convolutions have a bias; batch norm makes it redundant."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels."""

    def __post_init__(self) -> None:
        stages = len(self.blocks)
        require(stages in (3, 4), "a network has 3 or 4 stages", f"blocks {self.blocks}", "Give 3 or 4 numbers")
        require(
            len(self.channels) == stages,
            "channels needs one number a stage",
            self.channels,
            f"Give {stages} numbers",
        )
        for name in ("blocks", "channels"):
            values = getattr(self, name)
            require(min(values) >= 1, f"{name} must be positive", values, "Give positive whole numbers")
        require(self.stem >= 1, "stem must be positive", self.stem, "16 to 64 is usual")
        require(self.kernel in (3, 5), "kernel (F) must be 3 or 5", self.kernel, "3 is usual")
        require(
            self.shortcut_kernel in (1, 3),
            "shortcut_kernel (K) must be 1 or 3",
            self.shortcut_kernel,
            "1 is usual",
        )
        require(self.num_classes >= 2, "num_classes must be 2 or more", self.num_classes, "CIFAR-10 has 10")
        require(self.image_size >= 8, "image_size must be 8 pixels or more", self.image_size, "CIFAR-10 has 32")
        require(
            0 <= self.pool <= self.map_size,
            f"pool (P) must be 0 (global) or 1..{self.map_size}, the last map's side",
            self.pool,
            "0 pools the whole map",
        )
        for name in ("dropout", "stochastic_depth"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} must be in [0, 1)", value, "0 switches it off")

    @property
    def map_size(self) -> int:
        """Height and width of the last feature map in pixels."""
        size = self.image_size
        for _ in self.blocks[1:]:
            size = _halved(size)
        return size

    @property
    def features(self) -> int:
        """Inputs of the linear layer."""
        side = self.map_size // (self.pool or self.map_size)
        return self.channels[-1] * self.expansion * side**2

    @property
    def expansion(self) -> int:
        """Output channels of a block over the stage's `channels`."""
        return EXPANSION if self.block == "bottleneck" else 1

    def with_classes(self, num_classes: int, image_size: int) -> ResNetConfig:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def build(self) -> ResNet:
        """The network, randomly initialised from torch's global generator."""
        return ResNet(self)

    def cost(self) -> Cost:
        """Parameters and multiply-accumulates, exact, without building the network."""
        return total_cost(self.layers())

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters and the pooling, in the order of the forward pass; names are the modules'."""
        yield self._conv("stem.conv", 3, self.stem, 3, self.image_size)
        if self.block != "preact":
            yield _norm("stem.norm", self.stem, self.image_size)
        for spec in self.block_specs():
            yield from spec.layers()
        width, side = self.channels[-1] * self.expansion, self.pool or self.map_size
        if self.block == "preact":
            yield _norm("norm", width, self.map_size)
        yield Layer("pool", "pool", width, width, self.map_size // side, kernel=side, stride=side)
        yield Layer("fc", "linear", self.features, self.num_classes, bias=True)

    def block_specs(self) -> Iterator[BlockSpec]:
        """The blocks in order."""
        width, size, index, total = self.stem, self.image_size, 0, sum(self.blocks)
        for stage, (count, channels) in enumerate(zip(self.blocks, self.channels, strict=True)):
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                drop = self.stochastic_depth * index / max(1, total - 1)
                spec = BlockSpec(self, f"stages.{stage}.{position}", width, channels, stride, size, drop)
                yield spec
                width, size, index = spec.out_channels, spec.out_size, index + 1

    def _conv(self, name: str, inputs: int, outputs: int, kernel: int, size: int, stride: int = 1) -> Layer:
        return Layer(name, "conv", inputs, outputs, size, kernel, stride, bias=self.conv_bias)


@dataclass(frozen=True)
class BlockSpec:
    """Shapes of one block; both the counting and the building of the block read them."""

    config: ResNetConfig
    name: str
    in_channels: int
    channels: int
    stride: int
    in_size: int
    drop_probability: float

    @property
    def out_channels(self) -> int:
        """Channels the block puts out."""
        return self.channels * self.config.expansion

    @property
    def projects(self) -> bool:
        """Whether the shortcut needs a convolution because the shape changes."""
        return self.stride != 1 or self.in_channels != self.out_channels

    @property
    def out_size(self) -> int:
        """Height and width of the block's output in pixels."""
        return self.in_size if self.stride == 1 else _halved(self.in_size)

    def convs(self) -> tuple[Layer, ...]:
        """Convolutions of the residual branch; the one with the F x F kernel of the first pair has the stride."""
        c, f, name = self.config, self.config.kernel, self.name
        if c.block == "bottleneck":
            return (
                c._conv(f"{name}.convs.0", self.in_channels, self.channels, 1, self.in_size),
                c._conv(f"{name}.convs.1", self.channels, self.channels, f, self.out_size, self.stride),
                c._conv(f"{name}.convs.2", self.channels, self.out_channels, 1, self.out_size),
            )
        return (
            c._conv(f"{name}.convs.0", self.in_channels, self.channels, f, self.out_size, self.stride),
            c._conv(f"{name}.convs.1", self.channels, self.channels, f, self.out_size),
        )

    def shortcut(self) -> Layer:
        """Convolution of the shortcut; only where `projects`."""
        k = self.config.shortcut_kernel
        name = f"{self.name}.shortcut.0"
        conv = self.config._conv(name, self.in_channels, self.out_channels, k, self.out_size, self.stride)
        return replace(conv, branch=True)

    def squeeze(self) -> int:
        """Hidden units of squeeze-and-excitation."""
        return max(4, self.out_channels // SQUEEZE)

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters."""
        preact = self.config.block == "preact"
        size = self.in_size
        for i, conv in enumerate(self.convs()):
            if preact:
                yield _norm(f"{self.name}.norms.{i}", conv.in_channels, size)
            yield conv
            size = conv.out_size
            if not preact:
                yield _norm(f"{self.name}.norms.{i}", conv.out_channels, size)
        if self.config.squeeze_excitation:
            yield Layer(f"{self.name}.se.fc1", "linear", self.out_channels, self.squeeze(), bias=True, branch=True)
            yield Layer(f"{self.name}.se.fc2", "linear", self.squeeze(), self.out_channels, bias=True, branch=True)
        if self.projects:
            yield self.shortcut()
            if not preact:
                yield replace(_norm(f"{self.name}.shortcut.1", self.out_channels, size), branch=True)


def _halved(size: int) -> int:
    return (size + 1) // 2


def _norm(name: str, channels: int, size: int) -> Layer:
    return Layer(name, "norm", channels, channels, size)


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
        pooled = x.mean((2, 3))  # (B, C)
        factor = torch.sigmoid(self.fc2(self.act(self.fc1(pooled))))
        return x * factor[:, :, None, None]


class Block(nn.Module):
    """A residual block: basic or bottleneck (norm after conv), or pre-activation (norm before conv)."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        config, convs = spec.config, spec.convs()
        activation = ACTIVATIONS[config.activation]
        self.preact = config.block == "preact"
        self.convs = nn.ModuleList(_build(conv) for conv in convs)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(conv.in_channels if self.preact else conv.out_channels) for conv in convs
        )
        self.act = activation()
        self.se = (
            SqueezeExcitation(spec.out_channels, spec.squeeze(), activation)
            if config.squeeze_excitation
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


class ResNet(nn.Module):
    """(B, 3, S, S) float images to (B, num_classes) logits."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        activation = ACTIVATIONS[config.activation]
        preact = config.block == "preact"
        self.stem = Sequence()
        self.stem.add_module("conv", nn.Conv2d(3, config.stem, 3, padding=1, bias=config.conv_bias))
        if not preact:
            self.stem.add_module("norm", nn.BatchNorm2d(config.stem))
            self.stem.add_module("act", activation())
        specs = iter(config.block_specs())
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(next(specs)) for _ in range(count))) for count in config.blocks
        )
        width = config.channels[-1] * config.expansion
        self.norm = nn.BatchNorm2d(width) if preact else nn.Identity()
        self.act = activation() if preact else nn.Identity()
        self.pool = nn.AvgPool2d(config.pool) if config.pool else nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(config.features, config.num_classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            # Each residual branch starts at zero, so each block starts as identity: +0.2 to 0.3 % (arXiv 1706.02677).
            # Pre-activation blocks end in a convolution and start as usual.
            if isinstance(module, Block) and not module.preact:
                nn.init.zeros_(module.norms[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (B, stem, S, S)
        for stage in self.stages:
            x = stage(x)
        if self.config.block == "preact":
            x = norm_act(self.norm, self.act, x)
        x = self.pool(x)  # (B, C, side, side)
        logits: Tensor = self.fc(self.dropout(x.flatten(1)))
        return logits
