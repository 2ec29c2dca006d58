"""From class probabilities on the network's grid to a label map on the grid of the source, by the affines.

A voxel gets the class whose linearly interpolated probability is largest, as when every channel is resampled to the
source grid and then compared; but one channel at a time, slab by slab, and only where anything but background can win.
Of segments that may overlap it gets the bit of each whose interpolated probability reaches a threshold.

Where two classes are so near to one another, or one to the threshold, that the roundings of an interpolation decide,
MONAI's own roundings do (`resampling`): a label map is that of its Invertd, voxel for voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .inversion import Affine, Inversion
from .resampling import Points

#: source voxels that are interpolated at a time
SLAB_VOXELS = 8_000_000
#: of these as many as MONAI's own places are made for: they take about a hundred bytes a voxel
PLACES = 2_000_000

Bound = tuple[int, int, int]
View = tuple[slice, ...]
Channels = Iterator[torch.Tensor]
#: from interpolated channels, one at a time, and how far their values may be from MONAI's: labels, uint8, and where
#: they may be others then
Combined = Callable[[Channels, float], tuple[torch.Tensor, torch.Tensor]]


def label_map(
    probabilities: torch.Tensor,
    inversion: Inversion,
    shape: tuple[int, int, int],
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    """Write the label map of the source grid.

    Args:
        probabilities: (class, x, y, z) on the network's grid; class 0 is the background.
        inversion: where that grid lies, and how MONAI goes from there to the source's.
        shape: of the source array, (slices, rows, columns).
        affine: 4x4, from the source's (column, row, slice) index to the same millimetres.
        out: uint8 of `shape`; filled.
    """
    points = Points.of(inversion, probabilities, affine, shape)
    winner = probabilities[0] < probabilities[1:].amax(0)
    _fill(probabilities, winner, _largest, inversion.affine, points, affine, out)


def bit_map(
    probabilities: torch.Tensor,
    threshold: float,
    inversion: Inversion,
    shape: tuple[int, int, int],
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    """Write the label map of segments that may overlap: bit i where channel i reaches the threshold.

    Args:
        probabilities: (segment, x, y, z) on the network's grid, at most eight.
        threshold: above 0.
        inversion, shape, affine, out: as `label_map` has them.
    """
    points = Points.of(inversion, probabilities, affine, shape)
    winner = (probabilities >= threshold - (points.slack if points else 0.0)).any(0)
    _fill(probabilities, winner, partial(_reaching, threshold), inversion.affine, points, affine, out)


def _fill(
    probabilities: torch.Tensor,
    winner: torch.Tensor,
    combined: Combined,
    model_affine: Affine,
    points: Points | None,
    affine: Affine,
    out: NDArray[np.uint8],
) -> None:
    out[:] = 0
    to_model = np.linalg.inv(model_affine) @ affine  # (column, row, slice) -> (x, y, z)
    box = _box(winner)
    if box is None:
        return
    low, high = box
    window = _reach(to_model, low, high, winner.shape, out.shape)
    if window is None:
        return
    axes = _separable(to_model[:3, :3])
    if axes is None and points is not None:
        every = (torch.cartesian_prod(*map(torch.arange, *bounds)) for bounds in _rows(window, PLACES))
        _as_monai(probabilities, every, points, combined, out)
        return
    cropped = probabilities[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    to_model[:3, 3] -= low
    slack = points.slack + _left_out(to_model, axes, out.shape) if points and axes else 0.0
    near: list[torch.Tensor] = []
    for bounds in _rows(window, SLAB_VOXELS):
        view = tuple(map(slice, *bounds))
        channels = _sheared(cropped, to_model, view) if axes is None else _aligned(cropped, to_model, axes, view)
        label, unsure = combined(channels, slack)
        out[view] = label.cpu().numpy()
        if points is None:
            continue
        near.append(unsure.nonzero() + torch.tensor(bounds[0], device=unsure.device))
        if view[0].stop == window[1][0] or sum(map(len, near)) > PLACES:
            _as_monai(probabilities, torch.cat(near).split(PLACES), points, combined, out)
            near = []


def _rows(window: tuple[Bound, Bound], voxels: int) -> Iterator[tuple[Bound, Bound]]:
    """Slabs of whole slices, of about so many voxels, each by its first voxel and the one behind its last."""
    (k0, j0, i0), (k1, j1, i1) = window
    thick = max(1, voxels // max(1, (j1 - j0) * (i1 - i0)))
    for first in range(k0, k1, thick):
        yield (first, j0, i0), (min(first + thick, k1), j1, i1)


def _as_monai(
    probabilities: torch.Tensor,
    parts: Iterable[torch.Tensor],
    points: Points,
    combined: Combined,
    out: NDArray[np.uint8],
) -> None:
    """Label voxels, (n, 3) in each part, by the values that MONAI has there."""
    for voxels in parts:
        places = points.places(voxels.to(probabilities.device))
        label, _ = combined((points.values(channel, places) for channel in probabilities), 0.0)
        out[tuple(voxels.cpu().numpy().T)] = label.cpu().numpy()


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
    to_model: Affine, low: list[int], high: list[int], size: Sequence[int], shape: tuple[int, ...]
) -> tuple[Bound, Bound] | None:
    """The source voxels whose position falls into the box, half a voxel around it included.

    Where the box ends with the grid, its edge goes on outwards.
    """
    source = np.array(np.meshgrid(*[(0, n - 1) for n in shape[::-1]], indexing="ij")).reshape(3, -1)
    ends = (to_model @ np.vstack([source, np.ones(8)]))[:3]
    sides = [
        (
            min(start - 0.5, ends[n].min()) if start == 0 else start - 0.5,
            max(stop - 0.5, ends[n].max()) if stop == size[n] else stop - 0.5,
        )
        for n, (start, stop) in enumerate(zip(low, high, strict=True))
    ]
    corners = np.array(np.meshgrid(*sides, indexing="ij")).reshape(3, -1)
    at_source = (np.linalg.inv(to_model) @ np.vstack([corners, np.ones(8)]))[:3]
    first = [int(max(value, 0)) for value in np.floor(at_source.min(1))]
    last = [int(min(value + 1, n)) for value, n in zip(np.ceil(at_source.max(1)), shape[::-1], strict=True)]
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return None
    return (first[2], first[1], first[0]), (last[2], last[1], last[0])


def _separable(linear: Affine) -> tuple[int, int, int] | None:
    """The source axis along each model axis when the grids are parallel; None when they are not."""
    strength = np.abs(linear)
    axes = tuple(int(axis) for axis in strength.argmax(1))
    if sorted(axes) != [0, 1, 2]:
        return None
    rest = strength.copy()
    rest[np.arange(3), axes] = 0
    return axes if rest.max() < 1e-5 * strength.max() else None  # type: ignore[return-value]


def _left_out(to_model: Affine, axes: tuple[int, int, int], shape: tuple[int, ...]) -> float:
    """How far positions are off because what is not along the axes is taken for nothing, in voxels, over all axes."""
    far = np.abs(to_model[:3, :3]) * np.array(shape[::-1])
    far[np.arange(3), axes] = 0
    return float(far.sum())


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
    probabilities: torch.Tensor, to_model: Affine, axes: tuple[int, int, int], view: View
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


def _sheared(probabilities: torch.Tensor, to_model: Affine, view: View) -> Iterator[torch.Tensor]:
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


def _largest(channels: Channels, slack: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The running argmax: the first of equal classes keeps the voxel. Unsure where the second is as good."""
    best = next(channels)
    label = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    second = torch.full_like(best, -torch.inf)
    for value, part in enumerate(channels, 1):
        label.masked_fill_(part > best, value)
        torch.maximum(second, torch.minimum(best, part), out=second)
        torch.maximum(best, part, out=best)
    return label, second.sub_(best) >= -2 * slack


def _reaching(threshold: float, channels: Channels, slack: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The bit of each channel, where it reaches the threshold. Unsure where one nearly does, or only just."""
    label: torch.Tensor | None = None
    unsure: torch.Tensor | None = None
    for bit, part in enumerate(channels):
        set_here = (part >= threshold).to(torch.uint8) << bit
        label = set_here if label is None else label.bitwise_or_(set_here)
        near = part.sub_(threshold).abs_() <= slack
        unsure = near if unsure is None else unsure.logical_or_(near)
    assert label is not None, "a network has a channel"
    assert unsure is not None
    return label, unsure
