"""A file that may be a label: opened with care, and its elements read so that a broken one is a refusal.

pydicom reads what is there of a file that was cut short, and hands out a sequence that it cannot read as an empty one.
From either a mask would come out that lacks something, and nobody would know. So a file is walked to its end first, and
what cannot be read is never taken for absent.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
)

from ..errors import Refused
from ..inbound.header import read_header
from ..inbound.kinds import LABEL_MAP_SEGMENTATION_STORAGE
from ..objects import values
from ..objects.characters import charset, texts
from ..study.facts import UNREADABLE
from ..study.pixels import BROKEN
from .structures import Code

KINDS = {
    SegmentationStorage: "SEG",
    LABEL_MAP_SEGMENTATION_STORAGE: "SEG",
    RTStructureSetStorage: "RTSTRUCT",
}
ALGORITHMS = ("MANUAL", "SEMIAUTOMATIC", "AUTOMATIC")
#: sides (CID 244), in SNOMED CT and as it was coded before
SIDES = {"7771000", "24028007", "51440002", "66459002", "G-A101", "G-A100", "G-A102", "G-A103"}


@dataclass(frozen=True)
class LabelFile:
    """A SEG or an RTSTRUCT.

    Attributes:
        kind: "SEG" or "RTSTRUCT".
        header: everything but the pixels, file meta information included.
        syntax: its transfer syntax.
        size: of the file, in bytes.
        pixels_at: where in the file the element of the pixels begins, or the file ends.
        charset: of the header, which its items inherit.
    """

    file: Path
    kind: str
    header: Dataset
    syntax: UID
    size: int
    pixels_at: int
    charset: tuple[str, ...]


def opened(file: Path) -> LabelFile:
    """Open a file and make sure that it is whole.

    Raises:
        Refused: `label-unreadable`, `not-a-label`, `label-encoding`, `truncated`, `malformed`.
    """
    try:
        with file.open("rb") as stream:
            read_preamble(stream, force=False)
            meta = FileMetaDataset(
                read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
            )
            begins, syntax = stream.tell(), UID(meta.TransferSyntaxUID)
            known = syntax if syntax.is_transfer_syntax else ExplicitVRLittleEndian  # as every newer one is
            if syntax == DeflatedExplicitVRLittleEndian:
                raise Refused("label-encoding", "the object is deflated: its few bytes may be gigabytes")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
                size = len(data)
                read_header(data, begins, known, {})
            stream.seek(0)
            header = dcmread(stream, stop_before_pixels=True)
            pixels_at = stream.tell()
        kind = KINDS.get(UID(text(header, "SOPClassUID")))
        above = charset(header)
    except (*UNREADABLE, *BROKEN) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the object's
        raise unreadable("header", error) from error
    if kind is None:
        raise Refused("not-a-label", "the object is neither a Segmentation nor an RT Structure Set")
    return LabelFile(file, kind, header, syntax, size, pixels_at, above)


def unreadable(what: str, error: Exception | None = None) -> Refused:
    """What is said of an element that cannot be read."""
    return Refused(
        "label-unreadable", f"the {what} of the object cannot be read" + (f" ({type(error).__name__})" if error else "")
    )


def value(ds: Dataset, keyword: str) -> Any:
    """An element's value, None where it is absent.

    Raises:
        Refused: `label-unreadable`.
    """
    try:
        return ds.get(keyword)
    except (*UNREADABLE, *BROKEN) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise unreadable(keyword, error) from error


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Of a sequence; none where it is absent or empty.

    Raises:
        Refused: `label-unreadable`: there is something, and it is no sequence.
    """
    found = value(ds, keyword)
    if found is not None and not isinstance(found, DicomSequence):
        raise unreadable(keyword)
    return list(found or ())


def item(ds: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty data set where there is none."""
    found = items(ds, keyword)
    return found[0] if found else Dataset()


def text(ds: Dataset, keyword: str) -> str:
    """The first value of an element that is a UID or a term; empty where there is none."""
    found = texts(ds, keyword)
    return found[0] if found else ""


def numbers(ds: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    """Finite numbers; none where the element is absent or empty.

    Raises:
        Refused: `label-unreadable`: there are some, but not as many.
    """
    found = value(ds, keyword)
    if found is None or found == "":
        return np.empty(0)
    try:
        made = np.array([float(part) for part in (found if count > 1 else [found])])
    except (ArithmeticError, TypeError, ValueError) as error:
        raise unreadable(keyword, error) from error
    if len(made) != count or not np.isfinite(made).all():
        raise unreadable(keyword)
    return made


def whole_number(ds: Dataset, keyword: str, default: int = -1) -> int:
    """A number that is not negative, or the default where there is none.

    Raises:
        Refused: `label-unreadable`.
    """
    found = numbers(ds, keyword, 1)
    if not len(found):
        return default
    if found[0] < 0 or found[0] != int(found[0]):
        raise unreadable(keyword)
    return int(found[0])


def line(ds: Dataset, keyword: str, above: tuple[str, ...]) -> str:
    """Text that people wrote, as a conformant value; the first where there are several.

    Args:
        above: the character sets of the data set that `ds` is an item of.
    """
    found = values.value(ds, keyword, above)
    return found if isinstance(found, str) else " ".join(found)


def code(ds: Dataset, keyword: str, above: tuple[str, ...]) -> Code | None:
    """The first code of a sequence, None where there is none (PS3.3 8.8)."""
    return _triple(item(ds, keyword), above)


def side(ds: Dataset, keyword: str, above: tuple[str, ...]) -> Code | None:
    """Of the codes of a sequence the one that is a side (CID 244), else None."""
    found = [_triple(one, above) for one in items(ds, keyword)]
    return next((one for one in found if one is not None and one[0] in SIDES), None)


def laterality(kind: Dataset, above: tuple[str, ...]) -> Code | None:
    """Of the code of a structure: the modifier that is a side, else the first modifier."""
    modifiers = "SegmentedPropertyTypeModifierCodeSequence"
    return side(kind, modifiers, above) or code(kind, modifiers, above)


def algorithm(ds: Dataset, keyword: str) -> str:
    """How a structure was drawn; empty where that is not said in a term of the Standard."""
    found = text(ds, keyword).upper()
    return found if found in ALGORITHMS else ""


def _triple(one: Dataset, above: tuple[str, ...]) -> Code | None:
    kinds = ("CodeValue", "LongCodeValue", "URNCodeValue")  # the last two for what has more than 16 characters
    stated = next((found for found in (line(one, keyword, above) for keyword in kinds) if found), "")
    scheme = line(one, "CodingSchemeDesignator", above)
    return (stated, scheme, line(one, "CodeMeaning", above)) if stated else None
