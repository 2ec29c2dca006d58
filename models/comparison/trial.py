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

#: the value of the structure that is looked for
VALUE = 1


@dataclass(frozen=True)
class Outcome:
    """One patient.

    Attributes:
        dice: on the grid of the images.
        seconds: of the whole inference.
    """

    patient: str
    dice: float
    truth_ml: float
    predicted_ml: float
    seconds: float


def bundle_of(shipped: Path, folder: Path, weights: Mapping[str, torch.Tensor], network_def: Any) -> card.Bundle:
    """A copy of a bundle with other weights, and another network where one is given; sealed."""
    shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("model.pt", "__pycache__"))
    (folder / "models").mkdir(exist_ok=True)
    torch.save({"model": dict(weights)}, folder / "models" / "model.pt")
    if network_def is not None:
        file = folder / "configs" / "inference.json"
        config = json.loads(file.read_text())
        config["network_def"] = network_def
        file.write_text(json.dumps(config))
    card.seal(folder)
    return card.read(folder)


def outcomes(bundle: card.Bundle, cases: Sequence[Mapping[str, str]]) -> list[Outcome]:
    """Segment each case as the node would, and compare.

    Args:
        cases: "patient" and paths: "image" and "label".
    """
    network = Network(bundle)
    found = []
    for case in cases:
        values, truth, affine = read(case)
        labels = np.empty(values.shape, np.uint8)
        seconds = network.segment([values], affine, labels)
        found.append(outcome(case["patient"], truth, labels == VALUE, affine, sum_of(seconds)))
    return found


def sum_of(seconds: Mapping[str, float]) -> float:
    return seconds["preprocess"] + seconds["forward"] + seconds["postprocess"]


def read(case: Mapping[str, str]) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Values and truth, (slices, rows, columns), and the affine from (column, row, slice) to LPS mm."""
    image, label = nib.load(case["image"]), nib.load(case["label"])
    values = np.ascontiguousarray(np.asarray(image.dataobj, np.float32).transpose(2, 1, 0))
    truth = np.asarray(label.dataobj).transpose(2, 1, 0) == VALUE
    return values, truth, LPS_TO_RAS @ np.asarray(image.affine, np.float64)


def outcome(
    patient: str,
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    affine: NDArray[np.float64],
    seconds: float,
) -> Outcome:
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    both, either = float((truth & found).sum()), float(truth.sum() + found.sum())
    return Outcome(
        patient, 2 * both / either if either else 1.0, truth.sum() * voxel_ml, found.sum() * voxel_ml, seconds
    )


def by_threshold(cases: Sequence[Mapping[str, str]], suv: float) -> list[Outcome]:
    """What a threshold gives: everything above it, no region chosen, nothing taken away."""
    found = []
    for case in cases:
        values, truth, affine = read(case)
        found.append(outcome(case["patient"], truth, values > suv, affine, 0.0))
    return found
