"""Label objects of strangers, made for the tests, and volumes to read them onto."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from models.wire import SharedArray
from node.learning.structures import Outlined
from node.study import geometry
from node.study.frames import flattened, is_multi_frame
from node.study.volume import Volume

Mask = NDArray[np.bool_]
LIVER, LUNG = ("10200004", "SCT", "Liver"), ("39607008", "SCT", "Lung")


def volume_of(images: Sequence[Dataset], *, flat: bool = False) -> Volume:
    """The grid of images, without their values: nothing here looks at these."""
    framed = is_multi_frame(images[0])
    headers = flattened(images[0]) if framed else list(images)
    if flat:
        grid, order = geometry.flat(headers), list(range(len(headers)))
    else:
        grid, order = geometry.place(headers)
    memory = SharedArray.make((1,), np.float32)
    memory.close()
    frames = tuple(n + 1 if framed else 0 for n in order)
    return Volume(memory, grid, tuple(headers[n] for n in order), frames, "")


def headers_in(folder: Path) -> list[Dataset]:
    return [dcmread(file, stop_before_pixels=True) for file in sorted(folder.iterdir())]


def dice(one: Mask, other: Mask) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def on_grid(
    values: NDArray[Any], to_lps: NDArray[np.float64], volume: Volume, *, whole: bool = True
) -> NDArray[np.bool_]:
    """Where an array (first axis first) is not zero, on the grid of a volume.

    Args:
        to_lps: 4x4, from its index to mm LPS.
        whole: all that it has must be there.
    """
    shape = volume.geometry.shape
    k, j, i = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    to_index = np.linalg.inv(to_lps) @ volume.geometry.affine
    at = np.rint((np.stack([i, j, k, np.ones_like(i)], -1) @ to_index.T)[..., :3]).astype(int)
    there = ((at >= 0) & (at < values.shape)).all(-1)
    found = np.zeros(shape, bool)
    found[there] = values[tuple(at[there].T)] > 0
    assert not whole or found.sum() == (values > 0).sum()
    return found


def nifti(file: Path, volume: Volume) -> Mask:
    """A NIfTI mask: its millimetres are RAS."""
    image: Any = nib.load(file)
    return on_grid(np.asarray(image.dataobj), np.diag([-1.0, -1, 1, 1]) @ image.affine, volume)


def nrrd(file: Path, volume: Volume) -> Mask:
    """A label map as dcmqi has it: NRRD, LPS, compressed."""
    text, _, data = file.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
    sizes = [int(part) for part in fields["sizes"].split()]
    numbers = [
        float(part) for part in fields["space directions"].replace("(", " ").replace(")", " ").replace(",", " ").split()
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array(numbers).reshape(3, 3).T
    affine[:3, 3] = [float(part) for part in fields["space origin"].strip("()").split(",")]
    values = np.frombuffer(gzip.decompress(data), "<i2").reshape(sizes[::-1]).transpose(2, 1, 0)
    return on_grid(values, affine, volume)


def masks(found: Outlined) -> dict[int, Mask]:
    return {one.number: one.mask for one in found.structures}


# ---------------------------------------------------------------- SEG, by highdicom


def described(
    number: int, label: str, kind: tuple[str, str, str], algorithm: str = "MANUAL"
) -> hd.seg.SegmentDescription:
    tissue = hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure")
    colour = hd.color.CIELabColor.from_rgb(200, 30, 90) if number == 1 else None
    return hd.seg.SegmentDescription(
        number,
        label,
        tissue,
        hd.sr.CodedConcept(*kind),
        algorithm,
        tracking_uid=generate_uid(),
        tracking_id=label,
        display_color=colour,
    )


def seg(
    images: Sequence[Dataset],
    pixels: NDArray[Any] | hd.Volume,
    kind: str = "BINARY",
    *,
    segments: Sequence[hd.seg.SegmentDescription] = (),
    **options: Any,
) -> Dataset:
    """A segmentation of two structures as highdicom writes it; of every frame that it was given."""
    return hd.seg.Segmentation(
        list(images),
        pixels,
        kind,
        list(segments) or [described(1, "Liver", LIVER), described(2, "Lung", LUNG)],
        generate_uid(),
        9,
        generate_uid(),
        1,
        "Somebody",
        "Workstation",
        "1.2",
        "77",
        content_creator_name="Reader^Ruth",
        **options,
    )


def as_hd(labels: NDArray[Any], volume: Volume) -> hd.Volume:
    """Labels (slices, rows, columns) as a volume of highdicom's, in whose hands it can be turned and cut."""
    affine = volume.geometry.affine[:, [2, 1, 0, 3]]
    place = volume.headers[0].FrameOfReferenceUID
    return hd.Volume(labels, affine, "PATIENT", frame_of_reference_uid=place)


def saved(ds: Dataset, folder: Path, name: str = "label.dcm") -> Path:
    file = folder / name
    ds.save_as(file, enforce_file_format=True)
    return file


# ---------------------------------------------------------------- RTSTRUCT


def square(volume: Volume, k: float, low: tuple[float, float], high: tuple[float, float]) -> NDArray[np.float64]:
    """A contour in mm, from corner to corner in (column, row) of a slice."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return in_mm(volume, k, np.array(corners))


def in_mm(volume: Volume, k: float, points: NDArray[np.float64]) -> NDArray[np.float64]:
    index = np.column_stack([points, np.full(len(points), k), np.ones(len(points))])
    return np.asarray((index @ volume.geometry.affine.T)[:, :3])


def contour(points_mm: NDArray[np.float64], kind: str = "CLOSED_PLANAR", image: str = "1.2.3.4") -> Dataset:
    ds, named = Dataset(), Dataset()
    named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", image
    ds.ContourImageSequence = [named]
    ds.ContourGeometricType, ds.NumberOfContourPoints = kind, len(points_mm)
    ds.ContourData = [f"{part:.4f}" for part in points_mm.ravel()]
    return ds


def structure_set(rois: dict[str, Sequence[Dataset]], frame_uid: str) -> Dataset:
    """A structure set as planning systems make it; its images have names that nobody knows."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.SOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (generate_uid() for _ in range(3))
    ds.PatientID, ds.PatientName, ds.Modality = "P1", "A^B", "RTSTRUCT"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "Plan", "Plan 9", "9.1"
    ds.ReviewerName = "Planner^Paula"
    ds.StructureSetDate, ds.StructureSetTime = "20260102", "030405.678"
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, drawn, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = frame_uid
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [10, 20, 30]
        drawn.ContourSequence = list(contours)
        observed.ObservationNumber = observed.ReferencedROINumber = number
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
        ds.RTROIObservationsSequence.append(observed)
    return ds


def reread(ds: Dataset) -> Dataset:
    """A data set as it comes out of a file, to be changed."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue()))
