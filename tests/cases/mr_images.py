"""A real brain out of NIfTI files as classic MR series: one file per slice, in the patient's coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid

from tests import scenes

Values = NDArray[np.float32]
#: nibabel counts towards the right and the front, DICOM towards the left and the back (PS3.3 C.7.6.2.1.1)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """A volume in the patient.

    Attributes:
        values: (slices, rows, columns): towards the head, the back and the left.
        affine: 4x4, (column, row, slice) -> LPS mm.
    """

    values: Values
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        across, down, along = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(along), float(down), float(across)

    def part(self, slices: slice, rows: slice, columns: slice) -> Volume:
        """A part of it; a step of the slices leaves some out."""
        affine = self.affine.copy()
        affine[:3, 3] = (affine @ [columns.start, rows.start, slices.start, 1])[:3]
        affine[:3, 2] *= slices.step or 1
        return Volume(np.ascontiguousarray(self.values[slices, rows, columns]), affine)


def read(file: Path) -> Volume:
    """A NIfTI file, turned to axes that run to the left, the back and the head."""
    image = nib.load(file)  # type: ignore[attr-defined]
    wanted = nib.orientations.axcodes2ornt(("L", "P", "S"))  # type: ignore[no-untyped-call]
    turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), wanted)  # type: ignore[no-untyped-call]
    turned = image.as_reoriented(turn)
    values = np.asarray(turned.dataobj, np.float32).transpose(2, 1, 0)
    return Volume(np.ascontiguousarray(values), RAS_TO_LPS @ turned.affine)


def study(patient: str, contrasts: Mapping[str, Values], grid: Volume) -> list[Dataset]:
    """One MR study: a series for each contrast, all in one frame of reference and on one grid.

    Args:
        patient: PatientID.
        contrasts: SeriesDescription -> (slices, rows, columns), stored as rounded whole numbers.
        grid: where they lie.
    """
    study_uid, place = generate_uid(), generate_uid()
    made = []
    for number, (description, values) in enumerate(contrasts.items(), 1):
        series_uid = generate_uid()
        for k, plane in enumerate(values):
            ds = scenes.header("MR", study_uid, series_uid)
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
            ds.PatientName, ds.PatientID, ds.PatientPosition = f"Case^{patient}", patient, "HFS"
            ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = description, number, k + 1
            ds.BodyPartExamined, ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = "BRAIN", place, ""
            ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
            ds.EchoTime, ds.EchoTrainLength, ds.RepetitionTime, ds.MagneticFieldStrength = "90", 1, "5000", "3"
            _put_place(ds, grid, k)
            scenes.with_pixels(ds, np.clip(plane, -32768, 32767).round().astype(np.int16))
            made.append(ds)
    return made


def _put_place(ds: Dataset, grid: Volume, k: int) -> None:
    along, down, across = grid.spacing_mm
    axes = [grid.affine[:3, n] / step for n, step in ((0, across), (1, down))]
    ds.ImagePositionPatient = [f"{part:.8g}" for part in (grid.affine @ [0, 0, k, 1])[:3]]
    ds.ImageOrientationPatient = [f"{part:.8g}" for axis in axes for part in axis]
    ds.PixelSpacing = [f"{down:.8g}", f"{across:.8g}"]
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{along:.6g}"
