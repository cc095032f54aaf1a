"""Parameters of trials as rows of numbers, for models: conditional, categorical and logarithmic ones alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

from search.engine.gaussian_process import Array
from search.engine.neighbourhood import at_share, share_of

ABSENT = 0.5
"""Where a number stands that a trial does not have: in the middle, so that it is not far from any."""


class Encoding:
    """Rows have an entry a parameter: a number's share of its range on its own scale, a choice's place, NaN if absent.

    Args:
        distributions: of all parameters, by name.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.names = sorted(distributions)
        self.distributions = [distributions[name] for name in self.names]
        self.choices = np.array([_choices(one) for one in self.distributions])  # how many, by parameter; 0 of a number
        self.groups: NDArray[np.intp] = np.repeat(np.arange(len(self.names)), np.maximum(self.choices, 1))

    def row(self, params: Mapping[str, Any]) -> Array:
        """The row of a trial's parameters; a choice that there is no more counts as absent."""
        row = np.full(len(self.names), np.nan)
        for index, (name, distribution) in enumerate(zip(self.names, self.distributions, strict=True)):
            if name not in params:
                continue
            if not isinstance(distribution, CategoricalDistribution):
                row[index] = share_of(distribution, params[name])
            elif params[name] in distribution.choices:
                row[index] = distribution.to_internal_repr(params[name])
        return row

    def params(self, row: Array) -> dict[str, Any]:
        """The parameters that a row stands for."""
        return {
            name: at_share(distribution, value)
            if not isinstance(distribution, CategoricalDistribution)
            else distribution.choices[int(value)]
            for name, distribution, value in zip(self.names, self.distributions, row.tolist(), strict=True)
            if value == value
        }

    def columns(self, rows: Array) -> Array:
        """Rows as points: a column a number, and a column a choice; two different choices are 1 apart."""
        parts = []
        for index, count in enumerate(self.choices):
            entry = rows[:, index]
            if count == 0:
                parts.append(np.where(np.isnan(entry), ABSENT, entry)[:, None])
            else:
                parts.append((entry[:, None] == np.arange(count)) / np.sqrt(2))
        return np.concatenate(parts, axis=1)


def distributions_of(trials: Iterable[FrozenTrial]) -> dict[str, BaseDistribution]:
    """The distribution of each parameter that a trial has, as the latest trial has it."""
    found: dict[str, BaseDistribution] = {}
    for trial in trials:
        found.update(trial.distributions)
    return found


def _choices(distribution: BaseDistribution) -> int:
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0
