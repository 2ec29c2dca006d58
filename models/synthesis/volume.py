"""A case as arrays, and the canvas on which a generator sees its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Volume:
    """A case with what was drawn in it.

    Attributes:
        case: its name.
        values: float32 (channels, slices, rows, columns), in the channels' own units.
        label: uint8 (slices, rows, columns).
        affine: 4x4, from (column, row, slice) index to LPS, mm.
    """

    case: str
    values: NDArray[np.float32]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Between slices, rows and columns."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)[::-1]


@dataclass(frozen=True)
class Canvas:
    """Square slices of one size and resolution.

    Attributes:
        side: rows and columns.
        pixel_mm: of a pixel, as near as a whole number of pixels comes to it.
    """

    side: int
    pixel_mm: float

    @classmethod
    def of(cls, spacings_mm: Sequence[NDArray[np.float64]], shapes: Sequence[tuple[int, ...]], side: int) -> Canvas:
        """The finest canvas that holds every case, not finer than the median of their pixels.

        Args:
            spacings_mm, shapes: of each case: slices, rows, columns.
        """
        pixels = [float(np.mean(spacing[1:])) for spacing in spacings_mm]
        widest = max(
            float(n * mm)
            for spacing, shape in zip(spacings_mm, shapes, strict=True)
            for n, mm in zip(shape[1:], spacing[1:], strict=True)
        )
        return cls(side, max(float(np.median(pixels)), widest / side))

    def take(self, volume: Volume) -> Volume:
        """The volume with pixels of this size; its slices stay where they are, and nothing is padded."""
        was = volume.label.shape[1:]
        size = tuple(
            min(self.side, max(1, round(n * mm / self.pixel_mm)))
            for n, mm in zip(was, volume.spacing_mm[1:], strict=True)
        )
        values = torch.from_numpy(np.array(volume.values, np.float32))
        label = np.array(volume.label)
        if size != was:
            values = functional.interpolate(values, size, mode="bilinear", antialias=True)
            label = _fewer(label, size)
        row, column = (n / m for n, m in zip(was, size, strict=True))
        # the corners stay: the middle of the first pixel moves by half of what it grew
        grown = np.diag([column, row, 1.0, 1.0])
        grown[:2, 3] = (column - 1) / 2, (row - 1) / 2
        return Volume(volume.case, values.numpy(), label, volume.affine @ grown)

    def pad(self, slices: NDArray[T], fill: float) -> NDArray[T]:
        """(..., rows, columns) in the middle of (..., side, side)."""
        first, last = zip(*(self._margins(n) for n in slices.shape[-2:]), strict=True)
        around = [(0, 0)] * (slices.ndim - 2) + list(zip(first, last, strict=True))
        return np.pad(slices, around, constant_values=fill)

    def cut(self, slices: NDArray[T], shape: Sequence[int]) -> NDArray[T]:
        """What `pad` was given, from (..., side, side).

        Args:
            shape: whose last two are rows and columns.
        """
        (row, _), (column, _) = (self._margins(n) for n in shape[-2:])
        return slices[..., row : row + shape[-2], column : column + shape[-1]]

    def _margins(self, size: int) -> tuple[int, int]:
        before = (self.side - size) // 2
        return before, self.side - size - before


def _fewer(label: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A label of another size: the value that has most of each new pixel. The nearest would lie half a pixel off."""
    found = np.zeros((len(label), *size), np.uint8)
    most = np.zeros(found.shape, np.float32)
    for value in np.unique(label):
        part = torch.from_numpy((label == value).astype(np.float32))[None]
        share = functional.interpolate(part, size, mode="bilinear", antialias=True)[0].numpy()
        found[share > most] = value
        most = np.maximum(most, share)
    return found
