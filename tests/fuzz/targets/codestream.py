"""The headers of JPEG, JPEG-LS and JPEG 2000 codestreams, before anything is allocated by their word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

import imagecodecs
import numpy as np
from pydicom.pixels.utils import get_j2k_parameters

from node.study.jpeg import JP2_BOX, JPEG_2000, Declared, declared
from tests.fuzz.target import Reader, Target

SIZES = ((3, 5), (16, 8))


def check(read: Reader, data: bytes) -> bool:
    try:
        said: Declared = read(data)
    except ValueError as error:
        assert str(error).isprintable()
        return False
    assert all(isinstance(one, int) for one in astuple(said) if one is not None)
    assert said.tiles_missing >= 0
    if data.startswith(JP2_BOX):
        return True
    if data.startswith(JPEG_2000):
        theirs = get_j2k_parameters(data)
        assert theirs.get("precision", said.bits) == said.bits, "pydicom reads another precision"
        return True
    assert 0 <= said.rows <= 0xFFFF and 0 <= said.columns <= 0xFFFF, "more than two bytes can say"
    assert 0 <= said.samples <= 0xFF and 0 <= said.bits <= 0xFF
    start = (
        bytes((said.bits,)) + said.rows.to_bytes(2, "big") + said.columns.to_bytes(2, "big") + bytes((said.samples,))
    )
    assert start in data, "what it declares stands nowhere"
    return True


def seeds() -> Iterable[bytes]:
    for rows, columns in SIZES:
        frame = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
        yield bytes(imagecodecs.jpeg8_encode(frame))
        yield bytes(imagecodecs.jpeg8_encode(frame, lossless=True))
        yield bytes(imagecodecs.jpegls_encode(frame))
        yield bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k"))
    yield JPEG_2000
    yield b"\xff\xd8\xff\xff\xff\xff\xd9"


def turned(data: bytes) -> Declared:
    """Takes rows for columns."""
    found = declared(data)
    return Declared(found.columns, found.rows, found.samples, found.bits)


TARGET = Target(
    read=declared,
    check=check,
    seeds=seeds,
    faults={"takes rows for columns": turned},
    words=[
        b"\xff\xc0",
        b"\xff\xc3",
        b"\xff\xf7",
        b"\xff\xda",
        b"\xff\xd9",
        b"\xff\xee",
        b"Adobe",
        JPEG_2000,
        b"\xff\x90",
    ],
)
