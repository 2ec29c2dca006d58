"""JPEG codestreams: what they say of themselves, and the processes that pydicom's permissive plugins lack.

Those are decoded by imagecodecs (BSD-3-Clause), through libjpeg-turbo: baseline, extended, and lossless of all
predictors, 2 to 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import imagecodecs
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

LOSSLESS = (JPEGLossless, JPEGLosslessSV1)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
NAME = "imagecodecs"
DECODER_DEPENDENCIES = dict.fromkeys(LOSSLESS + LOSSY, ("imagecodecs",))  # pydicom reads this

JPEG_2000 = b"\xff\x4f\xff\x51"
JP2_BOX = b"\x00\x00\x00\x0cjP  "
#: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
START_OF_SCAN, END_OF_IMAGE, APP14 = 0xDA, 0xD9, 0xEE
START_OF_TILE = b"\xff\x90"
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""markers without a segment: TEM, the restarts, SOI"""


@dataclass(frozen=True)
class Declared:
    """What a codestream says of its image."""

    rows: int
    columns: int
    samples: int
    bits: int
    adobe_transform: int | None = None
    """0 for RGB, 1 for YCbCr; None without Adobe's marker"""
    tiles_missing: int = 0
    """of JPEG 2000: OpenJPEG would leave them black"""


def declared(stream: bytes) -> Declared:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 codestream, before anything is allocated by its word.

    Raises:
        ValueError: it is none; or one of the first two has no end, where libjpeg would fill up what is missing and
            CharLS would look for it for seconds.
    """
    if stream[: len(JP2_BOX)] == JP2_BOX:  # the JP2 file format around the codestream: not allowed, but met
        stream = stream[max(0, stream.find(JPEG_2000)) :]
    if stream[:4] == JPEG_2000:
        return _jpeg_2000(stream)
    if stream[:2] == b"\xff\xd8":
        return _jpeg(stream)
    raise ValueError("a frame does not begin as a JPEG codestream")


def _jpeg_2000(stream: bytes) -> Declared:
    """ISO/IEC 15444-1 A.5.1: the SIZ segment."""
    if len(stream) < 43:
        raise ValueError("a codestream ends within its header")
    right, bottom, left, top, *tile = (int.from_bytes(stream[at : at + 4], "big") for at in range(8, 40, 4))
    width, height, first, uppermost = tile
    tiles = -(-(right - first) // width) * -(-(bottom - uppermost) // height) if width and height else len(stream)
    samples, bits = int.from_bytes(stream[40:42], "big"), (stream[42] & 0x7F) + 1
    begun = stream.count(START_OF_TILE)  # which stands nowhere else
    return Declared(bottom - top, right - left, samples, bits, tiles_missing=max(0, tiles - begun))


def _jpeg(stream: bytes) -> Declared:
    """ISO/IEC 10918-1 B.2: the marker segments up to the frame header; ISO/IEC 14495-1 C.2.2 for JPEG-LS."""
    if stream.rfind(b"\xff\xd9") < stream.rfind(b"\xff\xda"):
        raise ValueError("a codestream is truncated")
    at, adobe = 2, None
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise ValueError("the markers of a codestream are broken")
        marker = stream[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        body = stream[at + 4 : at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")]
        if marker in START_OF_FRAME and len(body) >= 6:
            return Declared(int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5], body[0], adobe)
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            break
        if marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4], "big"))
    raise ValueError("a codestream has no frame header")


def register() -> None:
    """Add the plugin to pydicom's decoders of this process."""
    for syntax in LOSSLESS + LOSSY:
        decoder = get_decoder(syntax)
        if NAME not in decoder.available_plugins:
            decoder.add_plugin(NAME, (__name__, "decode_frame"))


def is_available(uid: str) -> bool:
    """Whether a transfer syntax can be decoded; pydicom asks."""
    return uid in LOSSLESS + LOSSY


def decode_frame(source: bytes, runner: Any) -> bytearray:
    """One frame, as pydicom's "decoding plugins" are to give it: little-endian pixels, colour by pixel.

    Colour from a lossy process is RGB. A lossless one is left as it is encoded.
    """
    if runner.samples_per_pixel == 1:
        frame = imagecodecs.jpeg8_decode(source)
    elif runner.transfer_syntax in LOSSLESS:
        frame = imagecodecs.jpeg8_decode(source, colorspace="RGB", outcolorspace="RGB")
    else:
        # pydicom has already put right what the component names and a JFIF marker contradict
        transform = declared(source).adobe_transform
        if transform is None:
            transform = int(runner.photometric_interpretation != "RGB")
        encoded = "YCBCR" if transform else "RGB"
        frame = imagecodecs.jpeg8_decode(source, colorspace=encoded, outcolorspace="RGB")
        runner.set_option("photometric_interpretation", "RGB")
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    return bytearray(frame.tobytes())
