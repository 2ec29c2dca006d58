"""A CT study of nobody: the synthetic chest of `models.phantom` as DICOM."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from models.phantom import chest

SHAPE = (512, 512, 96)
SPACING_MM = (0.78, 0.78, 3.5)


def synthetic_chest(seed: int = 4) -> Iterator[Dataset]:
    """A supine axial chest CT, slice by slice, from the feet up."""
    hu, _ = chest(SHAPE, SPACING_MM, seed)
    return ct_series(hu, SPACING_MM, name="Chest^Synthetic", patient_id="SYNTHETIC-1")


def ct_series(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    *,
    name: str = "Test^Synthetic",
    patient_id: str = "SYNTHETIC-2",
    study_uid: str | None = None,
    series_uid: str | None = None,
    series_number: int = 2,
    description: str = "Synthetic chest",
) -> Iterator[Dataset]:
    """Hounsfield units as CT images.

    Args:
        hu: (columns, rows, slices): the axes run to the patient's left, back and head.
        spacing_mm: along the same axes.
    """
    now = datetime.now(UTC)
    study_uid, series_uid = study_uid or generate_uid(), series_uid or generate_uid()
    frame_of_reference = generate_uid(entropy_srcs=[study_uid, "frame of reference"])
    origin = [-(n - 1) / 2 * step for n, step in zip(hu.shape, spacing_mm, strict=True)]
    for k in range(hu.shape[2]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, patient_id, "19700101", "O"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study_uid, series_uid, frame_of_reference
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = now.strftime("%Y%m%d")
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = now.strftime("%H%M%S")
        ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "1", ""
        ds.StudyDescription, ds.SeriesDescription = "Synthetic CT of nobody", description
        ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = series_number, k + 1, 1
        ds.Modality, ds.BodyPartExamined, ds.PatientPosition = "CT", "CHEST", "HFS"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber = "Planimeter", "phantom", "0"
        ds.SoftwareVersions, ds.KVP, ds.PositionReferenceIndicator = "1", "120", ""
        ds.ImagePositionPatient = [f"{part:.6g}" for part in (*origin[:2], origin[2] + k * spacing_mm[2])]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [spacing_mm[1], spacing_mm[0]], spacing_mm[2]
        ds.Rows, ds.Columns = hu.shape[1], hu.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
        ds.PixelData = hu[:, :, k].T.round().astype("<i2").tobytes()
        yield ds


def write(images: Iterator[Dataset], folder: Path) -> list[Path]:
    """Write images as files; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, ds in enumerate(images, 1):
        files.append(folder / f"{number:04d}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files
