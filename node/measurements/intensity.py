"""The modality values inside a segment: mean, spread, percentiles."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from models import membership

from .runs import Runs
from .values import Intensity

#: so many values are brought to double precision at a time
AT_ONCE = 1 << 16


def intensity(
    values: NDArray[np.float32], labels: NDArray[np.uint8], of: Collection[int], runs: Runs
) -> Intensity | None:
    """What the values of a segment are.

    Sums are in double precision, the SD is that of the population (the segment is all there is, not a sample), the
    percentiles lie between neighbouring values on a straight line, as numpy's do.

    Args:
        values: (slices, rows, columns); with an axis more in colour, which has no intensity.
        labels: (slices, rows, columns).
        of: the segment's label values.
        runs: of it.
    """
    if values.ndim != labels.ndim or not runs.voxels:
        return None
    inside = _inside(values, labels, of, runs)
    mean = float(inside.mean(dtype=np.float64))
    sd = _sd(inside, mean)
    inside.sort()  # several times quicker than numpy's partition, by which np.percentile goes
    low, middle, high = (_percentile(inside, percent) for percent in (10, 50, 90))
    return Intensity(
        mean=mean,
        sd=sd,
        least=float(inside[0]),
        most=float(inside[-1]),
        median=middle,
        percentile_10=low,
        percentile_90=high,
    )


def _inside(
    values: NDArray[np.float32], labels: NDArray[np.uint8], of: Collection[int], runs: Runs
) -> NDArray[np.float32]:
    """The values of the segment's voxels, copied."""
    inside = np.empty(runs.voxels, np.float32)
    at = 0
    for k, here in runs.by_slice.items():
        top, bottom, left, right = here.box()
        box = (k, slice(top, bottom), slice(left, right))
        inside[at : at + here.voxels] = values[box][membership.inside(labels[box], of)]
        at += here.voxels
    return inside


def _sd(inside: NDArray[np.float32], mean: float) -> float:
    squares = 0.0
    for at in range(0, len(inside), AT_ONCE):
        away = inside[at : at + AT_ONCE] - np.float64(mean)
        squares += float(away @ away)
    return float(np.sqrt(squares / len(inside)))


def _percentile(ordered: NDArray[np.float32], percent: float) -> float:
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below]) + (place - below) * (float(ordered[above]) - float(ordered[below]))
