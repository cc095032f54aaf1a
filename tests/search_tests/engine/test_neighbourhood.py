"""Draws around a point."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from search.engine.neighbourhood import Around, draw, mutations

NUMBERS = [
    FloatDistribution(0.0, 0.5),
    FloatDistribution(-3.0, 40.0),
    FloatDistribution(1e-5, 5e-3, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    IntDistribution(0, 6),
    IntDistribution(1, 1000, log=True),
    IntDistribution(4, 4),
    IntDistribution(64, 256, step=64),
]
CHOICES = CategoricalDistribution((0.0, 0.99, 0.999))


@given(st.sampled_from(NUMBERS), st.floats(-100, 2000), st.floats(0, 5), st.integers(0, 2**31))
def test_drawn_numbers_are_of_the_distribution(
    distribution: BaseDistribution, value: float, spread: float, seed: int
) -> None:
    drawn = draw(random.Random(seed), distribution, value, spread)
    assert distribution._contains(distribution.to_internal_repr(drawn))
    assert isinstance(drawn, int) == isinstance(distribution, IntDistribution)


@given(st.sampled_from(NUMBERS), st.integers(0, 2**31))
def test_without_a_spread_the_value_stays(distribution: BaseDistribution, seed: int) -> None:
    value = draw(random.Random(seed), distribution, 1.0, 3.0)  # any value
    assert draw(random.Random(seed), distribution, value, 0.0) == value


@given(st.sampled_from([(0.0, 0.5, False), (-3.0, 40.0, False), (1e-5, 5e-3, True)]), st.floats(0.2, 0.8))
def test_the_spread_is_a_share_of_the_range_on_its_scale(limits: tuple[float, float, bool], share: float) -> None:
    low, high, log = limits
    generator, distribution = random.Random(1), FloatDistribution(low, high, log=log)

    def share_of(value: float) -> float:
        return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)

    middle = low * (high / low) ** share if log else low + share * (high - low)
    drawn = [share_of(draw(generator, distribution, middle, 0.05)) for _ in range(200)]
    assert statistics.mean(drawn) == pytest.approx(share, abs=0.02)
    assert statistics.stdev(drawn) == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5, 1.0])
def test_a_choice_changes_as_often_as_its_spread_says(spread: float) -> None:
    generator = random.Random(2)
    drawn = [draw(generator, CHOICES, 0.99, spread) for _ in range(1000)]
    assert statistics.mean(choice != 0.99 for choice in drawn) == pytest.approx(spread, abs=0.04)
    if spread:
        assert set(drawn) >= {0.0, 0.999}


def test_a_choice_that_is_gone_is_replaced() -> None:
    assert draw(random.Random(3), CHOICES, 0.5, 0.0) in CHOICES.choices


def test_what_the_point_lacks_comes_from_elsewhere() -> None:
    def ask(number: int) -> dict[str, Any]:
        around = Around({"kind": "b", "x": 0.5}, lambda *_: 0.0, random.Random(number), RandomSampler(seed=number))
        trial = optuna.create_study(sampler=around).ask()
        trial.suggest_categorical("kind", ("a", "b"))
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 0, 1)
        return dict(trial.params)

    drawn = [ask(number) for number in range(5)]
    assert all((params["kind"], params["x"]) == ("b", 0.5) for params in drawn)
    assert len({params["y"] for params in drawn}) == 5
    assert ask(3) == drawn[3]  # from its seed


def test_a_mutation_changes_one_parameter_to_half_of_them_and_few_more_often() -> None:
    names = [f"p{i}" for i in range(40)]
    changed = []
    for seed in range(300):
        spread = mutations(names, random.Random(seed))
        changed.append(sum(spread(name, CHOICES) > 0 for name in names))
    assert (min(changed), max(changed)) == (1, 20)
    assert 3 <= statistics.median(changed) <= 6
    assert {mutations(names, random.Random(1))(name, NUMBERS[0]) for name in names} == {0.0, 0.25}
    assert mutations(["only"], random.Random(1))("only", CHOICES) == 1.0
