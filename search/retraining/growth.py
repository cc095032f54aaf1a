"""A trial of a search as it suits a longer run.

Where a machine is slow, a search is limited to networks that its short trials can train (`search.planning.planner`).
In a longer run larger ones win. So a trial is then trained with its network's stages widened in proportion, as far as
the default recipe's own network is widened for that time, within the parameter limit.

The default recipe changes with the length of a run in other ways too: what is best after one pass over the images is
not after ten. A trial goes along with it. Where it has what the default has in short runs, it gets what the default has
in long ones; its batch size and learning rate change in proportion to the default's, since searches change these, and
for the length of their trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from cifar.candidate import Candidate, RecipeFile, Variant
from cifar.config import from_dict
from cifar.errors import InfeasibleError
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from spaces.resnet_budget5m import BASE_RECIPE, WIDTH_MULTIPLE
from spaces.width import Limits, round_width, widest

LARGEST_BATCH = 1024
"""Images; a trial's batches do not grow beyond them."""
FEWEST_PASSES = 3.0
"""Passes from which on the default recipe is better in its own size than scaled down to a search's limit."""


def grown_variants(candidate: Candidate, param_budget: int) -> tuple[Variant, ...]:
    """The candidate as the default recipe and its variants for longer runs are, as far as they are larger than it.

    Args:
        candidate: of a trial whose network was limited by what the search's short trials can train.
        param_budget: most parameters.
    """
    return tuple(_variants(candidate, param_budget))


def _variants(candidate: Candidate, param_budget: int) -> Iterator[Variant]:
    file = RecipeFile.named(BASE_RECIPE)
    base = file.candidate
    sizes = [Variant(FEWEST_PASSES, "the recipe's own size pays", base), *file.longer]
    recipes = [size.candidate.recipe for size in sizes]
    own = candidate.recipe in recipes and candidate.network.kind == base.network.kind
    for size in sorted(sizes, key=lambda variant: variant.passes):
        cost = size.candidate.for_data(_classes(candidate), candidate.network.image_size).cost
        limits = Limits(param_budget, cost.macs)
        if own:
            found = size.candidate if limits.allow(cost) else None
        else:
            network = grown(candidate.network, limits)
            recipe = lengthened(candidate.recipe, base.recipe, size.candidate.recipe)
            found = None if network is None else Candidate(network, recipe)
        if found is not None and cost.macs >= candidate.cost.macs and found != candidate:
            why = size.why if own else f"a network of {_shape(found)} with batches of {found.recipe.batch_size} pays"
            yield Variant(size.passes, why, found)


def lengthened(recipe: Recipe, base: Recipe, longer: Recipe) -> Recipe:
    """A recipe changed for a longer run as the default one is.

    Args:
        recipe: what is changed.
        base: the default for short runs.
        longer: the default for the longer run.
    """
    own, short, long = asdict(recipe), asdict(base), asdict(longer)
    changed = _along(own, short, long)
    batch = round(own["batch_size"] * long["batch_size"] / short["batch_size"])
    changed["batch_size"] = min(max(own["batch_size"], LARGEST_BATCH), batch)
    rate = own["optimizer"]["lr"]
    if not isinstance(rate, str) and rate != short["optimizer"]["lr"]:  # a text stands for a rate that is found
        changed["optimizer"]["lr"] = rate * long["optimizer"]["lr"] / short["optimizer"]["lr"]
    return from_dict(Recipe, changed, where="a longer run")


def _along(own: Mapping[str, Any], short: Mapping[str, Any], long: Mapping[str, Any]) -> dict[str, Any]:
    """The own values but, where they are those of `short`, the ones of `long`."""
    return {
        key: _along(value, short[key], long[key])
        if isinstance(value, Mapping)
        else (long[key] if value == short[key] else value)
        for key, value in own.items()
    }


def grown(network: NetworkConfig, limits: Limits) -> NetworkConfig | None:
    """The network with its stages widened in proportion up to the limits; None where it cannot be widened.

    Args:
        network: of any kind; the two kinds that the built-in spaces propose are widened.
        limits: hard limits of the result.
    """
    if not isinstance(network, FastResNetConfig | ResNetConfig) or not limits.allow(network.cost()):
        return None
    first = network.widths[0] if isinstance(network, FastResNetConfig) else network.channels[0]

    def scaled(width: int, scale: float) -> int:
        return round_width(scale * width / first, WIDTH_MULTIPLE)

    def at(scale: float) -> FastResNetConfig | ResNetConfig:
        if isinstance(network, FastResNetConfig):
            one, two, three = (scaled(width, scale) for width in network.widths)
            return replace(network, widths=(one, two, three))
        channels = tuple(scaled(width, scale) for width in network.channels)
        return replace(network, channels=channels, stem=scaled(network.stem, scale))

    try:
        return widest(at, limits, 1.0)
    except InfeasibleError:
        return None


def _classes(candidate: Candidate) -> int:
    return int(candidate.to_dict()["network"]["num_classes"])  # every built-in network has them


def _shape(candidate: Candidate) -> str:
    return candidate.summary.partition(",")[0]
