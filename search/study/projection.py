"""What a trial's accuracy would be after a longer training, projected from what it had at the rungs.

A trial that learns fast leads after one pass over the images, and may be level or behind after ten: its lead has a
trend. The error of a network falls about as a power of what it is trained on (arXiv 1712.00409), so that the logarithm
of the error is a line over the logarithm of the images. Near chance it falls less at first, which is why only the last
rungs count.

In two searches of a quarter of an hour the best trial led the baseline by 4.6 and 5.6 points after one pass, and by 7
to 14 points before; this line has them level after seven passes. The line serves decisions; it is not shown as a
result. By itself it is too noisy to choose by: `benchmarks.record_curves` tells how well it foresees trainings four
times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from search.planning.plan import Plan

POINTS = 3
"""Rungs that the line is fitted to, the last ones; fewer tell no trend."""


@dataclass(frozen=True)
class Point:
    """An accuracy at a rung."""

    images: float
    """Training images seen by then, those of all epochs."""
    accuracy: float
    """Accuracy on the validation images, 0 to 1."""


def points_of(trial: FrozenTrial, plan: Plan) -> list[Point]:
    """What a trial had at the rungs that it reached, the first first; none where schedules did not end at rungs."""
    values = trial.intermediate_values
    found = [Point(rung * plan.train_size, values[rung]) for rung in plan.rungs if plan.anneals and rung in values]
    return [point for point in found if 0 <= point.accuracy < 1]


def projected(points: Sequence[Point], images: float) -> float | None:
    """The accuracy after training on so many images; None where the points are too few to tell.

    Args:
        points: what a trial had, in any order.
        images: of the longer training; positive.
    """
    last = sorted(points, key=lambda point: point.images)[-POINTS:]
    lengths = np.log([point.images for point in last])
    if len(last) < POINTS or lengths[0] == lengths[-1]:
        return None
    slope, at_one = np.polyfit(lengths, np.log([1 - point.accuracy for point in last]), 1)
    return 1 - min(1.0, math.exp(at_one + slope * math.log(images)))


def value_after(images: float, trained: Iterable[tuple[FrozenTrial, Plan]]) -> float | None:
    """The accuracy of a candidate after so many training images, projected from all trials that trained it.

    Args:
        images: of the longer training; positive.
        trained: the trials, each with the plan of its study.
    """
    return projected([point for trial, plan in trained for point in points_of(trial, plan)], images)
