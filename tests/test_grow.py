"""A label reaches the edge that the image shows, and nothing beyond it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.grow import grow

AIR, TISSUE = -900.0, 40.0


def grown(
    labels: NDArray[np.uint8], values: NDArray[np.float32], most_mm: float, pixel_mm: tuple[float, float] = (1, 1)
) -> NDArray[np.uint8]:
    after = labels.copy()
    grow(after[None], values[None], pixel_mm, below=-600, most_mm=most_mm)
    return after


def disc(radius: float, size: int = 61) -> NDArray[np.bool_]:
    y, x = np.ogrid[:size, :size]
    return np.asarray((x - size // 2) ** 2 + (y - size // 2) ** 2 <= radius**2)


def test_it_reaches_the_edge_of_the_air_and_stops_there() -> None:
    values = np.where(disc(25), AIR, TISSUE).astype(np.float32)
    after = grown(disc(20).astype(np.uint8), values, most_mm=10)
    assert np.array_equal(after > 0, disc(25))


def test_it_goes_no_further_than_it_may() -> None:
    values = np.full((3, 100), AIR, np.float32)
    labels = np.zeros((3, 100), np.uint8)
    labels[:, :10] = 1
    assert grown(labels, values, most_mm=7).sum() == 3 * 17
    assert grown(labels, values, most_mm=7, pixel_mm=(1, 2)).sum() == 3 * 13
    assert grown(labels, values, most_mm=0).sum() == labels.sum()


def test_a_wall_keeps_it_in() -> None:
    values = np.full((40, 40), AIR, np.float32)
    values[:, 20] = TISSUE
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 5:15] = 2
    after = grown(labels, values, most_mm=100)
    assert (after[:, :20] == 2).all()
    assert not after[:, 20:].any()


def test_two_labels_meet_in_the_middle_and_keep_what_they_have() -> None:
    values = np.full((5, 41), AIR, np.float32)
    labels = np.zeros((5, 41), np.uint8)
    labels[:, :10], labels[:, 31:] = 1, 2
    after = grown(labels, values, most_mm=50)
    assert (after[:, :10] == 1).all()
    assert (after[:, 31:] == 2).all()
    assert abs(int((after == 1).sum()) - int((after == 2).sum())) <= 5
    assert (after > 0).all()


def test_what_is_no_air_is_kept_where_the_network_saw_it_and_not_grown_into() -> None:
    values = np.full((9, 9), TISSUE, np.float32)
    labels = np.zeros((9, 9), np.uint8)
    labels[3:6, 3:6] = 1
    assert np.array_equal(grown(labels, values, most_mm=5), labels)


def test_nothing_comes_of_nothing_and_not_from_a_neighbouring_slice() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[0, 5:15, 5:15] = 1
    values = np.full(labels.shape, AIR, np.float32)
    grow(labels, values, (1, 1), below=-600, most_mm=30)
    assert labels[0].all()
    assert not labels[1].any()


def test_holes_that_a_label_surrounds_belong_to_it_and_larger_ones_do_not() -> None:
    labels = np.zeros((1, 30, 60), np.uint8)
    labels[0, 2:28, 2:28], labels[0, 2:28, 32:58] = 1, 2
    labels[0, 5:8, 5:8] = labels[0, 10:20, 40:50] = labels[0, 22:24, 50:52] = 0
    values = np.full(labels.shape, TISSUE, np.float32)
    grow(labels, values, (1, 1), below=-600, most_mm=5, holes_mm2=20)
    assert (labels[0, 5:8, 5:8] == 1).all()
    assert (labels[0, 22:24, 50:52] == 2).all()
    assert not labels[0, 10:20, 40:50].any()
    assert not labels[0, :, 28:32].any()
