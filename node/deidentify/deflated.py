"""Frames that are deflated, each by itself (PS3.5 A.4.15): they are unpacked to be searched."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from ..errors import Refused

#: of a frame, what its pixels need; more may stand behind them, up to so many bytes
MOST_BEHIND = 1 << 16


def inflated(ds: Dataset) -> Iterator[bytes]:
    """The bytes of each fragment, with whatever stands behind its pixels.

    Raises:
        Refused: `unreadable-object`: they cannot be unpacked, or are far more than the object declares.
    """
    said = [ds.get(keyword) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")]
    most = math.prod(one for one in said if isinstance(one, int)) // 8 + MOST_BEHIND
    fragments = generate_fragments(ds["PixelData"].value) if "PixelData" in ds else iter(())
    next(fragments, None)  # the Basic Offset Table
    for fragment in fragments:
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            frame = unpacking.decompress(fragment, most)
        except zlib.error:
            raise Refused("unreadable-object", "its deflated frames cannot be unpacked to be searched") from None
        if unpacking.unconsumed_tail:
            raise Refused("unreadable-object", "a deflated frame holds far more than the object declares")
        yield frame
