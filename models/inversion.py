"""How what a bundle's preprocessing did to the grid of its image is undone: by the affines, and as MONAI does it.

By the affines it is quick, and right but for the last digits; where these decide, `resampling` has MONAI's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from monai.transforms.utils import create_translate
from numpy.typing import NDArray
from torch.nn import functional

#: exact: they move voxels and change none, and the affine says where to
TURNS = ("Orientation",)
RESAMPLES = ("SpatialResample",)
CROPS = ("CropForeground", "SpatialCrop", "CenterSpatialCrop", "Crop")
PADS = ("SpatialPad", "DivisiblePad", "BorderPad", "Pad")
#: of the axes of a room, as nibabel names them
NAMES = (("L", "R"), ("P", "A"), ("I", "S"))

Operation = dict[str, Any]
Affine = NDArray[np.float64]


def outermost(trace: Sequence[Operation]) -> int:
    """How many of the last operations cropped or padded."""
    count = 0
    while count < len(trace) and trace[-1 - count]["class"] in (*CROPS, *PADS):
        count += 1
    return count


def followed(operations: Sequence[Operation]) -> bool:
    """Whether these leave but one linear interpolation between two grids, or none."""
    others = [one for one in operations if one["class"] not in TURNS]
    return not others or (len(others) == 1 and _linear(others[0]))


def _linear(operation: Operation) -> bool:
    how = operation["extra_info"]
    return operation["class"] in RESAMPLES and how["mode"] in ("bilinear", "linear") and how["padding_mode"] == "border"


def uncropped(
    array: torch.Tensor, affine: Affine, operations: Sequence[Operation]
) -> tuple[torch.Tensor, Affine, NDArray[np.int64]]:
    """Without these croppings and paddings. Where a side was cropped, one layer of zeros stands for all that was there.

    Beyond it there is nothing to interpolate with; at zero for every class, the background is the first.

    Args:
        array: (class, x, y, z).
        affine: 4x4, of its (x, y, z) index.
        operations: the last first.

    Returns:
        The array, its affine, and how many layers of zeros more MONAI would put before and behind each axis, (3, 2).
    """
    zeros = np.zeros((3, 2), np.int64)
    for operation in operations:
        for change in _changes(operation["extra_info"]):
            affine = _shifted(affine, -change[:, 0])
            zeros = zeros + change
            array = _padded(array, np.minimum(zeros, 0))
            zeros = np.maximum(zeros, 0)
    layer = np.minimum(zeros, 1)
    beyond = zeros - layer
    return _padded(array, layer), _shifted(affine, beyond[:, 0]), beyond


def _changes(extra: dict[str, Any]) -> list[NDArray[np.int64]]:
    """How many layers undoing it puts before and behind each axis, (3, 2); below 0: takes away."""
    found = _changes(extra["pad_info"]["extra_info"]) if "pad_info" in extra else []
    if "padded" in extra:
        found.append(-np.array(extra["padded"], np.int64)[1:4])
    if "cropped" in extra:
        found.append(np.array(extra["cropped"], np.int64).reshape(3, 2))
    return found


def _shifted(affine: Affine, by: NDArray[np.int64]) -> Affine:
    """In MONAI's arithmetic, for the last digit's sake."""
    return np.asarray(torch.as_tensor(affine) @ torch.as_tensor(create_translate(3, by.tolist())))


def _padded(array: torch.Tensor, sides: NDArray[np.int64]) -> torch.Tensor:
    return functional.pad(array, sides[::-1].ravel().tolist()) if sides.any() else array


@dataclass(frozen=True)
class Inversion:
    """From a network's grid to the source's, as MONAI's Invertd goes.

    Attributes:
        affine: 4x4, of the (x, y, z) index of the array that `uncropped` gave.
        beyond: (3, 2), the layers of zeros that it lacks.
        operations: of the trace, the first first: turns, and at most one linear interpolation.
    """

    affine: Affine
    beyond: NDArray[np.int64]
    operations: tuple[Operation, ...]

    @property
    def resampling(self) -> Operation | None:
        """The interpolation, if there is one."""
        return next((one for one in self.operations if one["class"] in RESAMPLES), None)

    def resampled(self, channel: torch.Tensor) -> MetaTensor:
        """What MONAI would resample: nothing cropped, and turned back where it was turned after resampling.

        Args:
            channel: (x, y, z), of the array that `uncropped` gave.

        Returns:
            (1, x, y, z), with its affine.
        """
        affine = torch.as_tensor(_shifted(self.affine, -self.beyond[:, 0]))
        image = MetaTensor(_padded(channel[None], self.beyond), affine=affine)
        if self.resampling is None:
            return image
        for operation in reversed(self.operations):
            if operation is self.resampling:
                break
            codes = nib.orientations.aff2axcodes(np.asarray(operation["extra_info"]["original_affine"]), labels=NAMES)
            image = Orientation(axcodes=codes, labels=NAMES)(image)
        return image
