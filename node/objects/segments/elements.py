"""Data elements as bytes: Explicit VR Little Endian, explicit lengths (PS3.5 7.1.2, 7.5).

For what is written thousands of times in one object. All else goes through pydicom.
"""

from __future__ import annotations

import struct

#: what a length is where it is not known beforehand
UNDEFINED = 0xFFFFFFFF
#: these have a length of 32 bits, behind two bytes of nothing (PS3.5 table 7.1-1)
LONG = {"OB", "OW", "SQ", "UC", "UN", "UR", "UT"}


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element, padded to an even length: a UID with a null, text with a space."""
    padded = value if len(value) % 2 == 0 else value + (b"\0" if vr in ("UI", "OB", "OW") else b" ")
    return head(tag, vr, len(padded)) + padded


def head(tag: int, vr: str, length: int) -> bytes:
    """What stands before a value; the length must be even."""
    layout = "<HH2s2xI" if vr in LONG else "<HH2sH"
    return struct.pack(layout, tag >> 16, tag & 0xFFFF, vr.encode(), length)


def item(content: bytes) -> bytes:
    """An item, of a sequence or a fragment of encapsulated pixels, around its content of even length."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def sequence(tag: int, *contents: bytes) -> bytes:
    """A sequence of one item per content."""
    return element(tag, "SQ", b"".join(map(item, contents)))


def text(tag: int, vr: str, *values: object) -> bytes:
    """An element of characters; of ASCII alone, which codes, UIDs and numbers are made of."""
    return element(tag, vr, "\\".join(map(str, values)).encode("ascii"))


def code(tag: int, value: str, scheme: str, meaning: str) -> bytes:
    """A sequence of one coded concept (PS3.3 8.8)."""
    return sequence(
        tag, text(0x00080100, "SH", value) + text(0x00080102, "SH", scheme) + text(0x00080104, "LO", meaning)
    )
