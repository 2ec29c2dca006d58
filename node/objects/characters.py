"""From the bytes of an element to its characters, for every SpecificCharacterSet (PS3.3 C.12.1.1.2, PS3.5 6.1).

Nothing is guessed: what the declared character sets do not define becomes U+FFFD, the replacement character, never
another letter. So a text that was damaged shows it, and an identifier can be refused. Tolerated is only what leaves
every legal text as it is: misspelt terms, escape sequences of sets that were not declared, and a designation that is
not repeated behind a delimiter.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

#: in place of every byte that cannot be read
UNREADABLE = "\ufffd"

#: the number of an ISO-IR registration -> the codec of its upper half, one byte per character (PS3.3 table C.12-3)
SINGLE = {
    13: "shift_jis",
    100: "iso8859_1",
    101: "iso8859_2",
    109: "iso8859_3",
    110: "iso8859_4",
    126: "iso8859_7",
    127: "iso8859_6",
    138: "iso8859_8",
    144: "iso8859_5",
    148: "iso8859_9",
    166: "iso8859_11",
    203: "iso8859_15",
}
#: two bytes per character, in the upper half (PS3.3 table C.12-4)
UPPER_PAIRS = {58: "gb2312", 149: "euc_kr"}
#: two bytes per character, in place of ASCII: codec and the escape sequence that it needs
LOWER_PAIRS = {87: ("iso2022_jp", b"\x1b$B"), 159: ("iso2022_jp_2", b"\x1b$(D")}
#: the set of everything that we write
UTF8 = "ISO_IR 192"
#: without code extensions (PS3.3 table C.12-5)
ALONE = {UTF8: "utf_8", "UTF-8": "utf_8", "UTF8": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
#: escape sequence -> what it makes the lower half (None: ASCII), or else the upper half
TO_LOWER = {b"(B": None, b"(J": None, b"$B": 87, b"$@": 87, b"$(D": 159}
TO_UPPER = {
    b")I": 13,
    b"-A": 100,
    b"-B": 101,
    b"-C": 109,
    b"-D": 110,
    b"-F": 126,
    b"-G": 127,
    b"-H": 138,
    b"-L": 144,
    b"-M": 148,
    b"-T": 166,
    b"-b": 203,
    b"$)A": 58,
    b"$)C": 149,
}

TERM = re.compile(r"(?:ISO)?[ _-]*(?:2022)?[ _-]*IR[ _-]*(\d{1,3})", re.ASCII)
ESCAPE = re.compile(rb"\x1b(\$[()].|\$.|[()-].)", re.DOTALL)
TO_THE_NEXT = re.compile(rb"[^\x1b]*")
DELIMITERS = {"PN": b"\\^="}

#: how text may be encoded in a file; UN and no VR at all are what implicit transfer syntaxes leave behind
TEXTUAL = (None, "UN", "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UT")
PADDING = " \0"
#: bytes that single-byte character sets leave undefined, and what no UTF-8 can hold
NO_CHARACTER = re.compile(r"[\x80-\x9f\ud800-\udfff]")
#: what pydicom raises for an element that it cannot read
UNREADABLE_ELEMENT = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OSError,
    NotImplementedError,
    BytesLengthException,
    struct.error,
)


@dataclass
class _Halves:
    """Which sets are designated to the lower and the upper half of the code table (ISO/IEC 2022, G0 and G1)."""

    lower: int | None
    upper: int | None
    at_first: int | None
    """upper half of value 1 of SpecificCharacterSet"""

    def reset(self) -> None:
        """Behind a delimiter value 1 is active again (PS3.5 6.1.2.5.3); where that has no upper half, nothing else can
        be meant than what was designated last, which many senders do not repeat."""
        self.upper = self.at_first or self.upper


def charset(source: Dataset, above: tuple[str, ...] = ("",)) -> tuple[str, ...]:
    """The terms of a data set's SpecificCharacterSet; an item has those of the data set above it (PS3.5 7.5.3)."""
    element = source.get_item("SpecificCharacterSet", keep_deferred=True)
    return terms(element.value) if element is not None and element.value else above


def texts(source: Dataset, keyword: str, above: tuple[str, ...] = ("",)) -> list[str]:
    """The values of an element, decoded, without padding; none where it is absent or empty.

    What cannot be read is U+FFFD: single bytes, or all of it where the element holds no text.
    """
    element = source.get_item(keyword, keep_deferred=True)
    if element is None or (not element.value and element.value != 0):
        return []
    value, vr = element.value, vr_of(keyword)
    if isinstance(value, DicomSequence) or element.VR not in TEXTUAL:
        parts = [UNREADABLE]
    elif isinstance(value, bytes):
        text = decoded(value, charset(source, above), vr)
        parts = [text] if vr == "LT" else text.split("\\")  # PS3.5 6.2: prose may hold backslashes
    else:
        parts = [str(part) for part in (value if isinstance(value, (MultiValue, list)) else [value])]
    found = [NO_CHARACTER.sub(UNREADABLE, part).strip(PADDING) for part in parts]
    return [] if found == [""] else found


def items(source: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent, empty, or cannot be read."""
    element = source.get_item(keyword, keep_deferred=True)
    if element is None or element.VR not in (None, "UN", "SQ"):
        return []
    try:
        value = source.get(keyword)
    except UNREADABLE_ELEMENT:
        return []
    return list(value) if isinstance(value, DicomSequence) else []


def vr_of(keyword: str) -> str:
    """The value representation that an element has in the Standard, whatever the file says."""
    return str(dictionary_VR(tag_for_keyword(keyword) or 0))


def terms(value: Any) -> tuple[str, ...]:
    """The defined terms of a SpecificCharacterSet, as bytes or as pydicom reads it: upper case, without padding."""
    text = value.decode("latin_1") if isinstance(value, bytes) else value
    parts = text if isinstance(text, (MultiValue, list)) else str(text).split("\\")
    return tuple(str(part).strip(" \0").upper() for part in parts)


def decoded(data: bytes, charset: Sequence[str], vr: str) -> str:
    """The characters of a value's bytes, U+FFFD for all that `charset` does not define.

    Args:
        data: all values of the element, still with the backslashes between them.
        charset: as `terms` gives them.
        vr: of the element: names have delimiters of their own.
    """
    if data.isascii() and b"\x1b" not in data:
        return data.decode()
    term = charset[0].removeprefix("ISO 2022 ") if charset else ""
    found = TERM.fullmatch(term)
    number = int(found[1]) if found else 0
    if codec := ALONE.get(UTF8 if number == 192 else term):
        return data.decode(codec, "replace").removeprefix("\ufeff").replace("\x1b", UNREADABLE)
    upper = number if number in SINGLE or number in UPPER_PAIRS else None
    return _extended(data, _Halves(None, upper, upper), DELIMITERS.get(vr, b"\\"))


def _extended(data: bytes, halves: _Halves, delimiters: bytes) -> str:
    """ISO 2022 with code extensions (PS3.5 6.1.2.5)."""
    text, at = [], 0
    while at < len(data):
        byte = data[at]
        if byte == 0x1B:
            piece, at = _escaped(data, at, halves)
        elif byte <= 0x20 or byte == 0x7F:
            piece, at = chr(byte), at + 1
            if byte in b"\t\n\f\r":
                halves.lower = None
                halves.reset()
        elif byte < 0x80:
            piece, at = _from_lower(data, at, halves, delimiters)
        else:
            piece, at = _from_upper(data, at, halves)
        text.append(piece)
    return "".join(text)


def _escaped(data: bytes, at: int, halves: _Halves) -> tuple[str, int]:
    found = ESCAPE.match(data, at)
    if found and found[1] in TO_LOWER:
        halves.lower = TO_LOWER[found[1]]
        return "", found.end()
    if found and found[1] in TO_UPPER:
        halves.upper = TO_UPPER[found[1]]
        return "", found.end()
    unknown = TO_THE_NEXT.match(data, at + 1)  # no telling what the bytes up to the next escape sequence are
    return UNREADABLE, unknown.end() if unknown else len(data)


def _from_lower(data: bytes, at: int, halves: _Halves, delimiters: bytes) -> tuple[str, int]:
    byte = data[at]
    if halves.lower is None:
        if byte in delimiters:
            halves.reset()
        return chr(byte), at + 1
    pair = data[at : at + 2]
    if len(pair) < 2 or not 0x21 <= pair[1] <= 0x7E:
        if byte in delimiters:  # ASCII was not designated again before it
            halves.reset()
            return chr(byte), at + 1
        return UNREADABLE, at + 1
    codec, escape = LOWER_PAIRS[halves.lower]
    return _character(escape + pair + b"\x1b(B", codec), at + 2


def _from_upper(data: bytes, at: int, halves: _Halves) -> tuple[str, int]:
    if halves.upper in UPPER_PAIRS:
        pair = data[at : at + 2]
        if len(pair) == 2 and min(pair) >= 0xA1:
            return _character(pair, UPPER_PAIRS[halves.upper]), at + 2
        return UNREADABLE, at + 1
    if halves.upper in SINGLE and data[at] >= 0xA0:
        return _character(data[at : at + 1], SINGLE[halves.upper]), at + 1
    return UNREADABLE, at + 1


def _character(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return UNREADABLE
