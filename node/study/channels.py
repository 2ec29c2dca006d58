"""Several series on one grid: what a network with several channels reads.

The first channel is the grid. The others are brought onto it through the patient's coordinates, by linear
interpolation, or, of what another network found, by the nearest voxel; where they do not reach it stands the card's
`fill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.card import Input
from models.wire import SharedArray

from ..errors import Refused
from .facts import text
from .volume import Volume

#: a point half a voxel beyond the centre of the outermost one is still in it
EDGE_VOXELS = 0.5
GRID_TOLERANCE_VOXELS = 1e-3


@dataclass(frozen=True)
class Channels:
    """What a network reads.

    Attributes:
        volumes: one per channel, each on its own grid; the result has that of the first.
        arrays: one per channel, on the grid of the first.
    """

    volumes: tuple[Volume, ...]
    arrays: tuple[SharedArray, ...]

    @property
    def first(self) -> Volume:
        return self.volumes[0]

    def close(self) -> None:
        for array in (*self.arrays, *(volume.values for volume in self.volumes)):
            array.close()


def assemble(volumes: Sequence[Volume], rules: Sequence[Input]) -> Channels:
    """Bring every channel onto the grid of the first.

    Args:
        volumes: in the order of the card's inputs; whoever made them closes them, unless this answers.
        rules: of the same channels.

    Raises:
        Refused: `mixed-frame-of-reference`; `channel-does-not-cover`: less than the card's `minimum_cover`.
    """
    arrays = [volumes[0].values]
    try:
        for one, rule in zip(volumes[1:], rules[1:], strict=True):
            if len({text(volume.headers[0], "FrameOfReferenceUID") for volume in (volumes[0], one)}) > 1:
                raise Refused("mixed-frame-of-reference", f"{rule.channel} lies in another frame of reference")
            arrays.append(_onto(volumes[0], one, rule))
    except BaseException:
        for array in arrays[1:]:
            array.close()
        raise
    return Channels(tuple(volumes), tuple(arrays))


def _onto(first: Volume, one: Volume, rule: Input) -> SharedArray:
    to_index = np.linalg.inv(one.geometry.affine) @ first.geometry.affine
    same_size = one.geometry.shape == first.geometry.shape
    if same_size and _largest_shift(to_index, first.geometry.shape) < GRID_TOLERANCE_VOXELS:
        return one.values
    cover, covered = _cover(to_index, first.geometry.shape, one.geometry.shape)
    if cover < rule.minimum_cover:
        raise Refused(
            "channel-does-not-cover",
            f"{rule.channel} covers {cover:.0%} of what the first channel shows; {rule.minimum_cover:.0%} are needed",
        )
    made = SharedArray.make(first.geometry.shape, np.float32)
    turned = _slices_first(to_index)
    try:
        for k, inside in enumerate(covered):  # slice by slice: no second copy of the volume
            plane = ndimage.affine_transform(
                one.values.array,
                turned[:3, :3],
                turned[:3, :3] @ [k, 0, 0] + turned[:3, 3],
                output_shape=(1, *first.geometry.shape[1:]),
                output=np.float32,
                order=0 if rule.network else 1,
                mode="nearest",
            )
            made.array[k] = np.where(inside, plane[0], np.float32(rule.fill))
    except BaseException:
        made.close()
        raise
    return made


def _slices_first(to_index: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map for (slice, row, column) indices."""
    return to_index[[2, 1, 0, 3]][:, [2, 1, 0, 3]]


def _largest_shift(to_index: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[::-1]], indexing="ij")).reshape(3, -1)
    moved = to_index[:3, :3] @ corners + to_index[:3, 3:]
    return float(np.abs(moved - corners).max())


def _cover(
    to_index: NDArray[np.float64], shape: tuple[int, int, int], other: tuple[int, int, int]
) -> tuple[float, list[NDArray[np.bool_]]]:
    """The part of the grid that lies inside the other one, and which voxels of each slice do."""
    j, i = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij", sparse=True)
    covered = []
    for k in range(shape[0]):
        inside = np.ones(shape[1:], bool)
        for axis, n in enumerate(other[::-1]):
            at = to_index[axis, 0] * i + to_index[axis, 1] * j + to_index[axis, 2] * k + to_index[axis, 3]
            inside &= (at >= -EDGE_VOXELS) & (at <= n - 1 + EDGE_VOXELS)
        covered.append(inside)
    return float(np.mean([plane.mean() for plane in covered])), covered
