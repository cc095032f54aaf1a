"""The Gaussian process: its slope, what it is sure of, and what it learns of which parameters matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.engine.gaussian_process import Array, GaussianProcess, expected_improvement


def process_of(count: int, parameters: int, seed: int = 0, noise: float = 0.0) -> tuple[GaussianProcess, Array, Array]:
    """Learns a function of which only the first parameter matters."""
    generator = np.random.default_rng(seed)
    x = generator.random((count, parameters))
    y = np.sin(5 * x[:, 0]) + noise * generator.standard_normal(count)
    return GaussianProcess(x, y, np.arange(parameters)), x, y


@given(seed=st.integers(0, 1000), groups=st.sampled_from([(0, 1, 2), (0, 0, 1), (0, 0, 0)]))
def test_the_slope_is_that_of_the_energy(seed: int, groups: tuple[int, ...]) -> None:
    generator = np.random.default_rng(seed)
    process = GaussianProcess(generator.random((8, 3)), generator.random(8), np.array(groups))
    logs = process.middle + generator.normal(0, 0.5, len(process.middle))
    _, slope = process.energy(logs)
    step = 1e-5
    for index in range(len(logs)):
        there = np.eye(len(logs))[index] * step
        numeric = (process.energy(logs + there)[0] - process.energy(logs - there)[0]) / (2 * step)
        assert slope[index] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_it_learns_which_parameter_matters_and_predicts() -> None:
    process, _, _ = process_of(40, 4, noise=0.05)
    lengths = process.logs[:4]
    assert lengths[0] < lengths[1:].min() - 1
    unseen = np.random.default_rng(1).random((200, 4))
    mean, _ = process.predict(unseen)
    assert np.abs(mean - np.sin(5 * unseen[:, 0])).mean() < 0.1


def test_it_is_least_sure_far_from_what_it_knows_and_surer_where_trials_are_pending() -> None:
    process, x, _ = process_of(10, 2)
    far = np.array([[3.0, 3.0]])
    _, at_known = process.predict(x)
    _, at_far = process.predict(far)
    _, at_pending = process.predict(far, pending=far)
    assert at_known.max() < at_far[0]
    assert at_pending[0] < at_far[0] / 1.5
    mean, mean_with_pending = process.predict(x)[0], process.predict(x, pending=far)[0]
    assert np.allclose(mean, mean_with_pending)  # what is pending has no value yet


@given(mean=st.floats(-3, 3), deviation=st.floats(0.01, 3), best=st.floats(-3, 3))
def test_expected_improvement_is_the_mean_of_what_is_below_the_best(mean: float, deviation: float, best: float) -> None:
    places = (np.arange(20_000) + 0.5) / 20_000
    drawn = mean + deviation * np.sqrt(2) * _inverse_erf(2 * places - 1)
    expected = np.maximum(best - drawn, 0).mean()
    found = expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    assert found == pytest.approx(expected, abs=2e-3 * (1 + deviation))


def _inverse_erf(values: Array) -> Array:
    import torch

    inverse: Array = torch.erfinv(torch.from_numpy(values)).numpy()
    return inverse
