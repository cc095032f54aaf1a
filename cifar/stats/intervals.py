"""Intervals of a proportion, and of the difference of two.

Wilson's score interval: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22,
1927. The interval of a difference is Newcombe's, made of two of Wilson's: R. G. Newcombe, "Interval estimation for the
difference between independent proportions", Statistics in Medicine 17, 1998, method 10.
"""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95
"""Confidence of every interval that is reported, unless another is asked for."""


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22, 1927).

    Args:
        correct: successes, 0 to `total`.
        total: trials; 0 gives (0, 1): nothing is known.
        confidence: in (0, 1).

    Returns:
        Lower and upper end, in [0, 1]; correct / total lies between.
    """
    if not 0 <= correct <= total or not 0 < confidence < 1:
        raise ValueError(
            f"an interval needs 0 <= correct <= total and a confidence in (0, 1); got {correct}, {total}, {confidence}"
        )
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, shrink = correct / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / shrink
    half = z * math.sqrt(p * (1 - p) / total + (z / (2 * total)) ** 2) / shrink
    low = 0.0 if correct == 0 else max(0.0, min(p, centre - half))
    high = 1.0 if correct == total else min(1.0, max(p, centre + half))
    return low, high


def difference_interval(
    first: int, second: int, first_total: int, second_total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Newcombe's interval of the second proportion less the first, of samples that share nothing (method 10).

    Of two networks on the same images it is too wide, since both find the same images hard; `paired_interval` is not,
    but needs to know which images each got right.

    Args:
        first: successes of the first sample.
        second: successes of the second sample.
        first_total: size of the first sample, 1 or more.
        second_total: size of the second sample, 1 or more.
        confidence: in (0, 1).

    Returns:
        Lower and upper end, in [-1, 1]; the difference lies between.
    """
    p, q = first / first_total, second / second_total
    first_low, first_high = wilson_interval(first, first_total, confidence)
    second_low, second_high = wilson_interval(second, second_total, confidence)
    difference = q - p
    return (
        max(-1.0, difference - math.hypot(q - second_low, first_high - p)),
        min(1.0, difference + math.hypot(second_high - q, p - first_low)),
    )
