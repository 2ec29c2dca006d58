"""Whether a file ends where its data set ends: pydicom takes what is there of one that was cut short (PS3.5 7.1)."""

from __future__ import annotations

import struct

from pydicom.uid import ImplicitVRLittleEndian

#: behind the preamble, the prefix and the header of its group length, the first element of the meta information
GROUP_LENGTH, META = 140, 144
#: value representations whose length has four bytes
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = 0xFFFFFFFF
#: behind the end of any file
NOWHERE = 1 << 62


class Incomplete(ValueError):
    """Bytes lack something or have too many; what it says has nothing of the patient in it."""


def is_whole(data: bytes, transfer_syntax: str) -> bool:
    """Whether the last element of a Part 10 file, little endian and not deflated, ends with the file."""
    try:
        (meta,) = struct.unpack_from("<I", data, GROUP_LENGTH)
        return _data_set(data, META + meta, len(data), implicit=transfer_syntax == ImplicitVRLittleEndian) == len(data)
    except struct.error:  # an element's header is cut
        return False


def _data_set(data: bytes, at: int, end: int, *, implicit: bool) -> int:
    """Where a data set ends: behind its last element, or behind the delimiter of the item that it is; `NOWHERE` where
    its elements are not in the order of their tags."""
    before = (0, 0)
    while at < end:
        if data[at : at + 4] == ITEM_END:
            return at + 8
        tag = struct.unpack_from("<HH", data, at)
        if tag <= before:
            return NOWHERE
        before = tag
        if implicit or data[at + 4 : at + 6] in LONG:
            header = 8 if implicit else 12
            (length,) = struct.unpack_from("<I", data, at + header - 4)
        else:
            header = 8
            (length,) = struct.unpack_from("<H", data, at + 6)
        at += header
        at = _items(data, at, end, implicit=implicit) if length == UNDEFINED else at + length
    return at


def _items(data: bytes, at: int, end: int, *, implicit: bool) -> int:
    """Where a sequence, or the fragments of pixels, of undefined length ends."""
    while at < end:
        tag = data[at : at + 4]
        (length,) = struct.unpack_from("<I", data, at + 4)
        at += 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            return NOWHERE
        at = _data_set(data, at, end, implicit=implicit) if length == UNDEFINED else at + length
    return NOWHERE
