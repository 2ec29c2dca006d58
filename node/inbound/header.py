"""What the receiver reads of an object: that it is whole, its UIDs, and the few elements that rows have."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..errors import Refused
from .whole import read_header

#: elements that say how many images a series, or its acquisition, has
ANNOUNCING = ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition")
KEYWORDS = (
    *ANNOUNCING,
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ContributingEquipmentSequence",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
WANTED = frozenset(tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
UID_PATTERN = re.compile(r"[0-9.]{1,64}")


def looked_at(spooled: Path, transfer_syntax: UID) -> Dataset:
    """The header of a file in the spool that may be taken in: whole, and with UIDs that are some.

    Raises:
        Refused: as `Inbox.take`, of what can be seen in the file alone.
    """
    with spooled.open("rb") as stream, mapped(stream.fileno()) as data:
        header = read_header(data, data_set_start(data), transfer_syntax, WANTED)
    check_uids(header, None)
    return header


@contextmanager
def mapped(descriptor: int) -> Iterator[memoryview]:
    """The bytes of an open file.

    Raises:
        Refused: it has none.
    """
    if not os.fstat(descriptor).st_size:
        raise Refused("truncated", "the object is empty")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as view, memoryview(view) as data:
        yield data


def data_set_start(data: memoryview) -> int:
    """Where the data set of a Part 10 file of our own writing begins (PS3.10 7.1)."""
    if len(data) < 144 or bytes(data[128:138]) != b"DICM\x02\x00\x00\x00UL":
        raise Refused("no-file-meta", "the file has no DICOM file meta information")
    return 144 + int.from_bytes(data[140:144], "little")


def digest_of(transfer_syntax: UID, data: memoryview) -> str:
    """xxh3-128 of the transfer syntax and the data set, as hexadecimal digits."""
    digest = xxhash.xxh3_128(str(transfer_syntax).encode())
    digest.update(data)
    return digest.hexdigest()


def text(header: Dataset, keyword: str) -> str:
    """An element as text for a row; PostgreSQL has no NUL in text, and no header should."""
    return str(header.get(keyword) or "").replace("\0", "")


def _count(header: Dataset, keyword: str) -> int:
    """A number of images; 0 where there is none, or none that can be true."""
    said = text(header, keyword).strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 0


def announced(header: Dataset) -> int | None:
    """How many images its series has, where it says so."""
    return max((_count(header, keyword) for keyword in ANNOUNCING), default=0) or None


def check_uids(header: Dataset, command: tuple[str, str] | None) -> None:
    """Refuse an object whose UIDs are none, or not those of its C-STORE request."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = header.get(keyword) or ""
        if value == "":
            raise Refused("uid-missing", f"the object has no {keyword}")
        if not isinstance(value, str) or not UID_PATTERN.fullmatch(value):
            raise Refused("uid-illegal", f"the object's {keyword} is not a UID")
    if command is not None and command != (header.SOPClassUID, header.SOPInstanceUID):
        raise Refused("uid-mismatch", "the object's SOP class or instance UID is not that of the C-STORE request")
