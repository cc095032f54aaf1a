"""The networks that a candidate can name, by their `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self, TypeVar

from torch import nn

from cifar.complexity import Cost
from cifar.config import from_dict
from cifar.errors import ConfigError
from cifar.resnet import ResNetConfig


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
        """Exact parameters and MACs; `cifar.complexity.measure_cost(self.build(), size)` will do."""

    def with_classes(self, num_classes: int, image_size: int) -> Self:
        """The same network for data of this many classes and this height and width in pixels."""


NETWORKS: dict[str, type[Any]] = {"resnet": ResNetConfig}

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
