"""The scores of one case: a label map against the truth, class by class, on any grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..membership import Box, box_of, inside
from .curves import ranked
from .lesions import Lesions, detected
from .overlap import Labels, Overlap, boxes, counted, overlap
from .surfaces import distances
from .values import ClassScores

#: calibration is judged in a box around the truth, so much wider: over a whole scan it would be that of the air
AROUND_MM = 20.0


@dataclass(frozen=True)
class _Compared:
    """The two label maps of a case on their grid, of which every score is taken."""

    truth: Labels
    predicted: Labels
    affine: NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    parts: Mapping[int, tuple[int, ...]]

    def values(self, value: int) -> tuple[int, ...]:
        """The label values whose union a class is."""
        return self.parts.get(value, (value,))

    def masks(self, value: int, box: Box) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of one class, inside of a box."""
        values = self.values(value)
        return inside(self.truth[box], values), inside(self.predicted[box], values)


def score(
    truth: Labels,
    predicted: Labels,
    affine: NDArray[np.float64],
    annotated: Sequence[int],
    *,
    lesions: Collection[int] = (),
    tolerance_mm: float = 3.0,
    probabilities: Mapping[int, NDArray[np.float16]] | None = None,
    parts: Mapping[int, tuple[int, ...]] | None = None,
) -> tuple[ClassScores, ...]:
    """Score every class that was annotated, in that order; the others are left out, as nobody knows the truth of them.

    Surfaces are as `surfaces` says, lesions as `lesions` says. ROC and PR are over all voxels of the scan; the
    calibration error is over those of a box around the truth, 20 mm wider on every side, and None where the truth has
    none.

    Args:
        truth, predicted: (slices, rows, columns).
        affine: 4x4, (column, row, slice) index -> mm.
        annotated: label values, each from 1 to 255.
        lesions: label values whose components are lesions.
        tolerance_mm: of the normalised surface Dice.
        probabilities: label value -> (slices, rows, columns), 0 to 1.
        parts: of a class that is a union of label values: its own value -> those (`membership.parts`).

    Raises:
        ValueError: the shapes or the types differ, a label value is not one, or the affine has no volume.
    """
    _check(truth, predicted, affine, annotated)
    of = _Compared(truth, predicted, affine, parts or {})
    pairs, of_values, of_truth = counted(truth, predicted), boxes(truth, predicted), boxes(truth)
    where = {value: box for value in annotated if (box := box_of(of_values, of.values(value)))}
    around = {value: box for value in annotated if (box := box_of(of_truth, of.values(value)))}
    found = []
    for value in annotated:
        shared = overlap(pairs, of.values(value))
        nsd, hd95_mm = _of_surface(of, value, shared, where, tolerance_mm)
        components = _of_lesions(of, value, where) if value in lesions else None
        roc_auc, pr_auc, calibration_error = None, None, None
        if probabilities is not None and value in probabilities:
            roc_auc, pr_auc, calibration_error = _of_probability(of, value, probabilities[value], around.get(value))
        found.append(
            ClassScores(
                value=value,
                truth_ml=shared.truth * of.voxel_ml,
                predicted_ml=shared.predicted * of.voxel_ml,
                dice=shared.dice,
                nsd=nsd,
                hd95_mm=hd95_mm,
                accuracy=shared.accuracy,
                precision=shared.precision,
                recall=shared.recall,
                lesions_found=components.found if components else None,
                lesions_missed=components.missed if components else None,
                lesions_false=components.false if components else None,
                roc_auc=roc_auc,
                pr_auc=pr_auc,
                calibration_error=calibration_error,
                both_empty=shared.is_empty,
            )
        )
    return tuple(found)


def _check(truth: Labels, predicted: Labels, affine: NDArray[np.float64], annotated: Sequence[int]) -> None:
    for name, labels in (("the truth", truth), ("the prediction", predicted)):
        if labels.dtype != np.uint8 or labels.ndim != 3 or not labels.size:
            raise ValueError(f"{name} is {labels.shape} of {labels.dtype}: not a label map of (slices, rows, columns)")
    if truth.shape != predicted.shape:
        raise ValueError(f"the prediction is {predicted.shape}, the truth {truth.shape}: they are on different grids")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine[:3, :3]):
        raise ValueError("the affine is not a 4x4 matrix with a volume")
    wrong = [value for value in annotated if not 1 <= value <= 255]
    if wrong or len(set(annotated)) < len(annotated):
        raise ValueError(f"the annotated classes {list(annotated)} are not different values from 1 to 255")


def _of_surface(
    of: _Compared, value: int, shared: Overlap, where: Mapping[int, Box], tolerance_mm: float
) -> tuple[float | None, float | None]:
    """NSD and HD95: none where neither has the class; 0 and none where one of the two lacks it."""
    if not shared.truth or not shared.predicted:
        return None if shared.is_empty else 0.0, None
    apart = distances(*of.masks(value, where[value]), of.affine)
    return apart.nsd(tolerance_mm), apart.hd95_mm()


def _of_lesions(of: _Compared, value: int, where: Mapping[int, Box]) -> Lesions:
    return detected(*of.masks(value, where[value])) if value in where else Lesions(found=0, missed=0, false=0)


def _of_probability(
    of: _Compared, value: int, probability: NDArray[np.float16], box: Box | None
) -> tuple[float | None, float | None, float | None]:
    """ROC AUC, PR AUC and calibration error."""
    values = of.values(value)
    whole = ranked(inside(of.truth, values), probability)
    error = None
    if box is not None:
        near = _wider(box, of.affine, of.truth.shape)
        error = ranked(inside(of.truth[near], values), probability[near]).calibration_error()
    return whole.roc_auc(), whole.pr_auc(), error


def _wider(box: Box, affine: NDArray[np.float64], shape: tuple[int, ...]) -> Box:
    steps = np.linalg.norm(affine[:3, 2::-1], axis=0)  # mm along a slice, a row, a column
    slices, rows, columns = (
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, size, more in zip(box, shape, np.ceil(AROUND_MM / steps).astype(int).tolist(), strict=True)
    )
    return slices, rows, columns
