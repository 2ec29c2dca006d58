"""What a person changed of a draft, in numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from node.learning.correction import compare, surface_distances_mm

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])


def block(*spans: tuple[int, int], shape: tuple[int, int, int] = (20, 30, 40)) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(*span) for span in spans)] = 1
    return mask


def test_a_box_that_moved_by_a_column_is_two_mm_off_at_its_ends() -> None:
    before, after = block((5, 15), (5, 25), (10, 20)), block((5, 15), (5, 25), (11, 21))
    made = compare(before, after, [1], AFFINE)
    (change,) = made.classes
    assert change.dice == pytest.approx(0.9)
    assert change.voxels_changed == made.voxels_changed == 2 * 10 * 20
    assert change.draft_ml == change.label_ml == pytest.approx(10 * 20 * 10 * 30 / 1000)
    assert change.percentile_95_mm == pytest.approx(2.0)
    assert 0 < (change.mean_mm or 0) < 2.0
    assert not made.is_unchanged


def test_nothing_changed_is_said_only_where_every_bit_is_equal() -> None:
    one = block((5, 15), (5, 25), (10, 20))
    made = compare(one, one.copy(), [1], AFFINE)
    assert made.is_unchanged
    assert (made.classes[0].dice, made.classes[0].mean_mm) == (1.0, 0.0)
    other = one.copy()
    other[5, 5, 10] = 0
    assert not compare(one, other, [1], AFFINE).is_unchanged
    assert not compare(one, one, [], AFFINE).is_unchanged, "nothing was compared"


def test_what_is_empty_has_no_distance_and_one_empty_side_no_overlap() -> None:
    nothing, something = np.zeros((4, 4, 4), np.uint8), block((1, 2), (1, 2), (1, 2), shape=(4, 4, 4))
    (both,) = compare(nothing, nothing, [1], AFFINE).classes
    assert (both.dice, both.mean_mm, both.percentile_95_mm) == (None, None, None)
    (removed,) = compare(something, nothing, [1], AFFINE).classes
    assert (removed.dice, removed.mean_mm, removed.voxels_changed) == (0.0, None, 1)


def test_classes_that_are_not_asked_about_are_background() -> None:
    draft, label = block((2, 8), (2, 8), (2, 8)), block((2, 8), (2, 8), (2, 8))
    label[15, 20, 30], draft[16, 20, 30] = 2, 3
    assert compare(draft, label, [1], AFFINE).is_unchanged
    assert compare(draft, label, [1, 2, 3], AFFINE).voxels_changed == 2


def test_distances_are_those_of_a_distance_transform_on_a_straight_grid() -> None:
    random = np.random.default_rng(3)
    one, other = (ndimage.gaussian_filter(random.normal(size=(16, 24, 24)), 2) > 0.02 for _ in range(2))
    found = surface_distances_mm(one, other, AFFINE)
    expected = []
    for here, there in ((one, other), (other, one)):
        surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (here, there)]
        away = ndimage.distance_transform_edt(~surfaces[1], sampling=(5.0, 3.0, 2.0))
        expected.append(away[surfaces[0]])
    assert found == pytest.approx(np.concatenate(expected))


def test_on_a_tilted_grid_distances_are_those_in_the_patient() -> None:
    tilted = AFFINE.copy()
    tilted[1, 2] = 4.0  # each slice lies 4 mm further back than the one before
    lower, upper = block((5, 6), (5, 6), (5, 6)), block((6, 7), (5, 6), (5, 6))
    assert surface_distances_mm(lower > 0, upper > 0, tilted) == pytest.approx([np.hypot(5, 4)] * 2)
