"""A Gaussian process: what is known of a function from some of its values, with how sure that is.

Matern kernel of smoothness 5/2 with a length scale of its own for each parameter (Rasmussen and Williams, Gaussian
Processes for Machine Learning, chapters 2, 4 and 5). Length scales, amplitude and noise are those of the highest
posterior density. The prior of the length scales grows with the root of the number of parameters, without which a model
of forty parameters would take all points for unrelated (arXiv 2402.02229).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTH, LENGTH_SPREAD = 0.125, 1.0
"""Length scale in the middle of its prior, in ranges of a parameter per root of their number; standard deviation of its
logarithm."""
NOISE, NOISE_SPREAD = 0.2, 1.0
"""The same of the noise's variance, as a share of that of all values."""
STEPS = 20
"""Steps of ascent to the highest density."""
FIRST_STEP, SHORTEST, LONGEST = 0.3, 0.001, 0.6
"""Steps of the logarithms in Rprop."""
JITTER = 1e-8
ROOT_5 = math.sqrt(5)


class GaussianProcess:
    """The process of some points and their values.

    Args:
        x: points, float (N, D).
        y: their values, float (N,).
        groups: the parameter that each of the D columns belongs to, int (D,), from 0; columns of a parameter have one
            length scale.
    """

    def __init__(self, x: Array, y: Array, groups: NDArray[np.intp]) -> None:
        self.x, self.groups = x, groups
        self.mean, self.scale = float(y.mean()), max(float(y.std()), 1e-9)
        self.y = (y - self.mean) / self.scale
        self.parameters = int(groups.max()) + 1
        self.squares = np.square(x[:, None, :] - x[None, :, :]).reshape(-1, x.shape[1])  # (N * N, D)
        lengths = np.full(self.parameters, math.log(LENGTH * math.sqrt(self.parameters)))
        self.middle = np.concatenate([lengths, [0.0, math.log(NOISE)]])  # logarithms: length scales, amplitude, noise
        self.spread = np.concatenate([np.full(self.parameters, LENGTH_SPREAD), [1.0, NOISE_SPREAD]])
        self.logs = self._densest()
        self.inverse = np.linalg.inv(self._covariance(self.logs)[0])
        self.weights = self.inverse @ self.y

    def _densest(self) -> Array:
        """Logarithms of the hyperparameters after some steps of Rprop, which needs only the signs of the slope."""
        logs, step, before = self.middle, np.full(len(self.middle), FIRST_STEP), np.zeros(len(self.middle))
        best, lowest = logs, math.inf
        for _ in range(STEPS):
            energy, slope = self.energy(logs)
            if energy < lowest:
                best, lowest = logs, energy
            agree = np.sign(slope) * np.sign(before)
            step = np.clip(step * np.where(agree > 0, 1.2, np.where(agree < 0, 0.5, 1.0)), SHORTEST, LONGEST)
            logs, before = logs - np.sign(slope) * step, slope
        return best

    def energy(self, logs: Array) -> tuple[float, Array]:
        """The negative logarithm of the posterior density but for a constant, and its slope."""
        covariance, kernel, decay = self._covariance(logs)
        inverse = np.linalg.inv(covariance)
        weights = inverse @ self.y
        off = (logs - self.middle) / self.spread
        energy = (self.y @ weights + np.linalg.slogdet(covariance)[1] + off @ off) / 2
        by_covariance = (inverse - np.outer(weights, weights)) / 2  # of the energy without the prior
        columns = (by_covariance * decay).ravel() @ self.squares * self._inverse_squares(logs)
        lengths = np.bincount(self.groups, weights=columns, minlength=self.parameters)
        amplitude, noise = (by_covariance * kernel).sum(), math.exp(logs[-1]) * np.trace(by_covariance)
        return float(energy), np.concatenate([lengths, [amplitude, noise]]) + off / self.spread

    def _covariance(self, logs: Array) -> tuple[Array, Array, Array]:
        """Of all points: covariance of values, covariance of the function, and its slope by the squared distance * -2.

        The slope of the covariance by the logarithm of a length scale is that last one times the squared distance along
        its columns.
        """
        count, amplitude = len(self.y), math.exp(logs[-2])
        squared = (self.squares @ self._inverse_squares(logs)).reshape(count, count)
        shape, decay = matern(squared)
        covariance = amplitude * shape
        covariance[np.diag_indices(count)] += math.exp(logs[-1]) + JITTER
        return covariance, amplitude * shape, amplitude * decay

    def _inverse_squares(self, logs: Array) -> Array:
        """1 / length scale squared, a column."""
        inverse: Array = np.exp(-2 * logs[:-2])[self.groups]
        return inverse

    def predict(self, points: Array, pending: Array | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of the function at some points, (M,) each.

        Args:
            points: float (M, D).
            pending: points whose values are not known yet, float (P, D); taken for the mean there, they make the
                function more certain.
        """
        known, inverse, mean = self.x, self.inverse, self._across(points, self.x) @ self.weights
        if pending is not None and len(pending):
            known = np.concatenate([self.x, pending])
            covariance = self._across(known, known)
            covariance[np.diag_indices(len(known))] += math.exp(self.logs[-1]) + JITTER
            inverse = np.linalg.inv(covariance)
        across = self._across(points, known)
        explained = ((across @ inverse) * across).sum(axis=1)
        deviation = np.sqrt(np.maximum(math.exp(self.logs[-2]) - explained, 1e-10))
        return mean * self.scale + self.mean, deviation * self.scale

    def _across(self, first: Array, second: Array) -> Array:
        """Covariance of the function at points with that at others."""
        roots = np.sqrt(self._inverse_squares(self.logs))
        a, b = first * roots, second * roots
        squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :] - 2 * a @ b.T
        covariance: Array = math.exp(self.logs[-2]) * matern(np.maximum(squared, 0))[0]
        return covariance


def matern(squared: Array) -> tuple[Array, Array]:
    """The kernel of smoothness 5/2 at squared distances, and -2 times its slope by them."""
    distance = np.sqrt(squared)
    falling = np.exp(-ROOT_5 * distance)
    return (1 + ROOT_5 * distance + 5 / 3 * squared) * falling, 5 / 3 * (1 + ROOT_5 * distance) * falling


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """By how much a value is expected to be below the best one, where it counts 0 if it is not (Jones et al. 1998)."""
    off = (best - mean) / deviation
    below = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in off])
    density = np.exp(-np.square(off) / 2) / math.sqrt(2 * math.pi)
    improvement: Array = deviation * (off * below + density)
    return improvement


def as_array(values: Any) -> Array:
    """Numbers as an array of float64."""
    return np.asarray(values, dtype=np.float64)
