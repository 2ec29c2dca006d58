"""The patients of open_ms that are at hand, as the series a scanner would have sent: MR of the head, with the truth.

Lesjak et al., Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7 (CC BY): FLAIR and T1 at 3 T, the skull taken off,
registered to the MNI grid of 1 mm; lesions by the consensus of three raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tests.cases.mr_images import Volume, read, study

FOLDER = "nifti_labeled/open_ms_mni"
IMAGE = "{}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
GOLD = "GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz"
FLAIR, T1 = "FLAIR", "T1"
#: RescaleSlope, so that 16 bits hold fractions too; what is 0, outside of the brain, stays 0
SLOPE = 0.05


def file_of(data: Path, patient: int, kind: str) -> Path:
    """The file of a sequence, FLAIR or T1."""
    return data / FOLDER / f"patient{patient}" / IMAGE.format(kind)


def gold(data: Path, patient: int) -> Path:
    """The file of the lesions."""
    return data / FOLDER / f"patient{patient}" / GOLD


def sagittal(volume: Volume) -> Volume:
    """The same voxels as slices from right to left, whose columns run to the back and rows to the feet."""
    turn = np.zeros((4, 4))  # (column, row, slice) of the sagittal images -> of the axial ones
    turn[1, 0], turn[2, 1], turn[2, 3], turn[0, 2], turn[3, 3] = 1, -1, len(volume.values) - 1, 1, 1
    return Volume(np.ascontiguousarray(volume.values[::-1].transpose(2, 0, 1)), volume.affine @ turn)


def images(data: Path, patient: int, kinds: Sequence[str], slices: slice) -> list[Dataset]:
    """One study of a patient: FLAIR in axial slices, T1 in sagittal ones, in one frame of reference.

    Args:
        slices: of the FLAIR. The T1 is whole.
    """
    made: list[Dataset] = []
    for number, kind in enumerate(kinds, 1):
        whole = read(file_of(data, patient, kind))
        grid = whole.part(slices, slice(0, None), slice(0, None)) if kind == FLAIR else sagittal(whole)
        for ds in study(f"open_ms-{patient}", {f"{kind} 3D brain": grid.values / SLOPE}, grid):
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(SLOPE), "0", "US"
            ds.MRAcquisitionType, ds.SeriesNumber = "3D", number
            if made:
                ds.StudyInstanceUID, ds.FrameOfReferenceUID = made[0].StudyInstanceUID, made[0].FrameOfReferenceUID
            made.append(ds)
    return made
