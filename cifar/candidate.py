"""A candidate: a network and the recipe that trains it; what a search proposes and retraining reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from cifar.config import from_dict, require, to_dict
from cifar.errors import ConfigError
from cifar.networks.complexity import Cost
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.registry import NetworkConfig, network_from_dict
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import RECIPES_FOLDER, Recipe, read_toml, recipe_names


def fingerprint(described: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a candidate's JSON form, equal for equal candidates in any process."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


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
        return fingerprint(self.to_dict())

    @property
    def summary(self) -> str:
        """The candidate in a few words, such as `3-4-3 x 66-132-264 basic, sgd 0.1, cosine`."""
        network, optimizer = self.network, self.recipe.optimizer
        shape = network.kind
        if isinstance(network, ResNetConfig):
            blocks, channels = ("-".join(map(str, numbers)) for numbers in (network.blocks, network.channels))
            shape = f"{blocks} x {channels} {network.block}"
        elif isinstance(network, FastResNetConfig):
            shape = f"{'-'.join(map(str, network.widths))} {network.kind}"
        lr = optimizer.lr if isinstance(optimizer.lr, str) else f"{optimizer.lr:.2g}"
        return f"{shape}, {optimizer.name} {lr}, {self.recipe.schedule.name}"

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
        """The candidate of a recipe file; see `RecipeFile`.

        Raises:
            ConfigError: no such file, or unknown key, wrong type or value out of range.
        """
        return RecipeFile.read(path).candidate

    @classmethod
    def named(cls, name: str) -> Candidate:
        """A built-in recipe.

        Raises:
            ConfigError: no recipe of this name.
        """
        return RecipeFile.named(name).candidate


@dataclass(frozen=True)
class Published:
    """What a recipe's source reports; for comparison only, nothing is trained by it."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    test_accuracy: float
    """Test accuracy in percent."""
    train_accuracy: float | None = None
    """Training accuracy in percent; None where the source does not tell."""
    per_class: tuple[float, ...] = ()
    """Test accuracy of each class in percent, in the order of the labels."""
    note: str = ""
    """How it was measured, as far as it matters for a comparison."""

    def __post_init__(self) -> None:
        values = [self.test_accuracy, *self.per_class, *([] if self.train_accuracy is None else [self.train_accuracy])]
        require(all(0 <= v <= 100 for v in values), "accuracies must be in [0, 100] percent", values, "Give percent")


@dataclass(frozen=True)
class Variant:
    """A recipe as it should be where there is time for more."""

    passes: float
    """Least passes over the training images, in the time at hand, from which on it is better than the ones before."""
    why: str
    """What changes, and why, for a person."""
    candidate: Candidate
    """What is trained; its recipe's epochs are the most that make sense."""


@dataclass(frozen=True)
class RecipeFile:
    """A recipe file: the tables `network` and `recipe`, those of `longer` runs, for readers `about` and `published`."""

    name: str
    """The file's name without its suffix."""
    about: str
    """What it is, where it comes from, what was chosen here and why."""
    published: Published | None
    """What its source reports."""
    candidate: Candidate
    """What is trained."""
    longer: tuple[Variant, ...] = ()
    """What is trained instead by a run with a time budget that allows more, in the order of their cost."""

    @classmethod
    def read(cls, path: Path) -> RecipeFile:
        """The recipe in a TOML file.

        Raises:
            ConfigError: no such file, or unknown key, wrong type or value out of range.
        """
        tables, where = read_toml(path), path.name
        for key, value in tables.items():
            require(
                key in ("about", "published", "network", "recipe", "longer"),
                f"{where}: unknown key {key!r}",
                value,
                "Allowed keys here: about, published, network, recipe, longer",
            )
        about, published = tables.pop("about", ""), tables.pop("published", None)
        longer: Any = tables.pop("longer", [])
        require(isinstance(about, str), f"{where}: about must be a text", about, "Put it in quotes")
        require(
            published is None or isinstance(published, Mapping),
            f"{where}: published must be a table",
            published,
            "Write published = { test_accuracy = 90.0 }",
        )
        require(isinstance(longer, list), f"{where}: longer must be a list of tables", longer, "Write [[longer]]")
        return cls(
            path.stem,
            str(about).strip(),
            from_dict(Published, published, where=f"{where}: published") if isinstance(published, Mapping) else None,
            Candidate.from_dict(tables, where=where),
            tuple(_variant(tables, entry, f"{where}: longer, number {i}") for i, entry in enumerate(longer, 1)),
        )

    @classmethod
    def named(cls, name: str) -> RecipeFile:
        """A built-in recipe.

        Raises:
            ConfigError: no recipe of this name.
        """
        if name not in recipe_names():
            known = ", ".join(recipe_names())
            raise ConfigError("a recipe has one of the built-in names", got=repr(name), remedy=f"Known: {known}")
        return cls.read(RECIPES_FOLDER / f"{name}.toml")


def _variant(tables: Mapping[str, Any], entry: Any, where: str) -> Variant:
    """The recipe of the tables with the changes of an entry of `longer`."""
    require(isinstance(entry, Mapping), f"{where} must be a table", entry, "Write [[longer]]")
    changes = dict(entry)
    passes, why = changes.pop("passes", None), changes.pop("why", None)
    counts = isinstance(passes, int | float) and passes > 0
    require(counts, f"{where}: passes must be a positive number", passes, "Give the passes from which on it is better")
    require(isinstance(why, str), f"{where}: why must be a text", why, "Say what changes, and why")
    return Variant(passes, why, Candidate.from_dict(_merged(tables, changes), where=where))


def _merged(tables: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The tables with the changed keys, at any depth."""
    result = dict(tables)
    for key, value in changes.items():
        inside = result.get(key)
        result[key] = _merged(inside, value) if isinstance(inside, Mapping) and isinstance(value, Mapping) else value
    return result
