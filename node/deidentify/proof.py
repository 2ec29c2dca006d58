"""The proof: the bytes that are to leave are searched for every identifier. A hit keeps the object in the house.

What is searched for, and where:

- UIDs: every run of digits and points in the file, deflated frames unpacked, that is one of them, or begins with one.
- Identifiers of 8 bytes or more: anywhere in the file, pixels included, those of deflated frames unpacked, in any case
  of ASCII letters; digits not as a part of a longer number. In UTF-8, UTF-16, every character set of DICOM that has
  their letters, and as they stood.
- Of 5 to 7 bytes: the same, but of the pixels only the beginning of each compressed frame, where comments are. In the
  bytes of many pixels so few come about by chance.
- Of 3 or 4 bytes, and numbers of up to 7 digits: as whole words of every text and of every element of unknown bytes.
- What is shorter, and parts of names that are ordinary words: only as family and given name beside one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.multival import MultiValue

from ..learning.segment_pixels import DEFLATED_IMAGE_FRAME
from ..objects.characters import SINGLE, UNREADABLE_ELEMENT
from .deflated import inflated
from .identifiers import Identifiers

#: bytes from which on a find is no chance, wherever it is
LONG = 8
MIDDLE = 5
SHORT = 3
#: of a text in UTF-16: dark pixels of two bytes look like letters
FEWEST_WIDE = 6
FRAME_HEAD = 4096
CODECS = (
    *("utf_8", "utf_16_le", "utf_16_be", "gb18030", "gb2312", "euc_kr", "shift_jis", "euc_jp"),
    *("iso2022_jp", "iso2022_jp_2", "big5"),
    *sorted(set(SINGLE.values())),
)
BACK_TO_ASCII = re.compile(rb"\x1b\([BJ]$")
#: whatever could be a UID, and more; a pattern that begins with what is rare is found quickly
UID = re.compile(rb"[0-2]\.[0-9.]{5,}")
#: where short identifiers are words
WORDS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "UN", "OB"}
#: in the order of their tags
PIXELS = ("FloatPixelData", "DoubleFloatPixelData", "PixelData")
BULK = {*PIXELS, "WaveformData", "SpectroscopyData"}
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Leak:
    """An identifier that was found; which kind of one, never the identifier.

    Attributes:
        kind: the attribute that the identifier was of.
        where: the attribute that it was found in, or what of the file.
    """

    kind: str
    where: str


@dataclass(frozen=True)
class _Needle:
    """What is searched for.

    Attributes:
        data: in lower case.
        rule: that its surroundings have to obey, too slow to be asked for every byte.
        kind: of what it is.
    """

    data: bytes
    rule: re.Pattern[bytes] | None
    kind: str

    def is_in(self, lowered: bytes) -> bool:
        return self.data in lowered and (self.rule is None or self.rule.search(lowered) is not None)


@dataclass(frozen=True)
class Proof:
    """What is searched for, of one person."""

    identifiers: Identifiers

    @cached_property
    def _sorted(self) -> dict[int, list[_Needle]]:
        """LONG, MIDDLE and SHORT -> what is searched for in that way."""
        found: dict[int, list[_Needle]] = {LONG: [], MIDDLE: [], SHORT: []}
        for data, kind in self._needles():
            if len(data) >= LONG:
                found[LONG].append(_Needle(data, _number(data) if data.isdigit() else None, kind))
            elif len(data) >= MIDDLE and not data.isdigit():
                found[MIDDLE].append(_Needle(data, None, kind))
            elif len(data) >= SHORT:
                found[SHORT].append(_Needle(data, _word(data), kind))
        return found

    def _needles(self) -> Iterator[tuple[bytes, str]]:
        seen: set[bytes] = set()
        given = ((data, kind) for text, kind in self.identifiers.texts.items() for data in encodings(text))
        for data, kind in (*given, *self.identifiers.raw.items()):
            data = BACK_TO_ASCII.sub(b"", data).lower()
            if data not in seen:
                seen.add(data)
                yield data, kind

    def leaks(self, data: bytes) -> list[Leak]:
        """What is found in the bytes of a Part 10 file; empty where they may leave.

        Raises:
            Refused: `unreadable-object`: its frames cannot be looked into.
        """
        ds = dcmread(BytesIO(data))
        found = {Leak("UID", "the file") for _ in self._uids(data)}
        found |= {Leak(kind, "the file") for kind in self._among(LONG, data)}
        if ds.file_meta.TransferSyntaxUID == DEFLATED_IMAGE_FRAME:
            for frame in inflated(ds):
                found |= {Leak(kind, "a deflated frame") for kind in self._among(LONG, frame)}
                found |= {Leak("UID", "a deflated frame") for _ in self._uids(frame)}
        found |= {Leak(kind, "the file") for kind in self._among(MIDDLE, _without_pixels(data, ds))}
        words = list(_words(ds)) if self._sorted[SHORT] else []
        if self._among(SHORT, b"\0".join(said for _, said in words)):  # once for all of them, for they are many
            found |= {Leak(kind, where) for where, said in words for kind in self._among(SHORT, said)}
        return sorted(found, key=lambda leak: (leak.kind, leak.where))

    def found(self, data: bytes) -> set[str]:
        """Of what kind the identifiers are that are somewhere in bytes of another form."""
        return {kind for size in self._sorted for kind in self._among(size, data)}

    def _among(self, size: int, data: bytes) -> set[str]:
        lowered = data.lower()
        return {needle.kind for needle in self._sorted[size] if needle.is_in(lowered)}

    def _uids(self, data: bytes) -> Iterator[str]:
        uids = self.identifiers.uids
        for token in {match[0].decode() for match in UID.finditer(data)} if uids else ():
            parts = token.rstrip(".").split(".")
            if any(".".join(parts[:n]) in uids for n in range(2, len(parts) + 1)):
                yield token


def encodings(text: str) -> set[bytes]:
    """The bytes of a text in every character set that has its letters."""
    found = set()
    for codec in CODECS:
        if codec.startswith("utf_16") and len(text) < FEWEST_WIDE:
            continue
        try:
            found.add(text.encode(codec))
        except (UnicodeEncodeError, LookupError):
            continue
    return found


def _number(data: bytes) -> re.Pattern[bytes]:
    """A number is not searched for inside longer numbers."""
    return re.compile(rb"(?<![0-9.])" + data + rb"(?![0-9.])")


def _word(data: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![0-9a-z])" + re.escape(data) + rb"(?![0-9a-z])")


def _without_pixels(data: bytes, ds: Dataset) -> bytes:
    """The bytes of a file, of its pixels only the beginning of each compressed frame."""
    parts, at = [], 0
    for keyword in PIXELS:
        element = ds.get_item(keyword, keep_deferred=True)
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
            parts.append(data[at : element.value_tell])
            at = element.value_tell + len(element.value)
            if element.length == UNDEFINED:
                parts += [fragment[:FRAME_HEAD] for fragment in generate_fragments(element.value)]
    return b"\0".join([*parts, data[at:]])


def _words(ds: Dataset) -> Iterator[tuple[str, bytes]]:
    """Attribute and text of every element that may hold words."""
    for tag in list(ds.keys()):
        try:
            element = ds[tag]
        except UNREADABLE_ELEMENT:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _words(item)
        elif element.VR in WORDS and element.keyword not in BULK and element.value:
            yield element.keyword or f"({tag.group:04X},{tag.element:04X})", _joined(element.value)


def _joined(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    values: Iterable[Any] = value if isinstance(value, (MultiValue, list)) else [value]
    return "\\".join(str(one) for one in values).encode("utf-8", "replace")
