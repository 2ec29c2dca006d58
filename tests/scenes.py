"""A ball and an asymmetric letter in the patient, imaged on any grid, as any kind of image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

Numbers = NDArray[np.float64]

#: where the middle of the scene lies in the patient, mm LPS
CENTRE = np.array([23.0, -41.0, 310.0])
BALL_AT, BALL_RADIUS = np.array([14.0, 12.0, -9.0]), 13.0
#: boxes (from, to) of a letter that is its own mirror image in no direction: a long arm, a short arm, a foot
LETTER = (
    ((-34.0, -18.0, -26.0), (-22.0, -6.0, 26.0)),
    ((-34.0, -18.0, 14.0), (4.0, -6.0, 26.0)),
    ((-34.0, -18.0, -6.0), (-8.0, -6.0, 6.0)),
    ((-34.0, -18.0, -26.0), (-22.0, 26.0, -14.0)),
)
STORED = {0: -600, 1: 100, 2: 700}


def labels_at(points: Numbers) -> NDArray[np.uint8]:
    """1 in the ball, 2 in the letter; points (…, 3) in mm LPS."""
    at = points - CENTRE
    found = np.zeros(points.shape[:-1], np.uint8)
    found[((at - BALL_AT) ** 2).sum(-1) < BALL_RADIUS**2] = 1
    for low, high in LETTER:
        found[((at >= low) & (at < high)).all(-1)] = 2
    return found


@cache
def centroid(value: int) -> Numbers:
    """Of the ball or the letter, by fine sampling: four million points, so once."""
    axis = np.arange(-40, 40, 0.5) + 0.25
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) + CENTRE
    return np.asarray(points[labels_at(points) == value].mean(0))


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a series lie.

    Attributes:
        affine: 4x4, (column, row, slice) -> LPS mm.
        shape: (slices, rows, columns).
    """

    affine: Numbers
    shape: tuple[int, int, int]

    def points(self) -> Numbers:
        """The centre of every voxel, (slices, rows, columns, 3)."""
        k, j, i = np.meshgrid(*[np.arange(n) for n in self.shape], indexing="ij")
        index = np.stack([i, j, k, np.ones_like(i)], -1).astype(float)
        return np.asarray((index @ self.affine.T)[..., :3])

    def labels(self) -> NDArray[np.uint8]:
        return labels_at(self.points())


def grid(
    row: Sequence[float],
    column: Sequence[float],
    spacing_mm: tuple[float, float, float],
    *,
    tilt_degrees: float = 0.0,
    descending: bool = False,
    extent_mm: float = 96.0,
) -> Grid:
    """A grid around the scene.

    Args:
        row, column: directions of the image, made orthonormal.
        spacing_mm: between columns, rows and slices (along the normal).
        tilt_degrees: of the gantry: each slice lies a little further along the columns than the one before.
        descending: the slices run against the normal.
    """
    across = np.array(row) / np.linalg.norm(row)
    down = np.array(column) - across * (np.array(column) @ across)
    down /= np.linalg.norm(down)
    normal = np.cross(across, down) * (-1 if descending else 1)
    step = spacing_mm[2] * (normal + down * np.tan(np.radians(tilt_degrees)))
    room = extent_mm + 2 * abs(np.tan(np.radians(tilt_degrees))) * extent_mm / 2
    shape = (
        int(np.ceil(extent_mm / spacing_mm[2])),
        int(np.ceil(room / spacing_mm[1])),
        int(np.ceil(extent_mm / spacing_mm[0])),
    )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = across * spacing_mm[0], down * spacing_mm[1], step
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Grid(affine, shape)


SINGLE = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
ENHANCED = {
    "enhanced CT": ("CT", EnhancedCTImageStorage),
    "enhanced MR": ("MR", EnhancedMRImageStorage),
    "legacy converted CT": ("CT", LegacyConvertedEnhancedCTImageStorage),
    "legacy converted MR": ("MR", LegacyConvertedEnhancedMRImageStorage),
}
KINDS = (*SINGLE, *ENHANCED, "NM")


def images(kind: str, where: Grid, *, order: Sequence[int] | None = None) -> list[Dataset]:
    """The scene as images of a kind; the frames or the files in the order given."""
    order = list(order) if order is not None else list(range(where.shape[0]))
    if kind == "NM":
        return [_nuclear(where)]
    if kind in ENHANCED:
        modality, sop_class = ENHANCED[kind]
        return [_enhanced(list(_single(where, modality, order)), sop_class)]
    return list(_single(where, kind, order))


def _single(where: Grid, modality: str, order: Sequence[int]) -> Iterator[Dataset]:
    study, series, place = generate_uid(), generate_uid(), generate_uid()
    stored = np.array([STORED[value] for value in range(len(STORED))], np.int16)[where.labels()]
    lengths = np.linalg.norm(where.affine[:3, :3], axis=0)
    normal = np.cross(where.affine[:3, 0] / lengths[0], where.affine[:3, 1] / lengths[1])
    for number, k in enumerate(order):
        ds = header(modality, study, series)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SINGLE[modality]
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = place, ""
        ds.InstanceNumber = number + 1
        ds.ImagePositionPatient = [f"{part:.8g}" for part in (where.affine @ [0, 0, k, 1])[:3]]
        ds.ImageOrientationPatient = [
            f"{part:.10f}" for axis in (0, 1) for part in where.affine[:3, axis] / lengths[axis]
        ]
        ds.PixelSpacing = [f"{lengths[1]:.10g}", f"{lengths[0]:.10g}"]
        ds.SliceThickness = f"{abs(where.affine[:3, 2] @ normal):.6g}"
        with_pixels(ds, stored[k])
        if modality == "PT":
            ds.Units, ds.DecayCorrection, ds.CorrectedImage = "GML", "ADMIN", ["ATTN", "DECY"]
        yield ds


def header(modality: str, study: str, series: str) -> Dataset:
    """What every image has."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Scene^Synthetic", "SCENE-1", "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "1", ""
    ds.SeriesNumber, ds.Modality, ds.BodyPartExamined = 3, modality, "CHEST"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber = "Planimeter", "scene", "0"
    ds.SoftwareVersions = "1"
    return ds


def with_pixels(ds: Dataset, stored: NDArray[np.int16]) -> None:
    """Write signed 16-bit values, (rows, columns) or (frames, rows, columns)."""
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    ds.PixelData = stored.astype("<i2").tobytes()


PER_FRAME = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}
SHARED = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}


def _enhanced(singles: list[Dataset], sop_class: str) -> Dataset:
    """The same slices as frames of one image."""
    ds = singles[0].copy()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.NumberOfFrames = len(singles)
    ds.PixelData = b"".join(one.PixelData for one in singles)
    ds.SharedFunctionalGroupsSequence = DicomSequence([_groups(ds, SHARED)])
    ds.PerFrameFunctionalGroupsSequence = DicomSequence([_groups(one, PER_FRAME) for one in singles])
    for keyword in (*sum((*PER_FRAME.values(), *SHARED.values()), ()),):
        del ds[keyword]
    return ds


def _groups(source: Dataset, groups: dict[str, tuple[str, ...]]) -> Dataset:
    made = Dataset()
    for group, keywords in groups.items():
        item = Dataset()
        for keyword in keywords:
            item[keyword] = source[keyword]
        setattr(made, group, DicomSequence([item]))
    return made


def _nuclear(where: Grid) -> Dataset:
    """Reconstructed slices of nuclear medicine: one place, and a step along the normal."""
    singles = list(_single(where, "MR", range(where.shape[0])))
    ds = singles[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    ds.Modality, ds.ImageType = "NM", ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.NumberOfFrames = len(singles)
    ds.FrameIncrementPointer, ds.SliceVector = 0x00540080, list(range(1, len(singles) + 1))
    ds.NumberOfSlices = len(singles)
    normal = np.cross(
        [float(v) for v in ds.ImageOrientationPatient[:3]], [float(v) for v in ds.ImageOrientationPatient[3:]]
    )
    ds.SpacingBetweenSlices = f"{where.affine[:3, 2] @ normal:.8g}"
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = (
        ds.ImagePositionPatient,
        ds.ImageOrientationPatient,
    )
    ds.DetectorInformationSequence = DicomSequence([detector])
    ds.PixelData = b"".join(one.PixelData for one in singles)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient
    return ds
