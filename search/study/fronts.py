"""Trials by two objectives: which dominate which, and in which order they deserve training.

A point *dominates* another one if it is at least as good in both objectives and better in one. Points that none
dominates are the *front*, of rank 0; those that only the front dominates have rank 1, and so on: NSGA-II's
non-dominated sorting (Deb et al. 2002). MO-ASHA promotes by this rank (arXiv 2106.12639).

Of one rank, those come first that SMS-EMOA would keep longest: it drops, again and again, the point that contributes
least to the *hypervolume* of its rank, which is the area that the points dominate up to a reference point (Beume,
Naujoks and Emmerich 2007). So a few points of a front are spread along it. Three choices are ours:

- The reference point is worse than every point by a tenth of their range, so that the ends of a front count a little.
- The point with the best value of all is first. SMS-EMOA keeps both ends of a front; but no network is smaller than the
  smallest, however bad it is, and training it in full would tell nothing.
- Costs count by their logarithm: half the parameters are as much of a gain to a small network as to a large one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

MARGIN = 0.1
"""Distance of the reference point from the worst point, as a share of the range."""
LEAST_COST = 1e-9
"""What a cost of 0 counts as, which has no logarithm."""


@dataclass(frozen=True)
class Point:
    """A trial by what it costs and what it is worth."""

    cost: float
    """A cost such as the number of parameters, 0 or more; smaller is better."""
    value: float
    """A value such as the accuracy; larger is better."""

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in both, and better in one."""
        return self.cost <= other.cost and self.value >= other.value and self != other


def ranks(points: Sequence[Point]) -> list[int]:
    """The rank of each point, 0 for the front; equal points have the same."""
    found, best = [0] * len(points), list[float]()  # best: negated best value of each rank among the cheaper points
    before: Point | None = None
    rank = 0
    for index in _by_cost(points):
        point = points[index]
        if point != before:
            rank = bisect_right(best, -point.value)  # the first rank in which no cheaper point is as good
            best[rank : rank + 1] = [-point.value]
        found[index], before = rank, point
    return found


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one dominates, cheapest first; of equal points, all."""
    found = ranks(points)
    return [index for index in _by_cost(points) if found[index] == 0]


def _by_cost(points: Sequence[Point]) -> list[int]:
    """Indices of the points, cheapest first, of equal cost the best first."""
    return sorted(range(len(points)), key=lambda index: (points[index].cost, -points[index].value, index))


def best_first(points: Sequence[Point]) -> list[int]:
    """Indices of the points in the order in which they deserve training; of equal points, in that given."""
    if not points:
        return []
    scaled = [Point(math.log(max(point.cost, LEAST_COST)), point.value) for point in points]
    reference, rank_of = _reference(scaled), ranks(points)
    leader = min(range(len(points)), key=lambda index: (-points[index].value, points[index].cost, index))
    members: list[list[int]] = [[] for _ in range(max(rank_of) + 1)]
    for index in _by_cost(points):
        members[rank_of[index]].append(index)
    return [index for rank in members for index in _kept_longest(scaled, rank, reference, leader)]


def _reference(points: Sequence[Point]) -> Point:
    """What is worse than every point by a share of their range; by a share of 1 where all are equal."""
    costs, values = [point.cost for point in points], [point.value for point in points]
    return Point(
        max(costs) + MARGIN * ((max(costs) - min(costs)) or 1.0),
        min(values) - MARGIN * ((max(values) - min(values)) or 1.0),
    )


def _kept_longest(points: Sequence[Point], members: Sequence[int], reference: Point, leader: int) -> list[int]:
    """Members of one rank, the last to be dropped first.

    What a member adds is the area that it alone dominates, which only a neighbour's drop changes.

    Args:
        points: all of them.
        members: indices of the rank's, cheapest first.
        reference: the reference point.
        leader: index of the point that is dropped after all others of its rank.
    """
    last = len(members)
    costs = [*(points[index].cost for index in members), reference.cost]
    values = [*(points[index].value for index in members), reference.value]  # the last one's place is -1 too
    before, after = list(range(-1, last)), list(range(1, last + 2))  # neighbours that are left

    def area(place: int) -> float:
        return (costs[after[place]] - costs[place]) * (values[place] - values[before[place]])

    def entry(place: int) -> tuple[bool, float, int]:
        return members[place] == leader, areas[place], -members[place]

    areas = [area(place) for place in range(last)]
    heap, place_of = [entry(place) for place in range(last)], {index: place for place, index in enumerate(members)}
    heapify(heap)
    dropped: list[int] = []
    while heap:
        _, size, negated = heappop(heap)
        place = place_of.get(-negated)
        if place is None or size != areas[place]:
            continue  # dropped, or pushed again since
        del place_of[-negated]
        dropped.append(-negated)
        before[after[place]], after[before[place]] = before[place], after[place]
        for neighbour in (before[place], after[place]):
            if 0 <= neighbour < last and area(neighbour) != areas[neighbour]:
                areas[neighbour] = area(neighbour)
                heappush(heap, entry(neighbour))
    return dropped[::-1]


def knee(front: Sequence[Point]) -> int | None:
    """Index of the point where a front bulges most: farthest above the line between its ends (Das 1999).

    Up to it, value is cheap; beyond, each bit more costs much. None for fewer than three points, and where none lies
    above the line. Costs count by their logarithm.

    Args:
        front: points that do not dominate one another, cheapest first.
    """
    if len(front) < 3 or front[0].cost == front[-1].cost:
        return None
    costs = [math.log(max(point.cost, LEAST_COST)) for point in front]
    slope = (front[-1].value - front[0].value) / (costs[-1] - costs[0])
    above = [point.value - front[0].value - slope * (cost - costs[0]) for point, cost in zip(front, costs, strict=True)]
    highest = max(range(len(front)), key=lambda index: above[index])
    return highest if 0 < highest < len(front) - 1 and above[highest] > 0 else None
