"""Let a label reach the edge that the image shows: networks on a coarse grid stop short of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: the four neighbours of a pixel, as (rows, columns)
BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))


def grow(
    labels: NDArray[np.uint8],
    values: NDArray[np.float32],
    pixel_mm: tuple[float, float],
    *,
    below: float,
    most_mm: float,
    holes_mm2: float = 0.0,
) -> None:
    """Give unlabelled pixels below a value to the label that they hang together with, in the slice, within a distance.

    Args:
        labels: (slices, rows, columns); changed in place.
        values: of the image, of the same shape.
        pixel_mm: between rows, between columns.
        below: pixels at or above this value stop it.
        most_mm: from the edge of the label, along rows and columns.
        holes_mm2: what a label surrounds in a slice after that belongs to it, up to this area.
    """
    margin = [int(most_mm / side) + 1 for side in pixel_mm]
    for labelled, shown in zip(labels, values, strict=True):
        rows, columns = (np.flatnonzero(labelled.any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            continue
        near = tuple(
            slice(max(0, int(at[0]) - reach), int(at[-1]) + reach + 1)
            for at, reach in zip((rows, columns), margin, strict=True)
        )
        _grow_slice(labelled[near], shown[near] < below, pixel_mm, most_mm)
        if holes_mm2:
            _fill(labelled[near], round(holes_mm2 / (pixel_mm[0] * pixel_mm[1])))


def _grow_slice(
    labels: NDArray[np.uint8], may: NDArray[np.bool_], pixel_mm: tuple[float, float], most_mm: float
) -> None:
    """Breadth first from the edge, one pixel at a time; a longer side costs as many steps as it has short ones."""
    padded = np.pad(labels, 1)
    flat, free = padded.ravel(), (np.pad(may, 1) & (padded == 0)).ravel()
    width, short = padded.shape[1], min(pixel_mm)
    steps = [(down * width + across, max(1, round(pixel_mm[across != 0] / short))) for down, across in BESIDE]
    front = _with_room(np.flatnonzero(flat), free, width)
    for number in range(1, int(most_mm / short) + 1):
        grown = [front]
        for offset, cost in steps:
            if number % cost:
                continue
            near = front + offset
            fresh = near[free[near]]
            flat[fresh] = flat[fresh - offset]
            free[fresh] = False
            grown.append(fresh)
        front = _with_room(np.concatenate(grown), free, width)
        if not front.size:
            break
    labels[...] = padded[1:-1, 1:-1]


def _with_room(at: NDArray[np.int64], free: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    """Those of these pixels that have a free one beside them."""
    return at[free[at - width] | free[at + width] | free[at - 1] | free[at + 1]]


def _fill(labels: NDArray[np.uint8], most_pixels: int) -> None:
    """Give holes to the label above their first pixel."""
    holes, count = ndimage.label(labels == 0)
    if count < 2:
        return
    areas = np.bincount(holes.ravel())
    outside = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = areas <= most_pixels
    small[0] = False
    small[outside] = False
    for number, where in enumerate(ndimage.find_objects(holes), 1):
        if small[number]:
            row, column = where[0].start, where[1].start + int(np.flatnonzero(holes[where][0] == number)[0])
            labels[where][holes[where] == number] = labels[row - 1, column]
