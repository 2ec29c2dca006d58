"""MONAI's own resampling to the source grid at chosen voxels, to the same bits.

`monai.transforms.SpatialResample` makes a grid of places by one multiplication of matrices (`affine_grid`) and takes
the values there (`grid_sample`), in single precision unless the bundle says double. Its places are off by up to some
ten-thousandths of a voxel, and where two classes are equal to the fourth digit, that decides. Each row of both depends
on nothing but itself, so that it can be had for a few voxels as for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.utils import normalize_transform, to_norm_affine
from monai.transforms.utils_pytorch_numpy_unification import allclose
from monai.utils import TraceKeys
from torch.nn import functional

from .inversion import Affine, Inversion, Operation

#: within it SpatialResample takes two affines for one and moves nothing (AFFINE_TOL of monai.transforms.spatial)
SAME = 1e-3
#: how often a value is rounded: 8 products of three factors and their sum by MONAI; 3 times 2 products by `restore`
VALUE_ROUNDINGS = 24
#: how often a place is, from -1 to 1: three matrices of four lines are multiplied, and that with the voxel's place
PLACE_ROUNDINGS = 19
#: and on its way from there to a voxel's index
INDEX_ROUNDINGS = 6
#: a relative rounding of single and of double precision
SINGLE, DOUBLE = 2.0**-24, 2.0**-53


@dataclass(frozen=True)
class Points:
    """Of one network's output and one source.

    Attributes:
        inversion: which is followed.
        axes, signs, starts: voxel's index along axis n of the resampled grid: starts[n] + signs[n] * its index along
            the source's axis axes[n], of (column, row, slice).
        grid: how MONAI makes the places; None where it moves nothing.
        slack: how far a value may be from the one that interpolation by the affines gives, values being 0 to 1.
    """

    inversion: Inversion
    axes: tuple[int, ...]
    signs: tuple[int, ...]
    starts: tuple[int, ...]
    grid: Grid | None
    slack: float

    @classmethod
    def of(
        cls, inversion: Inversion, probabilities: torch.Tensor, affine: Affine, shape: tuple[int, int, int]
    ) -> Points | None:
        """For a network's output.

        Args:
            probabilities: (class, x, y, z), 0 to 1, as `uncropped` gave them.
            affine: 4x4, from the source's (column, row, slice) index to millimetres.
            shape: (slices, rows, columns) of the source.

        Returns:
            None where half precision has taken the last digits, or what was resampled is not the source, turned.
        """
        if probabilities.dtype == torch.float16:
            return None
        image, operation = inversion.resampled(probabilities[0]), inversion.resampling
        source, size = image.affine, tuple(image.shape[1:])
        target, into = source, size
        if operation is not None:
            target = torch.as_tensor(operation["extra_info"]["src_affine"], dtype=torch.float64)
            into = tuple(int(count) for count in operation["orig_size"])
        turn = _turn(np.linalg.inv(target.numpy()) @ affine, shape, into)
        if turn is None:
            return None
        grid = None if operation is None else Grid.of(operation, source, size, target, into, probabilities.device)
        return cls(inversion, *turn, grid, VALUE_ROUNDINGS * SINGLE + (0.0 if grid is None else grid.off))

    def places(self, voxels: torch.Tensor) -> torch.Tensor:
        """Where the values of voxels are taken.

        Args:
            voxels: (n, 3) int64: slice, row, column.
        """
        parts = zip(self.axes, self.signs, self.starts, strict=True)
        index = [start + sign * voxels[:, 2 - axis] for axis, sign, start in parts]
        return torch.stack(index, -1) if self.grid is None else self.grid.places(index)

    def values(self, channel: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The values of a channel, float32 (n).

        Args:
            channel: (x, y, z), of the array that `uncropped` gave.
            places: of `places`.
        """
        image = self.inversion.resampled(channel).as_tensor()[0]
        return image[places.unbind(-1)].float() if self.grid is None else self.grid.values(image, places)


def _turn(
    steps: Affine, shape: tuple[int, int, int], into: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Of `Points`: axes, signs and starts, where the source's voxels are those of the other grid, each one of them."""
    axes = tuple(int(axis) for axis in np.abs(steps[:3, :3]).argmax(1))
    signs = tuple(int(np.sign(steps[n, axis])) for n, axis in enumerate(axes))
    starts = tuple(0 if sign > 0 else count - 1 for sign, count in zip(signs, into, strict=True))
    if sorted(axes) != [0, 1, 2] or tuple(shape[2 - axis] for axis in axes) != into:
        return None
    whole = np.eye(4)
    whole[:3] = 0
    whole[range(3), axes] = signs
    whole[:3, 3] = starts
    return (axes, signs, starts) if np.allclose(steps, whole, atol=SAME) else None


@dataclass(frozen=True)
class Grid:
    """Of MONAI's AffineTransform.

    Attributes:
        lines: the normalised places of the resampled grid's voxels along each of its axes.
        theta: (1, 4, 4), from there to those of the network's grid, axes reversed.
        kind: what is computed in.
        aligned: align_corners.
        off: how far a value, interpolated between 0 and 1, may be off because of the places' rounding.
    """

    lines: tuple[torch.Tensor, ...]
    theta: torch.Tensor
    kind: torch.dtype
    aligned: bool
    off: float

    @classmethod
    def of(
        cls,
        operation: Operation,
        source: torch.Tensor,
        size: tuple[int, ...],
        target: torch.Tensor,
        into: tuple[int, ...],
        device: torch.device,
    ) -> Grid | None:
        """What the inverse of SpatialResample makes; None where it finds that nothing has to be moved.

        Args:
            operation: of the trace.
            source, size: affine and (x, y, z) of what is resampled.
            target, into: the same of what it becomes.
        """
        extra = operation["extra_info"]
        steps = torch.as_tensor(np.linalg.solve(source.numpy(), target.numpy()))
        if size == into and any(allclose(*pair, atol=SAME) for pair in ((source, target), (steps, np.eye(4)))):
            return None
        kind: torch.dtype = getattr(torch, extra["dtype"])
        aligned = extra["align_corners"] not in (None, TraceKeys.NONE) and bool(extra["align_corners"])
        theta = to_norm_affine(steps[None].to(device, kind), size, into, aligned)
        back = [2, 1, 0]
        theta[:, :3] = theta[:, back]
        theta[:, :, :3] = theta[:, :, back]
        lines = tuple(_line(count, aligned, kind, device) for count in into)
        return cls(lines, theta, kind, aligned, _off(steps, size, into, kind, aligned=aligned))

    def places(self, index: list[torch.Tensor]) -> torch.Tensor:
        """(1, 1, 1, n, 3), as `affine_grid` makes them of all voxels.

        Args:
            index: x, y and z of each voxel.
        """
        along = [line[at] for line, at in zip(self.lines, index, strict=True)]
        base = torch.stack([*along[::-1], torch.ones_like(along[0])], -1)
        return base[None].bmm(self.theta[:, :3].transpose(1, 2))[None, None]

    def values(self, image: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(n) float32, of (x, y, z)."""
        kept = functional.grid_sample(
            image[None, None].to(self.kind), places, mode="bilinear", padding_mode="border", align_corners=self.aligned
        )
        return kept[0, 0, 0, 0].float()


def _line(count: int, aligned: bool, kind: torch.dtype, device: torch.device) -> torch.Tensor:
    """As ATen has them (AffineGridGenerator.cpp, linspace_from_neg_one)."""
    if count <= 1:
        return torch.zeros(1, dtype=kind, device=device)
    line = torch.linspace(-1, 1, count, dtype=kind, device=device)
    return line if aligned else line * (count - 1) / count


def _off(
    steps: torch.Tensor, size: tuple[int, ...], into: tuple[int, ...], kind: torch.dtype, *, aligned: bool
) -> float:
    """How far MONAI's places and exact ones may be apart, in voxels, summed over the axes.

    A product of matrices is off by the roundings of a term times the product of their absolute values (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.5). Between neighbours a value changes by no more than 1.
    """
    of_size, of_into = (normalize_transform(n, None, torch.float64, aligned)[0] for n in (size, into))
    largest = (of_size.abs() @ steps.abs() @ torch.linalg.inv(of_into).abs()).sum(1)[:3]
    rounding = DOUBLE + (DOUBLE if kind == torch.float64 else SINGLE)
    voxels = torch.tensor(size, dtype=torch.float64) / 2
    return float((rounding * voxels * (PLACE_ROUNDINGS * largest + INDEX_ROUNDINGS)).sum())
