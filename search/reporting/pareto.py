"""The Pareto front of value against cost: the trials that no other one dominates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A trial by what it costs and what it is worth."""

    cost: float
    """Such as its parameters; smaller is better."""
    value: float
    """Such as its accuracy; larger is better."""

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in both, and better in one."""
        return self.cost <= other.cost and self.value >= other.value and self != other


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that none dominates, cheapest first; of equal points, all."""
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].value, i)):
        best = points[found[-1]] if found else None  # of the cheaper ones, the last found has the largest value
        if best is None or points[index].value > best.value or points[index] == best:
            found.append(index)
    return found
