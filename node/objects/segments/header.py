"""Everything of a segmentation beside its frames (PS3.3 A.51, A.90)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.spatial import get_volume_positions
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage

from models import membership

from .. import references
from ..begun import begun, put_frame_of_reference
from ..forms import LABEL_MAP, LABEL_MAP_SEGMENTATION_STORAGE, MARKED, Form
from ..identity import LABEL_MAP_SERIES_NUMBER, SEG_SERIES_NUMBER
from ..run import Run
from .describe import segments
from .frames import Layout
from .pixels import bits_of

#: (what is counted, in which functional group, its name): PS3.3 C.7.6.17
BY_SEGMENT = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Referenced Segment Number")
BY_PLACE = ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient")
BY_TIME = ("TemporalPositionIndex", "FrameContentSequence", "Temporal Position Index")


def header(run: Run, layout: Layout, form: Form) -> Dataset:
    """The data set without Per-Frame Functional Groups Sequence and Pixel Data, which follow behind all of it."""
    source, provenance, label_map = run.sources[0], run.provenance, form.has(LABEL_MAP)
    sop_class = LABEL_MAP_SEGMENTATION_STORAGE if label_map else SegmentationStorage
    number = LABEL_MAP_SERIES_NUMBER if label_map else SEG_SERIES_NUMBER
    ds = begun(run, form, sop_class, "SEG", number, provenance.described("SEG", marked=form.has(MARKED)))
    if "BodyPartExamined" in source:
        ds.BodyPartExamined = source.BodyPartExamined
    if layout.in_patient:
        put_frame_of_reference(run, ds)
    else:
        ds.PatientOrientation = source.get("PatientOrientation")
    ds.ContentLabel, ds.ContentDescription = "AI_SEG", f"{provenance.card.title}, automatic"[:64]
    ds.ContentCreatorName = ""
    # OHIF does not show a segmentation without Referenced Series Sequence
    ds.ReferencedSeriesSequence = [references.series(run)]
    ds.SourceImageSequence = references.images(run, frames=False)
    _image(ds, source, len(layout.frames), segments=len(provenance.card.segment) if label_map else 0)
    ds.SegmentSequence = segments(provenance, label_map=label_map)
    ds.SegmentsOverlap = "YES" if membership.overlap(provenance.card) else "NO"
    by_place = BY_PLACE if layout.in_patient else BY_TIME
    _dimensions(ds, [by_place] if label_map else [BY_SEGMENT, by_place])
    provenance.stamp_dimensions(ds)
    ds.SharedFunctionalGroupsSequence = [_shared(source)]
    if (label_map or len(provenance.card.segment) == 1) and _is_block(layout, run.sources):
        ds.DimensionOrganizationType = "3D"
    return ds


def _image(ds: Dataset, source: Dataset, frames: int, *, segments: int) -> None:
    """The pixels: one bit each, or the numbers of so many segments and 0, which is the padding (PS3.3 C.8.20.2)."""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SegmentationType = "LABELMAP" if segments else "BINARY"
    bits = bits_of(segments) if segments else 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    if segments:
        ds.PixelPaddingValue = 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PresentationLUTShape = 1, "MONOCHROME2", "IDENTITY"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames, source.Rows, source.Columns
    ds.LossyImageCompression = "00"


def _dimensions(ds: Dataset, counted: Sequence[tuple[str, str, str]]) -> None:
    """`Provenance.stamp_dimensions` gives the organization its UID."""
    ds.DimensionOrganizationSequence = [Dataset()]
    ds.DimensionIndexSequence = [Dataset() for _ in counted]
    for item, (attribute, group, name) in zip(ds.DimensionIndexSequence, counted, strict=True):
        item.DimensionIndexPointer, item.FunctionalGroupPointer = Tag(attribute), Tag(group)
        item.DimensionDescriptionLabel = name


def _shared(source: Dataset) -> Dataset:
    """What is true of every frame; of an image that lies nowhere, at most the size of a pixel."""
    groups = Dataset()
    if "ImageOrientationPatient" in source:
        orientation = Dataset()
        orientation.ImageOrientationPatient = source.ImageOrientationPatient
        groups.PlaneOrientationSequence = [orientation]
    measures = Dataset()
    for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        if keyword in source:
            measures[keyword] = source[keyword]
    if measures:
        groups.PixelMeasuresSequence = [measures]
    return groups


def _is_block(layout: Layout, sources: Sequence[Dataset]) -> bool:
    """Whether the frames are parallel planes at one distance, one behind the other (PS3.3 C.7.6.17.3)."""
    if not layout.in_patient or len(layout.slices) < 2:
        return False
    spacing, _ = get_volume_positions(
        image_positions=[sources[k].ImagePositionPatient for k in layout.slices],
        image_orientation=sources[0].ImageOrientationPatient,
        sort=False,
    )
    return spacing is not None
