"""A label map as runs: neighbouring voxels of one value in one row. What is measured of shape is measured of these.

A segment has far fewer runs than voxels: about as many as its surface has voxels on one side.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.membership import inside

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """The voxels of a segment, or of a part of it, in the order of slices, then rows, then columns.

    Attributes:
        slices, rows: where each run lies.
        starts, stops: its first column, and the column after its last.
    """

    slices: Whole
    rows: Whole
    starts: Whole
    stops: Whole

    def __len__(self) -> int:
        return len(self.slices)

    @cached_property
    def lengths(self) -> Whole:
        return self.stops - self.starts

    @cached_property
    def voxels(self) -> int:
        return int(self.lengths.sum())

    def chosen(self, which: NDArray[np.bool_] | Whole | slice) -> Runs:
        """Some of them."""
        return Runs(self.slices[which], self.rows[which], self.starts[which], self.stops[which])

    @cached_property
    def by_slice(self) -> dict[int, Runs]:
        """Those of each slice that has any."""
        bounds = pairwise([*self.new_slices.tolist(), len(self)])
        return {int(self.slices[begin]): self.chosen(slice(begin, end)) for begin, end in bounds}

    @property
    def new_slices(self) -> Whole:
        """Where the runs of each slice begin."""
        return np.flatnonzero(np.diff(self.slices, prepend=-1))

    @cached_property
    def outline(self) -> Runs:
        """One run for each row: from the first column there to the last, over gaps."""
        new = np.ones(len(self), np.bool_)
        new[1:] = (self.rows[1:] != self.rows[:-1]) | (self.slices[1:] != self.slices[:-1])
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(self)) - 1
        return Runs(self.slices[first], self.rows[first], self.starts[first], self.stops[last])

    def pixels(self, slices: int) -> Whole:
        """How many voxels each of so many slices has."""
        return np.bincount(self.slices, self.lengths, minlength=slices).astype(np.int64)

    def centre(self) -> tuple[float, float, float]:
        """(column, row, slice) of the centre of mass, in indices; there must be a voxel."""
        parts = ((self.starts + self.stops - 1) / 2, self.rows, self.slices)
        column, row, k = (float(np.average(part, weights=self.lengths)) for part in parts)
        return column, row, k

    def box(self) -> tuple[int, int, int, int]:
        """First row, row after the last, first column, column after the last; there must be a voxel."""
        return int(self.rows.min()), int(self.rows.max()) + 1, int(self.starts.min()), int(self.stops.max())


def of_labels(labels: NDArray[np.uint8], wanted: Collection[int]) -> dict[int, Runs]:
    """The runs of each value.

    Args:
        labels: (slices, rows, columns).
        wanted: the values; those that do not occur have no runs.
    """
    is_wanted = np.isin(np.arange(256), list(wanted))
    parts = [_of_slice(k, labelled, is_wanted) for k, labelled in enumerate(labels)]
    values, slices, rows, starts, stops = (np.concatenate(part) for part in zip(*parts, strict=True))
    order: Whole = np.argsort(values, kind="stable")
    bounds = np.searchsorted(values[order], np.arange(257))
    found = Runs(slices, rows, starts, stops)
    return {
        value: found.chosen(order[bounds[value] : bounds[value + 1]] if value < 256 else slice(0, 0))
        for value in wanted
    }


def of_union(labels: NDArray[np.uint8], values: Collection[int]) -> Runs:
    """The runs of all these values together: where two of them are neighbours there is one run, not two."""
    united = (inside(labelled, values).view(np.uint8) for labelled in labels)
    parts = [_of_slice(k, labelled, np.array([False, True])) for k, labelled in enumerate(united)]
    _, slices, rows, starts, stops = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Runs(slices, rows, starts, stops)


def _of_slice(k: int, labelled: NDArray[np.uint8], is_wanted: NDArray[np.bool_]) -> tuple[NDArray[np.integer], ...]:
    """Value, slice, row, first column and column after the last of every run of a slice."""
    columns = labelled.shape[1]
    flat = labelled.ravel()
    new = np.empty(len(flat), np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=new[1:])
    new[::columns] = True
    begins = np.flatnonzero(new)
    values = flat[begins]
    kept = is_wanted[values]
    ends = np.append(begins[1:], len(flat))[kept]
    rows, starts = np.divmod(begins[kept], columns)
    return values[kept], np.full(len(rows), k), rows, starts, ends - rows * columns
