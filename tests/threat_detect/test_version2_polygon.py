"""Polygons against exact arithmetic: points by rays, areas by strips, crossings by all pairs of edges."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.threat_detect.rules.version2.polygon import Point, area, contains, covered, find_crossing

GRID = st.integers(0, 8).map(lambda number: number / 8)
CORNERS = st.lists(st.tuples(GRID, GRID), min_size=3, max_size=7)


@st.composite
def stars(draw: st.DrawFn) -> list[Point]:
    """Simple polygons of any shape that can be seen whole from the middle."""
    count = draw(st.integers(3, 9))
    shares = [draw(st.floats(0.05, 0.49)) for _ in range(count)]
    turns = [2 * math.pi * number / count for number in range(count)]
    return [(0.5 + one * math.cos(turn), 0.5 + one * math.sin(turn)) for one, turn in zip(shares, turns, strict=True)]


def exact(points: list[Point]) -> list[tuple[Fraction, Fraction]]:
    return [(Fraction(x), Fraction(y)) for x, y in points]


def strips(points: list[Point], box: tuple[float, float, float, float]) -> Fraction:
    """The area of polygon and box together: between neighbouring corners and crossings, heights change evenly."""
    left, top, right, bottom = (Fraction(edge) for edge in box)
    corners = exact(points)
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    stops = {left, right, *(x for x, _ in corners if left < x < right)}
    for (ax, ay), (bx, by) in edges:
        for y in (top, bottom):
            if ay != by and left < (x := ax + (y - ay) / (by - ay) * (bx - ax)) < right:
                stops.add(x)
    total = Fraction(0)
    for start, end in pairwise(sorted(stops)):
        middle = (start + end) / 2
        cut = sorted(
            ay + (middle - ax) / (bx - ax) * (by - ay) for (ax, ay), (bx, by) in edges if (ax > middle) != (bx > middle)
        )
        clipped = [min(bottom, max(top, y)) for y in cut]
        total += (end - start) * sum((b - a for a, b in zip(clipped[::2], clipped[1::2], strict=True)), Fraction(0))
    return total


@given(stars(), st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=150, deadline=None)
def test_the_covered_share_of_a_box_is_that_of_exact_strips(
    points: list[Point], left: float, top: float, wide: float, high: float
) -> None:
    box = (left, top, min(1.0, left + wide), min(1.0, top + high))
    whole = (box[2] - box[0]) * (box[3] - box[1])
    assert abs(covered(points, box) - float(strips(points, box)) / whole) < 1e-9
    assert abs(area(points) - float(strips(points, (0.0, 0.0, 1.0, 1.0)))) < 1e-12
    assert find_crossing(points) is None


def is_inside(points: list[Point], point: Point) -> bool:
    """By the turns of the line of sight from the point along the edges; an edge is inside."""
    px, py = Fraction(point[0]), Fraction(point[1])
    corners = exact(points)
    winding = 0
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        turn = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        if turn == 0 and min(ax, bx) <= px <= max(ax, bx) and min(ay, by) <= py <= max(ay, by):
            return True
        if ay <= py < by and turn > 0:
            winding += 1
        if by <= py < ay and turn < 0:
            winding -= 1
    return winding != 0


@given(CORNERS, GRID, GRID)
@settings(max_examples=150, deadline=None)
def test_a_point_is_inside_of_a_simple_polygon_as_exact_arithmetic_says(
    points: list[Point], x: float, y: float
) -> None:
    assume(area(points) > 0 and find_crossing(points) is None)
    assert contains(points, (x, y)) == is_inside(points, (x, y))


def touches(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Tell whether two segments have a point in common, by solving for it."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = exact([a, b, c, d])
    whole = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if whole != 0:
        s = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / whole
        t = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / whole
        return 0 <= s <= 1 and 0 <= t <= 1
    if (bx - ax) * (cy - ay) != (by - ay) * (cx - ax):
        return False
    return max(min(ax, bx), min(cx, dx)) <= min(max(ax, bx), max(cx, dx)) and max(min(ay, by), min(cy, dy)) <= min(
        max(ay, by), max(cy, dy)
    )


@given(CORNERS)
@settings(max_examples=400, deadline=None)
def test_a_polygon_is_simple_if_edges_meet_only_at_the_corner_between_them(points: list[Point]) -> None:
    count = len(points)
    edges = [(points[number], points[(number + 1) % count]) for number in range(count)]
    simple = all(a != b for a, b in edges)
    for first in range(count):
        for second in range(first + 1, count):
            if second == first + 1 or (second + 1) % count == first:
                shared = edges[second][0] if second == first + 1 else edges[first][0]
                others = (
                    [edges[first][0], edges[second][1]] if second == first + 1 else [edges[second][0], edges[first][1]]
                )
                ends = [one for one in others if one != shared]
                simple = simple and not any(
                    touches(*edge, end, end)
                    for end in ends
                    for edge in (edges[first], edges[second])
                    if end not in edge
                )
                simple = simple and len(ends) == 2 and ends[0] != ends[1]
            else:
                simple = simple and not touches(*edges[first], *edges[second])
    assert (find_crossing(points) is None) == simple
