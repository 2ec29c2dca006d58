"""The slices of a volume, each where its own image lies: the planes that outlines are looked for on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import Refused
from ..study.geometry import Geometry
from .label_file import numbers, text

Numbers = NDArray[np.float64]

#: of the step between slices: what lies this near to a slice lies on it. Contours are stated in hundredths or tenths of
#: a millimetre, and images lie up to a twentieth of the step beside the grid (`study.geometry`)
ON_SLICE = 0.2
#: where a place lies that is on no slice
BETWEEN, OUTSIDE = -1, -2
#: a mask takes memory where it is written to: no more than this, of all masks of an object together
MOST_BYTES = 1 << 33

Reference = tuple[str, int]
"""SOP Instance UID, and the frame from 1; 0 where none is named"""


class Placed(Protocol):
    """Images in their places: a `Volume`, or a `Grid` whose values nobody has read."""

    @property
    def geometry(self) -> Geometry: ...
    @property
    def headers(self) -> tuple[Dataset, ...]: ...
    @property
    def frames(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Slices:
    """The slices of a volume that lies in the patient.

    Attributes:
        shape: (slices, rows, columns).
        affine: 4x4, (column, row, slice) -> LPS mm.
        origins: (slices, 3), the centre of the first pixel of each, mm LPS.
        normal: across all of them, of length 1.
        heights: (slices,) along the normal, mm.
        step_mm: between neighbours, along the normal.
    """

    shape: tuple[int, int, int]
    affine: Numbers
    origins: Numbers
    normal: Numbers
    heights: Numbers
    step_mm: float

    @classmethod
    def of(cls, volume: Placed) -> Slices:
        affine = volume.geometry.affine
        across = np.cross(affine[:3, 0], affine[:3, 1])
        normal = across / np.linalg.norm(across)
        origins = np.array([numbers(header, "ImagePositionPatient", 3) for header in volume.headers])
        heights = origins @ normal
        return cls(volume.geometry.shape, affine, origins, normal, heights, volume.geometry.slice_step_mm)

    def at(self, height_mm: float) -> int:
        """The slice at a height; BETWEEN two of them, or OUTSIDE of all."""
        nearest = int(np.argmin(np.abs(self.heights - height_mm)))
        away = abs(float(self.heights[nearest]) - height_mm) / self.step_mm
        if away <= ON_SLICE:
            return nearest
        inside = self.heights.min() - self.step_mm / 2 <= height_mm <= self.heights.max() + self.step_mm / 2
        return BETWEEN if inside else OUTSIDE

    def in_plane(self, points: Numbers, k: int) -> Numbers:
        """Points in the pixels of a slice: (points, 2), column and row; what is across the slice is left out."""
        return np.asarray((points - self.origins[k]) @ self._to_pixels)

    def index(self, points: Numbers) -> Numbers:
        """Points in voxels, (points, 3): column, row, slice."""
        return np.asarray((points - self.affine[:3, 3]) @ self.to_voxels.T)

    @cached_property
    def to_voxels(self) -> Numbers:
        """3x3, from mm LPS to steps along (column, row, slice)."""
        return np.asarray(np.linalg.inv(self.affine[:3, :3]))

    @cached_property
    def _to_pixels(self) -> Numbers:
        return np.asarray(np.linalg.pinv(self.affine[:3, :2]).T)


def must_fit(slices: int, shape: tuple[int, int, int]) -> None:
    """Refuse masks that write to more slices than there should be memory for, before there is any.

    Args:
        slices: that are written to, of all masks together.

    Raises:
        Refused: `label-too-large`.
    """
    if slices * shape[1] * shape[2] > MOST_BYTES:
        raise Refused("label-too-large", "the structures of the object would take more memory than is given to them")


def named(volume: Placed) -> dict[Reference, int]:
    """The slice of each image, or of each frame of one; an image of a single frame goes with and without its number."""
    found: dict[Reference, int] = {}
    for k, (header, frame) in enumerate(zip(volume.headers, volume.frames, strict=True)):
        uid = text(header, "SOPInstanceUID")
        found[uid, frame] = k
        if not frame:
            found[uid, 1] = k
    return found


def frame_of_reference(volume: Placed) -> str:
    """Of the images; empty where they have none."""
    return text(volume.headers[0], "FrameOfReferenceUID")
