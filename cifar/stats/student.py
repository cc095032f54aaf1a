"""Student's t: the distribution, the interval of a mean, and the paired test, for the few seeds that a run is repeated.

P(|T| >= |t|) is the regularized incomplete beta function I_x(df / 2, 1 / 2) at x = df / (df + t^2) (Abramowitz and
Stegun, Handbook of Mathematical Functions, section 26.7). That is the continued fraction 8.17.22 of the NIST Digital
Library of Mathematical Functions, https://dlmf.nist.gov/8.17, evaluated from its tail. The test is Student's
(Biometrika 6, 1908).

Values without any spread have no interval and are no evidence: that a few of them agree says nothing about the next.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cifar.stats.intervals import CONFIDENCE


@dataclass(frozen=True)
class PairedT:
    """Student's paired t test."""

    difference: float
    """Mean of the differences."""
    interval: tuple[float, float] | None
    """Confidence interval of the mean difference; None without spread."""
    p: float
    """Two-sided p-value; 1 without spread."""


def paired_t(differences: Sequence[float], confidence: float = CONFIDENCE) -> PairedT:
    """Tests whether the mean of the differences is 0.

    Args:
        differences: second less first, one a pair; at least one.
        confidence: confidence level of the interval, in (0, 1).
    """
    mean, interval = statistics.fmean(differences), mean_interval(differences, confidence)
    if interval is None:
        return PairedT(mean, None, 1.0)
    return PairedT(mean, interval, two_sided_p(mean / _standard_error(differences), len(differences) - 1))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Student's interval of the mean; None for fewer than two values, or values without spread.

    Args:
        values: independent draws.
        confidence: in (0, 1).
    """
    if len(values) < 2 or len(set(values)) == 1:
        return None
    half = quantile((1 + confidence) / 2, len(values) - 1) * _standard_error(values)
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


# ---- the distribution


def cdf(t: float, df: float) -> float:
    """P(T <= t) with `df` > 0 degrees of freedom."""
    tail = two_sided_p(t, df) / 2
    return tail if t < 0 else 1 - tail


def two_sided_p(t: float, df: float) -> float:
    """P(|T| >= |t|) with `df` > 0 degrees of freedom."""
    root = math.sqrt(df)
    radius = math.hypot(root, t)
    return _regularized_beta(df / 2, 0.5, (root / radius) ** 2, (t / radius) ** 2)


def quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, by bisection.

    Args:
        p: in (0, 1).
        df: degrees of freedom, above 0.
    """
    if not 0 < p < 1 or df <= 0:
        raise ValueError(f"a quantile needs p in (0, 1) and df above 0; got {p}, {df}")
    tails = 2 * min(p, 1 - p)
    low, high = 0.0, 1.0
    while two_sided_p(high, df) > tails:
        low, high = high, 2 * high
    for _ in range(100):  # halvings: more than a float has bits
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, df) > tails else (low, middle)
    return math.copysign((low + high) / 2, p - 0.5)


def regularized_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), for a and b above 0 and x in [0, 1]."""
    return _regularized_beta(a, b, x, 1 - x)


def _regularized_beta(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b) with y = 1 - x, which the caller may know more exactly."""
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly: DLMF 8.17.4 exchanges the sides
        return 1 - _regularized_beta(b, a, y, x)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log(y) - log_beta) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction 1 / (1 + d1 / (1 + d2 / (1 + ...))) of DLMF 8.17.22."""
    value = 1.0
    for m in range(50 + 3 * math.isqrt(math.ceil(max(a, b))), -1, -1):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))  # d_2m+1
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))  # d_2m+2
        value = 1 + odd / (1 + even / value)
    return 1 / value
