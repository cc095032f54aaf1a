"""Solves a network's widths so that the network fills a share of hard limits: exact, and it always ends.

Of random ResNets only a third to two thirds fit 5M parameters; proposing depths and width *ratios* and solving for
the one free scale makes every proposal fit, and leaves the sampler parameters that it can learn from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cifar.errors import InfeasibleError
from cifar.networks.complexity import Cost
from cifar.networks.registry import NetworkConfig

Network = TypeVar("Network", bound=NetworkConfig)

MIN_WIDTH = 4  # channels of the narrowest stage that is proposed
STEPS_A_CHANNEL = 64  # resolution of the scale; finer than any rounding of widths below 4,096 channels can show
MAX_SCALE = 1 << 14  # channels; no limit of interest allows more


@dataclass(frozen=True)
class Limits:
    """Hard limits of a network."""

    parameters: int
    """Most parameters."""
    macs: int | None = None
    """Most multiply-accumulates an image; None is no limit."""

    def allow(self, cost: Cost) -> bool:
        """Whether a network of this cost keeps every limit."""
        return cost.parameters <= self.parameters and (self.macs is None or cost.macs <= self.macs)

    def scaled(self, share: float) -> Limits:
        """These limits times `share` in (0, 1], rounded to whole numbers and never above the limits themselves."""
        macs = None if self.macs is None else min(self.macs, round(self.macs * share))
        return Limits(min(self.parameters, round(self.parameters * share)), macs)

    def share_of(self, cost: Cost) -> float:
        """The smallest share of the limits that a network of this cost needs; above 1 if it breaks one."""
        shares = [cost.parameters / self.parameters]
        if self.macs is not None:
            shares.append(cost.macs / self.macs)
        return max(shares)


def round_width(width: float, multiple: int) -> int:
    """The nearest multiple of `multiple`, or of 4 below it, at least 4; never falls when `width` grows."""
    step = multiple if width >= multiple else min(multiple, MIN_WIDTH)
    return max(MIN_WIDTH, step * int(width / step + 0.5))


def widest(build: Callable[[float], Network], limits: Limits, share: float) -> Network:
    """The network of the largest scale within `share` of the limits; if none is, the narrowest.

    Args:
        build: the network of a scale, in channels of the first stage; its cost must not fall when the scale grows.
        limits: hard limits; the result always keeps them.
        share: share of the limits in (0, 1].

    Raises:
        InfeasibleError: even the narrowest network breaks a limit.
    """
    narrowest = build(0)
    if not limits.allow(narrowest.cost()):
        raise InfeasibleError(
            f"a network of kind {narrowest.kind!r} and this depth has at least {narrowest.cost().parameters:,} "
            f"parameters and {narrowest.cost().macs:,} MACs",
            got=f"limits of {limits.parameters:,} parameters and {limits.macs or 'any number of'} MACs",
            remedy="Raise the limit or allow fewer blocks",
        )
    target = limits.scaled(share)
    low, high = 0, MAX_SCALE * STEPS_A_CHANNEL
    while high - low > 1:  # `low` keeps the target or is the narrowest; `high` breaks it or is the bound
        middle = (low + high) // 2
        if target.allow(build(middle / STEPS_A_CHANNEL).cost()):
            low = middle
        else:
            high = middle
    return build(low / STEPS_A_CHANNEL)
