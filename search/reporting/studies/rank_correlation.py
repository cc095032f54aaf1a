"""Whether short runs tell which trials are good: the rank correlation of values at two rungs.

Spearman's correlation over the trials that reached both rungs, with Fisher's interval (Bonett and Wright,
Psychometrika 65, 2000), and the place at the lower rung of the trial that won at the higher one.

Only trials that were good at the lower rung reached the higher one. That narrows the range of values there, so the
correlation is, as a rule, an underestimate of what all trials would show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pandas as pd

from cifar.stats.intervals import CONFIDENCE

FEWEST = 4
"""Fewest trials at both rungs for which a correlation is given: the interval's formula divides by n - 3."""

Values = Mapping[int, Mapping[int, float]]
"""Values by the trial's number and the rung, larger being better; only rungs that the trial reached."""


@dataclass(frozen=True)
class RankCorrelation:
    """How the ranks of trials at two rungs agree."""

    low: int
    """Epochs of the lower rung."""
    high: int
    """Epochs of the higher rung."""
    reached_low: int
    """Number of trials that reached the lower rung."""
    both: int
    """Number of trials that reached both rungs."""
    rho: float | None
    """Spearman's rank correlation in [-1, 1]; None for fewer than `FEWEST` trials, or where all values are equal."""
    interval: tuple[float, float] | None
    """95 % interval of `rho`."""
    winner: int | None
    """Number of the trial at both rungs that is best at the higher one; of equals, the first. None without trials."""
    place: int | None
    """The winner's place at the lower rung among the trials at both: one more than the number that were better."""
    place_of_all: int | None
    """The winner's place at the lower rung among all trials that reached it."""

    @property
    def selected(self) -> bool:
        """Whether only some trials of the lower rung reached the higher one."""
        return self.both < self.reached_low


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where one side is constant or empty."""
    ranks = np.array([pd.Series(side, dtype=float).rank() for side in (first, second)])  # (2, trials)
    if not len(first) or (np.ptp(ranks, axis=1) == 0).any():
        return None
    return float(np.clip(np.corrcoef(ranks)[0, 1], -1.0, 1.0))


def fisher_interval(rho: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a Spearman correlation of `count` pairs, with Bonett and Wright's standard error.

    Fisher's transformation is infinite at -1 and 1; a correlation there is moved inwards by half the step that swapping
    two neighbours makes.
    """
    step = 6 / (count * (count**2 - 1))
    clipped = max(-1 + step, min(1 - step, rho))
    spread = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt((1 + clipped**2 / 2) / (count - 3))
    low, high = (math.tanh(math.atanh(clipped) + sign * spread) for sign in (-1, 1))
    return min(low, rho), max(high, rho)


def rank_correlation(values: Values, low: int, high: int) -> RankCorrelation:
    """The rank correlation between two rungs."""
    at_low = {number: at[low] for number, at in values.items() if low in at}
    pairs = {number: (value, values[number][high]) for number, value in at_low.items() if high in values[number]}
    rho = spearman(*zip(*pairs.values(), strict=True)) if len(pairs) >= FEWEST else None
    winner = min(pairs, key=lambda number: (-pairs[number][1], number), default=None)
    return RankCorrelation(
        low=low,
        high=high,
        reached_low=len(at_low),
        both=len(pairs),
        rho=rho,
        interval=None if rho is None else fisher_interval(rho, len(pairs)),
        winner=winner,
        place=None if winner is None else _place(at_low[winner], [value for value, _ in pairs.values()]),
        place_of_all=None if winner is None else _place(at_low[winner], at_low.values()),
    )


def _place(value: float, values: Iterable[float]) -> int:
    return 1 + sum(other > value for other in values)


def rank_correlations(values: Values, rungs: Sequence[int]) -> list[RankCorrelation]:
    """Each lower rung with the highest that `FEWEST` trials reached, then neighbours that are not among those."""
    reached = reached_rungs(values, rungs)
    top = max((rung for rung in reached if sum(rung in at for at in values.values()) >= FEWEST), default=0)
    pairs = [(rung, top) for rung in reached if rung < top]
    pairs += [pair for pair in pairwise(reached) if pair not in pairs]
    return [rank_correlation(values, low, high) for low, high in pairs]


def winner_history(values: Values, rungs: Sequence[int]) -> list[RankCorrelation]:
    """Each lower rung with the highest that any trial reached, at which the study's winner is the best trial."""
    reached = reached_rungs(values, rungs)
    return [rank_correlation(values, rung, reached[-1]) for rung in reached[:-1]]


def reached_rungs(values: Values, rungs: Sequence[int]) -> list[int]:
    """The rungs that a trial reached."""
    return [rung for rung in rungs if any(rung in at for at in values.values())]
