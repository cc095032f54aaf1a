"""How `search.run --retrain` divides its time among search, finals and the final training.

The search must not lose to training the default for the whole time. The final training can be somewhat shorter, since
accuracy grows with the logarithm of the time: the recipe `cpu_fast` reached 83.6 % of the test images after 1.5 minutes
on two cores, 87.7 % after 5 and 89.5 % after 15 (benchmarks/README.md). From 5 to 15 minutes that is 1.1 points a
doubling, so a quarter of an hour that leaves 78 % to the final training costs 0.4 points, and one that leaves 88 %
costs 0.2. In so short a time a search cannot decide anything (`MOST_TIMES`): it is a first look, and is kept short. The
longer the whole, the more a search can find, and the better it pays to train the best ones longer before one of them is
chosen; but two fifths of an hour would cost 0.9 points, more than a search was ever seen to win.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MINUTES = (10, 15, 60, 120)
"""Lengths of the whole for which the shares are set; between them they change with the logarithm of the time."""
SEARCH = (0.12, 0.12, 0.17, 0.25)
"""Share of the search."""
FINALS = (0.00, 0.00, 0.12, 0.20)
"""Share of the finals. The final training gets the rest: 88 % of a quarter of an hour or less, 71 % of an hour, 55 % of
two hours or more."""


MOST_TIMES = 20.0
"""Times as long as a full trial that the final training may be for the search's leader to be trained, not the baseline.

What wins a short training need not win a long one. In trials of 13 s on two cores, one pass over the images, Muon with
three convolutions a stage led `cpu_fast` by 4.4 points of the validation images; Muon alone was level with it after 5
minutes, 23 times as long (88.4 and 88.6 %, validation). Batches of 128 images led those of 512 by 9 points after 1.2
passes, and by 0.1 after 4. These are single runs, whose files were not kept. Finals are longer than trials, so that
their winner is trained in any case."""


@dataclass(frozen=True)
class Division:
    """Parts of a time budget, in seconds."""

    search: float
    """The search."""
    finals: float
    """The finals: the baseline and the few best trials, trained for longer than in the search."""
    training: float
    """The final training of the winner on all images."""


def divide(time_budget: float) -> Division:
    """The parts of a time budget in seconds, above 0."""
    lengths, length = [math.log(60 * minutes) for minutes in MINUTES], math.log(time_budget)
    search, finals = (float(np.interp(length, lengths, shares)) for shares in (SEARCH, FINALS))
    return Division(search * time_budget, finals * time_budget, (1 - search - finals) * time_budget)
