"""Small synthetic CT series with known content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node.demo.study import ct_series, write

SPACING_MM = (2.0, 3.0, 5.0)


def block(shape: tuple[int, int, int] = (24, 20, 8)) -> NDArray[np.float32]:
    """Air-filled box in water: (columns, rows, slices)."""
    hu = np.zeros(shape, np.float32)
    hu[4:-4, 5:-5, 2:-2] = -800
    return hu


def small_series(shape: tuple[int, int, int] = (24, 20, 8), **identity: object) -> list[Dataset]:
    """A CT series of a box of air in water."""
    return list(ct_series(block(shape), SPACING_MM, **identity))  # type: ignore[arg-type]


def as_files(images: Sequence[Dataset], folder: Path) -> list[Path]:
    return write(iter(images), folder)
