"""What stands in each object that this node writes: attribute by attribute, and where each value is from."""

from __future__ import annotations

from collections.abc import Iterator

from ...objects import identity, parametric
from ...objects.reports import codes
from ...objects.written import REFUSALS, REJECTION_NOTES
from .attributes import (
    BODY_PART,
    CAPTURED,
    CONTENT_TIME,
    DOCUMENT,
    ENCAPSULATED,
    EVERY,
    FIXED,
    FRAMES,
    PIXELS,
    PLACED,
    REPORT,
    RESEARCH,
    SEGMENTS,
    SOURCES,
    Attribute,
    fixed,
    made,
    where,
)
from .tables import table

#: heading -> attributes beside EVERY
OBJECTS: dict[str, tuple[Attribute, ...]] = {
    "Segmentation (SEG)": (
        *SEGMENTS,
        *fixed(
            SegmentationType="BINARY",
            Modality="SEG",
            SeriesNumber=identity.SEG_SERIES_NUMBER,
        ),
    ),
    "Label Map Segmentation (SEG)": (
        *SEGMENTS,
        *fixed(
            SegmentationType="LABELMAP",
            PixelPaddingValue=0,
            Modality="SEG",
            SeriesNumber=identity.LABEL_MAP_SERIES_NUMBER,
        ),
    ),
    "Comprehensive 3D SR and Comprehensive SR (SR)": (
        *REPORT,
        *fixed(Modality="SR", ContinuityOfContent="CONTINUOUS"),
        made(
            f"{identity.SR_SERIES_NUMBER} volumes, {identity.DIAMETERS_SERIES_NUMBER} diameters, "
            f"{identity.FINDINGS_SERIES_NUMBER} findings",
            "SeriesNumber",
        ),
    ),
    "Secondary Capture Image (SC)": (
        *RESEARCH,
        CONTENT_TIME,
        BODY_PART,
        PIXELS,
        *CAPTURED,
        made("the image that is shown", "SourceImageSequence"),
        made("how it was made", "DerivationDescription", "DerivationCodeSequence"),
        made("of the image; empty where it is not known", "PatientOrientation"),
        made("that of the image: its own texts are the network's, not the patient's", "BurnedInAnnotation"),
        where("where an image was compressed with loss", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
        made("01 where an image was compressed with loss, else 00", "LossyImageCompression"),
        *fixed(
            ImageType="DERIVED\\SECONDARY\\OTHER",
            ConversionType="WSD",
            PlanarConfiguration=0,
            Modality="OT",
            SeriesNumber=identity.KEY_IMAGES_SERIES_NUMBER,
        ),
    ),
    "Encapsulated PDF (PDF)": (
        *ENCAPSULATED,
        *CAPTURED,
        *fixed(
            ConversionType="WSD",
            BurnedInAnnotation="YES",
            MIMETypeOfEncapsulatedDocument="application/pdf",
            Modality="DOC",
            SeriesNumber=identity.PDF_SERIES_NUMBER,
        ),
    ),
    "RT Structure Set (RTSTRUCT)": (
        *RESEARCH,
        PLACED,
        made("title of the network", "StructureSetLabel", "StructureSetName", "StructureSetDescription"),
        made("of the first attempt", "StructureSetDate", "StructureSetTime"),
        made("the images", "ReferencedFrameOfReferenceSequence"),
        made(
            "per segment, on the planes of the images",
            "StructureSetROISequence",
            "ROIContourSequence",
        ),
        made("what each structure is", "RTROIObservationsSequence"),
        *fixed(
            ApprovalStatus="UNAPPROVED",
            OperatorsName="",
            Modality="RTSTRUCT",
            SeriesNumber=identity.RTSTRUCT_SERIES_NUMBER,
        ),
    ),
    "Encapsulated STL (STL)": (
        *ENCAPSULATED,
        PLACED,
        made("the images", "ReferencedSeriesSequence"),
        where("of the segment, where it has a side", "ImageLaterality"),
        made("how the surface was made", "DerivationAlgorithmSequence", "ContentDescription"),
        made("millimetres", "MeasurementUnitsCodeSequence"),
        made("colour of the segment", "RecommendedDisplayCIELabValue"),
        *fixed(
            BurnedInAnnotation="NO",
            ModelModification="NO",
            ModelMirroring="NO",
            MIMETypeOfEncapsulatedDocument="model/stl",
            Modality="M3D",
            SeriesNumber=identity.STL_SERIES_NUMBER,
        ),
    ),
    "Parametric Map (PM)": (
        *RESEARCH,
        CONTENT_TIME,
        PLACED,
        SOURCES,
        *FRAMES,
        PIXELS,
        BODY_PART,
        made("of the images", "LossyImageCompression"),
        made("number of frames", "NumberOfFrames"),
        made("of the images, else empty", "Laterality"),
        made("empty", "AcquisitionContextSequence"),
        made("of the private codes below", "CodingSchemeIdentificationSequence"),
        *fixed(
            ImageType="DERIVED\\PRIMARY\\VOLUME\\QUANTITY",
            PixelPresentation="MONOCHROME",
            BurnedInAnnotation="NO",
            RecognizableVisualFeatures="NO",
            PresentationLUTShape="IDENTITY",
            ContentLabel=parametric.LABEL,
            ContentDescription=parametric.EXPLANATION,
            Modality="OT",
            SeriesNumber=identity.PM_SERIES_NUMBER,
        ),
    ),
    f"Key Object Selection Document (`{REJECTION_NOTES}`)": (
        *DOCUMENT,
        *fixed(
            ContinuityOfContent="CONTINUOUS",
            Modality="KO",
            SeriesNumber=identity.REJECTION_SERIES_NUMBER,
        ),
    ),
    f"Enhanced SR (`{REFUSALS}`)": (
        *REPORT,
        *fixed(ContinuityOfContent="SEPARATE", Modality="SR", SeriesNumber=identity.SR_SERIES_NUMBER),
    ),
}


def attributes_of(heading: str) -> list[Attribute]:
    """Those of an object, with those that every object has; where both name one, what the object says holds."""
    own = OBJECTS[heading]
    named = {keyword for one in own for keyword in one.keywords}
    shared = [
        Attribute(tuple(word for word in one.keywords if word not in named), one.said, one.always, one.value)
        for one in EVERY
    ]
    return [one for one in (*shared, *own) if one.keywords]


def sections() -> Iterator[str]:
    """The annex: what every object has, then each object."""
    yield "### In every object\n\n" + _attributes(EVERY)
    for heading, own in OBJECTS.items():
        yield f"### {heading}\n\n" + _attributes(own)


def _attributes(those: tuple[Attribute, ...]) -> str:
    rows = []
    for one in those:
        said = f"`{one.value}`" if one.value else ("empty" if one.said == FIXED else one.said)
        rows.append((", ".join(one.keywords), "always" if one.always else "where it applies", said))
    return table(["attributes", "present", "value"], rows)


def private_codes() -> str:
    """The codes of our own coding scheme, all that the reports may hold."""
    found: dict[str, str] = {}
    for value in vars(codes).values():
        for one in value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, tuple) and len(one) == 3 and one[1] == codes.SCHEME:
                found[str(one[0])] = str(one[2])
    return table(["code value", "code meaning"], [(f"`{key}`", found[key]) for key in sorted(found)])
