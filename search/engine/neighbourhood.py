"""Proposals around a point: parameter by parameter, so that conditional spaces need nothing of their own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

MUTATION_SPREAD = 0.25
"""Standard deviation of a changed number as a share of its range, as PriorBand's mutation has it
(arXiv 2306.12370; neps `mutation_std`)."""

SpreadOf = Callable[[str, BaseDistribution], float]
"""How far a parameter lies from the point, see `spaces.base.Prior.spread`."""


class Around(BaseSampler):
    """Draws each parameter around its value in a point.

    Args:
        point: parameters by name.
        spread: tells how far each may lie from it.
        generator: makes the choices.
        elsewhere: proposes the parameters that the point lacks.
    """

    def __init__(
        self, point: Mapping[str, Any], spread: SpreadOf, generator: random.Random, elsewhere: BaseSampler
    ) -> None:
        self.point, self.spread, self.generator, self.elsewhere = point, spread, generator, elsewhere

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self.point:
            return self.elsewhere.sample_independent(study, trial, param_name, param_distribution)
        spread = self.spread(param_name, param_distribution)
        return draw(self.generator, param_distribution, self.point[param_name], spread)


def mutations(names: Collection[str], generator: random.Random) -> SpreadOf:
    """Changes some of a point's parameters, at least one, and leaves the others as they are.

    How many is drawn between 1 and half of them, of a density that falls as 1 / number: where no rate of change is
    known to be best, such a heavy tail comes close to the best fixed one (arXiv 1703.03334). PriorBand changes half of
    them; of the forty parameters of our spaces, so many changes seldom leave a good candidate good.

    Args:
        names: the point's parameters.
        generator: makes the choices.
    """
    count = round(math.exp(generator.uniform(0, math.log(max(2, len(names)) / 2))))
    changed = set(generator.sample(sorted(names), min(count, len(names))))

    def spread(name: str, distribution: BaseDistribution) -> float:
        if name not in changed:
            return 0.0
        return 1.0 if isinstance(distribution, CategoricalDistribution) else MUTATION_SPREAD

    return spread


def draw(generator: random.Random, distribution: BaseDistribution, value: Any, spread: float) -> Any:
    """A value near another one.

    Args:
        generator: makes the choices.
        distribution: what values there are.
        value: the middle; outside the range, its nearest end counts.
        spread: of a number the standard deviation as a share of the range, on the distribution's scale, of a normal
            distribution that is cut off at the ends; of a choice the probability of another one.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _choice(generator, distribution.choices, value, spread)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if spread == 0:
        return _valid(distribution, value)
    low, high = _ends(distribution)
    middle = (_scaled(distribution, _valid(distribution, value)) - low) / (high - low) if high > low else 0.0
    drawn = low + (high - low) * _cut_off_normal(generator, middle, spread)
    return _valid(distribution, math.exp(drawn) if distribution.log else drawn)


def _choice(generator: random.Random, choices: tuple[Any, ...], value: Any, spread: float) -> Any:
    others = [choice for choice in choices if choice != value]
    if value not in choices or (others and generator.random() < spread):
        return generator.choice(others)
    return value


def _cut_off_normal(generator: random.Random, middle: float, spread: float) -> float:
    """A number in [0, 1] around `middle`, which lies in it too: at least one draw in some 3 * (1 + spread) falls in."""
    while True:
        drawn = generator.gauss(middle, spread)
        if 0 <= drawn <= 1:
            return drawn


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """The range on the distribution's scale; of whole numbers and steps, half a step wider, so that all are as wide."""
    margin = (distribution.step or 0) / 2
    low, high = distribution.low - margin, distribution.high + margin
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _scaled(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    return math.log(value) if distribution.log else value


def _valid(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """The nearest value that the distribution has."""
    step = distribution.step
    if step:
        value = distribution.low + step * round((value - distribution.low) / step)
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)
