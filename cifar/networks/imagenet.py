"""Transfer learning: torchvision's ImageNet ResNets, most of them frozen, on small images resized on the device.

Resizing is a part of the network, so whatever reads a trained model (test, submission, single images) gives it
images of their own size. The names of the parameters are torchvision's: its state dicts fit, and so does what is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

from cifar.config import require
from cifar.errors import ConfigError, fitting_torchvision
from cifar.networks.complexity import Cost, Layer, norm_layer, strided, total_cost

if TYPE_CHECKING:
    from cifar.networks.imagenet_network import TransferNetwork

Architecture = Literal["resnet18", "resnet34", "resnet50"]

BLOCKS: dict[Architecture, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
CHANNELS = (64, 128, 256, 512)  # of each stage's inner convolutions
BACKBONE = ("stem", "layer1", "layer2", "layer3", "layer4")
HEAD = "fc"
STEM_MODULES = ("conv1", "bn1")
RANDOM, IMAGENET = "random", "imagenet"  # weights that are no file


@dataclass(frozen=True)
class TransferConfig:
    """A torchvision ResNet for ImageNet with a new last layer; what does not train keeps its weights to the bit."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["imagenet_resnet"] = "imagenet_resnet"
    """Tells this network apart from others in JSON and TOML."""
    architecture: Architecture = "resnet18"
    """resnet18, resnet34 or resnet50, as in torchvision."""
    weights: str = IMAGENET
    """Where training starts: imagenet (torchvision's IMAGENET1K_V1, downloaded), random, or a state dict's file."""
    trainable: tuple[str, ...] = ("layer4",)
    """Parts that train besides the last linear layer: stem, layer1, layer2, layer3, layer4."""
    freeze_norm: bool = True
    """Whether batch norm in parts that do not train keeps its statistics too; otherwise they follow the data."""
    resize: int = 224
    """Height and width in pixels that images are brought to, bilinearly."""
    num_classes: int = 10
    """Outputs."""
    image_size: int = 32
    """Height and width of the input in pixels, before resizing."""

    def __post_init__(self) -> None:
        for part in self.trainable:
            require(
                part in BACKBONE,
                "trainable must name parts of the network besides fc, which always trains",
                part,
                f"Parts: {', '.join(BACKBONE)}",
            )
        require(self.resize >= 32, "resize must be 32 pixels or more", self.resize, "224 is what ImageNet nets saw")
        require(self.num_classes >= 2, "num_classes must be 2 or more", self.num_classes, "CIFAR-10 has 10")
        require(self.image_size >= 8, "image_size must be 8 pixels or more", self.image_size, "CIFAR-10 has 32")
        require(bool(self.weights), "weights must be imagenet, random or a file", self.weights, "Use imagenet")

    def with_classes(self, num_classes: int, image_size: int) -> TransferConfig:
        """The same network for other data."""
        return replace(self, num_classes=num_classes, image_size=image_size)

    def build(self) -> TransferNetwork:
        """The network, frozen where it does not train, with random weights; `start` gives those to start from.

        Raises:
            ConfigError: torchvision is missing, or was built for another torch.
        """
        with fitting_torchvision(ConfigError, "a pretrained network"):
            from cifar.networks.imagenet_network import TransferNetwork

        return TransferNetwork(
            BLOCKS[self.architecture],
            bottleneck=self.expansion > 1,
            num_classes=self.num_classes,
            resize=self.resize,
            trains=self.trains,
            freeze_norm=self.freeze_norm,
        )

    def start(self, network: nn.Module) -> None:
        """Gives a built network the weights that training starts from.

        A last layer of another number of classes, such as ImageNet's 1,000, is left out: the network's own stays.

        Raises:
            DataError: the download failed.
            CheckpointError: the file is missing, damaged, or of another network.
        """
        from cifar.networks.pretrained import imagenet_weights, load_weights, read_state_dict

        if self.weights == RANDOM:
            return
        state = imagenet_weights(self.architecture) if self.weights == IMAGENET else read_state_dict(Path(self.weights))
        load_weights(network, state, f"{self.weights}, read as {self.architecture}", head=HEAD)

    def cost(self) -> Cost:
        """Parameters, frozen ones included, and multiply-accumulates of a resized image."""
        return total_cost(self.layers())

    @property
    def trainable_parameters(self) -> int:
        """Parameters that training changes."""
        return sum(layer.parameters for layer in self.layers() if self.trains(layer.name))

    @property
    def expansion(self) -> int:
        """Output channels of a block over its inner ones: 4 for bottleneck blocks, else 1."""
        return 4 if self.architecture == "resnet50" else 1

    def trains(self, name: str) -> bool:
        """Whether training changes the module or parameter of this dotted name."""
        first = name.partition(".")[0]
        return first == HEAD or ("stem" if first in STEM_MODULES else first) in self.trainable

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters and every pooling, after the resizing; names are torchvision's."""
        size = strided(self.resize, 2)
        yield Layer("conv1", "conv", 3, 64, size, kernel=7, stride=2)
        yield norm_layer("bn1", 64, size)
        size, width = strided(size, 2), 64
        yield Layer("maxpool", "pool", width, width, size, kernel=3, stride=2)
        for stage, (count, channels) in enumerate(zip(BLOCKS[self.architecture], CHANNELS, strict=True), start=1):
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                yield from self._block(f"layer{stage}.{i}", width, channels, size, stride)
                size, width = strided(size, stride), channels * self.expansion
        yield Layer("avgpool", "pool", width, width, 1, kernel=size, stride=size)
        yield Layer(HEAD, "linear", width, self.num_classes, bias=True)

    def _block(self, name: str, inputs: int, channels: int, in_size: int, stride: int) -> Iterator[Layer]:
        """One block: (kernel, stride, outputs) of each convolution, and the shortcut's where the shape changes."""
        outputs = channels * self.expansion
        convs = [(3, stride, channels), (3, 1, channels)]
        if self.expansion > 1:
            convs = [(1, 1, channels), (3, stride, channels), (1, 1, outputs)]
        width, size = inputs, in_size
        for i, (kernel, step, after) in enumerate(convs, start=1):
            size = strided(size, step)
            yield Layer(f"{name}.conv{i}", "conv", width, after, size, kernel, step)
            yield norm_layer(f"{name}.bn{i}", after, size)
            width = after
        if stride != 1 or inputs != outputs:
            yield Layer(f"{name}.downsample.0", "conv", inputs, outputs, size, stride=stride, branch=True)
            yield replace(norm_layer(f"{name}.downsample.1", outputs, size), branch=True)


def parse_parts(text: str) -> tuple[str, ...]:
    """Parts to train from `layer3,layer4`, `all` or `none`; `TransferConfig` checks the names."""
    if text == "all":
        return BACKBONE
    names = (part.strip() for part in text.split(","))
    return () if text == "none" else tuple(name for name in names if name and name != HEAD)


def with_options(network: object, *, weights: Path | None, unfreeze: str | None) -> TransferConfig:
    """The network of a recipe with the command's `--weights FILE` and `--unfreeze PARTS`.

    Raises:
        ConfigError: the network is not a pretrained one, or has no such part.
    """
    if not isinstance(network, TransferConfig):
        raise ConfigError(
            "--weights FILE and --unfreeze are for networks that start from ImageNet weights",
            got=f"a network of kind {getattr(network, 'kind', type(network).__name__)!r}",
            remedy="Use --recipe resnet18_transfer, or --keep {last,best,ema} to choose the weights that are kept",
        )
    changes: dict[str, Any] = {}
    if weights is not None:
        changes["weights"] = str(weights.expanduser().resolve())
    if unfreeze is not None:
        changes["trainable"] = parse_parts(unfreeze)
    return replace(network, **changes)
