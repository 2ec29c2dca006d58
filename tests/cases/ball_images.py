"""Chest CT of two people, and the same with balls in their lungs: labelled as made up wherever a header can say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from models.scores.detection import Lesion
from tests.cases.balls import Ball, Places, insert

FOLDERS = {"lungfcp": "ct_series/lungfcp_0001_chest", "rider": "ct_series/rider_pilot_0117_chest"}
#: padding outside of the scanner's circle is below
LEAST_HU = -1024.0
#: places for balls are looked for on every third pixel
STEP = 3


@dataclass(frozen=True)
class Chest:
    """A CT of axial slices, from the feet to the head.

    Attributes:
        images: as they are in the data.
        hu: (slices, rows, columns).
        spacing_mm: between slices, rows, columns.
        corner_mm: the first voxel, LPS.
    """

    images: tuple[Dataset, ...]
    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    corner_mm: tuple[float, float, float]

    @classmethod
    def read(cls, data: Path, patient: str) -> Chest:
        """A patient of FOLDERS; both lie square in the scanner, columns to the left and rows to the back."""
        found = [dcmread(file) for file in (data / FOLDERS[patient]).glob("*.dcm")]
        found.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
        assert all([float(part) for part in ds.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0] for ds in found)
        hu = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in found])
        x, y, low = (float(part) for part in found[0].ImagePositionPatient)
        step = (float(found[-1].ImagePositionPatient[2]) - low) / (len(found) - 1)
        down, across = (float(part) for part in found[0].PixelSpacing)
        return cls(tuple(found), hu.clip(LEAST_HU).astype(np.float32), (step, down, across), (x, y, low))

    @property
    def ras(self) -> NDArray[np.float64]:
        """4x4, from (column, row, slice) to millimetres to the right, the front and the head."""
        lps = np.eye(4)
        lps[:3, :3], lps[:3, 3] = np.diag(self.spacing_mm[::-1]), self.corner_mm
        return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)

    def scattered(self, count: int, seed: int) -> list[Ball]:
        """Balls for it; the same for the same seed."""
        return self._places.scattered(count, np.random.default_rng(seed))

    @cached_property
    def _places(self) -> Places:
        along, down, across = self.spacing_mm
        return Places.of(self.hu[:, ::STEP, ::STEP], (along, down * STEP, across * STEP), across=(1, 2))

    def lesion(self, ball: Ball) -> Lesion:
        """Where a ball is in the patient."""
        x, y, z = (float(a + b) for a, b in zip(self.corner_mm, ball.centre_mm[::-1], strict=True))
        return Lesion((x, y, z), (ball.diameter_mm,) * 3)

    def study(self, balls: Sequence[Ball], seed: int) -> list[Dataset]:
        """The images with balls in them, as a study of nobody; what is denser than a ball stays."""
        made = insert(self.hu, self.spacing_mm, balls, np.random.default_rng(seed))
        study_uid, series_uid, place = (generate_uid() for _ in range(3))
        return [
            self._image(ds, new, old, (study_uid, series_uid, place))
            for ds, new, old in zip(self.images, made, self.hu, strict=True)
        ]

    def _image(
        self, source: Dataset, new: NDArray[np.float32], old: NDArray[np.float32], uids: tuple[str, str, str]
    ) -> Dataset:
        ds = source.copy()
        ds.file_meta = source.file_meta.copy()
        changed = (new - float(ds.RescaleIntercept)) / float(ds.RescaleSlope)
        stored = np.where(new == old, source.pixel_array, changed.round())
        ds.PixelData = stored.astype(source.pixel_array.dtype).tobytes()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        ds.DerivationDescription = "Balls were drawn into the lungs: synthetic findings"
        ds.StudyDescription, ds.SeriesDescription = "SYNTHETIC", "SYNTHETIC chest with balls"
        ds.PatientID = f"SYNTHETIC-{str(source.PatientID)[-8:]}"
        ds.PatientName = f"Synthetic^{str(source.PatientID)[-4:]}"
        return ds
