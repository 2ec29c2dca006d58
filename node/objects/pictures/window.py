"""Which values are black and which are white: what is usual for the kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ...study.facts import text

#: HU: least and most
LUNG, SOFT_TISSUE, BONE = (-1250.0, 250.0), (-160.0, 240.0), (-500.0, 1500.0)
LUNG_BELOW_HU, BONE_ABOVE_HU = -300.0, 300.0
#: body-weight SUV from white to black
SUV = (0.0, 7.0)
#: per cent of the pixels below black and white, where values have no unit
USUAL = (1.0, 99.5)
SAMPLES = 200_000
EIGHT_BITS = (0.0, 255.0)


@dataclass(frozen=True)
class Window:
    """How values become grey.

    Attributes:
        low, high: the values of the two ends.
        inverted: the higher, the darker, as in nuclear medicine.
        name: as it is said below a picture; empty for images that are shown as they are.
    """

    low: float
    high: float
    inverted: bool = False
    name: str = ""

    def grey(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """8 bits per pixel, or three times 8 in colour."""
        scaled = (values - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
        np.clip(scaled, 0, 255, out=scaled)
        return np.asarray(255 - scaled if self.inverted else scaled, np.float32).round().astype(np.uint8)


def usual(
    values: NDArray[np.float32], header: Dataset, quantity: str, mean: float | None, *, lung: bool = False
) -> Window:
    """The window for a picture.

    Args:
        values: (slices, rows, columns), or with a last axis for colour.
        header: of an image.
        quantity: of the values, as `study.volume.Volume` names it.
        mean: of the values inside what is to be seen; None where there is nothing.
        lung: whether it is lung, where nothing can be measured.
    """
    if quantity == "HU":
        return _hounsfield(-1000.0 if mean is None and lung else mean or 0.0)
    if quantity == "suv_bw":
        return Window(*SUV, inverted=True, name=f"SUV {SUV[0]:g} to {SUV[1]:g}")
    if values.ndim == 4 or text(header, "Modality") == "US" or 0 < int(header.get("BitsStored") or 0) <= 8:
        return Window(*EIGHT_BITS)
    low, high = _percentiles(values)
    if text(header, "Modality") == "PT":
        return Window(0.0, max(high, 1e-6), inverted=True, name=f"0 to {high:.4g}")
    return Window(low, high, name=f"window {low:.4g} to {high:.4g}")


def _hounsfield(mean: float) -> Window:
    name, (low, high) = "soft tissue", SOFT_TISSUE
    if mean < LUNG_BELOW_HU:
        name, (low, high) = "lung", LUNG
    elif mean > BONE_ABOVE_HU:
        name, (low, high) = "bone", BONE
    return Window(low, high, name=f"{name} window, level {(low + high) / 2:g} width {high - low:g}")


def _percentiles(values: NDArray[np.float32]) -> tuple[float, float]:
    """Of a sample, without what was not imaged: the one value that is least."""
    steps = _steps(values.shape)
    sample = values[tuple(slice(None, None, step) for step in steps)].ravel()
    imaged = sample[sample > sample.min()]
    low, high = np.percentile(imaged if imaged.size else sample, USUAL)
    return float(low), float(max(high, low + max(abs(low) * 1e-3, 1e-6)))


def _steps(shape: Sequence[int]) -> list[int]:
    """How far apart the samples lie: slices first, then rows and columns, until there are few enough."""
    steps = [1] * len(shape)
    while np.prod([-(-size // step) for size, step in zip(shape, steps, strict=True)]) > SAMPLES:
        coarsest = max(range(len(shape)), key=lambda axis: shape[axis] / steps[axis])
        steps[coarsest] += 1
    return steps
