"""Polygons to pixels: right in the mean, without gaps or overlaps, and quick."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.draw import polygon

from node.errors import Refused
from node.learning.raster import fill, runs
from node.objects.outlines.trace import trace

Points = NDArray[np.float64]
Filler = Callable[[Sequence[Points], int, int], NDArray[np.bool_]]


def circle(at: Points, radius: float, points: int = 200) -> Points:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.asarray(at + radius * np.column_stack([np.cos(angle), np.sin(angle)]))


def by_crossing(polygons: Sequence[Points], rows: int, columns: int) -> NDArray[np.bool_]:
    """The definition, pixel by pixel and edge by edge: a ray to the left of each centre."""
    inside = np.zeros((rows, columns), bool)
    for points in polygons:
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            (xa, ya), (xb, yb) = ((x1, y1), (x2, y2)) if y1 < y2 else ((x2, y2), (x1, y1))
            for row in range(rows):
                if ya <= row < yb:
                    inside[row] ^= xa + (row - ya) * ((xb - xa) / (yb - ya)) <= np.arange(columns)
    return inside


def rounded(points: Points, rows: int, columns: int) -> NDArray[np.bool_]:
    """One polygon with its border, its vertices rounded to pixels."""
    one = Image.new("1", (columns, rows))
    ImageDraw.Draw(one).polygon([(int(x), int(y)) for x, y in np.round(points)], fill=1, outline=1)
    return np.array(one, bool)


def by_rounding(polygons: Sequence[Points], rows: int, columns: int) -> NDArray[np.bool_]:
    """As the popular libraries do: vertices rounded to pixels, and the border filled, too."""
    inside = np.zeros((rows, columns), bool)
    for points in polygons:
        inside ^= rounded(points, rows, columns)
    return inside


def mean_area_error(filler: Filler, radius: float, circles: int = 1000) -> float:
    random = np.random.default_rng(5)
    areas = [filler([circle(random.uniform(9, 10, 2), radius)], 20, 20).sum() for _ in range(circles)]
    return float(np.mean(areas) / (np.pi * radius**2) - 1)


def test_a_thousand_small_circles_have_the_right_area_in_the_mean() -> None:
    assert abs(mean_area_error(fill, 2.3)) < 0.01


def test_rounded_vertices_would_fail_that() -> None:
    assert mean_area_error(by_rounding, 2.3, circles=200) > 0.25


COORDINATES = st.one_of(st.integers(-3, 14).map(float), st.floats(-3, 14, width=32), st.just(5.5))
POLYGONS = st.lists(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=9), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(POLYGONS)
def test_any_polygons_are_filled_as_defined(drawn: list[list[tuple[float, float]]]) -> None:
    """Also those that cross themselves, leave the image, or have vertices at the centres of pixels."""
    polygons = [np.array(points) for points in drawn]
    np.testing.assert_array_equal(fill(polygons, 10, 12), by_crossing(polygons, 10, 12))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=16, max_size=16), st.sampled_from((1, -1)))
def test_neighbours_that_share_edges_neither_overlap_nor_leave_gaps(moved: list[tuple[float, float]], way: int) -> None:
    """A net of triangles with its corners where you like: each pixel of the square around it is in an odd number."""
    corners = np.array([[x * 4.0, y * 4.0] for y in range(6) for x in range(6)]) - 4
    inner = [y * 6 + x for y in range(1, 5) for x in range(1, 5)]
    corners[inner] = np.clip(np.array(moved), -3.5, 15.5)
    total = np.zeros((20, 20), int)
    for y in range(5):
        for x in range(5):
            a, b, c, d = (corners[y * 6 + x + step] for step in (0, 1, 7, 6))
            for triangle in ([a, b, c], [c, a, d][::way]):
                total += fill([np.array(triangle)], 20, 20)
    assert (total[:16, :16] % 2 == 1).all()
    assert not total[16:].any()
    assert not total[:, 16:].any()


def test_a_regular_net_with_corners_on_centres_has_each_pixel_once() -> None:
    total = np.zeros((12, 12), int)
    for x in range(0, 12, 3):
        for y in range(0, 12, 4):
            total += fill([np.array([[x, y], [x + 3, y], [x + 3, y + 4], [x, y + 4]], float)], 12, 12)
    assert (total == 1).all()


def test_several_polygons_combine_by_even_odd() -> None:
    outer, hole, island = (circle(np.array([20.0, 20.0]), radius) for radius in (15, 9, 4))
    together = fill([island, outer, hole], 40, 40)
    np.testing.assert_array_equal(together, fill([outer], 40, 40) & ~fill([hole], 40, 40) | fill([island], 40, 40))
    keyhole = np.concatenate([outer, outer[:1], hole[:1], hole[::-1]])
    np.testing.assert_array_equal(fill([keyhole], 40, 40), fill([outer, hole], 40, 40))


@pytest.mark.parametrize("seed", range(3))
def test_what_we_trace_is_filled_to_the_same_mask(seed: int) -> None:
    """Holes, single pixels and pixels that touch at a corner."""
    mask = np.random.default_rng(seed).random((4, 17, 23)) < (0.2, 0.5, 0.8)[seed]
    traced = trace(mask)
    for k, one in enumerate(mask):
        np.testing.assert_array_equal(fill([of.points for of in traced if of.slice == k], 17, 23), one)


def test_nothing_is_nothing() -> None:
    assert not fill([], 5, 6).any()
    assert not fill([np.empty((0, 2)), np.array([[2.0, 2.0]]), np.array([[0.0, 0.0], [4.0, 4.0]])], 5, 6).any()


def test_pixels_beyond_the_image_are_counted() -> None:
    found = runs([np.array([[-2.5, -1.5], [3.5, -1.5], [3.5, 2.5], [-2.5, 2.5]])])
    assert found.count() == 24
    assert len(found.within(5, 6)) == 12


def test_a_contour_longer_than_any_structure_is_refused_before_it_takes_memory() -> None:
    zigzag = np.array([[n % 3, 1e8 * (n % 2)] for n in range(400)])
    with pytest.raises(Refused, match="label-too-large"):
        fill([zigzag], 5, 6)


def seconds(what: Callable[[], Any], times: int) -> float:
    """Of the quickest of several."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_a_contour_of_500_points_is_filled_quickly() -> None:
    """Thousands in about a second: far below a compiled test of each pixel against each edge."""
    points = circle(np.array([256.0, 250.0]), 80, 500)
    ours = seconds(lambda: fill([points], 512, 512), 50)
    assert ours < seconds(lambda: polygon(*points.T[::-1], (512, 512)), 5) / 20
