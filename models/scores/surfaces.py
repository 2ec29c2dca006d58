"""How far the surfaces of two masks lie from one another, in mm, on any grid: thick slices, oblique, sheared.

The surface is that of marching cubes through the centres of the voxels, as in DeepMind's surface-distance (Nikolov et
al., J Med Internet Res 2021;23:e26151): every block of 2 x 2 x 2 voxels that has both inside and outside is an element
of it, at the centre of the block, with the area of its triangles. A distance is that of an element to the nearest
element of the other surface: up to half a voxel's diagonal less than the true one. A mask that reaches the end of the
scan is closed there. Of a single slice it is the contour. The areas and the places are taken through the affine, so
nothing is assumed of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from skimage.measure import marching_cubes

#: what of all distances, by area, the robust Hausdorff distance is not below
PART = 0.95
#: elements in one tree, and of a surface whose distance is asked; of more, as noise has, a random sample is asked: the
#: part within a tolerance then has a standard error of 0.0007 at most
MOST_IN_TREE, MOST_ASKED = 4_000_000, 500_000
INSIDE = 255

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """The distances of two surfaces, both ways.

    Attributes:
        truth_mm, truth_mm2: of the elements of the truth: to the prediction, and its area.
        predicted_mm, predicted_mm2: of the elements of the prediction: to the truth, and its area.
    """

    truth_mm: Numbers
    truth_mm2: Numbers
    predicted_mm: Numbers
    predicted_mm2: Numbers

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the part of both surfaces, by area, that is not farther than the tolerance."""
        near = self.truth_mm2[self.truth_mm <= tolerance_mm].sum()
        near += self.predicted_mm2[self.predicted_mm <= tolerance_mm].sum()
        return float(near / (self.truth_mm2.sum() + self.predicted_mm2.sum()))

    def hd95_mm(self) -> float:
        """The greater one of the two directed 95th percentiles, weighted by area."""
        return max(_percentile(self.truth_mm, self.truth_mm2), _percentile(self.predicted_mm, self.predicted_mm2))

    def mean_mm(self) -> float:
        """The average symmetric surface distance, weighted by area."""
        weighted = self.truth_mm @ self.truth_mm2 + self.predicted_mm @ self.predicted_mm2
        return float(weighted / (self.truth_mm2.sum() + self.predicted_mm2.sum()))


def distances(truth: Mask, predicted: Mask, affine: Numbers) -> Distances:
    """Compare two surfaces.

    Args:
        truth, predicted: (slices, rows, columns), with a voxel at least; a box around both is enough.
        affine: 4x4, (column, row, slice) index -> mm.

    Raises:
        ValueError: one of them is empty.
    """
    if not truth.any() or not predicted.any():
        raise ValueError("a mask without a voxel has no surface")
    axes = affine[:3, 2::-1].T  # mm along a slice, a row, a column
    one, other = _codes(truth), _codes(predicted)
    areas = _areas(axes)
    truth_mm, truth_mm2 = _directed(one, other, axes, areas)
    predicted_mm, predicted_mm2 = _directed(other, one, axes, areas)
    return Distances(truth_mm, truth_mm2, predicted_mm, predicted_mm2)


def _codes(mask: Mask) -> NDArray[np.uint8]:
    """Which of the 8 voxels of every block are inside, a bit each: 4 per slice, 2 per row, 1 per column."""
    single = len(mask) == 1
    codes = np.pad(mask.view(np.uint8), ((0, 0) if single else (1, 1), (1, 1), (1, 1)))
    if single:
        codes = np.concatenate((codes, codes))  # goes on above and below: no surface there
    codes = codes[:, :, :-1] | codes[:, :, 1:] * np.uint8(2)
    codes = codes[:, :-1] | codes[:, 1:] * np.uint8(4)
    return np.asarray(codes[:-1] | codes[1:] * np.uint8(16), np.uint8)


@lru_cache(maxsize=1)
def _triangles() -> tuple[Numbers, ...]:
    """Of every code, the corners of its triangles: (triangles, 3, 3), along slice, row and column, in voxels."""
    found: list[Numbers] = [np.zeros((0, 3, 3))]
    for code in range(1, INSIDE):
        block = np.array([code >> bit & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        places, faces, _, _ = marching_cubes(block, 0.5, method="lorensen", allow_degenerate=False)
        found.append(np.asarray(places[faces], float))
    return (*found, np.zeros((0, 3, 3)))


def _areas(axes: Numbers) -> Numbers:
    """Of every code, the area of its triangles in mm2."""
    found = np.zeros(INSIDE + 1)
    for code, triangles in enumerate(_triangles()):
        sides = np.diff(triangles @ axes, axis=1)
        found[code] = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2
    return found


def _elements(codes: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.flatnonzero((codes > 0) & (codes < INSIDE))


def _directed(
    codes: NDArray[np.uint8], others: NDArray[np.uint8], axes: Numbers, areas: Numbers
) -> tuple[Numbers, Numbers]:
    """The distance in mm and the area of each element; where the other surface passes too, the distance is 0."""
    elements = _elements(codes)
    weights = areas[codes.ravel()[elements]]
    there = others.ravel()[elements]
    apart = (there == 0) | (there == INSIDE)
    asked, of_asked = _sampled(elements[apart], weights[apart])
    shared = weights[~apart]
    found = _nearest(asked, _elements(others), codes.shape, axes)
    return np.concatenate((np.zeros(len(shared)), found)), np.concatenate((shared, of_asked))


def _sampled(elements: NDArray[np.intp], weights: Numbers) -> tuple[NDArray[np.intp], Numbers]:
    """No more than may be asked, with the weight of all."""
    if len(elements) <= MOST_ASKED:
        return elements, weights
    chosen = np.sort(np.random.default_rng(0).choice(len(elements), MOST_ASKED, replace=False))
    return elements[chosen], weights[chosen] * (weights.sum() / weights[chosen].sum())


def _nearest(asked: NDArray[np.intp], others: NDArray[np.intp], shape: tuple[int, ...], axes: Numbers) -> Numbers:
    """From each element to the nearest other one, in mm."""
    best = np.full(len(asked), np.inf)
    if not len(asked):
        return best
    places = _places(asked, shape, axes)
    for first in range(0, len(others), MOST_IN_TREE):
        tree = KDTree(
            _places(others[first : first + MOST_IN_TREE], shape, axes), balanced_tree=False, compact_nodes=False
        )
        np.minimum(best, tree.query(places)[0], out=best)
    return best


def _places(elements: NDArray[np.intp], shape: tuple[int, ...], axes: Numbers) -> Numbers:
    return np.stack(np.unravel_index(elements, shape), axis=1) @ axes


def _percentile(values: Numbers, weights: Numbers) -> float:
    """The least value that 95 % of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    place = np.searchsorted(reached, PART * reached[-1])
    return float(values[order][min(int(place), len(order) - 1)])
