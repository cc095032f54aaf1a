"""A trial of a search at the size that suits a longer run.

Where a machine is slow, a search is limited to networks that its short trials can train (`search.planning.planner`).
In a longer run larger ones win. So a trial is then trained with its network's stages widened in proportion, as far as
the default recipe's own network is widened for that time, within the parameter limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cifar.candidate import Candidate, RecipeFile, Variant
from cifar.errors import InfeasibleError
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from spaces.resnet_budget5m import BASE_RECIPE, WIDTH_MULTIPLE
from spaces.width import Limits, round_width, widest

FEWEST_PASSES = 3.0
"""Passes from which on the default recipe is better in its own size than scaled down to a search's limit."""


def grown_variants(candidate: Candidate, param_budget: int) -> tuple[Variant, ...]:
    """The candidate at the sizes of the default recipe and its variants, as far as these are above its own.

    Args:
        candidate: of a trial whose network was limited by what the search's short trials can train.
        param_budget: most parameters.
    """
    return tuple(_variants(candidate, param_budget))


def _variants(candidate: Candidate, param_budget: int) -> Iterator[Variant]:
    file = RecipeFile.named(BASE_RECIPE)
    own = candidate.recipe == file.candidate.recipe and candidate.network.kind == file.candidate.network.kind
    for size in (Variant(FEWEST_PASSES, "the recipe's own size pays", file.candidate), *file.longer):
        cost = size.candidate.for_data(_classes(candidate), candidate.network.image_size).cost
        limits = Limits(param_budget, cost.macs)
        if own:
            found = size.candidate if limits.allow(cost) else None
        else:
            network = grown(candidate.network, limits)
            found = None if network is None else replace(candidate, network=network)
        if found is not None and cost.macs > candidate.cost.macs:
            why = size.why if own else f"a network of {_shape(found)} pays"
            yield Variant(size.passes, why, found)


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
