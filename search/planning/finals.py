"""The finals of `search.run --retrain`: a ladder above R for the baseline and the few best trials.

The length for which a trial was searched is a small part of the final training's. So the best are trained again, at
several times that length and with schedules stretched over it, before one of them is chosen. The baseline is trained in
full; the others up to half of the length, and the better of them in full. They are compared on all validation images.
"""

from __future__ import annotations

import math
from dataclasses import replace

from search.planning.plan import Plan

FINALISTS = 3
"""Trials in the finals, the baseline among them."""
LENGTHS_TRAINED = 2.5
"""Full lengths that the finals train: the baseline one, the two others half of one each, the better one the rest."""
IN_A_ROW = 1.5
"""How many of these follow one another however many workers there are: the two halves may, and then the rest."""
SHORTEST = 1.5
"""Least length of the finals, as a multiple of R; below it they tell little that the search did not."""
LONGEST = 4.0
"""Greatest length, as a multiple of R; more is left to the final training."""
OVERHEAD = 1.1
"""Seconds that the finals take, as a multiple of those of their epochs at the search's speed."""


def finals_plan(plan: Plan, seconds: float, full_trial: float, workers: int, train_count: int) -> Plan | None:
    """The plan of the finals; None where the time is too short for them.

    Epochs grow in images first, up to all training images, and only then in number.

    Args:
        plan: the search's plan.
        seconds: time of the finals.
        full_trial: seconds of a full trial of the search.
        workers: number of workers.
        train_count: training images without those for validation.
    """
    affordable = seconds / OVERHEAD / full_trial / max(LENGTHS_TRAINED / workers, IN_A_ROW)
    if affordable < SHORTEST:
        return None
    images = min(affordable, LONGEST) * plan.train_size * plan.max_epochs
    max_epochs = max(plan.max_epochs, round(images / train_count))
    return replace(
        plan,
        min_epochs=math.ceil(max_epochs / 2),
        max_epochs=max_epochs,
        eta=2,
        from_top=True,
        train_size=min(train_count, round(images / max_epochs)),
        val_limit=plan.val_size,
    )
