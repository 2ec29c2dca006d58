"""What trained weights do on patients that they have not seen, through the same inference as in service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from .. import card
from ..network import LPS_TO_RAS, Network
from ..scores import surfaces

#: the value of the structure that is looked for
VALUE = 1


@dataclass(frozen=True)
class Outcome:
    """One patient.

    Attributes:
        dice: on the grid of the images.
        seconds: of the whole inference.
        surface_mm: average symmetric distance of the surfaces; None where nothing was found.
    """

    patient: str
    dice: float
    truth_ml: float
    predicted_ml: float
    seconds: float
    surface_mm: float | None = None


def bundle_of(
    shipped: Path, folder: Path, weights: Mapping[str, torch.Tensor], changes: Mapping[str, Any]
) -> card.Bundle:
    """A copy of a bundle with other weights, and with those of the changes that are about inference too; sealed."""
    shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("model.pt", "__pycache__"))
    (folder / "models").mkdir(exist_ok=True)
    torch.save({"model": dict(weights)}, folder / "models" / "model.pt")
    file = folder / "configs" / "inference.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {name: value for name, value in changes.items() if name in config}))
    card.seal(folder)
    return card.read(folder)


def outcomes(bundle: card.Bundle, cases: Sequence[Mapping[str, str]]) -> list[Outcome]:
    """Segment each case as the node would, and compare.

    Args:
        cases: "patient" and paths: the channels of the bundle's card, and "label".
    """
    network = Network(bundle)
    found = []
    for case in cases:
        channels, truth, affine = read(case, [one.channel for one in bundle.card.input])
        labels = np.empty(truth.shape, np.uint8)
        seconds = network.segment(channels, affine, labels)
        found.append(outcome(case["patient"], truth, labels == VALUE, affine, sum_of(seconds)))
    return found


def sum_of(seconds: Mapping[str, float]) -> float:
    return seconds["preprocess"] + seconds["forward"] + seconds["postprocess"]


def read(
    case: Mapping[str, str], channels: Sequence[str]
) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_], NDArray[np.float64]]:
    """Values of each channel and truth, (slices, rows, columns), and the affine from (column, row, slice) to LPS mm."""
    images, label = [nib.load(case[channel]) for channel in channels], nib.load(case["label"])
    values = [np.ascontiguousarray(np.asarray(one.dataobj, np.float32).transpose(2, 1, 0)) for one in images]
    truth = np.asarray(label.dataobj).transpose(2, 1, 0) == VALUE
    return values, truth, LPS_TO_RAS @ np.asarray(label.affine, np.float64)


def outcome(
    patient: str,
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    affine: NDArray[np.float64],
    seconds: float,
) -> Outcome:
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    both, either = float((truth & found).sum()), float(truth.sum() + found.sum())
    apart = surfaces.distances(truth, found, affine).mean_mm() if truth.any() and found.any() else None
    dice = 2 * both / either if either else 1.0
    return Outcome(patient, dice, truth.sum() * voxel_ml, found.sum() * voxel_ml, seconds, apart)


def by_threshold(
    cases: Sequence[Mapping[str, str]], suv: float, *, of_maximum: bool = False, channel: str = "image"
) -> list[Outcome]:
    """What a threshold gives: everything above it, no region chosen, nothing taken away.

    Args:
        of_maximum: `suv` is the part of the highest value of the image.
        channel: the key of the PET.
    """
    found = []
    for case in cases:
        (values,), truth, affine = read(case, [channel])
        least = suv * float(values.max()) if of_maximum else suv
        found.append(outcome(case["patient"], truth, values > least, affine, 0.0))
    return found
