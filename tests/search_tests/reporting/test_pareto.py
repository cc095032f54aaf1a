"""The Pareto front: the non-dominated points."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from search.reporting.studies.pareto import Point, non_dominated

POINTS = st.lists(st.builds(Point, st.integers(0, 9), st.integers(0, 9)), max_size=40)


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
