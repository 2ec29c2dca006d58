"""What is measured of a label map: against closed forms, against brute force, and in pixels where nothing is known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from models.card import Segment
from models.wire import SharedArray
from node.measurements.measure import MOST_LESIONS, measure
from node.measurements.values import Line, Measured, PixelSize
from node.study import geometry
from node.study.geometry import Geometry
from node.study.volume import Volume
from tests.scenes import grid

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
CODE = ("85756007", "SCT", "Tissue")

OBLIQUE = dict(row=(0.8, 0.5, 0.1), column=(-0.4, 0.9, 0.3))
GRIDS = {
    "cubes": grid((1, 0, 0), (0, 1, 0), (1.0, 1.0, 1.0)).affine,
    "thick slices, pixels not square": grid((1, 0, 0), (0, 1, 0), (0.7, 1.1, 3.0)).affine,
    "oblique": grid(spacing_mm=(0.9, 0.9, 1.3), **OBLIQUE).affine,  # type: ignore[arg-type]
    "tilted gantry": grid((1, 0, 0), (0, 1, 0), (0.8, 0.8, 2.0), tilt_degrees=25).affine,
    "oblique, tilted, head first": grid(spacing_mm=(0.6, 1.0, 1.6), tilt_degrees=20, descending=True, **OBLIQUE).affine,  # type: ignore[arg-type]
}
on_every_grid = pytest.mark.parametrize("affine", [pytest.param(affine, id=name) for name, affine in GRIDS.items()])


def segment(value: int = 1, **more: Any) -> Segment:
    return Segment(value=value, label=f"thing {value}", category=CODE, type=CODE, colour=(255, 0, 0), **more)


def volume_of(labels: NDArray[Any], affine: Numbers | None = None, values: NDArray[Any] | None = None) -> Volume:
    """A volume on a grid in the patient; its values are 0 where none are given."""
    rows = labels.shape if values is None else values.shape
    shared = SharedArray.make(rows, np.float32)
    if values is not None:
        shared.array[...] = values
    where = np.eye(4) if affine is None else affine
    slices, high, wide = labels.shape
    return Volume(shared, Geometry(where, (slices, high, wide)), (), (0,) * slices, "HU")


def measured(mask: NDArray[Any], affine: Numbers | None = None, **more: Any) -> Measured:
    """A mask as segment 1."""
    labels = mask.astype(np.uint8)
    volume = volume_of(labels, affine)
    (found,) = measure(volume, labels, [segment(**more)])
    volume.close()
    return found


def voxels_where(affine: Numbers, reach_mm: float, inside: Any) -> tuple[Mask, Numbers]:
    """The voxels whose centres are in a body around the origin; and the affine with the origin in the middle."""
    steps = np.linalg.inv(affine[:3, :3])
    half = np.ceil(np.linalg.norm(steps, axis=1) * reach_mm).astype(int) + 1
    columns, rows, slices = (2 * half + 1).tolist()
    k, j, i = np.meshgrid(*(np.arange(n) for n in (slices, rows, columns)), indexing="ij")
    points = (np.stack([i, j, k], -1) - half) @ affine[:3, :3].T
    moved = affine.copy()
    moved[:3, 3] = -affine[:3, :3] @ half
    return inside(points), moved


# --- closed forms ---


@on_every_grid
def test_a_ball(affine: Numbers) -> None:
    radius = 20.0
    mask, where = voxels_where(affine, radius, lambda at: (at**2).sum(-1) <= radius**2)
    found = measured(mask, where)
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    corner = np.linalg.norm(np.abs(affine[:3, :3]).sum(1))
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.01)
    assert found.area_mm2 == pytest.approx(np.pi * radius**2, rel=0.02)
    assert found.long_axis is not None
    assert found.short_axis is not None
    for axis in (found.long_axis, found.short_axis):
        assert 2 * radius - voxel[:2].max() <= axis.length <= 2 * radius + np.hypot(*voxel[:2])
    assert found.diameter_3d_mm is not None
    assert 2 * radius - voxel.max() <= found.diameter_3d_mm <= 2 * radius + corner
    assert found.surface_mm2 is not None
    assert 1.0 < found.surface_mm2 / (4 * np.pi * radius**2) < 1.25
    assert (found.components, found.touches) == (1, ())


@on_every_grid
def test_an_ellipsoid(affine: Numbers) -> None:
    a, b, c = 24.0, 14.0, 10.0
    turned, _ = np.linalg.qr(np.array([[1.0, 0.3, 0.2], [-0.2, 1.0, 0.4], [0.1, -0.3, 1.0]]))
    mask, where = voxels_where(affine, a, lambda at: (((at @ turned) / (a, b, c)) ** 2).sum(-1) <= 1)
    found = measured(mask, where)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * a * b * c / 1000, rel=0.015)
    corner = np.linalg.norm(np.abs(affine[:3, :3]).sum(1))
    assert found.diameter_3d_mm is not None
    assert 2 * a - corner < found.diameter_3d_mm < 2 * a + corner
    # Thomsen's formula for the area of an ellipsoid is right to 1.1 %; the mesh follows the steps of the voxels
    p = 1.6075
    area = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    assert found.surface_mm2 is not None
    assert 1.0 < found.surface_mm2 / area < 1.27
    # the widest cross-section through the middle, parallel to the slices: an ellipse by the form's restriction
    plane, _ = np.linalg.qr(affine[:3, :2])
    half = 1 / np.sqrt(np.linalg.eigvalsh(plane.T @ turned @ np.diag([a**-2, b**-2, c**-2]) @ turned.T @ plane))
    assert found.long_axis is not None
    assert found.short_axis is not None
    diagonal = float(np.hypot(*np.linalg.norm(affine[:3, :2], axis=0)))
    assert found.long_axis.length == pytest.approx(2 * half.max(), abs=1.5 * diagonal)
    assert found.short_axis.length == pytest.approx(2 * half.min(), abs=1.5 * diagonal)


@on_every_grid
def test_a_box_at_an_angle_to_the_grid(affine: Numbers) -> None:
    size = np.array([36.0, 22.0, 16.0])
    turned, _ = np.linalg.qr(np.array([[1.0, -0.5, 0.1], [0.4, 1.0, -0.2], [0.1, 0.3, 1.0]]))
    mask, where = voxels_where(affine, 25.0, lambda at: (np.abs(at @ turned) <= size / 2).all(-1))
    found = measured(mask, where)
    corner = np.linalg.norm(np.abs(affine[:3, :3]).sum(1))
    assert found.volume_ml == pytest.approx(size.prod() / 1000, rel=0.02)
    assert found.diameter_3d_mm is not None
    assert abs(found.diameter_3d_mm - np.linalg.norm(size)) < corner


@on_every_grid
def test_a_box_along_the_grid_to_the_last_digit(affine: Numbers) -> None:
    mask = np.zeros((9, 12, 14), np.bool_)
    mask[2:7, 3:9, 4:12] = True  # 5 slices, 6 rows, 8 columns
    found = measured(mask, affine)
    across, down, step = affine[:3, :3].T * np.array([[8], [6], [5]])
    assert found.voxels == 240
    assert found.volume_ml == pytest.approx(abs(np.linalg.det(affine[:3, :3])) * 240 / 1000)
    assert (found.largest_slice, found.pixels) == (2, 48)
    assert found.area_mm2 == pytest.approx(np.linalg.norm(np.cross(across, down)))
    diagonals = [np.linalg.norm(across + s * down + t * step) for s, t in product((-1, 1), repeat=2)]
    assert found.diameter_3d_mm == pytest.approx(max(diagonals))
    long, short = found.long_axis, found.short_axis
    assert long is not None
    assert short is not None
    width, height = np.linalg.norm(across), np.linalg.norm(down)
    assert long.length == pytest.approx(np.hypot(width, height))
    assert long.slice == short.slice == 2
    assert sorted(long.ends) in ([(4.0, 3.0), (12.0, 9.0)], [(4.0, 9.0), (12.0, 3.0)])
    # the longest perpendicular of a rectangle's diagonal ends on both of its longer sides
    low, high = sorted((width, height))
    assert short.length == pytest.approx(low * np.hypot(low, high) / high)


@on_every_grid
@pytest.mark.parametrize(
    ("size", "what"),
    [((1, 1, 1), "a single voxel"), ((1, 1, 7), "a line"), ((9, 1, 1), "a pole"), ((1, 6, 8), "a plane")],
)
def test_what_is_thin(affine: Numbers, size: tuple[int, int, int], what: str) -> None:
    slices, rows, columns = size
    found = measured(np.pad(np.ones(size, np.bool_), 1), affine)
    edges = affine[:3, :3].T * np.array([[columns], [rows], [slices]])
    assert found.long_axis is not None
    assert found.long_axis.length == pytest.approx(np.hypot(*np.linalg.norm(edges[:2], axis=1)))
    diagonals = [np.linalg.norm(edges[0] + s * edges[1] + t * edges[2]) for s, t in product((-1, 1), repeat=2)]
    assert found.diameter_3d_mm == pytest.approx(max(diagonals))
    assert found.components == 1


def test_the_surface_of_a_box_is_that_of_its_sides_with_bevelled_edges() -> None:
    found = measured(np.pad(np.ones((10, 20, 30), np.bool_), 2))
    sides = 2 * (9 * 19 + 9 * 29 + 19 * 29)  # between the middles of the outer voxels
    edges = 4 * (9 + 19 + 29) * np.sqrt(0.5)
    corners = 8 * np.sqrt(3) / 8
    assert found.surface_mm2 == pytest.approx(sides + edges + corners)


@pytest.mark.parametrize(("thickness_mm", "excess"), [(1.0, 0.09), (4.0, 0.20)])
def test_the_surface_of_a_ball_is_as_much_too_large_as_documented(thickness_mm: float, excess: float) -> None:
    radius = 34.0
    mask, where = voxels_where(np.diag([1, 1, thickness_mm, 1]), radius, lambda at: (at**2).sum(-1) <= radius**2)
    surface = measured(mask, where).surface_mm2
    assert surface is not None
    assert surface / (4 * np.pi * radius**2) - 1 == pytest.approx(excess, abs=0.01)


# --- brute force ---

small = arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
any_grid = st.sampled_from(list(GRIDS.values()))


def corners_of(mask: Mask) -> Numbers:
    """Every corner of every voxel, as (column, row, slice), half an index outside of its centre."""
    k, j, i = np.nonzero(mask)
    centres = np.stack([i, j, k], 1)
    return np.unique(np.concatenate([centres + shift for shift in product((-0.5, 0.5), repeat=3)]), axis=0)


@settings(max_examples=120, deadline=None)
@given(mask=small, affine=any_grid)
def test_the_3d_diameter_is_that_of_all_pairs_of_corners(mask: Mask, affine: Numbers) -> None:
    found = measured(mask, affine).diameter_3d_mm
    if not mask.any():
        assert found is None
        return
    corners = corners_of(mask) @ affine[:3, :3].T
    assert found == pytest.approx(np.linalg.norm(corners[:, None] - corners, axis=-1).max())


@on_every_grid
def test_the_3d_diameter_of_larger_bodies_too(affine: Numbers) -> None:
    random = np.random.default_rng(7)
    ball, _ = voxels_where(np.eye(4), 9.0, lambda at: (at**2).sum(-1) <= 81)
    for mask in (
        ball,
        random.random((12, 14, 16)) < 0.02,
        ndimage.binary_dilation(random.random((20, 20, 20)) < 0.001),
    ):
        edge = mask & ~ndimage.binary_erosion(mask, np.ones((3, 3, 3)))
        corners = corners_of(edge) @ affine[:3, :3].T
        farthest = max(np.linalg.norm(corners - corner, axis=1).max() for corner in corners)
        assert measured(mask, affine).diameter_3d_mm == pytest.approx(farthest)


@settings(max_examples=150, deadline=None)
@given(mask=small, affine=any_grid)
def test_the_axes_are_those_of_brute_force(mask: Mask, affine: Numbers) -> None:
    found = measured(mask, affine)
    long, short = found.long_axis, found.short_axis
    if not mask.any():
        assert (long, short) == (None, None)
        return
    assert long is not None
    assert short is not None
    longest = [_longest_in_slice(one, affine) for one in mask]
    assert long.length == pytest.approx(max(longest))
    assert long.slice == next(k for k, one in enumerate(longest) if one > max(longest) * (1 - 1e-9))
    _can_be_drawn(long, mask, affine)
    _can_be_drawn(short, mask, affine)
    one, other = (np.subtract(*line.ends) @ affine[:3, :2].T for line in (long, short))
    assert abs(one @ other) < 1e-6 * np.linalg.norm(one) * np.linalg.norm(other)
    assert short.slice == long.slice
    assert short.length == pytest.approx(_longest_perpendicular(mask[long.slice], long, affine), rel=1e-6)


@on_every_grid
def test_the_axes_of_larger_bodies_too(affine: Numbers) -> None:
    random = np.random.default_rng(11)
    ball, _ = voxels_where(np.eye(4), 6.0, lambda at: (at**2).sum(-1) <= 36)
    specks = random.random((6, 16, 18)) < 0.15
    for mask in (ball, specks, ndimage.binary_dilation(random.random((6, 16, 18)) < 0.01)):
        found = measured(mask, affine)
        longest = [_longest_in_slice(one, affine) for one in mask]
        assert found.long_axis is not None
        assert found.short_axis is not None
        assert found.long_axis.length == pytest.approx(max(longest))
        perpendicular = _longest_perpendicular(mask[found.long_axis.slice], found.long_axis, affine)
        assert found.short_axis.length == pytest.approx(perpendicular, rel=1e-6)
        _can_be_drawn(found.short_axis, mask, affine)


def test_the_short_axis_is_not_where_the_outline_is_widest_but_nothing_is() -> None:
    mask = np.zeros((1, 60, 100), np.bool_)
    mask[0, 30, [*range(30), *range(70, 100)]] = True
    mask[0, 4, [18, 82]] = mask[0, 50, [32, 68]] = True
    mask[0, 30, 34:67:2] = mask[0, 31, 35:67:2] = True  # many corners in the middle
    found = measured(mask)
    assert found.long_axis is not None
    assert found.short_axis is not None
    assert found.short_axis.length == pytest.approx(_longest_perpendicular(mask[0], found.long_axis, np.eye(4)))
    assert found.short_axis.length == pytest.approx(27, abs=0.1)


def test_rows_and_columns_that_are_not_quite_at_right_angles() -> None:
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[0, 1] = 0.0015  # as much as direction cosines in headers may be off
    mask = np.pad(np.ones((1, 30, 30), np.bool_), 1)
    found = measured(mask, affine)
    assert found.long_axis is not None
    assert found.short_axis is not None
    assert found.long_axis.length == pytest.approx(_longest_in_slice(mask[1], affine), rel=1e-6)
    one, other = (np.subtract(*line.ends) @ affine[:3, :2].T for line in (found.long_axis, found.short_axis))
    assert one @ other == pytest.approx(0, abs=1e-6)


def _longest_in_slice(mask: Mask, affine: Numbers) -> float:
    corners = corners_of(mask[None])[:, :2] @ affine[:3, :2].T
    return float(np.linalg.norm(corners[:, None] - corners, axis=-1).max()) if len(corners) else 0.0


def _can_be_drawn(line: Line, mask: Mask, affine: Numbers) -> None:
    """Its length is that of its ends; these are inside the image, and on pixels of the segment."""
    assert line.length == pytest.approx(np.linalg.norm(np.subtract(*line.ends) @ affine[:3, :2].T))
    _, rows, columns = mask.shape
    for column, row in line.ends:
        assert 0 <= column <= columns
        assert 0 <= row <= rows
        around = {(int(np.floor(row + r)), int(np.floor(column + c))) for r, c in product((-1e-6, 1e-6), repeat=2)}
        assert any(0 <= r < rows and 0 <= c < columns and mask[line.slice, r, c] for r, c in around)


def _longest_perpendicular(mask: Mask, long: Line, affine: Numbers) -> float:
    """Cut the outlines of all pixels with the perpendiculars through all of their corners and many places between."""
    along, away = (np.asarray(part) for part in _directions(long, affine))
    squares = [
        np.array([(c, r), (c + 1, r), (c + 1, r + 1), (c, r + 1)]) @ affine[:3, :2].T for r, c in np.argwhere(mask)
    ]
    places = np.unique(np.concatenate([square @ along for square in squares]).round(9))
    longest = 0.0
    for place in np.concatenate([places, (places[1:] + places[:-1]) / 2]):
        met: list[float] = []
        for square in squares:
            for start, end in zip(square, np.roll(square, -1, 0), strict=True):
                a, b = start @ along - place, end @ along - place
                if abs(a) < 1e-7:
                    met.append(float(start @ away))
                elif a * b < 0 and abs(b) >= 1e-7:
                    met.append(float((start + (end - start) * a / (a - b)) @ away))
        longest = max(longest, max(met, default=0.0) - min(met, default=0.0))
    return longest


def _directions(long: Line, affine: Numbers) -> tuple[Numbers, Numbers]:
    along = np.subtract(*long.ends[::-1]) @ affine[:3, :2].T
    away = np.cross(np.cross(affine[:3, 0], affine[:3, 1]), along)
    return along / np.linalg.norm(along), away / np.linalg.norm(away)


@settings(max_examples=60, deadline=None)
@given(mask=small, affine=any_grid)
def test_the_surface_is_that_of_the_whole_mesh(mask: Mask, affine: Numbers) -> None:
    found = measured(mask, affine).surface_mm2
    if not mask.any():
        assert found is None
        return
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    assert found == pytest.approx(mesh_surface_area(vertices[:, ::-1] @ affine[:3, :3].T, faces), rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(mask=small)
def test_components_and_lesions_are_those_of_scipy(mask: Mask) -> None:
    found = measured(mask, lesions=True)
    numbered, count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert found.components == count
    assert [one.voxels for one in found.lesions] == sorted(np.bincount(numbered.ravel())[1:], reverse=True)
    assert [one.number for one in found.lesions] == list(range(1, count + 1))
    centres = {tuple(np.round(part[::-1], 6)) for part in ndimage.center_of_mass(mask, numbered, range(1, count + 1))}
    assert {tuple(np.round(one.centre, 6)) for one in found.lesions} == centres


def test_a_lesion_is_measured_as_if_it_were_alone() -> None:
    mask = np.zeros((8, 24, 24), np.bool_)
    mask[1:6, 2:12, 3:10] = True
    mask[3:5, 16:20, 15:22] = True
    affine = GRIDS["oblique, tilted, head first"]
    found = measured(mask, affine, lesions=True)
    assert found.components == 2
    for lesion, of_it in zip(found.lesions, (slice(0, 13), slice(13, 24)), strict=True):
        alone = np.zeros_like(mask)
        alone[:, of_it] = mask[:, of_it]
        by_itself = measured(alone, affine)
        assert lesion.volume_ml == by_itself.volume_ml
        assert lesion.area_mm2 == by_itself.area_mm2
        assert lesion.largest_slice == by_itself.largest_slice
        assert (lesion.long_axis, lesion.short_axis) == (by_itself.long_axis, by_itself.short_axis)
    assert measured(mask, affine).lesions == ()


def test_all_lesions_are_counted_and_the_largest_measured() -> None:
    mask = np.zeros((2, 60, 60), np.bool_)
    mask[0, ::4, ::4] = True
    mask[1, 8, 8] = True  # one of them is larger
    found = measured(mask, lesions=True)
    assert found.components == 225
    assert len(found.lesions) == MOST_LESIONS
    assert [one.voxels for one in found.lesions[:2]] == [2, 1]
    assert found.lesions[0].centre == (8, 8, 0.5)


@pytest.mark.parametrize(
    ("at", "touches"),
    [
        ((0, 3, 3), ("first slice",)),
        ((5, 3, 3), ("last slice",)),
        ((3, 0, 3), ("first row",)),
        ((3, 6, 3), ("last row",)),
        ((3, 3, 0), ("first column",)),
        ((3, 3, 7), ("last column",)),
        ((0, 0, 7), ("first slice", "first row", "last column")),
        ((3, 3, 3), ()),
    ],
)
def test_the_ends_of_the_scan_that_a_segment_touches(at: tuple[int, int, int], touches: tuple[str, ...]) -> None:
    mask = np.zeros((6, 7, 8), np.bool_)
    mask[at] = True
    assert measured(mask).touches == touches


# --- values ---


@settings(max_examples=60, deadline=None)
@given(
    labels=arrays(np.uint8, (3, 5, 6), elements=st.integers(0, 3)),
    values=arrays(np.float32, (3, 5, 6), elements=st.floats(-2000, 4000, width=32)),
)
def test_intensities_are_those_of_numpy(labels: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    volume = volume_of(labels, values=values)
    for one in measure(volume, labels, [segment(value) for value in (3, 1, 2)]):
        inside = values[labels == one.value].astype(np.float64)
        assert one.voxels == len(inside)
        if not len(inside):
            assert one.intensity is None
            continue
        assert one.intensity is not None
        low, middle, high = np.percentile(inside, (10, 50, 90))
        wanted = [inside.mean(), inside.std(), inside.min(), inside.max(), middle, low, high]
        got = one.intensity
        assert [got.mean, got.sd, got.least, got.most, got.median, got.percentile_10, got.percentile_90] == (
            pytest.approx(wanted, rel=1e-6, abs=1e-3)
        )
    volume.close()


def test_the_spread_of_large_values_is_not_lost_in_rounding() -> None:
    labels = np.ones((4, 40, 40), np.uint8)
    values = np.where(np.arange(6400).reshape(4, 40, 40) % 2, 1e6 + 1, 1e6 - 1)
    volume = volume_of(labels, values=values)
    (found,) = measure(volume, labels, [segment()])
    assert found.intensity is not None
    assert found.intensity.sd == pytest.approx(1.0)
    volume.close()


def test_colour_has_no_intensity_and_all_else() -> None:
    labels = np.zeros((2, 6, 7), np.uint8)
    labels[0, 2:4, 2:5] = 1
    volume = volume_of(labels, values=np.ones((2, 6, 7, 3)))
    (found,) = measure(volume, labels, [segment()])
    assert found.intensity is None
    assert (found.voxels, found.area_mm2) == (6, 6.0)
    volume.close()


def test_an_empty_and_a_full_segment_in_the_order_of_the_card() -> None:
    labels = np.full((3, 4, 5), 7, np.uint8)
    volume = volume_of(labels, GRIDS["oblique"], np.zeros((3, 4, 5)))
    empty, full, beyond = measure(volume, labels, [segment(2), segment(7), segment(300, lesions=True)])
    for nothing in (empty, beyond):
        assert (nothing.voxels, nothing.volume_ml, nothing.area_mm2, nothing.components) == (0, 0.0, 0.0, 0)
        assert (nothing.largest_slice, nothing.pixels, nothing.touches, nothing.lesions) == (0, 0, (), ())
        assert nothing.intensity is nothing.long_axis is nothing.short_axis is None
        assert nothing.diameter_3d_mm is nothing.surface_mm2 is None
    assert (empty.value, full.value, beyond.value) == (2, 7, 300)
    assert (full.voxels, full.components, len(full.touches)) == (60, 1, 6)
    assert full.surface_mm2 is not None
    volume.close()


# --- images that lie nowhere ---


def radiograph(modality: str = "DX", **elements: Any) -> Dataset:
    ds = Dataset()
    ds.Modality, ds.Rows, ds.Columns, ds.SamplesPerPixel = modality, 40, 60, 1
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def region(box: tuple[int, int, int, int], cm: tuple[float, float] = (0.02, 0.03), **elements: Any) -> Dataset:
    """An ultrasound region: first and last row, first and last column; cm between columns and between rows."""
    ds = Dataset()
    ds.RegionSpatialFormat, ds.RegionDataType, ds.RegionFlags = 1, 1, 0
    ds.RegionLocationMinY0, ds.RegionLocationMaxY1, ds.RegionLocationMinX0, ds.RegionLocationMaxX1 = box
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = 3
    ds.PhysicalDeltaX, ds.PhysicalDeltaY = cm
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def ultrasound(*regions: Dataset, **elements: Any) -> Dataset:
    return radiograph("US", SequenceOfUltrasoundRegions=DicomSequence(regions), **elements)


def in_images(headers: Sequence[Dataset], boxes: Sequence[tuple[int, int, int, int]], **more: Any) -> Measured:
    """A segment that is a box in each image: first row, row after the last, first column, column after the last."""
    labels = np.zeros((len(headers), 40, 60), np.uint8)
    for one, (top, bottom, left, right) in zip(labels, boxes, strict=True):
        one[top:bottom, left:right] = 1
    shared = SharedArray.make(labels.shape, np.float32)
    volume = Volume(shared, geometry.flat(headers), tuple(headers), (0,) * len(headers), "")
    (found,) = measure(volume, labels, [segment(**more)])
    volume.close()
    return found


BOX = (10, 18, 20, 26)  # 8 rows, 6 columns
SAME_AS_IMAGER = dict(PixelSpacing=[0.2, 0.3], ImagerPixelSpacing=[0.2, 0.3])


@pytest.mark.parametrize(
    ("header", "size", "rows_mm", "columns_mm"),
    [
        (radiograph(), "unknown", 1, 1),
        (radiograph(ImagerPixelSpacing=[0.2, 0.3]), "detector", 0.2, 0.3),
        (radiograph(**SAME_AS_IMAGER), "detector", 0.2, 0.3),
        (radiograph(PixelSpacing=[0.20001, 0.3], ImagerPixelSpacing=[0.2, 0.3]), "detector", 0.2, 0.3),
        (radiograph(PixelSpacing=[0.18, 0.27], ImagerPixelSpacing=[0.2, 0.3]), "patient", 0.18, 0.27),
        (radiograph(PixelSpacingCalibrationType="GEOMETRY", **SAME_AS_IMAGER), "patient", 0.2, 0.3),
        (radiograph(PixelSpacingCalibrationType="FIDUCIAL", PixelSpacing=[0.2, 0.3]), "patient", 0.2, 0.3),
        (radiograph(PixelSpacingCalibrationType="BY EYE", **SAME_AS_IMAGER), "detector", 0.2, 0.3),
        (radiograph("CR", PixelSpacing=[0.2, 0.3]), "detector", 0.2, 0.3),
        (radiograph("OP", PixelSpacing=[0.2, 0.3]), "patient", 0.2, 0.3),
        (radiograph("US", PixelSpacing=[0.2, 0.3]), "patient", 0.2, 0.3),
        (radiograph("MG", NominalScannedPixelSpacing=[0.1, 0.1]), "detector", 0.1, 0.1),
        (radiograph("OT", NominalScannedPixelSpacing=[0.1, 0.1]), "unknown", 1, 1),
        (radiograph("OT", NominalScannedPixelSpacing=[0.1, 0.1], PixelSpacing=[0.1, 0.1]), "unknown", 1, 1),
        (radiograph("OT", NominalScannedPixelSpacing=[0.1, 0.1], PixelSpacing=[0.5, 0.5]), "patient", 0.5, 0.5),
        (radiograph(ImagerPixelSpacing=[0, 0]), "unknown", 1, 1),
        (radiograph(ImagerPixelSpacing=[0.2]), "unknown", 1, 1),
        (radiograph(ImagerPixelSpacing=0.2), "unknown", 1, 1),
        (radiograph(ImagerPixelSpacing=[-0.2, 0.3]), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59))), "patient", 0.3, 0.2),
        (ultrasound(region((0, 39, 0, 59), (-0.02, -0.03))), "patient", 0.3, 0.2),
        (ultrasound(region((10, 17, 20, 25))), "patient", 0.3, 0.2),
        (ultrasound(region((10, 16, 20, 25))), "unknown", 1, 1),
        (ultrasound(region((10, 17, 21, 25))), "unknown", 1, 1),
        (ultrasound(region((0, 13, 0, 59)), region((14, 39, 0, 59))), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59)), region((5, 15, 5, 25), (0.01, 0.01))), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59)), region((5, 15, 5, 25))), "patient", 0.3, 0.2),
        (ultrasound(region((0, 39, 0, 40)), region((0, 39, 41, 59), (0.01, 0.01))), "patient", 0.3, 0.2),
        (ultrasound(region((0, 39, 0, 59), RegionSpatialFormat=2)), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59), RegionDataType=3)), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59), PhysicalUnitsXDirection=4)), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59), (0, 0.03))), "unknown", 1, 1),
        (ultrasound(region((0, 39, 0, 59), (float("nan"), 0.03))), "unknown", 1, 1),
        (ultrasound(region((0, 5, 0, 59)), PixelSpacing=[0.5, 0.5]), "unknown", 1, 1),
        (ultrasound(PixelSpacing=[0.5, 0.5]), "patient", 0.5, 0.5),
        (ultrasound(Dataset()), "unknown", 1, 1),
    ],
)
def test_what_is_known_of_a_pixel_in_an_image(header: Dataset, size: str, rows_mm: float, columns_mm: float) -> None:
    found = in_images([header], [BOX])
    assert found.pixel_size == size
    assert found.area_mm2 == (None if size == "unknown" else pytest.approx(48 * rows_mm * columns_mm))
    assert found.long_axis is not None
    assert found.long_axis.length == pytest.approx(np.hypot(8 * rows_mm, 6 * columns_mm))
    assert found.volume_ml is found.diameter_3d_mm is found.surface_mm2 is None


def test_an_image_has_no_ends_along_the_slices_and_its_lesions_no_volume() -> None:
    found = in_images([radiograph(ImagerPixelSpacing=[0.5, 0.5])], [(0, 4, 0, 4)], lesions=True)
    assert found.touches == ("first row", "first column")
    (lesion,) = found.lesions
    assert (lesion.volume_ml, lesion.area_mm2) == (None, 4.0)


def test_frames_are_measured_each_by_itself() -> None:
    frames = [radiograph("US", PixelSpacing=[0.5, 0.5])] * 3
    found = in_images(frames, [(5, 9, 5, 9), (5, 9, 5, 9), (5, 25, 5, 9)])
    assert (found.components, found.largest_slice, found.touches) == (3, 2, ())
    assert found.long_axis is not None
    assert found.long_axis.slice == 2


def test_frames_of_different_scales_are_measured_in_pixels() -> None:
    frames = [radiograph(ImagerPixelSpacing=[size, size]) for size in (0.1, 0.1, 0.2)]
    assert in_images(frames, [BOX, BOX, (0, 0, 0, 0)]).pixel_size == PixelSize.DETECTOR
    assert in_images(frames, [BOX, BOX, BOX]).pixel_size == PixelSize.UNKNOWN


def test_an_empty_segment_of_an_image_has_an_area_where_its_scale_is_clear() -> None:
    nowhere = [(0, 0, 0, 0)]
    assert in_images([radiograph(ImagerPixelSpacing=[0.2, 0.2])], nowhere).area_mm2 == 0.0
    assert in_images([ultrasound(region((0, 9, 0, 9)))], nowhere).area_mm2 == 0.0
    assert in_images([ultrasound(region((0, 9, 0, 9)), region((10, 19, 0, 9), (1, 1)))], nowhere).area_mm2 is None
    assert in_images([radiograph()], nowhere).area_mm2 is None


GARBAGE = [b"", b"\0", b"abc\\def ", b"0.2", b"1e999\\1e999", b"nan\\nan ", b"\xff\xfe\x00\x01" * 3, b"1\\2\\3 "]


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacingCalibrationType"])
@pytest.mark.parametrize("value", GARBAGE)
def test_a_header_that_cannot_be_read_is_one_that_says_nothing(keyword: str, value: bytes) -> None:
    header = radiograph()
    _put_bytes(header, keyword, value)
    with warnings.catch_warnings(action="ignore"):  # pydicom's, of the values
        assert in_images([header], [BOX]).pixel_size == PixelSize.UNKNOWN


@pytest.mark.parametrize("keyword", ["RegionSpatialFormat", "RegionLocationMinX0", "PhysicalDeltaX", "RegionDataType"])
@pytest.mark.parametrize("value", GARBAGE)
def test_an_ultrasound_region_that_cannot_be_read_is_none(keyword: str, value: bytes) -> None:
    broken = region((0, 39, 0, 59))
    _put_bytes(broken, keyword, value)
    with warnings.catch_warnings(action="ignore"):
        assert in_images([ultrasound(broken)], [BOX]).pixel_size == PixelSize.UNKNOWN


def test_ultrasound_regions_that_are_no_sequence_say_nothing() -> None:
    header = radiograph("US")
    _put_bytes(header, "SequenceOfUltrasoundRegions", b"\x01\x02\x03")
    with warnings.catch_warnings(action="ignore"):
        assert in_images([header], [BOX]).pixel_size == PixelSize.UNKNOWN


def _put_bytes(ds: Dataset, keyword: str, value: bytes) -> None:
    """An element as it stands in a file, not decoded."""
    vr = {"SequenceOfUltrasoundRegions": "SQ", "PixelSpacingCalibrationType": "CS"}.get(keyword)
    vr = vr or {"P": "FD", "R": "US"}.get(keyword[0], "DS")
    vr = "UL" if keyword == "RegionLocationMinX0" else vr
    tag = Tag(keyword)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
