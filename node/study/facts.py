"""What the headers of a study's images say: read once by the choose job, judged over all instances of a series."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from ..errors import Refused

#: what rules read; its values are counted per series and kept
RULE_KEYWORDS = (
    "Modality",
    "SOPClassUID",
    "ImageType",
    "BodyPartExamined",
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "SliceThickness",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "PatientPosition",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SeriesNumber",
    "BurnedInAnnotation",
    "PhotometricInterpretation",
)
#: what places an image; read, but not kept as facts
GEOMETRY_KEYWORDS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "FrameOfReferenceUID",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsStored",
    "SamplesPerPixel",
)
KEYWORDS = (*RULE_KEYWORDS, *GEOMETRY_KEYWORDS, "SOPInstanceUID", "SeriesInstanceUID", "SpecificCharacterSet")
#: what tells the volumes of a series apart, and the frames of an image (`stacks`, `frames`)
ALSO_READ: tuple[str | int, ...] = (
    "InstanceNumber",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "KVP",
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "TemporalPositionTimeOffset",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentTime",
    "FrameReferenceTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    0x0019100C,
    0x00431039,
    0x20011003,
    "StackID",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "SliceVector",
    "DetectorInformationSequence",
    "SpacingBetweenSlices",
    "ConversionType",
)


#: what makes a volume of images. No text that results repeat: that is decoded from its bytes (`objects.characters`)
USED = (
    *GEOMETRY_KEYWORDS,
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    *(keyword for keyword in ALSO_READ if isinstance(keyword, str)),
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "BitsAllocated",
    "PatientOrientation",
)
#: letters of a value that are looked at and kept; a row of the database has to hold it
LONGEST = 500
#: what pydicom raises for a data set that is not one
UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RecursionError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
)


@dataclass(frozen=True)
class Image:
    """One image: its newest revision."""

    sop_uid: str
    identity: str
    """equal for images whose geometry and pixels are equal"""
    header: Dataset


@dataclass(frozen=True)
class Series:
    """A series as the rules see it."""

    series_uid: str
    images: tuple[Image, ...]
    calling_ae_titles: Mapping[str, int] = field(default_factory=dict)
    """who sent it -> number of images"""
    broken: str = ""
    """why no network may read it: an image whose header cannot be read"""

    def facts(self, also: Iterable[str] = ()) -> dict[str, dict[str, int]]:
        """Keyword -> value -> number of images that have it; an absent element is an empty value.

        Args:
            also: keywords beside `RULE_KEYWORDS`.
        """
        return {keyword: self.counted(keyword) for keyword in dict.fromkeys((*RULE_KEYWORDS, *also))}

    def counted(self, keyword: str) -> dict[str, int]:
        """Value -> number of images that have it, for one keyword."""
        return counted((image.header for image in self.images), keyword)

    def number(self) -> str:
        """How a person knows the series: its number, or the end of its UID."""
        numbers = {text(image.header, "SeriesNumber") for image in self.images} - {""}
        return numbers.pop() if len(numbers) == 1 else f"…{self.series_uid[-8:]}"


def counted(headers: Iterable[Dataset], keyword: str) -> dict[str, int]:
    """Value -> number of headers that have it; an absent element is an empty value."""
    return dict(Counter(text(header, keyword)[:LONGEST] for header in headers))


def text(header: Dataset, keyword: str) -> str:
    """An element's value as text; several values are joined by backslashes, as they are encoded.

    Args:
        keyword: or the way to an element inside of sequences, with dots: its values in all items.
    """
    first, dot, rest = keyword.partition(".")
    value = header.get(first)
    if value is None:
        return ""
    if isinstance(value, Sequence):
        parts = [text(item, rest) for item in value] if dot else [f"{len(value)} items"] * bool(value)
        return "\\".join(part for part in parts if part)
    if dot:
        return ""
    parts = value if isinstance(value, (MultiValue, list)) else [value]
    return "\\".join(str(part) for part in parts).replace("\0", "").strip()


def values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """An element's values as texts."""
    joined = text(header, keyword)
    return tuple(part.strip() for part in joined.split("\\")) if joined else ()


def read(file: Path, *, whole: bool = False, also: Collection[str] = ()) -> Dataset:
    """The elements above of one stored instance, and some more; or all of them but the pixels.

    Raises:
        Refused: `unreadable-header`.
    """
    try:
        tags = None if whole else _tags(tuple(also))
        ds = dcmread(file, stop_before_pixels=True, specific_tags=tags)
        ds.decode()  # every element now, where a broken one is caught
        for element in ds:
            _ = element.value
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the image's
        raise Refused("unreadable-header", f"the header of an image cannot be read ({type(error).__name__})") from error
    return ds


@cache
def _tags(also: tuple[str, ...]) -> list[int | str]:
    """Looked up once: pydicom would do so for every file."""
    return [Tag(one) for one in (*KEYWORDS, *ALSO_READ, *(keyword.split(".")[0] for keyword in also))]


def readable(header: Dataset) -> None:
    """Decode the elements that are used, now: a broken one is a refusal here, and would be a crash wherever it is met.

    Raises:
        Refused: `unreadable-header`.
    """
    try:
        for keyword in USED:
            header.get(keyword)
    except UNREADABLE as error:
        sentence = f"{keyword} of an image cannot be read ({type(error).__name__})"
        raise Refused("unreadable-header", sentence) from error


def merged(series: Iterable[Series]) -> dict[str, dict[str, int]]:
    """The facts of several series together."""
    total: dict[str, Counter[str]] = {}
    for one in series:
        for keyword, counts in one.facts().items():
            total.setdefault(keyword, Counter()).update(counts)
    return {keyword: dict(counts) for keyword, counts in total.items()}


def only(facts: Mapping[str, Mapping[str, int]], keyword: str) -> set[str]:
    """The values that occur."""
    return {value for value in facts.get(keyword, {}) if value}
