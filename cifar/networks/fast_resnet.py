"""A small ResNet for short runs: the network of KellerJordan/cifar10-airbench with a skip in each stage.

A frozen 2x2 convolution that whitens patches of the training images, three stages that halve the resolution, global
max pooling, a linear layer without bias. Source: airbench94.py and arXiv 2404.00498. With `residual = False` and widths
64, 256, 256 it is their network (1.97M parameters; 94.0 % of official CIFAR-10 after 9.9 epochs, with test-time
augmentation), but for batch norm's epsilon, PyTorch's here, and for the first convolution's bias, which trains to the
end. airbench96.py has a skip too, around the last two of three convolutions a stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cifar.config import require
from cifar.networks.batch_norm import norm_act
from cifar.networks.initialization import Initialization, set_norms, start_as_identity, whitening_filters
from cifar.networks.parts import Described, Part, Scale, conv, conv_norm_act, global_max, linear, max_pool, nested, norm
from cifar.networks.resnet_block import ACTIVATIONS, ActivationName
from cifar.networks.sequence import Sequence

STAGES = 3


@dataclass(frozen=True)
class FastResNetConfig(Described):
    """A small ResNet whose first convolution is computed from training images."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["fast_resnet"] = "fast_resnet"
    """Tells this network apart from others in JSON and TOML."""
    widths: tuple[int, int, int] = (32, 128, 128)
    """Channels of each stage."""
    convolutions: int = 2
    """Convolutions a stage, 2 or 3; 2x2 max pooling follows the first."""
    residual: bool = True
    """Whether a skip leads around a stage's convolutions after the first."""
    whitening_kernel: int = 2
    """Height and width in pixels of the patches that the first convolution whitens, 2 or 3."""
    whitening_width: int = 24
    """Filters of the first convolution: the leading eigenvectors of the patches and as many negatives; 24 has all."""
    stem_bias: bool = True
    """Whether the first convolution has a bias, which trains, unlike its filters. Without it nothing before the first
    stage trains, so that the backward pass ends there: a tenth less work."""
    activation: ActivationName = "gelu"
    """Activation function."""
    norm_momentum: float = 0.4
    """PyTorch's: weight of a batch's statistics in each update of the running ones. airbench94.py says 0.6, but means
    the weight of the old ones; airbench96.py, for longer runs, has PyTorch's 0.1."""
    frozen_norm_scale: bool = True
    """Whether the scale of batch norm stays 1; its bias trains."""
    initialization: Initialization = "dirac"
    """dirac: a convolution passes its inputs on, and its filters beyond them are PyTorch's; or kaiming: all are
    PyTorch's, uniform (arXiv 1502.01852)."""
    logit_scale: float = 1 / 9
    """Factor of the linear layer's outputs."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels."""

    def __post_init__(self) -> None:
        require(min(self.widths) >= 1, "widths must be positive", self.widths, "Try [32, 128, 128]")
        require(self.convolutions in (2, 3), "convolutions must be 2 or 3", self.convolutions, "2 suits short runs")
        require(self.whitening_kernel in (2, 3), "whitening_kernel must be 2 or 3", self.whitening_kernel, "2 is usual")
        most = 2 * 3 * self.whitening_kernel**2
        require(
            self.whitening_width in range(2, most + 1, 2),
            f"whitening_width must be an even number in 2..{most} for this whitening_kernel",
            self.whitening_width,
            f"{most} has every eigenvector",
        )
        require(0 < self.norm_momentum <= 1, "norm_momentum must be in (0, 1]", self.norm_momentum, "PyTorch's is 0.1")
        require(self.logit_scale > 0, "logit_scale must be positive", self.logit_scale, "1 leaves logits as they are")
        require(self.num_classes >= 2, "num_classes must be 2 or more", self.num_classes, "CIFAR-10 has 10")
        least = 2**STAGES + self.whitening_kernel - 1
        require(
            self.image_size >= least,
            f"image_size must be {least} pixels or more",
            self.image_size,
            "CIFAR-10 has 32",
        )

    def with_classes(self, num_classes: int, image_size: int) -> FastResNetConfig:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def build(self) -> nn.Sequential:
        """The network; its first convolution awaits `initialize_from`, or a state dict."""
        branch = Skip if self.residual else Sequence
        network = nested(self.parts(), {"": FastResNet} | {f"stages.{s}.branch": branch for s in range(STAGES)})
        set_norms(network, momentum=self.norm_momentum, frozen_scale=self.frozen_norm_scale)
        if self.initialization == "dirac":
            start_as_identity(network)
        stem = network.get_submodule("stem.conv")
        assert isinstance(stem, nn.Conv2d)
        stem.weight.requires_grad_(False)
        if stem.bias is not None:
            nn.init.zeros_(stem.bias)
        return network

    def parts(self) -> Iterator[Part]:
        """Every module, in the order of the forward pass."""
        width, kernel = self.whitening_width, self.whitening_kernel
        size = self.image_size - kernel + 1
        yield conv("stem.conv", 3, width, size, kernel=kernel, bias=self.stem_bias, padded=False)
        yield Part("stem.act", ACTIVATIONS[self.activation])
        for s, channels in enumerate(self.widths):
            yield from self._stage(f"stages.{s}", width, channels, size)
            width, size = channels, size // 2
        yield global_max("pool", width, size)
        yield Part("flatten", nn.Flatten)
        yield linear("fc", width, self.num_classes, bias=False)
        yield Part("scale", partial(Scale, self.logit_scale))

    def _stage(self, name: str, inputs: int, width: int, in_size: int) -> Iterator[Part]:
        act, size = ACTIVATIONS[self.activation], in_size // 2
        yield conv(f"{name}.conv", inputs, width, in_size)
        yield max_pool(f"{name}.pool", width, in_size, 2)
        yield norm(f"{name}.norm", width, size)
        yield Part(f"{name}.act", act)
        for i in range(self.convolutions - 2):
            yield from conv_norm_act(f"{name}.branch.body.{i}", width, width, size, act)
        yield conv(f"{name}.branch.body.conv", width, width, size)
        yield norm(f"{name}.branch.norm", width, size)
        yield Part(f"{name}.branch.act", act)


class FastResNet(Sequence):
    """(B, 3, S, S) float images to (B, num_classes) logits, its first convolution computed from training images."""

    def initialize_from(self, images: Tensor) -> None:
        """Sets the first convolution, which does not train: filters that whiten patches, then their negatives.

        The negatives keep what the activation after it cuts off.

        Args:
            images: float (N, 3, H, W), normalised as in training.
        """
        stem = self.get_submodule("stem.conv")
        assert isinstance(stem, nn.Conv2d)
        filters = whitening_filters(images, stem.kernel_size[0])[: stem.out_channels // 2]
        with torch.no_grad():
            stem.weight.copy_(torch.cat((filters, -filters)))


class Skip(Sequence):
    """A residual branch of three modules, `body`, `norm` and `act`: the input is added before the activation."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), the shape kept."""
        body, normalize, act = self
        return norm_act(normalize, act, body(x), x)
