"""The networks that a candidate can name, by their `kind`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor, nn

from cifar.config import from_dict
from cifar.errors import ConfigError
from cifar.networks.complexity import Cost, Layer
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.imagenet import TransferConfig
from cifar.networks.reference import CnnConfig, DepthwiseConfig, ResNet9Config
from cifar.networks.resnet import ResNetConfig


class NetworkConfig(Protocol):
    """A frozen dataclass that describes a network; own ones take part after `register`."""

    @property
    def kind(self) -> str:
        """Its name in JSON and TOML."""

    @property
    def image_size(self) -> int:
        """Height and width of the input in pixels."""

    def build(self) -> nn.Module:
        """The network, (B, 3, S, S) float images to (B, classes) logits, initialised from torch's global generator."""

    def cost(self) -> Cost:
        """Exact parameters and MACs; `cifar.networks.complexity.measure_cost(self.build(), size)` will do."""

    def with_classes(self, num_classes: int, image_size: int) -> Self:
        """The same network for data of this many classes and this height and width in pixels."""


@runtime_checkable
class Layered(Protocol):
    """A `NetworkConfig` that can list its layers; all built-in ones can."""

    def layers(self) -> Iterator[Layer]:
        """Every layer with parameters and every pooling, in the order of the forward pass."""


@runtime_checkable
class Pretrained(Protocol):
    """A `NetworkConfig` whose training starts from weights that `build` does not give."""

    def start(self, network: nn.Module) -> None:
        """Loads them into a network that `build` gave."""


@runtime_checkable
class InitializedFromData(Protocol):
    """A network, as `build` gives it, whose training starts from weights computed from training images.

    They are computed once a run. A state dict holds them, so that what continues or loads the run needs no images.
    """

    def initialize_from(self, images: Tensor) -> None:
        """Sets them, without chance, from float (N, 3, H, W) training images that are normalised as in training."""


NETWORKS: dict[str, type[Any]] = {
    config.kind: config
    for config in (ResNetConfig, FastResNetConfig, CnnConfig, ResNet9Config, DepthwiseConfig, TransferConfig)
}

C = TypeVar("C", bound=type[Any])


def register(config: C) -> C:
    """Adds a network to those that candidates can name; a class decorator.

    Args:
        config: a frozen dataclass that satisfies `NetworkConfig` and whose field `kind` has a default.
    """
    NETWORKS[config.kind] = config
    return config


def network_from_dict(data: Mapping[str, Any], *, where: str) -> NetworkConfig:
    """The network that `data` describes; without a `kind`, a ResNet.

    Raises:
        ConfigError: unknown kind or key, wrong type or value out of range.
    """
    kind = data.get("kind", "resnet")
    if kind not in NETWORKS:
        raise ConfigError(
            f"{where}: network.kind must be a known network",
            got=repr(kind),
            remedy=f"Known: {', '.join(sorted(NETWORKS))}; an own one needs the --space that registers it",
        )
    network: NetworkConfig = from_dict(NETWORKS[kind], data, where=f"{where}: network")
    return network


def build_to_train(config: NetworkConfig) -> nn.Module:
    """The network as its training starts: randomly initialised, or pretrained.

    Raises:
        UserError: pretrained weights are missing or of another network.
    """
    network = config.build()
    if isinstance(config, Pretrained):
        config.start(network)
    return network
