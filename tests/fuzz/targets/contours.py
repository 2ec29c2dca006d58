"""The contours of an RT Structure Set, onto the slices of a volume (PS3.3 C.8.8.6)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import cache
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from node.errors import Refused
from node.learning.contours import FARTHEST_MM, Contours, filled, sorted_onto
from node.learning.slices import Slices
from tests import outlines
from tests.fuzz.target import Reader, Target
from tests.synthetic import small_series

KINDS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "POINT", "OPEN_PLANAR", "CIRCLE")


@cache
def slices() -> Slices:
    """8 slices of 20 rows and 24 columns."""
    return Slices.of(outlines.volume_of(small_series()))


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def contour(kind: str, data: bytes) -> Dataset:
    """One as it lies in a file: its numbers are text that nobody has read."""
    encoded = element(0x30060042, b"CS", kind.encode()) + element(0x30060050, b"DS", data[:60000])
    return read_dataset(BytesIO(encoded), is_implicit_VR=False, is_little_endian=True)


def check(read: Reader, data: bytes) -> bool:
    """The first byte says of which kind the contours are; each line is one of them."""
    kind, data = KINDS[data[0] % len(KINDS)] if data else KINDS[0], data[1:]
    roi, lines = Dataset(), data.split(b"\n")[:8]
    roi.ContourSequence = [contour(kind, line) for line in lines]
    try:
        found: Contours = read(slices(), roi, None)
        masks = [filled(polygons, *slices().shape[1:]) for polygons in found.polygons.values()]
    except Refused as refusal:
        assert refusal.code in ("label-unreadable", "label-too-large")
        return False
    for line in lines:
        for one in line.strip(b" \0").split(b"\\") if line.strip(b" \0") else ():
            assert not set(one.strip()) - set(b"0123456789+-.eE"), f"{one!r} is a number"
            assert math.isfinite(float(one)) and abs(float(one)) < FARTHEST_MM, f"{one!r} is in the patient"
    assert all(mask.mask.shape == slices().shape[1:] for mask in masks)
    drawn = sum(map(len, found.polygons.values()))
    assert drawn + found.across + found.ignored <= len(lines), "more contours than there are"
    return bool(drawn)


def square(at: float, size: float) -> bytes:
    """A contour on the first slice."""
    x, y, z = slices().origins[0]
    corners = [(x + at, y + at), (x + at + size, y + at), (x + at + size, y + at + size), (x + at, y + at + size)]
    return b"\\".join(f"{number:g}".encode() for a, b in corners for number in (a, b, z))


def seeds() -> Iterable[bytes]:
    yield b"\0" + square(1, 5)
    yield b"\0" + square(1, 9) + b"\n" + square(3, 2)
    yield b"\2" + b"1\\2\\3"
    yield b"\0" + square(-99, 3000)
    yield b"\0" + square(1, 5) + b"\\1\\2"
    yield b"\0" + square(1, 5).replace(b"\\", b" \\ ")
    yield b"\0nan\\1e400\\-inf"


def tolerant(where: Slices, roi: Dataset, names: None) -> Contours:
    """Reads a number that cannot be read as zero."""
    for one in roi.ContourSequence:
        raw = one.get_item(0x30060050)
        value = bytes(raw.value or b"").replace(b"nan", b"0").replace(b"_", b"")
        one[0x30060050] = raw._replace(value=value)
    return sorted_onto(where, roi, names)


TARGET = Target(
    read=sorted_onto,
    check=check,
    seeds=seeds,
    faults={"makes up a number": tolerant},
    words=[b"\\", b"\n", b"1e99", b"nan", b"inf", b"-0", b"1_0", b"99999", b" ", b"\\\\"],
    longest=2000,
)
