"""Rungs: the numbers of epochs at which trials are compared, and what they make a trial cost.

The names are those of two papers, Hyperband (arXiv 1603.06560) and ASHA (arXiv 1810.05934), whose resource is epochs
here. This is where they are explained; elsewhere they are only used:

- r, the minimum resource: epochs of the first rung (`min_epochs`).
- R, the maximum resource: epochs of a full trial (`max_epochs`).
- eta, the reduction factor: of the trials at a rung, one of eta is trained up to the next, about eta times longer.
- rung: a number of epochs at which trials are compared. A trial that is trained up to the next is *promoted* (ASHA).
- bracket s: the trials that are first compared s rungs below R (Hyperband). Hyperband runs every bracket, so that a
  trial which starts slowly also has a chance; successive halving and ASHA run one.

Values at a rung are compared with one another, so each should be what the trial is worth after that many epochs. In the
middle of a schedule it is not: a high learning rate hides what a trial has learned, and low rates look good. So a
trial's schedule comes to its end at each rung (`Plan.anneals`). It is stretched over the epochs up to the first rung;
a promoted trial goes on where the same schedule, stretched up to the next rung, has arrived by then. With eta = 2 that
is its middle: the rate rises again, though not to its peak, and the second half of the schedule follows. Warm restarts
(arXiv 1608.03983) return to the peak.

All rungs are computed in whole numbers: a floored logarithm gives 3**5 = 243 five rungs instead of six.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def rungs(min_epochs: int, max_epochs: int, eta: int) -> list[int]:
    """The rungs counted up from r: r, r*eta, r*eta^2, ... below R, then R."""
    found, epochs = [], min_epochs
    while epochs < max_epochs:
        found.append(epochs)
        epochs *= eta
    return [*found, max_epochs]


def rungs_from_top(min_epochs: int, max_epochs: int, eta: int) -> list[int]:
    """The rungs counted down from R: R, R/eta, R/eta^2, ..., rounded up, down to r; in rising order.

    The last step is always a full factor of eta. Counted up from r, the rung before R may lie just below it, and a
    promotion there would buy almost nothing.
    """
    found, divisor = [max_epochs], eta
    while -(-max_epochs // divisor) >= min_epochs and found[-1] > 1:
        found.append(-(-max_epochs // divisor))
        divisor *= eta
    return found[::-1]


def divisions(max_epochs: int, eta: int) -> int:
    """How often R can be divided by eta, rounding down, before less than 1 is left: the highest bracket of r = 1."""
    count = 0
    while max_epochs >= eta:
        max_epochs //= eta
        count += 1
    return count


def bracket_epochs(ladder: Sequence[int], eta: int) -> list[float]:
    """Mean epochs of a trial in the bracket that begins at each rung, where one of eta trials is promoted."""
    means = []
    for first in range(len(ladder)):
        steps = enumerate(pairwise(ladder[first:]), 1)
        means.append(ladder[first] + sum((high - low) / float(eta) ** i for i, (low, high) in steps))
    return means


def bracket_shares(ladder: Sequence[int], eta: int) -> list[float]:
    """Share of Hyperband's trials in the bracket that begins at each rung: in proportion to eta^s / (s + 1)."""
    weights = [float(eta) ** s / (s + 1) for s in reversed(range(len(ladder)))]
    return [weight / sum(weights) for weight in weights]


def mean_epochs(ladder: Sequence[int], eta: int) -> float:
    """Mean epochs of a trial under Hyperband, over all brackets."""
    return sum(
        share * epochs for share, epochs in zip(bracket_shares(ladder, eta), bracket_epochs(ladder, eta), strict=True)
    )
