"""The one RLE segment of a frame of a segmentation (PS3.5 G.3), and what pydicom makes of it."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom.pixels.decoders.rle import _rle_decode_segment
from pydicom.pixels.encoders.native import _encode_segment

from node.errors import Refused
from node.learning.segment_pixels import _run_lengths
from tests.fuzz.target import Reader, Target

FRAME_BYTES = 500
#: of one run or one literal
LONGEST_RUN = 128


def check(read: Reader, data: bytes) -> bool:
    try:
        found: bytes = read(data, FRAME_BYTES)
    except Refused as refusal:
        assert refusal.code == "undecodable-pixels"
        return False
    assert len(found) < FRAME_BYTES + LONGEST_RUN, "more than a frame has"
    at = int.from_bytes(data[4:8], "little")
    if at >= len(data):
        assert not found, "bytes out of nowhere"
        return False
    try:
        theirs = bytes(_rle_decode_segment(data[at:]))
    except (IndexError, ValueError):
        return False
    assert theirs.startswith(found[:FRAME_BYTES]), "pydicom unpacks other bytes"
    assert len(found) >= min(len(theirs), FRAME_BYTES), "fewer than a frame has"
    return len(found) >= FRAME_BYTES


def seeds() -> Iterable[bytes]:
    head = struct.pack("<16L", 1, 64, *[0] * 14)
    yield head + _encode_segment(bytes(range(250)) * 2, 25)
    yield head + _encode_segment(b"\0" * 400 + b"\xff" * 100, 25)
    yield head + b"\x81\0" * 4
    yield head + b"\x80\x80\x05ab"
    yield struct.pack("<16L", 2, 64, 70, *[0] * 13) + b"\x81\0" * 4
    yield struct.pack("<2L", 1, 0xFFFFFFFF)


def endless(data: bytes, most: int) -> bytes:
    """Unpacks on behind the end of the frame."""
    return _run_lengths(data, most * 10)


TARGET = Target(
    read=_run_lengths,
    check=check,
    seeds=seeds,
    faults={"unpacks without end": endless},
    words=[struct.pack("<2L", 1, 64), struct.pack("<2L", 1, 8), b"\x80\x80", b"\x81\x81"],
)
