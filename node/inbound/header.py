"""What the receiver reads of an object: that it is whole, its UIDs, and the few elements that rows have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import xxhash
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from ..errors import Refused
from ..uids import UID_PATTERN
from .opened import Opened, mapped
from .whole import elements_of, plain_elements_of

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
#: in bytes, encoded: a value of these has 64 characters by the Standard (PS3.5 6.2); of equipment many items have room.
#: To decode an element takes up to 24 microseconds, and it may have no more than eight bytes
LONGEST_VALUE, LONGEST_SEQUENCE = 1 << 12, 1 << 17
#: the tag of each, and how long it may be
WANTED = {
    tag: LONGEST_SEQUENCE if dictionary_VR(tag) == "SQ" else LONGEST_VALUE
    for keyword in KEYWORDS
    if (tag := tag_for_keyword(keyword)) is not None
}
#: of which rows have the text, some in an index: of one row PostgreSQL's take 2704 bytes
TEXTS = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "PatientBirthDate", "Modality")
LONGEST_TEXT = 1024
#: how SOPInstanceUID begins, in Explicit VR and in Implicit VR, both Little Endian
UID_BEGINS = {False: b"\x08\x00\x18\x00UI", True: b"\x08\x00\x18\x00"}
PLAIN_UID = re.compile(rb"[0-9.]{1,64}\0?")
#: of the elements that are the same in all images of a series; more is not kept
LONGEST_SHARED = 1 << 14
#: keyword -> value, of the elements in `KEYWORDS` that are there
Header = Mapping[str, Any]


def looked_at(spooled: Path, transfer_syntax: UID) -> Dataset:
    """The header of a file in the spool that may be taken in: whole, and with UIDs that are some.

    Raises:
        Refused: as `Inbox.take`, of what can be seen in the file alone.
    """
    with spooled.open("rb") as stream, mapped(stream.fileno()) as data:
        header = read_header(data, data_set_start(data), transfer_syntax, WANTED)
    check_uids(header, None)
    check_texts(header)
    return header


def header_of(file: Opened, start: int, transfer_syntax: UID) -> Header:
    """Walk a whole data set and decode what rows have of it. Images of a series differ in one element of these.

    Args:
        start, transfer_syntax: as of `whole.elements_of`.

    Raises:
        Refused: `truncated` or `malformed`.
    """
    plain = plain_elements_of(file.beginning, file.size, start, transfer_syntax, WANTED)
    elements, implicit = plain or elements_of(file.data, start, transfer_syntax, WANTED)
    begins = UID_BEGINS[implicit]
    own = [one for one in elements if one.startswith(begins)] if transfer_syntax.is_little_endian else []
    uid = own[0][8:] if len(own) == 1 else b""
    shared = b"".join([one for one in elements if one is not own[0]]) if PLAIN_UID.fullmatch(uid) else b""
    if not shared or len(shared) > LONGEST_SHARED:
        return _values(decoded(elements, transfer_syntax, implicit=implicit))
    return _shared(shared, str(transfer_syntax), implicit) | {"SOPInstanceUID": uid.rstrip(b"\0").decode("ascii")}


@lru_cache(maxsize=64)
def _shared(elements: bytes, transfer_syntax: str, implicit: bool) -> dict[str, Any]:
    return _values(decoded([elements], UID(transfer_syntax), implicit=implicit))


def _values(header: Dataset) -> dict[str, Any]:
    return {keyword: header.get(keyword) for keyword in KEYWORDS if keyword in header}


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


def text(header: Header | Dataset, keyword: str) -> str:
    """An element as text for a row; PostgreSQL has no NUL in text, and no header should."""
    return str(header.get(keyword) or "").replace("\0", "")


def check_texts(header: Header | Dataset) -> None:
    """Refuse an object with a text that no row takes: bytes in UTF-8, many times what the Standard allows."""
    for keyword in TEXTS:
        said = text(header, keyword)
        if len(said) > LONGEST_TEXT // 4 and len(said.encode("utf-8", "surrogatepass")) > LONGEST_TEXT:
            raise Refused("malformed", f"the object's {keyword} has more than {LONGEST_TEXT} bytes")


def _count(header: Header | Dataset, keyword: str) -> int:
    """A number of images; 0 where there is none, or none that can be true."""
    said = text(header, keyword).strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) < 7 else 0


def announced(header: Header | Dataset) -> int | None:
    """How many images its series has, where it says so."""
    return max((_count(header, keyword) for keyword in ANNOUNCING), default=0) or None


def check_uids(header: Header | Dataset, command: tuple[str, str] | None) -> None:
    """Refuse an object whose UIDs are none, or not those of its C-STORE request."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = header.get(keyword) or ""
        if value == "":
            raise Refused("uid-missing", f"the object has no {keyword}")
        if not isinstance(value, str) or not UID_PATTERN.fullmatch(value):
            raise Refused("uid-illegal", f"the object's {keyword} is not a UID")
    if command is not None and command != (header.get("SOPClassUID"), header.get("SOPInstanceUID")):
        raise Refused("uid-mismatch", "the object's SOP class or instance UID is not that of the C-STORE request")


def decoded(elements: Iterable[bytes], transfer_syntax: UID, *, implicit: bool) -> Dataset:
    """Elements of `elements_of`, each with its value.

    Raises:
        Refused: `malformed`.
    """
    try:
        ds = read_dataset(
            BytesIO(b"".join(elements)), is_implicit_VR=implicit, is_little_endian=transfer_syntax.is_little_endian
        )
        ds.decode()
        for element in ds.iterall():  # every value now, where a broken one is caught
            _ = element.value
    except Exception as error:
        raise Refused("malformed", f"an element of the object cannot be read ({type(error).__name__})") from error
    return ds


def read_header(data: memoryview, start: int, transfer_syntax: UID, wanted: Mapping[int, int]) -> Dataset:
    """Walk a whole data set and decode some of its elements: `elements_of`, then `decoded`.

    Raises:
        Refused: `truncated` or `malformed`.
    """
    elements, implicit = elements_of(data, start, transfer_syntax, wanted)
    return decoded(elements, transfer_syntax, implicit=implicit)
