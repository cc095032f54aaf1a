"""Intervals of a proportion.

Wilson's score interval: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22,
1927.
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
