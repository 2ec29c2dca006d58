"""The connected parts of a segment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .runs import Runs


def components(runs: Runs, shape: tuple[int, int, int], *, across_slices: bool) -> tuple[int, NDArray[np.int32]]:
    """How many there are, and the number of the one that each run is in, from 0.

    Voxels are connected that share a face, an edge or a corner: 26 neighbours in a volume, 8 in an image.

    Args:
        shape: of the label map: (slices, rows, columns).
        across_slices: whether slices are neighbours; else each is an image by itself.
    """
    if not runs.voxels:
        return 0, np.zeros(0, np.int32)
    _, rows, columns = shape
    # one number line for all rows, with room between neighbours: a run at its end touches none at the next's beginning
    width, height = columns + 2, rows + 2
    line = (runs.slices * height + runs.rows) * width
    starts, stops = line + runs.starts, line + runs.stops
    before = [width]
    if across_slices:
        before += [(height + row) * width for row in (-1, 0, 1)]
    ones, others = [], []
    for away in before:
        first = np.searchsorted(stops, starts - away, "left")  # touching by a corner: one stops where the other starts
        touching = np.maximum(np.searchsorted(starts, stops - away, "right") - first, 0)
        ones.append(np.repeat(np.arange(len(runs)), touching))
        skipped = np.cumsum(touching) - touching
        others.append(np.arange(len(ones[-1])) + np.repeat(first - skipped, touching))
    one, other = np.concatenate(ones), np.concatenate(others)
    pairs = coo_array((np.ones(len(one), np.bool_), (one, other)), (len(runs), len(runs)))
    count, numbers = connected_components(pairs, directed=False)
    return int(count), numbers


def largest_first(runs: Runs, numbers: NDArray[np.int32], most: int) -> list[Runs]:
    """The components as `components` numbers them, at most so many; of equally large ones, the one met first."""
    voxels = np.bincount(numbers, runs.lengths)
    order = np.argsort(-voxels, kind="stable")[:most]
    return [runs.chosen(numbers == number) for number in order]


def touches(runs: Runs, shape: tuple[int, int, int], *, across_slices: bool) -> tuple[str, ...]:
    """The ends of the scan that a segment touches; single images have no first and last slice."""
    if not runs.voxels:
        return ()
    top, bottom, left, right = runs.box()
    slices, rows, columns = shape
    found = {
        "first slice": across_slices and runs.slices[0] == 0,
        "last slice": across_slices and runs.slices[-1] == slices - 1,
        "first row": top == 0,
        "last row": bottom == rows,
        "first column": left == 0,
        "last column": right == columns,
    }
    return tuple(name for name, touched in found.items() if touched)
