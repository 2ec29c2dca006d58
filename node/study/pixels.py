"""Stored pixel values of one image: read straight from the file where they are uncompressed, else by a child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from models.wire import SharedArray

from ..errors import Refused
from .decode import Decoders

#: compressed images that are decoded at a time
BATCH = 64


@dataclass(frozen=True)
class Stored:
    """An image's header, and its stored values unless they are compressed."""

    file: Path
    header: Dataset
    """everything but the pixels, file meta information included"""
    native: NDArray[np.integer] | None
    """(rows, columns) or (frames, rows, columns), with a last axis for colour; None when compressed"""

    @property
    def shape(self) -> tuple[int, ...]:
        return pixel_shape(self.header)

    @property
    def dtype(self) -> np.dtype[np.integer]:
        return pixel_dtype(self.header)


def read(file: Path) -> Stored:
    """Read an image.

    Raises:
        Refused: `unreadable-header`, `no-pixels`, `pixel-data-truncated`, `pixel-format`.
    """
    try:
        with file.open("rb") as stream:
            header = dcmread(stream, stop_before_pixels=True)
            syntax = header.file_meta.TransferSyntaxUID
            element = stream.read(12)
            if element[:4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
                raise Refused("no-pixels", "an image of the series has no pixel data")
            if syntax.is_encapsulated:
                return Stored(file, header, None)
            little = syntax.is_little_endian
            if syntax.is_implicit_VR:
                stream.seek(-4, 1)
            length = int.from_bytes(
                element[4:8] if syntax.is_implicit_VR else element[8:12], "little" if little else "big"
            )
            data = stream.read(length)
    except (InvalidDicomError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Refused("unreadable-header", f"an image cannot be read ({type(error).__name__})") from error
    shape, dtype = pixel_shape(header), pixel_dtype(header).newbyteorder("<" if little else ">")
    needed = int(np.prod(shape)) * dtype.itemsize
    if len(data) < needed:
        raise Refused("pixel-data-truncated", f"an image has {len(data)} bytes of pixels where {needed} are declared")
    values = np.frombuffer(data, dtype, count=int(np.prod(shape))).reshape(shape)
    return Stored(file, header, _unpadded(values, header))


def pixel_shape(header: Dataset) -> tuple[int, ...]:
    """(frames,) rows, columns (, samples), as the header declares them."""
    frames, samples = _whole(header, "NumberOfFrames", 1), _whole(header, "SamplesPerPixel", 1)
    rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
    leading = (frames,) if frames > 1 else ()
    trailing = (samples,) if samples > 1 else ()
    return (*leading, rows, columns, *trailing)


def pixel_dtype(header: Dataset) -> np.dtype[np.integer]:
    """The type of the stored values."""
    bits = _whole(header, "BitsAllocated")
    if bits not in (8, 16, 32):
        raise Refused("pixel-format", f"images with {bits} bits allocated cannot be read")
    return np.dtype(f"{'i' if header.get('PixelRepresentation') == 1 else 'u'}{bits // 8}")


def _whole(header: Dataset, keyword: str, default: int | None = None) -> int:
    value = header.get(keyword)
    if value in (None, "") and default is not None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise Refused("pixel-format", f"{keyword} is not a number") from None
    if not 1 <= number <= 65535:
        raise Refused("pixel-format", f"{keyword} is {number}")
    return number


def _unpadded(values: NDArray[np.integer], header: Dataset) -> NDArray[np.integer]:
    """Without what old overlays left in the unused high bits (PS3.5 8.1.1)."""
    stored, allocated = header.get("BitsStored") or 0, values.dtype.itemsize * 8
    if not 0 < stored < allocated:
        return values
    spare = allocated - stored
    if values.dtype.kind == "i":
        return (values << spare) >> spare
    return values & ((1 << stored) - 1)


def decoded(images: Sequence[Stored], decoders: Decoders) -> Iterator[NDArray[np.integer]]:
    """The stored values of each image, decoding the compressed ones, a batch at a time: each takes two descriptors.

    Raises:
        Refused: `undecodable-pixels`.
    """
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        shared: dict[int, SharedArray] = {}
        try:
            for n, image in enumerate(batch):
                if image.native is None:
                    shared[n] = SharedArray.make(image.shape, image.dtype)
            decoders.decode([(batch[n].file, array) for n, array in shared.items()])
        finally:
            for array in shared.values():
                array.close()
        for n, image in enumerate(batch):
            yield image.native if image.native is not None else shared[n].array
