"""NIfTI files as the arrays and places that networks and labels have here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NoImage(Exception):
    """A file is no volume that can be read; the sentence names it."""


def read(file: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """(slices, rows, columns), in colour with a last axis, and the affine: 4x4, from (column, row, slice) to LPS, mm.

    Raises:
        NoImage: it is not there, or is none.
    """
    try:
        image = nibabel.load(file)
        data, affine = np.asarray(image.dataobj), np.asarray(image.affine, np.float64)
    except (OSError, ValueError, EOFError, ImageFileError) as error:
        raise NoImage(f"{file.name}: cannot be read: {str(error).splitlines()[0]}") from None
    if data.ndim not in (3, 4):
        raise NoImage(f"{file.name}: has {data.ndim} axes")
    return np.moveaxis(data, (0, 1, 2), (2, 1, 0)), RAS_TO_LPS @ affine


def same_grid(one: tuple[NDArray[Any], NDArray[np.float64]], other: tuple[NDArray[Any], NDArray[np.float64]]) -> bool:
    """Whether two volumes have the same slices, rows and columns at the same places, to a thousandth of a mm."""
    return one[0].shape[:3] == other[0].shape[:3] and bool(np.allclose(one[1], other[1], atol=1e-3))
