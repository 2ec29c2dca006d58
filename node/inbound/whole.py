"""Prove that a data set is whole: every length that it declares must fit, down to the last open sequence.

pydicom reads truncated files without a word, so this walk stands before Success. It decodes no pixels, recurses
nowhere, and hands out the few elements that the receiver needs. (PS3.5 7.1 to 7.5, 6.2.2, A.4)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

from pydicom.uid import UID

from ..errors import Refused

UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 64
#: at the top level; and of all sequences before the pixels: an image of 20,000 frames has some 300,000. Whoever decodes
#: them takes up to 100 microseconds and a kilobyte for each
MAX_ELEMENTS, MAX_ITEMS = 100_000, 500_000
#: elements, items and delimiters inside sequences of undefined length: such an image has 1,500,000 of them
MAX_STEPS = 4_000_000
LONG_VR = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
SHORT_VR = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
#: whose values may have items inside; none: Implicit VR, which says of no value what it is
NESTING = frozenset({b"SQ", b"UN", b""})
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, PIXELS = 0x7FE00010, 0x7FE00000  # and where the group of pixels begins, in which nobody looks for items
STEP = 1 << 20  # in which long values are looked through, so that little is copied at once
#: groups of a command, of file meta information, and of delimiters
OUTSIDE = frozenset({0x0000, 0x0002, 0xFFFE})
LITTLE = (Struct("<HH"), Struct("<H"), Struct("<L"))
BIG = (Struct(">HH"), Struct(">H"), Struct(">L"))


@dataclass(frozen=True)
class _Open:
    """A sequence of undefined length, or an item of one, that has begun and not ended."""

    is_item: bool
    explicit: bool
    """how the elements around it are encoded"""
    end: int | None = None
    """of an item that says it; pydicom would read on behind it"""


class _Walk:
    """One pass over the elements of a data set."""

    def __init__(
        self, data: memoryview, start: int, transfer_syntax: UID, wanted: Mapping[int, int], size: int | None = None
    ) -> None:
        self.data, self.at, self.wanted = data, start, wanted
        self.size = len(data) if size is None else size  # of the file, of which the data may be the beginning
        self.explicit = _is_explicit(data, start, transfer_syntax)
        is_little_endian = transfer_syntax.is_little_endian
        self.tag_of, self.short, self.long = LITTLE if is_little_endian else BIG
        self.plain = Struct(("<" if is_little_endian else ">") + ("HH2sH" if self.explicit else "HHL"))
        self.item = self.tag_of.pack(ITEM >> 16, ITEM & 0xFFFF)
        self.open: list[_Open] = []
        self.spans: list[bytes] = []
        self.begun = start  # of the element at the top level
        self.tags: set[int] = set()
        self.last = 0  # the largest of them
        self.items = self.steps = 0

    def run(self) -> list[bytes]:
        """Walk to the end; the encoded elements that were wanted."""
        while self.at < len(self.data):
            if not self.open:
                self.pass_plain()
                if self.at == len(self.data):
                    break
                self.begun = self.at
            self._step()
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self._malformed(self.at, "more elements or items than any image has")
            self._leave()
            if not self.open and self.tag_of.size <= self.at - self.begun:
                self._keep(self._tag(), self.begun, self.at)
                self._count()
        if self.open:
            raise self._cut_short()
        return self.spans

    def pass_plain(self) -> None:
        """Pass elements as nearly all are: at the top level, in order, each with its length. Others are `_step`'s."""
        data, at, size, wanted, tags, last = self.data, self.at, self.size, self.wanted, self.tags, self.last
        explicit, unpack, long = self.explicit, self.plain.unpack_from, self.long.unpack_from
        here, vr = len(data), b""
        while at + 12 <= here:
            if explicit:
                group, element, vr, length = unpack(data, at)
                if vr in SHORT_VR:
                    value = at + 8
                elif vr in LONG_VR:
                    value, length = at + 12, long(data, at + 8)[0]
                else:
                    break
            else:
                group, element, length = unpack(data, at)
                value = at + 8
            tag, after = group << 16 | element, value + length
            if tag <= last or group in OUTSIDE or length == UNDEFINED or after > size:
                break
            if after > here and tag < PIXELS:
                break
            if tag in wanted:
                self._keep(tag, at, after)
            tags.add(tag)
            if length > 8 and vr in NESTING and tag < PIXELS:
                self._count_items(value, after)
            if self.items > MAX_ITEMS or len(tags) > MAX_ELEMENTS:
                raise self._malformed(at, "more elements or items than any image has")
            last, at = tag, after
        self.at, self.last = at, last

    def _step(self) -> None:
        begin = self.at
        tag, vr, length, value = self._header()
        if tag >> 16 == 0xFFFE:
            self._delimiter(begin, tag, length, value)
        elif self.open and not self.open[-1].is_item:
            raise self._malformed(begin, "something that is no item inside a sequence")
        elif not self.open and tag >> 16 in (0x0000, 0x0002):
            raise self._malformed(begin, f"group {tag >> 16:04X} inside the data set")
        elif length != UNDEFINED:
            self._skip(value + length)
        elif tag == PIXEL_DATA:
            self.at = value
            self._fragments()
        elif vr in (b"SQ", b"UN", b""):
            self._enter(begin, is_item=False, value=value)
            self.explicit = self.explicit and vr != b"UN"  # PS3.5 6.2.2: then its items are Implicit VR
        else:
            raise self._malformed(begin, f"undefined length in a {vr.decode()} element")

    def _header(self) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where implicit), length and where the value begins."""
        at, data = self.at, self.data
        if at + 8 > len(data):
            raise self._cut_short()
        group, element = self.tag_of.unpack_from(data, at)
        tag = group << 16 | element
        if group == 0xFFFE or not self.explicit:
            return tag, b"", self.long.unpack_from(data, at + 4)[0], at + 8
        vr = bytes(data[at + 4 : at + 6])
        if vr in SHORT_VR:
            return tag, vr, self.short.unpack_from(data, at + 6)[0], at + 8
        if self.open and not b"AA" <= vr <= b"ZZ":  # or single elements; pydicom follows in both
            return tag, b"", self.long.unpack_from(data, at + 4)[0], at + 8
        if vr not in LONG_VR:  # of one that is new the length would have four bytes (PS3.5 7.1.2); pydicom takes two
            raise self._malformed(at, f"no value representation that is known in element ({group:04X},{element:04X})")
        if at + 12 > len(data):
            raise self._cut_short()
        return tag, vr, self.long.unpack_from(data, at + 8)[0], at + 12

    def _delimiter(self, begin: int, tag: int, length: int, value: int) -> None:
        inside = self.open[-1] if self.open else None
        if tag == ITEM and inside and not inside.is_item:
            end = None if length == UNDEFINED else value + length
            if end is not None and end > len(self.data):
                raise self._cut_short()
            self._enter(begin, is_item=True, value=value, end=end)
            # some senders change over to Implicit VR inside sequences: the first element says it of the item
            vr = bytes(self.data[value + 4 : value + 6])
            self.explicit = self.explicit and vr.isalpha() and vr.isupper()
        elif inside and inside.end is None and tag == (ITEM_END if inside.is_item else SEQUENCE_END):
            self.explicit = self.open.pop().explicit
            self.at = value
        else:
            raise self._malformed(begin, "an item or a delimiter where none belongs")

    def _enter(self, begin: int, *, is_item: bool, value: int, end: int | None = None) -> None:
        if len(self.open) >= 2 * MAX_DEPTH:
            raise self._malformed(begin, f"sequences nested deeper than {MAX_DEPTH}")
        self.open.append(_Open(is_item, self.explicit, end))
        self.at = value

    def _leave(self) -> None:
        """Items that say where they end end there."""
        while self.open and (end := self.open[-1].end) is not None and self.at >= end:
            if self.at > end:
                raise self._malformed(end, "an element that does not end with its item")
            self.explicit = self.open.pop().explicit

    def _fragments(self) -> None:
        """Encapsulated pixel data: items to the sequence delimiter (PS3.5 A.4)."""
        for _ in range(MAX_ITEMS):
            begin = self.at
            if begin + 8 > len(self.data):
                raise self._cut_short()
            group, element = self.tag_of.unpack_from(self.data, begin)
            length = self.long.unpack_from(self.data, begin + 4)[0]
            tag = group << 16 | element
            if tag == SEQUENCE_END:
                self.at = begin + 8
                return
            if tag != ITEM or length == UNDEFINED:
                raise self._malformed(begin, "no fragment inside the encapsulated pixel data")
            self._skip(begin + 8 + length)
        raise self._malformed(self.at, "more fragments of pixels than any image has")

    def _skip(self, to: int) -> None:
        if to > len(self.data):
            raise self._cut_short()
        self.at = to

    def _keep(self, tag: int, begin: int, end: int) -> None:
        """Hand out an element that is wanted, unless it is too long: whoever sends it says how much is decoded."""
        if (most := self.wanted.get(tag)) is None:
            return
        if end - begin > most:
            raise self._malformed(begin, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) is longer than {most} bytes")
        self.spans.append(bytes(self.data[begin:end]))

    def _count_items(self, begin: int, end: int) -> None:
        """Count what looks like the beginning of an item: at least as many as there are."""
        for at in range(begin, end, STEP):  # a tag has four bytes, and may lie on both sides of a step
            self.items += bytes(self.data[at : min(at + STEP + 3, end)]).count(self.item)

    def _count(self) -> None:
        tag = self._tag()
        if tag in self.tags:  # one reader would take the first, another the last
            raise self._malformed(self.begun, f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) for the second time")
        self.tags.add(tag)
        self.last = max(self.last, tag)
        if self.at - self.begun > 16 and tag < PIXELS:
            self._count_items(self.begun, self.at)
        if len(self.tags) > MAX_ELEMENTS or self.items > MAX_ITEMS:
            raise self._malformed(self.begun, "more elements or items than any image has")

    def _tag(self) -> int:
        """Of the element at the top level."""
        group, element = self.tag_of.unpack_from(self.data, self.begun)
        return int(group << 16 | element)

    def _cut_short(self) -> Refused:
        said = f"it has {len(self.data)} bytes and ends inside an element that begins at {self.begun}"
        return Refused("truncated", f"the object is cut short: {said}")

    def _malformed(self, at: int, what: str) -> Refused:
        return Refused("malformed", f"the object is not a DICOM data set: {what} at byte {at}")


def _is_explicit(data: memoryview, start: int, transfer_syntax: UID) -> bool:
    """What the first element looks like; some senders label their data sets wrongly, and pydicom looks too."""
    vr = bytes(data[start + 4 : start + 6])
    return vr in SHORT_VR or vr in LONG_VR if len(vr) == 2 else not transfer_syntax.is_implicit_VR


def elements_of(
    data: memoryview, start: int, transfer_syntax: UID, wanted: Mapping[int, int]
) -> tuple[list[bytes], bool]:
    """Walk a whole data set.

    Args:
        data: the file.
        start: where the data set begins, behind the file meta information.
        transfer_syntax: that it is encoded in; not a deflated one.
        wanted: the tags of the top-level elements to hand out, and how many bytes each may have, with its header.

    Returns:
        These elements, encoded, and whether that is in Implicit VR.

    Raises:
        Refused: `truncated` or `malformed`, also where a wanted element is too long.
    """
    walk = _Walk(data, start, transfer_syntax, wanted)
    implicit = not walk.explicit
    return walk.run(), implicit


def plain_elements_of(
    beginning: memoryview, size: int, start: int, transfer_syntax: UID, wanted: Mapping[int, int]
) -> tuple[list[bytes], bool] | None:
    """As `elements_of`, from the beginning of a file alone, where that tells all: plain elements to its last byte, and
    of none but the pixels the value lies beyond the beginning.

    Args:
        beginning: the first bytes of the file.
        size: of the file, in bytes.
        wanted: as of `elements_of`; none of them belongs to the pixels.

    Returns:
        None where only the whole file tells.

    Raises:
        Refused: `malformed`, as `elements_of`.
    """
    walk = _Walk(beginning, start, transfer_syntax, wanted, size)
    implicit = not walk.explicit
    walk.pass_plain()
    return (walk.spans, implicit) if walk.at == size else None
