"""Non-dominated ranks, hypervolume contributions, the order of promotion and the knee, against brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.study.fronts import LEAST_COST, Point, best_first, knee, non_dominated, ranks

POINTS = st.lists(st.builds(Point, st.integers(0, 9), st.integers(0, 9)), max_size=40)
FEW = st.lists(st.builds(Point, st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9)


def peeled(points: list[Point]) -> list[int]:
    """Ranks by definition: the front is taken away, then the front of what is left, and so on."""
    found: dict[int, int] = {}
    rank = 0
    while len(found) < len(points):
        left = [i for i in range(len(points)) if i not in found]
        front = [i for i in left if not any(points[j].dominates(points[i]) for j in left)]
        found |= dict.fromkeys(front, rank)
        rank += 1
    return [found[i] for i in range(len(points))]


def area(points: list[Point], reference: Point) -> int:
    """Hypervolume of points of whole numbers: unit squares that any of them dominates, counted one by one."""
    return sum(
        any(point.cost <= x and point.value >= y + 1 for point in points)
        for x in range(int(reference.cost))
        for y in range(int(reference.value), 10)
    )


@given(POINTS)
def test_ranks_are_those_of_fronts_taken_away_one_by_one(points: list[Point]) -> None:
    assert ranks(points) == peeled(points)


@given(POINTS)
def test_no_member_is_dominated_and_every_other_point_is_by_a_member(points: list[Point]) -> None:
    members = non_dominated(points)
    assert len(set(members)) == len(members)
    for index, point in enumerate(points):
        dominated = any(points[member].dominates(point) for member in members)
        assert dominated == (index not in members)


@given(POINTS)
def test_values_rise_with_cost_along_the_front(points: list[Point]) -> None:
    along = [points[index] for index in non_dominated(points)]
    assert along == sorted(along, key=lambda p: (p.cost, p.value))
    assert bool(along) == bool(points)


@given(POINTS.flatmap(lambda points: st.tuples(st.just(points), st.permutations(points))))
def test_the_order_of_the_points_does_not_matter(orders: tuple[list[Point], list[Point]]) -> None:
    fronts = [[points[index] for index in non_dominated(points)] for points in orders]
    assert fronts[0] == fronts[1]


def test_a_front_by_hand() -> None:
    points = [Point(10, 0.9), Point(5, 0.8), Point(5, 0.7), Point(7, 0.8), Point(2, 0.1), Point(5, 0.8)]
    assert non_dominated(points) == [4, 1, 5, 0]
    assert ranks(points) == [0, 0, 1, 1, 0, 0]


def contributions(front: Sequence[Point], reference: Point) -> list[float]:
    """The area that each point of a front alone dominates; of equal points none does.

    The front is cheapest first; all of its points dominate the reference.
    """
    costs = [*(point.cost for point in front), reference.cost]
    values = [reference.value, *(point.value for point in front)]
    return [(costs[i + 1] - costs[i]) * (values[i + 1] - values[i]) for i in range(len(front))]


@given(FEW)
def test_contributions_are_what_the_hypervolume_loses(points: list[Point]) -> None:
    front, reference = [points[i] for i in non_dominated(points)], Point(10, 0)
    whole = area(front, reference)
    lost = [whole - area([*front[:i], *front[i + 1 :]], reference) for i in range(len(front))]
    assert contributions(front, reference) == lost


@given(FEW)
def test_the_best_come_first_by_value_then_rank_then_what_the_front_loses_least(points: list[Point]) -> None:
    order, rank_of = best_first(points), peeled(points)
    assert sorted(order) == list(range(len(points)))
    assert [rank_of[i] for i in order] == sorted(rank_of)
    best = max(point.value for point in points)
    assert points[order[0]] == Point(min(p.cost for p in points if p.value == best), best)


@given(FEW)
def test_the_last_of_a_front_is_the_one_whose_loss_is_least(points: list[Point]) -> None:
    points = [Point(math.e**point.cost, point.value) for point in points]  # whole numbers once more, as logarithms
    front, order = non_dominated(points), best_first(points)
    if len(front) < 2:
        return
    last = [i for i in order if i in front][-1]
    costs, values = [math.log(p.cost) for p in points], [p.value for p in points]
    reference = Point(
        max(costs) + 0.1 * ((max(costs) - min(costs)) or 1), min(values) - 0.1 * ((max(values) - min(values)) or 1)
    )
    areas = contributions([Point(math.log(points[i].cost), points[i].value) for i in front], reference)
    assert areas[front.index(last)] == pytest.approx(
        min(a for i, a in zip(front, areas, strict=True) if i != order[0]), abs=1e-9
    )


@given(POINTS)
def test_a_front_is_in_the_order_of_dropping_one_after_the_other(points: list[Point]) -> None:
    front = non_dominated(points)
    order = [i for i in best_first(points) if i in front]
    if not front:
        return
    costs, values = [math.log(max(p.cost, LEAST_COST)) for p in points], [p.value for p in points]
    reference = Point(
        max(costs) + 0.1 * ((max(costs) - min(costs)) or 1), min(values) - 0.1 * ((max(values) - min(values)) or 1)
    )
    left = list(front)
    while left:
        areas = contributions([Point(costs[i], values[i]) for i in left], reference)
        place = min(range(len(left)), key=lambda i: (left[i] == order[0], areas[i], -left[i]))
        assert left.pop(place) == order.pop()


def test_an_order_by_hand() -> None:
    tiny, small, twin = Point(1, 10), Point(100, 60), Point(105, 61)
    order = best_first([tiny, small, twin, Point(10_000, 90), Point(10_000, 50)])
    assert order == [3, 2, 0, 1, 4]  # of the twins, one; the tiny one before what adds next to nothing


def test_a_tiny_network_that_learned_nothing_is_not_promoted_first() -> None:
    guesses, middle, best = Point(100, 0.10), Point(50_000, 0.55), Point(1_000_000, 0.70)
    others = [Point(10_000 * i, 0.10 + i / 100) for i in range(1, 4)]
    assert best_first([guesses, middle, best, *others])[:2] == [2, 1]


def test_the_knee_is_where_the_front_bulges_most() -> None:
    assert knee([Point(10, 0.1), Point(100, 0.8), Point(1000, 0.9)]) == 1
    assert knee([Point(10, 0.1), Point(100, 0.2), Point(1000, 0.9)]) is None  # below the line
    assert knee([Point(10, 0.1), Point(1000, 0.9)]) is None
    assert knee([]) is None


@given(FEW)
def test_a_knee_is_no_end_of_its_front(points: list[Point]) -> None:
    front = [points[i] for i in non_dominated(points)]
    found = knee(front)
    assert found is None or 0 < found < len(front) - 1
