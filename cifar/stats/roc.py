"""Receiver operating characteristic curves, one class against the rest, and the area under them.

A curve's point is the share of other images (false positives) and of the class's own images (true positives)
whose probability of the class reaches a threshold. Images of equal probability pass the threshold together,
so ties become one sloping piece; with that, the area under the curve (AUC) is the probability that an image of
the class gets a higher score than another image, ties counting one half: the Mann-Whitney statistic over its
greatest value (Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic
(ROC) curve", Radiology 143, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RocCurve:
    """One class against the rest."""

    name: str
    """Name of the class."""
    positives: int
    """Images of the class."""
    negatives: int
    """All other images."""
    auc: float | None
    """Area under the curve, in [0, 1]; 0.5 is chance; None where one of the two counts is 0."""
    false_positive_rates: tuple[float, ...]
    """Rising from 0 to 1, one for each distinct score and 0 before them; empty where `auc` is None."""
    true_positive_rates: tuple[float, ...]
    """True positive rates at the same points, rising from 0 to 1."""


def roc_curves(probabilities: Tensor, labels: Tensor, class_names: Sequence[str]) -> tuple[RocCurve, ...]:
    """The curve of each class.

    Args:
        probabilities: float (N, C), or any scores without NaN.
        labels: integers (N,) in 0..C-1.
        class_names: C names.
    """
    probabilities, labels = probabilities.cpu(), labels.cpu()
    return tuple(
        roc_curve(probabilities[:, index], labels == index, name=name) for index, name in enumerate(class_names)
    )


def roc_curve(scores: Tensor, positive: Tensor, *, name: str = "") -> RocCurve:
    """The curve of one class.

    Args:
        scores: float (N,), higher for images that look more like the class.
        positive: bool (N,), whether an image is of the class.
        name: name of the class.
    """
    if scores.ndim != 1 or scores.shape != positive.shape or scores.isnan().any():
        raise ValueError(f"scores (N,) without NaN need as many flags; got {scores.shape} and {positive.shape}")
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return RocCurve(name, positives, negatives, None, (), ())
    hits, alarms = _counts(scores, positive)  # int64 (K,), from 0 to all
    # trapezoids in whole numbers: twice the area, in units of one positive times one negative
    twice_area = int((alarms.diff() * (hits[1:] + hits[:-1])).sum())
    return RocCurve(
        name,
        positives,
        negatives,
        twice_area / (2 * positives * negatives),
        tuple((alarms.double() / negatives).tolist()),
        tuple((hits.double() / positives).tolist()),
    )


def _counts(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """True and false positives at each distinct threshold, greatest first, after a 0 for none."""
    ordered, order = scores.sort(descending=True)
    hits = positive[order].long().cumsum(0)  # (N,)
    last_of_ties = torch.cat([(ordered[1:] != ordered[:-1]).nonzero().flatten(), torch.tensor([len(ordered) - 1])])
    hits = hits[last_of_ties]
    none = torch.zeros(1, dtype=torch.int64)
    return torch.cat([none, hits]), torch.cat([none, last_of_ties + 1 - hits])


def mean_auc(curves: Sequence[RocCurve]) -> float | None:
    """Mean area over the classes that have one; None without any."""
    areas = [curve.auc for curve in curves if curve.auc is not None]
    return sum(areas) / len(areas) if areas else None
