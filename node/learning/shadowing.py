"""How a candidate's label map agrees with the champion's on the same images: nobody knows here which one is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(
    champion: NDArray[np.unsignedinteger[Any]],
    candidate: NDArray[np.unsignedinteger[Any]],
    affine: NDArray[np.float64],
    parts: Mapping[int, Sequence[int]],
) -> dict[str, dict[str, float | None]]:
    """Per class the Dice between both, and both volumes, as plain values of JSON.

    Args:
        champion, candidate: label maps (slices, rows, columns) on the same grid.
        affine: 4x4, (column, row, slice) index -> mm.
        parts: a segment's value -> the label values that are of it (`models.membership.parts`).

    Returns:
        The segment's value as text -> {"dice": None where neither has the class, "champion_ml", "candidate_ml"}.

    Raises:
        ValueError: the grids differ, or a label map has a value that is of no segment.
    """
    if champion.shape != candidate.shape:
        raise ValueError(f"label maps of {champion.shape} and {candidate.shape} voxels cannot be compared")
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    values = sorted({one for of_segment in parts.values() for one in of_segment})
    counts = _counts(champion, candidate, values)
    found: dict[str, dict[str, float | None]] = {}
    for value, of_segment in parts.items():
        at = [values.index(one) + 1 for one in of_segment]
        both, mine, other = (int(some.sum()) for some in (counts[np.ix_(at, at)], counts[at], counts[:, at]))
        found[str(value)] = {
            "dice": 2 * both / (mine + other) if mine + other else None,
            "champion_ml": mine * voxel_ml,
            "candidate_ml": other * voxel_ml,
        }
    return found


def _counts(
    champion: NDArray[np.unsignedinteger[Any]], candidate: NDArray[np.unsignedinteger[Any]], values: Sequence[int]
) -> NDArray[np.int64]:
    """Voxels by what the champion (rows) and the candidate (columns) call them: background, then `values`.

    Slice by slice: a temporary copy of a whole scan in 64 bits would take gigabytes.
    """
    classes = len(values) + 1
    place = np.full(max(values, default=0) + 2, -1, np.int64)
    place[0] = 0
    place[list(values)] = np.arange(1, classes)
    counts = np.zeros(classes * classes, np.int64)
    for one, other in zip(champion, candidate, strict=True):
        # what lies beyond the largest value falls on the last place, which is never one
        rows, columns = (place[np.minimum(labels, len(place) - 1)] for labels in (one, other))
        if (rows < 0).any() or (columns < 0).any():
            raise ValueError("a label map has values that the card does not list")
        counts += np.bincount((rows * classes + columns).ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)
