"""What the images of an input set look like to a network: what drifts when a scanner or a protocol changes.

It is described while the volume is in memory, from a part of its voxels, in a few milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.card import Input

from .facts import UNREADABLE, text
from .volume import Volume

#: about so many voxels are looked at
VOXELS = 200_000
#: edges of the bins of Hounsfield units: air, lung, fat, water, soft tissue, contrast, bone, metal
HU = (-950, -850, -700, -500, -300, -150, -75, -25, 0, 25, 50, 75, 100, 150, 200, 300, 500, 1000, 2000)
#: of standardised uptake values
SUV = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20)
#: what has no unit: parts of the way between the values below which one voxel of a hundred lies, and 99
PARTS = tuple(n / 16 for n in range(1, 16))
WORD_LETTERS = 64
OF_ALL = 1000.0


def of(volumes: Iterable[Volume], rules: Iterable[Input]) -> list[dict[str, Any]]:
    """Every channel that is images, described in plain values of JSON.

    Args:
        volumes: of an input set, by channel.
        rules: of the same channels; what another network found is no appearance, and left out.

    Returns:
        Per channel: `channel`; `numbers`: name -> mm, None where the images do not say; `words`: name -> text, cut;
        `values`: how many voxels of a thousand lie in each bin; `unit`: "HU", "suv_bw" or "".
    """
    return [_described(one, rule) for one, rule in zip(volumes, rules, strict=True) if not rule.network]


def _described(volume: Volume, rule: Input) -> dict[str, Any]:
    header, geometry = volume.headers[0], volume.geometry
    spacing_mm = float(np.linalg.norm(geometry.affine[:3, 0])) if geometry.is_calibrated else None
    numbers = {
        "pixel_spacing_mm": spacing_mm,
        "slice_spacing_mm": geometry.slice_step_mm if geometry.in_patient else None,
        "slice_thickness_mm": _number(header, "SliceThickness"),
    }
    scanner = " ".join(filter(None, (_word(header, "Manufacturer"), _word(header, "ManufacturerModelName"))))
    return {
        "channel": rule.channel,
        "numbers": {name: _kept(value) for name, value in numbers.items()},
        "words": {"kernel": _word(header, "ConvolutionKernel"), "scanner": scanner},
        "values": histogram(volume.values.array, volume.quantity),
        "unit": volume.quantity,
    }


def histogram(values: NDArray[np.float32], unit: str) -> list[float]:
    """How many voxels of a thousand lie in each bin, from evenly spaced voxels.

    Args:
        values: (slices, rows, columns), or with three colours behind.
        unit: "HU", "suv_bw", or "": then the bins are of the values' own range.
    """
    step = max(1, round((values.size / VOXELS) ** (1 / 3)))
    some = values[:: min(step, max(1, values.shape[0] // 8)), ::step, ::step].ravel()
    some = some[np.isfinite(some)]
    if not some.size:
        return []
    if unit == "HU":
        edges = np.array(HU, np.float64)
    elif unit == "suv_bw":
        edges = np.array(SUV, np.float64)
    else:
        low, high = np.percentile(some, [1, 99])
        edges = low + np.array(PARTS) * max(float(high - low), 1e-6)
    counts = np.bincount(np.searchsorted(edges, some, side="right"), minlength=len(edges) + 1)
    return [round(float(part), 2) for part in counts * (OF_ALL / some.size)]


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        found = float(_word(header, keyword))
    except ValueError:
        return None
    return found if math.isfinite(found) and found > 0 else None


def _kept(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _word(header: Dataset, keyword: str) -> str:
    """What a header says, as text that can stand in a row: printable and short."""
    try:
        said = text(header, keyword)
    except UNREADABLE:
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in said).strip()[:WORD_LETTERS]
