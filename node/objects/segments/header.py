"""Everything of a segmentation beside its frames (PS3.3 A.51, A.90)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.spatial import get_volume_positions
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SegmentationStorage

from ..headers import EQUIPMENT, PATIENT_AND_STUDY
from ..identity import LABEL_MAP_SERIES_NUMBER, SEG_SERIES_NUMBER, Provenance
from ..run import Run
from .describe import segments
from .frames import Layout
from .pixels import bits_of

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
#: (what is counted, in which functional group, its name): PS3.3 C.7.6.17
BY_SEGMENT = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Referenced Segment Number")
BY_PLACE = ("ImagePositionPatient", "PlanePositionSequence", "Image Position Patient")
BY_TIME = ("TemporalPositionIndex", "FrameContentSequence", "Temporal Position Index")


def header(run: Run, layout: Layout, sop_uid: str, *, label_map: bool, marked: bool) -> Dataset:
    """The data set without Per-Frame Functional Groups Sequence and Pixel Data, which follow behind all of it."""
    source, provenance = run.sources[0], run.provenance
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = RLELossless if label_map else ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*PATIENT_AND_STUDY, "BodyPartExamined", "FrameOfReferenceUID", "PositionReferenceIndicator"):
        if keyword in source:
            ds[keyword] = source[keyword]
    if not layout.in_patient:
        ds.pop("PositionReferenceIndicator", None)
        ds.PatientOrientation = source.get("PatientOrientation")
    ds.SOPClassUID = LABEL_MAP_SEGMENTATION_STORAGE if label_map else SegmentationStorage
    ds.SOPInstanceUID, ds.InstanceNumber = sop_uid, 1
    ds.Modality, ds.SeriesInstanceUID = "SEG", provenance.series_uid(sop_uid)
    ds.SeriesNumber = LABEL_MAP_SERIES_NUMBER if label_map else SEG_SERIES_NUMBER
    ds.SeriesDescription = provenance.described("SEG", marked=marked)
    ds.ContentLabel, ds.ContentDescription = "AI_SEG", f"{provenance.card.title}, automatic"[:64]
    ds.ContentCreatorName, ds.ContentQualification = "", "RESEARCH"
    _equipment(ds, source, provenance)
    _references(ds, run.sources)
    _image(ds, source, len(layout.frames), segments=len(provenance.card.segment) if label_map else 0)
    ds.SegmentSequence, ds.SegmentsOverlap = segments(provenance, label_map=label_map), "NO"
    by_place = BY_PLACE if layout.in_patient else BY_TIME
    _dimensions(ds, [by_place] if label_map else [BY_SEGMENT, by_place])
    ds.SharedFunctionalGroupsSequence = [_shared(source)]
    if (label_map or len(provenance.card.segment) == 1) and _is_block(layout, run.sources):
        ds.DimensionOrganizationType = "3D"
    provenance.stamp(ds, source)
    return ds


def _equipment(ds: Dataset, source: Dataset, provenance: Provenance) -> None:
    """This node made the object; the scanner and the network contributed (PS3.3 C.12.1, IHE AIR 6.5.3.1)."""
    general = provenance.general_equipment()
    ds.Manufacturer, ds.ManufacturerModelName = general["manufacturer"], general["manufacturer_model_name"]
    ds.SoftwareVersions, ds.DeviceSerialNumber = general["software_versions"], general["device_serial_number"]
    ds.ContributingEquipmentSequence = provenance.processing_equipment()
    if source.get("Manufacturer"):
        scanner = Dataset()
        for keyword in EQUIPMENT:
            if source.get(keyword):
                scanner[keyword] = source[keyword]
        scanner.ContributionDescription = "Acquisition equipment of the source image(s)"
        scanner.PurposeOfReferenceCodeSequence = [_code(codes.DCM.AcquisitionEquipment)]
        ds.ContributingEquipmentSequence.insert(0, scanner)


def _references(ds: Dataset, sources: Sequence[Dataset]) -> None:
    """Every image once. OHIF does not show a segmentation without Referenced Series Sequence (PS3.3 C.12.2)."""
    named: dict[str, Dataset] = {}
    for source in sources:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        named.setdefault(source.SOPInstanceUID, item)
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = list(named.values())
    ds.ReferencedSeriesSequence = [series]
    ds.SourceImageSequence = list(named.values())


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
    """`Provenance.stamp` gives the organization its UID."""
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


def _code(concept: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = concept[:3]
    return item
