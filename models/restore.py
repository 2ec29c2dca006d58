"""From class probabilities on the network's grid to a label map on the grid of the source: by the affines alone.

A voxel gets the class whose linearly interpolated probability is largest, as when every channel is resampled to the
source grid and then compared; but one channel at a time, slab by slab, and only where anything but background can win.
Of segments that may overlap it gets the bit of each whose interpolated probability reaches a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

#: source voxels that are interpolated at a time
SLAB_VOXELS = 8_000_000

Affine = NDArray[np.float64]
#: from the interpolated channels of a slab, one at a time, to its labels, uint8
Combined = Callable[[Iterator[torch.Tensor]], torch.Tensor]


def label_map(
    probabilities: torch.Tensor,
    model_affine: Affine,
    shape: tuple[int, int, int],
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    """Write the label map of the source grid.

    Args:
        probabilities: (class, x, y, z) on the network's grid; class 0 is the background.
        model_affine: 4x4, from the network's (x, y, z) index to millimetres.
        shape: of the source array, (slices, rows, columns).
        affine: 4x4, from the source's (column, row, slice) index to the same millimetres.
        out: uint8 of `shape`; filled.
    """
    winner = probabilities[0] < probabilities[1:].amax(0)
    _fill(probabilities, winner, _largest, model_affine, shape, affine, out)


def bit_map(
    probabilities: torch.Tensor,
    threshold: float,
    model_affine: Affine,
    shape: tuple[int, int, int],
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    """Write the label map of segments that may overlap: bit i where channel i reaches the threshold.

    Args:
        probabilities: (segment, x, y, z) on the network's grid, at most eight.
        threshold: above 0.
        model_affine, shape, affine, out: as `label_map` has them.
    """
    winner = (probabilities >= threshold).any(0)
    _fill(probabilities, winner, partial(_reaching, threshold), model_affine, shape, affine, out)


def _fill(
    probabilities: torch.Tensor,
    winner: torch.Tensor,
    combined: Combined,
    model_affine: Affine,
    shape: tuple[int, int, int],
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    out[:] = 0
    to_model = np.linalg.inv(model_affine) @ affine  # (column, row, slice) -> (x, y, z)
    box = _box(winner)
    if box is None:
        return
    low, high = box
    cropped = probabilities[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    to_model = to_model.copy()
    to_model[:3, 3] -= low
    size = np.array(high, dtype=np.int64) - np.array(low)
    window = _reach(to_model, size, shape)
    if window is None:
        return
    k0, k1, j0, j1, i0, i1 = window
    axes = _separable(to_model[:3, :3])
    rows = max(1, SLAB_VOXELS // max(1, (j1 - j0) * (i1 - i0)))
    for first in range(k0, k1, rows):
        last = min(first + rows, k1)
        view = (slice(first, last), slice(j0, j1), slice(i0, i1))
        channels = _sheared(cropped, to_model, view) if axes is None else _aligned(cropped, to_model, axes, view)
        out[view] = combined(channels).cpu().numpy()


def _box(winner: torch.Tensor) -> tuple[list[int], list[int]] | None:
    """The box outside which the background wins everywhere: an interpolation lies between its corners."""
    if not bool(winner.any()):
        return None
    low, high = [], []
    for axis in range(3):
        line = winner.any(dim=tuple(other for other in range(3) if other != axis)).nonzero()
        low.append(max(int(line[0]) - 1, 0))
        high.append(min(int(line[-1]) + 2, winner.shape[axis]))
    return low, high


def _reach(
    to_model: Affine, size: NDArray[np.int64], shape: tuple[int, int, int]
) -> tuple[int, int, int, int, int, int] | None:
    """The source voxels whose position falls into the box, half a voxel around it included."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in size], indexing="ij")).reshape(3, -1)
    at_source = np.linalg.inv(to_model) @ np.vstack([corners, np.ones(corners.shape[1])])
    low = np.floor(at_source[:3].min(1)).astype(int)
    high = np.ceil(at_source[:3].max(1)).astype(int) + 1
    i0, j0, k0 = (int(max(v, 0)) for v in low)
    i1, j1, k1 = (int(min(v, n)) for v, n in zip(high, shape[::-1], strict=True))
    return (k0, k1, j0, j1, i0, i1) if k0 < k1 and j0 < j1 and i0 < i1 else None


def _separable(linear: Affine) -> tuple[int, int, int] | None:
    """The source axis along each model axis when the grids are parallel; None when they are not."""
    strength = np.abs(linear)
    axes = tuple(int(axis) for axis in strength.argmax(1))
    if sorted(axes) != [0, 1, 2]:
        return None
    rest = strength.copy()
    rest[np.arange(3), axes] = 0
    return axes if rest.max() < 1e-5 * strength.max() else None  # type: ignore[return-value]


def _weights(count: int, start: int, stop: int, scale: float, offset: float, like: torch.Tensor) -> torch.Tensor:
    """Linear interpolation along one axis as a matrix, (stop - start, count); the edge is continued outwards."""
    at = (np.arange(start, stop) * scale + offset).clip(0, count - 1)
    low = np.minimum(np.floor(at).astype(int), max(count - 2, 0))
    part = at - low
    weights = np.zeros((stop - start, count))
    lines = np.arange(stop - start)
    weights[lines, low] = 1 - part
    weights[lines, np.minimum(low + 1, count - 1)] += part
    return torch.as_tensor(weights, dtype=like.dtype, device=like.device)


def _aligned(
    probabilities: torch.Tensor, to_model: Affine, axes: tuple[int, int, int], view: tuple[slice, slice, slice]
) -> Iterator[torch.Tensor]:
    ranges = {0: view[2], 1: view[1], 2: view[0]}  # source axis -> its indices
    like = probabilities.new_empty(0, dtype=_kind(probabilities))
    matrices = {
        axis: _weights(
            probabilities.shape[1 + model_axis],
            ranges[axis].start,
            ranges[axis].stop,
            float(to_model[model_axis, axis]),
            float(to_model[model_axis, 3]),
            like,
        )
        for model_axis, axis in enumerate(axes)
    }
    order = [1 + axes.index(axis) for axis in (2, 1, 0)]
    for channel in probabilities.permute(0, *order):
        part = torch.tensordot(matrices[2], channel.to(like.dtype), dims=([1], [0]))
        yield matrices[1] @ part @ matrices[0].T


def _sheared(probabilities: torch.Tensor, to_model: Affine, view: tuple[slice, slice, slice]) -> Iterator[torch.Tensor]:
    device, kind = probabilities.device, _kind(probabilities)
    k, j, i = (torch.arange(part.start, part.stop, device=device, dtype=kind) for part in view)
    matrix = torch.as_tensor(to_model, dtype=kind, device=device)
    size = torch.tensor(probabilities.shape[1:], device=device, dtype=kind)
    at = [
        matrix[axis, 0] * i[None, None, :]
        + matrix[axis, 1] * j[None, :, None]
        + matrix[axis, 2] * k[:, None, None]
        + matrix[axis, 3]
        for axis in range(3)
    ]
    # grid_sample wants (x, y, z) of the last, middle and first axis, from -1 to 1 between the outer voxels' centres
    scaled = [2 * where / (count - 1).clamp(min=1) - 1 for where, count in zip(at, size, strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)[None]
    for channel in probabilities:
        yield functional.grid_sample(
            channel[None, None].to(kind), grid, mode="bilinear", padding_mode="border", align_corners=True
        )[0, 0]


def _kind(probabilities: torch.Tensor) -> torch.dtype:
    """What is computed in: half precision is only for keeping."""
    return torch.float32 if probabilities.dtype == torch.float16 else probabilities.dtype


def _largest(channels: Iterator[torch.Tensor]) -> torch.Tensor:
    """The running argmax: the first of equal classes keeps the voxel."""
    best = next(channels)
    label = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for value, part in enumerate(channels, 1):
        label.masked_fill_(part > best, value)
        torch.maximum(best, part, out=best)
    return label


def _reaching(threshold: float, channels: Iterator[torch.Tensor]) -> torch.Tensor:
    """The bit of each channel, where it reaches the threshold."""
    label: torch.Tensor | None = None
    for bit, part in enumerate(channels):
        set_here = (part >= threshold).to(torch.uint8) << bit
        label = set_here if label is None else label.bitwise_or_(set_here)
    assert label is not None, "a network has a channel"
    return label
