"""The JPEG processes that pydicom's permissive plugins lack, decoded by imagecodecs (BSD-3-Clause)."""

from __future__ import annotations

from typing import Any

import imagecodecs
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

LOSSLESS = (JPEGLossless, JPEGLosslessSV1)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
NAME = "imagecodecs"
DECODER_DEPENDENCIES = dict.fromkeys(LOSSLESS + LOSSY, ("imagecodecs",))  # pydicom reads this


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
    """One frame, as pydicom's "decoding plugins" are to give it: little-endian pixels, colour by pixel."""
    decode = imagecodecs.jpegsof3_decode if runner.transfer_syntax in LOSSLESS else imagecodecs.jpeg8_decode
    frame = decode(source)
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    return bytearray(frame.tobytes())
