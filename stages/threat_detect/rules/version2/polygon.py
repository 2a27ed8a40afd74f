"""Polygons on a picture: whether they are simple, whether a point lies inside, how much of a box they cover.

Points are (x, y), 0 to 1 of the upright picture, y downwards. Pure geometry; knows no zone and no rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""

EDGE: Final = 1e-12
"""A point whose cross product with an edge is smaller lies on it."""


def find_crossing(points: Sequence[Point]) -> tuple[int, int] | None:
    """Return the numbers of two edges that cross or touch without being neighbours, or of neighbours that run back over
    each other; None for a simple polygon. Edge n leads from point n to the next one."""
    count = len(points)
    for first in range(count):
        a, b = points[first], points[(first + 1) % count]
        if a == b:
            return first, first
        for second in range(first + 1, count):
            c, d = points[second], points[(second + 1) % count]
            if second == first + 1:
                wrong = _turns_back(a, b, d)
            elif (second + 1) % count == first:
                wrong = _turns_back(c, d, b)
            else:
                wrong = _touch(a, b, c, d)
            if wrong:
                return first, second
    return None


def area(points: Sequence[Point]) -> float:
    """Return the area that the points enclose, by the shoelace formula; 0 or more."""
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _edges(points))) / 2


def contains(points: Sequence[Point], point: Point) -> bool:
    """Tell whether the point lies inside by the even-odd rule, or on the edge."""
    inside = False
    for a, b in _edges(points):
        if _is_on(a, b, point):
            return True
        if (a[1] > point[1]) != (b[1] > point[1]):
            x = a[0] + (point[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
            inside ^= point[0] < x
    return inside


def covered(points: Sequence[Point], box: Box) -> float:
    """Return the share of the box that lies in the polygon, 0 to 1; 0 for a box without area.

    The polygon is cut by the four sides of the box in turn (Sutherland and Hodgman, 1974), which gives the right area
    for any simple polygon.
    """
    left, top, right, bottom = box
    whole = (right - left) * (bottom - top)
    if whole <= 0:
        return 0.0
    cut = list(points)
    for axis, limit, sign in ((0, left, 1.0), (0, right, -1.0), (1, top, 1.0), (1, bottom, -1.0)):
        cut = _cut(cut, axis, limit, sign)
    return area(cut) / whole


def _cut(points: Sequence[Point], axis: int, limit: float, sign: float) -> list[Point]:
    """Keep the side of a line on which ``sign * (coordinate - limit)`` is not negative."""
    kept: list[Point] = []
    for a, b in _edges(points):
        before, after = sign * (a[axis] - limit), sign * (b[axis] - limit)
        if before >= 0:
            kept.append(a)
        if (before >= 0) != (after >= 0):
            share = before / (before - after)
            kept.append((a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])))
    return kept


def _edges(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    return zip(points, (*points[1:], *points[:1]), strict=True)


def _cross(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _is_on(a: Point, b: Point, point: Point) -> bool:
    return abs(_cross(a, b, point)) < EDGE and _is_between(a, b, point)


def _is_between(a: Point, b: Point, point: Point) -> bool:
    return all(min(a[axis], b[axis]) - EDGE <= point[axis] <= max(a[axis], b[axis]) + EDGE for axis in (0, 1))


def _turns_back(a: Point, corner: Point, b: Point) -> bool:
    ahead = (corner[0] - a[0]) * (b[0] - corner[0]) + (corner[1] - a[1]) * (b[1] - corner[1])
    return abs(_cross(a, corner, b)) < EDGE and ahead < 0


def _touch(a: Point, b: Point, c: Point, d: Point) -> bool:
    if any(_is_on(*case) for case in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))):
        return True
    return (_cross(a, b, c) > 0) != (_cross(a, b, d) > 0) and (_cross(c, d, a) > 0) != (_cross(c, d, b) > 0)
