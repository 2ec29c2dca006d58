"""The contours of all segments as an RT Structure Set (PS3.3 A.19), for treatment planning systems.

Decided here, after what readers do:

- Holes are key-holes (PS3.3 C.8.8.6.3) in contours of type CLOSED_PLANAR: the one form that needs no convention, and
  the only one before CLOSEDPLANAR_XOR came. Separate contours of type CLOSED_PLANAR are combined by XOR in some readers
  and by union, which fills the hole, in others (dcmrtstruct2nii before 2023, platipy before 2024); readers that do not
  know CLOSEDPLANAR_XOR leave out what has it.
- The transfer syntax is Implicit VR Little Endian. With explicit VRs, Contour Data of more than 65534 bytes becomes UN
  (PS3.5 6.2.2), which planning systems and viewers do not read; a lung with its vessels has that much.
- A segment without a voxel is an ROI without Contour Sequence (type 3): it was looked for and not found. Readers show
  its name, or pass over it.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from scipy import ndimage

from models.card import Segment
from models.membership import box_of, inside

from ...errors import Refused
from .. import references
from ..begun import as_file, begun, put_frame_of_reference
from ..codes import coded
from ..forms import CONTOURS, RTSTRUCT, Form
from ..identity import RTSTRUCT_SERIES_NUMBER
from ..references import item
from ..run import Run
from . import contours
from .algorithm import algorithm
from .trace import Polygon, trace

RESEARCH = "Made by a neural network for research. Not a medical device, not for treatment without review."
#: retired, and still what stands in for a study that is referenced (PS3.3 C.8.8.5.4)
DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
ANATOMICAL_STRUCTURES = {("123037004", "SCT"), ("91723000", "SCT")}


def can_have(run: Run) -> bool:
    """Whether a run can have contours: they need a place in the patient."""
    return run.volume.geometry.in_patient


def rtstruct(run: Run, *, marked: bool = False) -> bytes:
    """Write the structure set.

    Every segment of the card is an ROI, empty or not, with its place in the card as its number.

    Args:
        marked: label and series description ask for a person's look.

    Returns:
        A Part 10 file.

    Raises:
        Refused: `no-contours`: the images lie nowhere in the patient.
    """
    if not can_have(run):
        raise Refused("no-contours", "the images say nowhere where in the patient they lie, so nor can contours")
    provenance = run.provenance
    title = provenance.card.title
    ds = begun(
        run,
        Form.of(RTSTRUCT, CONTOURS, marked=marked),
        RTStructureSetStorage,
        "RTSTRUCT",
        RTSTRUCT_SERIES_NUMBER,
        provenance.described("RTSTRUCT", marked=marked),
    )
    put_frame_of_reference(run, ds)
    for keyword in ("ContentDate", "ContentTime"):  # no attributes of this IOD, which has its own
        setattr(ds, keyword.replace("Content", "StructureSet"), ds[keyword].value)
        delattr(ds, keyword)
    ds.OperatorsName = ""
    ds.StructureSetLabel = f"{'CHECK! ' if marked else ''}AI {title}"[:16].strip()
    ds.StructureSetName = provenance.described("contours", marked=marked)
    ds.StructureSetDescription = RESEARCH
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(run)]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    boxes = {value: box for value, box in enumerate(ndimage.find_objects(run.labels), 1) if box is not None}
    for number, segment in enumerate(provenance.card.segment, 1):
        box = box_of(boxes, segment.values) or (slice(0, 0),) * 3
        mask = inside(run.labels[box], segment.values)
        polygons = trace(mask, (box[0].start, box[1].start, box[2].start))
        ds.StructureSetROISequence.append(_roi(run, number, segment, int(mask.sum())))
        ds.ROIContourSequence.append(_contours(run, number, segment, polygons))
        ds.RTROIObservationsSequence.append(_observation(number, segment))
    ds.ApprovalStatus = "UNAPPROVED"
    return as_file(ds)


def _frame_of_reference(run: Run) -> Dataset:
    source = run.sources[0]
    series = item(SeriesInstanceUID=source.SeriesInstanceUID, ContourImageSequence=references.images(run, frames=True))
    study = item(
        ReferencedSOPClassUID=DETACHED_STUDY_MANAGEMENT,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return item(FrameOfReferenceUID=source.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _roi(run: Run, number: int, segment: Segment, voxels: int) -> Dataset:
    """PS3.3 C.8.8.5."""
    card = run.provenance.card
    return item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=run.sources[0].FrameOfReferenceUID,
        ROIName=segment.label,
        ROIVolume=f"{voxels * run.volume.geometry.voxel_ml:.3f}",
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{card.name} {card.version}"[:64],
        ROIDerivationAlgorithmIdentificationSequence=algorithm(run),
    )


def _contours(run: Run, number: int, segment: Segment, polygons: list[Polygon]) -> Dataset:
    """PS3.3 C.8.8.6."""
    made = item(ReferencedROINumber=number, ROIDisplayColor=list(segment.colour))
    if polygons:
        made[contours.CONTOUR_SEQUENCE] = contours.sequence(run, polygons)
    return made


def _observation(number: int, segment: Segment) -> Dataset:
    """PS3.3 C.8.8.8. What is to be treated and what is to be spared is for a person to say."""
    code = coded(segment.type)
    if segment.laterality:
        code.SegmentedPropertyTypeModifierCodeSequence = [coded(segment.laterality)]
    return item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        SegmentedPropertyCategoryCodeSequence=[coded(segment.category)],
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="ORGAN" if segment.category[:2] in ANATOMICAL_STRUCTURES else "",
        ROIInterpreter="",
    )
