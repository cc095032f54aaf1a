"""Whether short runs tell which trials are good: how the trials' ranks at one rung agree with those at a later one.

Spearman's rank correlation of the values at two rungs, over the trials that reached both, with Fisher's interval
(Bonett and Wright, Psychometrika 65, 2000), and the winner's place at each earlier rung.

Only trials that were good at the lower rung reached the higher one. That narrows the range of values there, so the
correlation is, as a rule, an underestimate of what all trials would show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pandas as pd

from cifar.stats.intervals import CONFIDENCE

FEWEST = 4
"""Trials at both rungs below which nothing is said: the interval's formula divides by n - 3."""

Values = Mapping[int, Mapping[int, float]]
"""By the trial's number and the rung: what it reported there, larger being better; only rungs that it reached."""


@dataclass(frozen=True)
class Agreement:
    """Ranks at two rungs beside one another."""

    low: int
    """Epochs of the lower rung."""
    high: int
    """Epochs of the higher rung."""
    reached_low: int
    """Trials that reached the lower rung."""
    both: int
    """Trials that reached both."""
    rho: float | None
    """Spearman's rank correlation in [-1, 1]; None for fewer than `FEWEST` trials, or where all values are equal."""
    interval: tuple[float, float] | None
    """Its 95 % interval."""

    winner: int | None
    """The trial, of those at both, that is best at the higher rung; of equals, the first. None where there is none."""
    place: int | None
    """Its place at the lower rung among those at both: one more than the number of trials that were better."""
    place_of_all: int | None
    """Its place at the lower rung among all that reached it."""

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

    Fisher's transformation has no value at -1 and 1: there it takes half the step that swapping two neighbours makes.
    """
    step = 6 / (count * (count**2 - 1))
    clipped = max(-1 + step, min(1 - step, rho))
    spread = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt((1 + clipped**2 / 2) / (count - 3))
    low, high = (math.tanh(math.atanh(clipped) + sign * spread) for sign in (-1, 1))
    return min(low, rho), max(high, rho)


def agreement(values: Values, low: int, high: int) -> Agreement:
    """How two rungs agree."""
    at_low = {number: of[low] for number, of in values.items() if low in of}
    pairs = {number: (value, values[number][high]) for number, value in at_low.items() if high in values[number]}
    rho = spearman(*zip(*pairs.values(), strict=True)) if len(pairs) >= FEWEST else None
    interval = None if rho is None else fisher_interval(rho, len(pairs))
    best = min(pairs, key=lambda number: (-pairs[number][1], number), default=None)
    place = place_of_all = None
    if best is not None:
        place = 1 + sum(value > at_low[best] for value, _ in pairs.values())
        place_of_all = 1 + sum(value > at_low[best] for value in at_low.values())
    return Agreement(low, high, len(at_low), len(pairs), rho, interval, best, place, place_of_all)


def agreements(values: Values, rungs: Sequence[int]) -> list[Agreement]:
    """Every lower rung with the highest that `FEWEST` trials reached, then neighbours that are not among those."""
    reached = reached_rungs(values, rungs)
    top = max((rung for rung in reached if sum(rung in of for of in values.values()) >= FEWEST), default=0)
    pairs = [(rung, top) for rung in reached if rung < top]
    pairs += [pair for pair in pairwise(reached) if pair not in pairs]
    return [agreement(values, low, high) for low, high in pairs]


def winner_history(values: Values, rungs: Sequence[int]) -> list[Agreement]:
    """Every lower rung with the highest that any trial reached, whose best trial is the study's winner."""
    reached = reached_rungs(values, rungs)
    return [agreement(values, rung, reached[-1]) for rung in reached[:-1]]


def reached_rungs(values: Values, rungs: Sequence[int]) -> list[int]:
    """The rungs that a trial reached."""
    return [rung for rung in rungs if any(rung in of for of in values.values())]
