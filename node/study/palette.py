"""The colours of a PALETTE COLOR image (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""

from __future__ import annotations

import numpy as np
import pydicom.uid as syntaxes
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import Refused
from .pixels import BROKEN, value


def palette(header: Dataset) -> tuple[NDArray[np.integer], int]:
    """The look-up table of an image.

    Returns:
        (entries, 3): red, green, blue, as uint8 or uint16; and the stored value that has the first.

    Raises:
        Refused: `pixel-format`, also where the palette comes in segments.
    """
    try:
        entries, first, bits = (int(part) for part in header.get("RedPaletteColorLookupTableDescriptor"))
    except BROKEN:
        raise Refused("pixel-format", "the palette of an image is missing, or is not described") from None
    words = np.dtype(">u2" if header.file_meta.TransferSyntaxUID == syntaxes.ExplicitVRBigEndian else "<u2")
    table = np.empty((entries & 0xFFFF or 0x10000, 3), np.uint16)
    for n, colour in enumerate(("Red", "Green", "Blue")):
        data = value(header, f"{colour}PaletteColorLookupTableData")
        if not isinstance(data, bytes) or len(data) < len(table):
            raise Refused("pixel-format", "the palette of an image is missing, too short, or in segments")
        values = np.frombuffer(data + bytes(len(data) % 2), words)
        table[:, n] = (values if len(values) >= len(table) else values.astype("<u2").view(np.uint8))[: len(table)]
    first = (first + 0x8000) % 0x10000 - 0x8000 if header.PixelRepresentation else first & 0xFFFF
    return table.astype(np.uint8) if bits == 8 and table.max() < 256 else table, first


def coloured(values: NDArray[np.integer], header: Dataset) -> NDArray[np.integer]:
    """Stored values of a PALETTE COLOR image as RGB: (…, rows, columns, 3), as uint8 or uint16.

    Raises:
        Refused: `pixel-format`.
    """
    table, first = palette(header)
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]
