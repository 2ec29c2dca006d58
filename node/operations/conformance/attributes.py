"""Attributes that objects have in common, and where their values are from."""

from __future__ import annotations

from dataclasses import dataclass

from ...objects.characters import UTF8
from ...objects.headers import PATIENT_AND_STUDY, STUDY_TYPE_2
from ...objects.identity import MANUFACTURER, MODEL_NAME

COPIED = "of the images, decoded and written again in UTF-8; identifiers are never changed"
MADE, FIXED = "made here", "always this"


@dataclass(frozen=True)
class Attribute:
    """Attributes of the top level that have their values from one place.

    Attributes:
        said: where the values are from.
        always: they are in every such object.
        value: of the one attribute, where it is always the same.
    """

    keywords: tuple[str, ...]
    said: str
    always: bool = True
    value: str = ""


def made(said: str, *keywords: str) -> Attribute:
    return Attribute(keywords, said)


def where(said: str, *keywords: str) -> Attribute:
    return Attribute(keywords, said, always=False)


def fixed(**values: str | int) -> tuple[Attribute, ...]:
    return tuple(Attribute((keyword,), FIXED, value=str(value)) for keyword, value in values.items())


TYPE_2 = ("StudyInstanceUID", *STUDY_TYPE_2)
EVERY = (
    Attribute(TYPE_2, COPIED),
    where("of the images, where they are there", *(one for one in PATIENT_AND_STUDY if one not in TYPE_2)),
    made("from all that decides the bytes, under `node.uid_root` or 2.25", "SOPInstanceUID", "SeriesInstanceUID"),
    made("of the object", "SOPClassUID", "Modality", "SeriesNumber", "InstanceNumber"),
    made("what it is, network, version, revision, [RESEARCH]; `CHECK!` before marked ones", "SeriesDescription"),
    made(
        "of the first attempt, in the zone of the study",
        "SeriesDate",
        "SeriesTime",
        "InstanceCreationDate",
        "InstanceCreationTime",
    ),
    made("version of Planimeter; a number drawn once per database", "SoftwareVersions", "DeviceSerialNumber"),
    *fixed(SpecificCharacterSet=UTF8, Manufacturer=MANUFACTURER, ManufacturerModelName=MODEL_NAME),
)
CONTENT_TIME = made("of the first attempt, in the zone of the study", "ContentDate", "ContentTime")
RESEARCH = (
    *fixed(ContentQualification="RESEARCH"),
    made(
        "the scanner (Acquisition Equipment), and the network as Processing Equipment (IHE AIR 6.5.3.1): manufacturer, "
        "name, version, Device UID, SHA-256 of its weights",
        "ContributingEquipmentSequence",
    ),
)
PLACED = Attribute(("FrameOfReferenceUID", "PositionReferenceIndicator"), "of the images")
BODY_PART = where("of the images, where it is there", "BodyPartExamined")
SOURCES = made("the images that it was made from", "ReferencedSeriesSequence", "SourceImageSequence")
FRAMES = (
    made(
        "plane, pixel spacing, position, derivation and segment of each frame, from the affine of the images",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ),
    made("UIDs follow from the SOP Instance UID", "DimensionOrganizationSequence", "DimensionIndexSequence"),
    where("3D where frames are parallel planes at one distance", "DimensionOrganizationType"),
)
PIXELS = made(
    "of the pixels",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelData",
)
MONOCHROME = fixed(PresentationLUTShape="IDENTITY", LossyImageCompression="00")
SEGMENTS = (
    *RESEARCH,
    CONTENT_TIME,
    Attribute(
        ("FrameOfReferenceUID", "PositionReferenceIndicator"), "of the images that lie in the patient", always=False
    ),
    BODY_PART,
    SOURCES,
    *FRAMES,
    PIXELS,
    *MONOCHROME,
    made("number of frames; at least one, also where nothing was found", "NumberOfFrames"),
    made(
        "every segment of the model card, empty or not: category, type, laterality, algorithm, colour, tracking UID",
        "SegmentSequence",
    ),
    made("YES where the card lets segments overlap, else NO", "SegmentsOverlap"),
    made("title of the network", "ContentDescription"),
    *fixed(ImageType="DERIVED\\PRIMARY", ContentLabel="AI_SEG", ContentCreatorName=""),
)
DOCUMENT = (
    CONTENT_TIME,
    made("template and content", "ContentTemplateSequence", "ConceptNameCodeSequence", "ContentSequence"),
    made("what is referred to", "CurrentRequestedProcedureEvidenceSequence"),
    *fixed(ValueType="CONTAINER", ReferencedPerformedProcedureStepSequence=""),
)
REPORT = (
    *RESEARCH,
    *DOCUMENT,
    made("empty", "PerformedProcedureCodeSequence"),
    where("of the private codes below, where they are used", "CodingSchemeIdentificationSequence"),
    where("the reports whose place it takes", "PredecessorDocumentsSequence"),
    *fixed(CompletionFlag="COMPLETE", VerificationFlag="UNVERIFIED", PreliminaryFlag="PRELIMINARY"),
)
CAPTURED = (
    made("version of Planimeter", "SecondaryCaptureDeviceSoftwareVersions"),
    *fixed(SecondaryCaptureDeviceManufacturer=MANUFACTURER, SecondaryCaptureDeviceManufacturerModelName=MODEL_NAME),
)
ENCAPSULATED = (
    *RESEARCH,
    CONTENT_TIME,
    made("title and version of the network", "DocumentTitle"),
    made("the document", "EncapsulatedDocument", "EncapsulatedDocumentLength"),
    made("the images that it was made from", "SourceInstanceSequence"),
    made("of the images", "AcquisitionDateTime"),
    made("what it is", "ConceptNameCodeSequence"),
    *fixed(VerificationFlag="UNVERIFIED"),
)
