"""What a person changed of our draft: per class overlap, distance between the surfaces, voxels and volume.

The surface of a mask is its voxels that have a neighbour outside along one of the three axes of the grid; what reaches
the end of the scan ends there. Distances are between centres of voxels in mm in the patient, so that a sheared grid
(gantry tilt) is measured as it lies. They are taken from each surface voxel to the nearest one of the other mask, both
ways, and averaged over the voxels of both surfaces together (Taha and Hanbury 2015, doi 10.1186/s12880-015-0068-x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from models.membership import inside

Labels = NDArray[np.uint8]
FAR_PERCENT = 95


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """How a class was changed.

    Attributes:
        value: label value.
        dice: None where neither has a voxel.
        mean_mm, percentile_95_mm: symmetric distance of the surfaces; None where one of them has no voxel.
        voxels_changed: that are of the class in one of both only.
        draft_ml, label_ml: volumes before and after.
    """

    value: int
    dice: float | None
    mean_mm: float | None
    percentile_95_mm: float | None
    voxels_changed: int
    draft_ml: float
    label_ml: float


@dataclass(frozen=True)
class Correction:
    """A label compared with the draft it was made from.

    Attributes:
        classes: those that the label annotates and the draft has, in the label's order.
        voxels_changed: whose class is another one; a voxel that went from one class to another counts once.
    """

    classes: tuple[ClassChange, ...]
    voxels_changed: int

    @property
    def is_unchanged(self) -> bool:
        """Whether every bit is that of the draft."""
        return bool(self.classes) and not self.voxels_changed

    def as_json(self) -> dict[str, Any]:
        """For the row."""
        return {"classes": [asdict(one) for one in self.classes], "voxels_changed": self.voxels_changed}


def compare(
    draft: Labels,
    label: Labels,
    values: Sequence[int],
    affine: NDArray[np.float64],
    parts: Mapping[int, tuple[int, ...]] | None = None,
) -> Correction:
    """Compare a label with the draft.

    Args:
        draft, label: (slices, rows, columns) on one grid.
        values: of the classes to be compared; what else stands in either counts as background.
        affine: 4x4, from (column, row, slice) to mm.
        parts: of a class that is a union of label values: its own value -> those (`models.membership.parts`).
    """
    changes, changed = [], np.zeros(draft.shape, np.bool_)
    for value in values:
        of_it = (parts or {}).get(value, (value,))
        ours, theirs = inside(draft, of_it), inside(label, of_it)
        changes.append(_change(ours, theirs, value, affine))
        changed |= ours ^ theirs
    return Correction(tuple(changes), int(changed.sum()))


def _change(
    before: NDArray[np.bool_], after: NDArray[np.bool_], value: int, affine: NDArray[np.float64]
) -> ClassChange:
    in_both, in_one = int((before & after).sum()), int((before ^ after).sum())
    total = 2 * in_both + in_one
    distances = surface_distances_mm(before, after, affine)
    some = distances.size > 0
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return ClassChange(
        value=value,
        dice=round(2 * in_both / total, 6) if total else None,
        mean_mm=round(float(distances.mean()), 4) if some else None,
        percentile_95_mm=round(float(np.percentile(distances, FAR_PERCENT)), 4) if some else None,
        voxels_changed=in_one,
        draft_ml=round(int(before.sum()) * voxel_ml, 4),
        label_ml=round(int(after.sum()) * voxel_ml, 4),
    )


def surface_distances_mm(
    one: NDArray[np.bool_], other: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From every surface voxel of each mask to the nearest of the other, in mm; empty where a mask is."""
    if not (one.any() and other.any()):
        return np.zeros(0)
    first, second = _surface_mm(one, affine), _surface_mm(other, affine)
    return np.concatenate([cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]])


def _surface_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the surface voxels are, (voxels, 3)."""
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    piece = mask[box]
    surface = piece & ~ndimage.binary_erosion(piece)
    index = np.argwhere(surface) + [part.start for part in box]
    return index[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
