"""ResNets for small images: any depth and width a stage, counted exactly before they are built.

A 3x3 stem, 3 or 4 stages that halve the resolution, average pooling, one linear layer; the blocks are those of
`networks.resnet_block`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from torch import Tensor, nn

from cifar.config import SINCE_0_2, require
from cifar.networks.batch_norm import norm_act
from cifar.networks.complexity import Cost, Layer, norm_layer, strided, total_cost
from cifar.networks.initialization import Initialization, set_norms, start_as_identity
from cifar.networks.parts import Scale
from cifar.networks.resnet_block import ACTIVATIONS, ActivationName, Block, BlockName, BlockSpec, expansion
from cifar.networks.sequence import Sequence


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
    frozen_norm_scale: bool = field(default=False, metadata=SINCE_0_2)
    """Whether the scale of batch norm stays 1; its bias trains (airbench94.py, see `networks.initialization`)."""
    norm_momentum: float = field(default=0.1, metadata=SINCE_0_2)
    """PyTorch's: weight of a batch's statistics in each update of the running ones; airbench94.py has 0.4."""
    initialization: Initialization = field(default="kaiming", metadata=SINCE_0_2)
    """kaiming: normal, by the outputs (arXiv 1502.01852); or dirac: besides, a convolution passes its inputs on."""
    logit_scale: float = field(default=1.0, metadata=SINCE_0_2)
    """Factor of the linear layer's outputs; airbench94.py has 1/9."""
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
        require(0 < self.norm_momentum <= 1, "norm_momentum must be in (0, 1]", self.norm_momentum, "0.1 is usual")
        require(self.logit_scale > 0, "logit_scale must be positive", self.logit_scale, "1 leaves logits as they are")

    @property
    def map_size(self) -> int:
        """Height and width of the last feature map in pixels."""
        size = self.image_size
        for _ in self.blocks[1:]:
            size = strided(size, 2)
        return size

    @property
    def features(self) -> int:
        """Inputs of the linear layer."""
        side = self.map_size // (self.pool or self.map_size)
        return self.channels[-1] * self.expansion * side**2

    @property
    def expansion(self) -> int:
        """Output channels of a block over the stage's `channels`."""
        return expansion(self.block)

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
        yield Layer("stem.conv", "conv", 3, self.stem, self.image_size, kernel=3, bias=self.conv_bias)
        if self.block != "preact":
            yield norm_layer("stem.norm", self.stem, self.image_size)
        for spec in self.block_specs():
            yield from spec.layers()
        width, side = self.channels[-1] * self.expansion, self.pool or self.map_size
        if self.block == "preact":
            yield norm_layer("norm", width, self.map_size)
        yield Layer("pool", "pool", width, width, self.map_size // side, kernel=side, stride=side)
        yield Layer("fc", "linear", self.features, self.num_classes, bias=True)

    def block_specs(self) -> Iterator[BlockSpec]:
        """The blocks in order."""
        width, size, index, total = self.stem, self.image_size, 0, sum(self.blocks)
        for stage, (count, channels) in enumerate(zip(self.blocks, self.channels, strict=True)):
            for position in range(count):
                spec = BlockSpec(
                    name=f"stages.{stage}.{position}",
                    block=self.block,
                    in_channels=width,
                    channels=channels,
                    stride=2 if stage > 0 and position == 0 else 1,
                    in_size=size,
                    kernel=self.kernel,
                    shortcut_kernel=self.shortcut_kernel,
                    conv_bias=self.conv_bias,
                    squeeze_excitation=self.squeeze_excitation,
                    activation=self.activation,
                    drop_probability=self.stochastic_depth * index / max(1, total - 1),
                )
                yield spec
                width, size, index = spec.out_channels, spec.out_size, index + 1


REFERENCE_RESNET = ResNetConfig(blocks=(3, 4, 3), channels=(66, 132, 264), stem=66)
"""The hand-tuned network of the recipe `resnet24_budget5m`: what estimates take for a network of the usual shape."""


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
        self.scale = nn.Identity() if config.logit_scale == 1 else Scale(config.logit_scale)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.config.initialization == "dirac":
            start_as_identity(self)
        set_norms(self, momentum=self.config.norm_momentum, frozen_scale=self.config.frozen_norm_scale)
        if self.config.frozen_norm_scale:
            return  # a branch that started at zero would stay there
        for module in self.modules():
            # Each residual branch starts at zero, so each block starts as identity: +0.2 to 0.3 % (arXiv 1706.02677).
            # Pre-activation blocks end in a convolution and start as usual.
            if isinstance(module, Block) and not module.preact:
                nn.init.zeros_(module.norms[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = self.stem(x)  # (B, stem, S, S)
        for stage in self.stages:
            x = stage(x)
        if self.config.block == "preact":
            x = norm_act(self.norm, self.act, x)
        x = self.pool(x)  # (B, C, side, side)
        logits: Tensor = self.scale(self.fc(self.dropout(x.flatten(1))))
        return logits
