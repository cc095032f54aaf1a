"""A candidate: a network and the recipe that trains it; what a search proposes and retraining reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cifar.complexity import Cost
from cifar.config import from_dict, to_dict
from cifar.errors import ConfigError
from cifar.networks import NetworkConfig, network_from_dict
from cifar.recipe import RECIPES_FOLDER, Recipe, read_toml, recipe_names
from cifar.resnet import ResNetConfig


@dataclass(frozen=True)
class Candidate:
    """A network and its recipe."""

    network: NetworkConfig = field(default_factory=ResNetConfig)
    """The architecture."""
    recipe: Recipe = field(default_factory=Recipe)
    """The training settings."""

    @property
    def cost(self) -> Cost:
        """Parameters and multiply-accumulates, exact."""
        return self.network.cost()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, equal for equal candidates in any process."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def for_data(self, num_classes: int, image_size: int) -> Candidate:
        """The same candidate for data of other classes or size (height and width in pixels)."""
        return replace(self, network=self.network.with_classes(num_classes, image_size))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        return {"network": to_dict(self.network), "recipe": to_dict(self.recipe)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> Candidate:
        """The candidate that `data` describes.

        Args:
            data: what `to_dict` gave.
            where: names the source in errors.

        Raises:
            ConfigError: unknown key, wrong type or value out of range.
        """
        for key in data:
            if key not in ("network", "recipe"):
                raise ConfigError(
                    f"{where}: unknown key {key!r}", got=repr(data[key]), remedy="Allowed: network, recipe"
                )
        for key in ("network", "recipe"):
            if not isinstance(data.get(key), Mapping):
                raise ConfigError(f"{where}: {key} must be a table", got=repr(data.get(key)), remedy=f"Add [{key}]")
        network = network_from_dict(data["network"], where=where)
        return cls(network, from_dict(Recipe, data["recipe"], where=f"{where}: recipe"))

    @classmethod
    def from_toml(cls, path: Path) -> Candidate:
        """The candidate of a recipe file: its tables `network` and `recipe`; the text `about` is for readers.

        Raises:
            ConfigError: no such file, or unknown key, wrong type or value out of range.
        """
        tables = {key: value for key, value in read_toml(path).items() if key != "about"}
        return cls.from_dict(tables, where=path.name)

    @classmethod
    def named(cls, name: str) -> Candidate:
        """A built-in recipe.

        Raises:
            ConfigError: no recipe of this name.
        """
        if name not in recipe_names():
            known = ", ".join(recipe_names())
            raise ConfigError("a recipe has one of the built-in names", got=repr(name), remedy=f"Known: {known}")
        return cls.from_toml(RECIPES_FOLDER / f"{name}.toml")
