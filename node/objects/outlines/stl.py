"""The surface of one segment as an Encapsulated STL (PS3.3 A.85.1), for surgical planning and printing.

The STL is the binary kind, little-endian, in mm and in the patient's own coordinates (LPS), as Frame of Reference and
Measurement Units Code Sequence say of it. Programs that take an STL out of its object and know nothing of either will
show it where RAS coordinates would lie, turned half around the body's axis; it is never mirrored.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedSTLStorage
from scipy import ndimage

from models.card import Segment
from models.membership import inside

from ...errors import Refused
from .. import forms, references
from ..begun import as_file, begun, put_frame_of_reference
from ..codes import coded
from ..identity import STL_SERIES_NUMBER
from ..run import Run
from .algorithm import algorithm
from .mesh import Surface, surface

MIME_TYPE = "model/stl"
MODALITY = "M3D"
#: must not begin with "solid", as an STL in text does
HEADER = b"Planimeter: binary STL, mm, patient coordinates LPS (DICOM PS3.3 C.7.6.2.1.1)"
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
#: CID 7060
SOURCE_IMAGE = ("121324", "DCM", "Source image")
#: CID 7061; of other modalities there is no title, and the sequence stays empty (type 2)
TITLES = {"CT": ("85040-4", "LN", "CT 3D CAM model"), "MR": ("85041-2", "LN", "MR 3D CAM model")}
#: of laterality codes (CID 244); "B": both
SIDES = {"7771000": "L", "24028007": "R", "51440002": "B"}


def has_surface(run: Run, segment_number: int) -> bool:
    """Whether a segment has a surface: a place in the patient, and a voxel.

    Args:
        segment_number: its place in the card, from 1.
    """
    segment = run.provenance.card.segment[segment_number - 1]
    return run.volume.geometry.in_patient and bool(inside(run.labels, segment.values).any())


def stl(run: Run, segment_number: int, *, marked: bool = False) -> bytes:
    """Write the surface of one segment.

    Args:
        segment_number: its place in the card, from 1.
        marked: title and series description ask for a person's look.

    Returns:
        A Part 10 file.

    Raises:
        Refused: `no-surface`: the images lie nowhere in the patient, or the segment is empty.
    """
    provenance = run.provenance
    segment = provenance.card.segment[segment_number - 1]
    if not has_surface(run, segment_number):
        raise Refused("no-surface", f"{segment.label} has no surface: it is empty, or its images lie nowhere")
    made = _surface(run, segment)
    document = encoded(made)
    ds = begun(
        run,
        forms.surface(segment_number, marked=marked),
        EncapsulatedSTLStorage,
        MODALITY,
        STL_SERIES_NUMBER,
        provenance.described(f"STL {segment.label[:24]}", marked=marked),
    )
    put_frame_of_reference(run, ds)
    _describe_document(ds, run, segment, marked=marked)
    _describe_model(ds, run, segment, made)
    ds.MIMETypeOfEncapsulatedDocument = MIME_TYPE
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document
    return as_file(ds)


def encoded(made: Surface) -> bytes:
    """A surface as a binary STL; its length is even, as an element's has to be."""
    corners = made.points[made.triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(across, axis=1, keepdims=True)
    records = np.zeros(len(corners), TRIANGLE)
    records["corners"] = corners
    records["normal"] = np.divide(across, lengths, out=np.zeros_like(across), where=lengths > 0)
    return HEADER.ljust(80) + np.array(len(records), "<u4").tobytes() + records.tobytes()


def _surface(run: Run, segment: Segment) -> Surface:
    mask = inside(run.labels, segment.values)
    (box,) = ndimage.find_objects(mask.view(np.uint8))
    affine = run.volume.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [span.start for span in reversed(box)]
    return surface(mask[box], affine)


def _describe_document(ds: Dataset, run: Run, segment: Segment, *, marked: bool) -> None:
    """PS3.3 C.24.2, C.12.2."""
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "NO"  # no name is engraved on the model
    ds.SourceInstanceSequence = references.images(run, frames=False)
    for one in ds.SourceInstanceSequence:
        one.PurposeOfReferenceCodeSequence = [coded(SOURCE_IMAGE)]
    ds.ReferencedSeriesSequence = [references.series(run)]
    ds.DocumentTitle = f"{'CHECK! ' if marked else ''}{segment.label}, {run.provenance.card.title} [RESEARCH]"
    title = TITLES.get(str(run.sources[0].get("Modality")))
    ds.ConceptNameCodeSequence = [coded(title)] if title else []
    ds.VerificationFlag = "UNVERIFIED"
    if segment.laterality and segment.laterality[0] in SIDES:
        ds.ImageLaterality = SIDES[segment.laterality[0]]


def _describe_model(ds: Dataset, run: Run, segment: Segment, made: Surface) -> None:
    """PS3.3 C.35.1."""
    ds.MeasurementUnitsCodeSequence = [coded(("mm", "UCUM", "millimeter"))]
    ds.ModelModification = ds.ModelMirroring = "NO"
    merged = " x ".join(str(count) for count in made.merged)
    coarse = f"; {merged} voxels merged" if max(made.merged) > 1 else ""
    ds.ContentDescription = f"Marching cubes, smoothed, volume kept{coarse}"[:64]
    ds.DerivationAlgorithmSequence = algorithm(run)
    ds.RecommendedDisplayCIELabValue = list(hd.color.CIELabColor.from_rgb(*segment.colour).value)
