"""Tests of two networks on the same images.

What counts are the images that one got right and the other wrong. McNemar's test (Psychometrika 12, 1947) asks
whether these fall to either side equally often; below 25 of them by the exact binomial distribution, else by chi-square
with the continuity correction of Edwards (Psychometrika 13, 1948). The interval of a difference is that of Agresti and
Min (Statistics in Medicine 24, 2005): Wald's after half an image is added to each cell. Holm's correction for several
comparisons: Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from cifar.stats.intervals import CONFIDENCE

EXACT_BELOW = 25
"""Discordant images below which McNemar's test is exact."""


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two paired proportions."""

    only_first: int
    """Images that only the first run got right."""
    only_second: int
    """Images that only the second run got right."""
    p: float
    """Two-sided p-value."""
    statistic: float | None
    """Chi-square with one degree of freedom; None where the test is exact."""

    @property
    def method(self) -> str:
        """How p was computed."""
        return "exact binomial" if self.statistic is None else "chi-square, continuity-corrected"


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """McNemar's test; see the top of this file.

    Args:
        only_first: pairs in which only the first is right, 0 or more.
        only_second: pairs in which only the second is.
    """
    discordant = only_first + only_second
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
        return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**discordant), None)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemar(only_first, only_second, math.erfc(math.sqrt(statistic / 2)), statistic)


def paired_interval(
    only_first: int, only_second: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the second proportion less the first, by Agresti and Min; (-1, 1) without images.

    Args:
        only_first: pairs in which only the first is right.
        only_second: pairs in which only the second is.
        total: all pairs.
        confidence: in (0, 1).
    """
    if total == 0:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    difference = (only_second - only_first) / (total + 2)
    spread = z * math.sqrt(only_first + only_second + 1 - (only_second - only_first) ** 2 / (total + 2)) / (total + 2)
    return max(-1.0, difference - spread), min(1.0, difference + spread)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: each at most the level if its hypothesis is rejected at it."""
    adjusted, greatest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted
