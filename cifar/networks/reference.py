"""Networks of public reference projects that are not ResNets of `networks.resnet`; recipes in cifar/recipes/.

A plain CNN (`cnn_64_128_256`, `baseline_cnn`), the nine-layer ResNet of `resnet9_onecycle`, and a small network of
depthwise-separable and dilated convolutions (`depthwise_dilated`). Each describes its parts once, in the order of the
forward pass; both the counting and the building read that description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from torch import nn

from cifar.config import require
from cifar.networks.complexity import strided
from cifar.networks.parts import Described, Part, Residual, conv, conv_norm_act, global_average, linear, max_pool, norm


@dataclass(frozen=True)
class CnnConfig(Described):
    """A plain CNN: stages of 3x3 convolutions, each ending in 2x2 max pooling, then linear layers."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["cnn"] = "cnn"
    """Tells this network apart from others in JSON and TOML."""
    stages: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256,))
    """Channels of the convolutions of each stage; a stage halves height and width at its end."""
    hidden: tuple[int, ...] = (512,)
    """Units of each linear layer before the last."""
    norm: bool = True
    """Whether batch norm follows each convolution."""
    dropout: float = 0.5
    """Dropout probability after each hidden linear layer."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels."""

    def __post_init__(self) -> None:
        widths = [*(c for stage in self.stages for c in stage), *self.hidden]
        require(
            all(self.stages) and len(self.stages) > 0 and min(widths) >= 1,
            "stages and hidden must hold positive numbers, at least one a stage",
            f"stages {self.stages}, hidden {self.hidden}",
            "Try stages = [[32], [64]] and hidden = [128]",
        )
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)", self.dropout, "0 switches it off")
        _require_data(self.num_classes, self.image_size, least=max(8, 2 ** len(self.stages)))

    def with_classes(self, num_classes: int, image_size: int) -> CnnConfig:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def parts(self) -> Iterator[Part]:
        """Every module, in the order of the forward pass."""
        width, size = 3, self.image_size
        for s, stage in enumerate(self.stages):
            for i, channels in enumerate(stage):
                name = f"stages.{s}.{i}"
                yield conv(f"{name}.conv", width, channels, size, bias=True)
                if self.norm:
                    yield norm(f"{name}.norm", channels, size)
                yield Part(f"{name}.act", nn.ReLU)
                width = channels
            yield max_pool(f"stages.{s}.pool", width, size, 2)
            size //= 2
        yield Part("flatten", nn.Flatten)
        width *= size**2
        for i, units in enumerate(self.hidden):
            yield linear(f"hidden.{i}.fc", width, units)
            yield Part(f"hidden.{i}.act", nn.ReLU)
            yield Part(f"hidden.{i}.dropout", partial(nn.Dropout, self.dropout))
            width = units
        yield linear("fc", width, self.num_classes)


@dataclass(frozen=True)
class ResNet9Config(Described):
    """The nine-layer ResNet of fast CIFAR-10 training: https://github.com/davidcpage/cifar10-fast.

    Three layers double the channels and pool by 2; the first and the third add a residual of two convolutions.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    containers: ClassVar[Mapping[str, type[nn.Sequential]]] = {"layer1.residual": Residual, "layer3.residual": Residual}

    kind: Literal["resnet9"] = "resnet9"
    """Tells this network apart from others in JSON and TOML."""
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the first convolution and of the three layers."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels."""

    def __post_init__(self) -> None:
        require(min(self.widths) >= 1, "widths must be positive", self.widths, "Try [64, 128, 256, 512]")
        _require_data(self.num_classes, self.image_size, least=8)

    def with_classes(self, num_classes: int, image_size: int) -> ResNet9Config:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def parts(self) -> Iterator[Part]:
        """Every module, in the order of the forward pass."""
        size, width = self.image_size, self.widths[0]
        yield from conv_norm_act("prep", 3, width, size)
        for i, channels in enumerate(self.widths[1:], start=1):
            name = f"layer{i}"
            yield conv(f"{name}.conv", width, channels, size)
            yield max_pool(f"{name}.pool", channels, size, 2)
            size, width = size // 2, channels
            yield norm(f"{name}.norm", width, size)
            yield Part(f"{name}.act", nn.ReLU)
            if f"{name}.residual" in self.containers:
                yield from conv_norm_act(f"{name}.residual.0", width, width, size)
                yield from conv_norm_act(f"{name}.residual.1", width, width, size)
        yield max_pool("pool", width, size, size)
        yield Part("flatten", nn.Flatten)
        yield linear("fc", width, self.num_classes, bias=False)


@dataclass(frozen=True)
class DepthwiseConfig(Described):
    """A small network of depthwise-separable convolutions (arXiv 1704.04861), half of them dilated (arXiv 1511.07122).

    A 3x3 stem, four blocks, global average pooling, one linear layer. A block is two depthwise-separable
    convolutions, the second dilated; the second and the third block halve height and width.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    halving: ClassVar[tuple[bool, ...]] = (False, True, True, False)

    kind: Literal["depthwise"] = "depthwise"
    """Tells this network apart from others in JSON and TOML."""
    stem: int = 32
    """Channels of the first convolution."""
    widths: tuple[int, int, int, int] = (64, 128, 192, 256)
    """Channels of each block."""
    dilation: int = 2
    """Dilation of each block's second depthwise convolution."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels."""

    def __post_init__(self) -> None:
        require(
            min(self.stem, *self.widths, self.dilation) >= 1,
            "stem, widths and dilation must be positive",
            f"stem {self.stem}, widths {self.widths}, dilation {self.dilation}",
            "Try stem = 32, widths = [64, 128, 192, 256], dilation = 2",
        )
        _require_data(self.num_classes, self.image_size, least=8)

    def with_classes(self, num_classes: int, image_size: int) -> DepthwiseConfig:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def parts(self) -> Iterator[Part]:
        """Every module, in the order of the forward pass."""
        size, width = self.image_size, self.stem
        yield from conv_norm_act("stem", 3, width, size)
        for b, (channels, halves) in enumerate(zip(self.widths, self.halving, strict=True)):
            for i, dilation in enumerate((1, self.dilation)):
                stride = 2 if halves and i == 0 else 1
                size = strided(size, stride)
                yield from _separable(f"blocks.{b}.{i}", width, channels, size, stride, dilation)
                width = channels
        yield global_average("pool", width, size)
        yield Part("flatten", nn.Flatten)
        yield linear("fc", width, self.num_classes)


def _separable(name: str, inputs: int, outputs: int, size: int, stride: int, dilation: int) -> Iterator[Part]:
    """A 3x3 convolution within each channel, then a 1x1 one across them."""
    yield conv(f"{name}.depthwise.conv", inputs, inputs, size, stride=stride, dilation=dilation, groups=inputs)
    yield norm(f"{name}.depthwise.norm", inputs, size)
    yield Part(f"{name}.depthwise.act", nn.ReLU)
    yield conv(f"{name}.pointwise.conv", inputs, outputs, size, kernel=1)
    yield norm(f"{name}.pointwise.norm", outputs, size)
    yield Part(f"{name}.pointwise.act", nn.ReLU)


def _require_data(num_classes: int, image_size: int, *, least: int) -> None:
    require(num_classes >= 2, "num_classes must be 2 or more", num_classes, "CIFAR-10 has 10")
    require(image_size >= least, f"image_size must be {least} pixels or more", image_size, "CIFAR-10 has 32")
