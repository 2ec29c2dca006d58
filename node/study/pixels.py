"""Stored pixel values of one image: read straight from the file where they are uncompressed, else by a child.

What a header declares is checked against the Standard, against a limit, and against the bytes that are there, before
anything is allocated by its word.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom.uid as syntaxes
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels import get_decoder

from ..errors import Refused
from .decode import Decoders

#: the decoded pixels of one image
MAX_IMAGE_BYTES = 4 << 30

UNCOMPRESSED = (syntaxes.ImplicitVRLittleEndian, syntaxes.ExplicitVRLittleEndian, syntaxes.ExplicitVRBigEndian)
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422")
COLOURS_OF_JPEG_2000 = ("YBR_ICT", "YBR_RCT")
#: what describes one frame, by the names that pydicom's decoders have for it
OF_FRAME = dict(rows="Rows", columns="Columns", samples_per_pixel="SamplesPerPixel", bits_stored="BitsStored")
OF_FRAME |= dict(bits_allocated="BitsAllocated", pixel_representation="PixelRepresentation")
PIXEL_DATA, UNDEFINED_LENGTH = 0x7FE00010, 0xFFFFFFFF
#: with FloatPixelData and DoubleFloatPixelData; a set, because pydicom's tags are slow to compare
PIXELS = frozenset((PIXEL_DATA, 0x7FE00008, 0x7FE00009))
#: what pydicom raises where a file is not what it says
BROKEN = (
    *(InvalidDicomError, ArithmeticError, AttributeError, BytesLengthException, EOFError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError, struct.error),
)


@dataclass(frozen=True)
class Stored:
    """An image's header, and where its stored values are.

    Attributes:
        header: everything but the pixels, file meta information included.
        shape, dtype: of the decoded values: (frames,) rows, columns (, samples).
        pixels_at: where in the file the value of PixelData begins.
        in_words: whether PixelData is OW: where bytes are swapped, they are swapped in pairs.
    """

    file: Path
    header: Dataset
    shape: tuple[int, ...]
    dtype: np.dtype[np.integer]
    pixels_at: int
    in_words: bool

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Rows, columns (, samples)."""
        return self.shape[-3:] if self.header.SamplesPerPixel == 3 else self.shape[-2:]

    @property
    def frames(self) -> int:
        return math.prod(self.shape) // math.prod(self.frame_shape)

    @property
    def compressed(self) -> bool:
        return self.header.file_meta.TransferSyntaxUID not in UNCOMPRESSED

    @property
    def native_bytes(self) -> int:
        """What the values take uncompressed: of YBR_FULL_422, two for each pixel (PS3.3 C.7.6.3.1.2)."""
        whole = math.prod(self.shape) * self.dtype.itemsize
        return whole // 3 * 2 if self.header.get("PhotometricInterpretation") == "YBR_FULL_422" else whole

    @property
    def native(self) -> NDArray[np.integer] | None:
        """The values, of `shape`, read from the file each time; colour is RGB. None when compressed.

        Raises:
            Refused: `pixel-data-truncated`.
        """
        return None if self.compressed else _native(self)


def read(file: Path) -> Stored:
    """Read an image's header, find its pixels, and check that the one can describe the other.

    Raises:
        Refused: `unreadable-header`, `no-pixels`, `pixel-data-truncated`, `pixel-format`.
    """
    with file.open("rb") as stream:
        return read_open(stream, file)


def read_open(stream: BinaryIO, file: Path) -> Stored:
    """The same, of a file that is open already.

    Raises:
        Refused: as `read`.
    """
    try:
        header, (tag, vr, length, pixels_at) = _header(stream)
        size = os.fstat(stream.fileno()).st_size
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; those that pydicom makes have no number
        raise Refused("unreadable-header", f"an image cannot be read ({type(error).__name__})") from error
    if tag != PIXEL_DATA:
        raise Refused("pixel-format", "the pixels of an image are floating-point numbers, which are not read")
    stored = Stored(file, header, *_declared(header), pixels_at, vr == "OW")
    if not stored.compressed:
        _all_there(stored, length, size - pixels_at)
    return stored


def _header(stream: BinaryIO) -> tuple[Dataset, tuple[int, str | None, int, int]]:
    """What stands before the pixels; and of these: tag, value representation, length, and where the value begins."""
    read_preamble(stream, force=False)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2))
    syntax = meta.TransferSyntaxUID
    if syntax == syntaxes.DeflatedExplicitVRLittleEndian:
        raise Refused("pixel-format", "an image is deflated: its few bytes may be gigabytes, so it is not unpacked")
    found: list[tuple[int, str | None, int, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            found.append((tag, vr, length, stream.tell()))
        return bool(found)

    implicit, little = syntax == syntaxes.ImplicitVRLittleEndian, syntax != syntaxes.ExplicitVRBigEndian
    header = read_dataset(stream, implicit, little, stop_when=at_pixels)
    if not found:
        raise Refused("no-pixels", "an image of the series has no pixel data")
    header.file_meta = meta
    return header, found[-1]


def pixel_shape(header: Dataset) -> tuple[int, ...]:
    """(frames,) rows, columns (, samples), as the header declares them (PS3.3 C.7.6.3).

    Raises:
        Refused: `pixel-format`.
    """
    frames = _number(header, "NumberOfFrames", range(1 << 31), default=1)
    rows, columns = (_number(header, keyword, range(1, 1 << 16)) for keyword in ("Rows", "Columns"))
    samples = _number(header, "SamplesPerPixel", (1, 3))
    return (*([frames] if frames > 1 else []), rows, columns, *([samples] if samples > 1 else []))


def pixel_dtype(header: Dataset) -> np.dtype[np.integer]:
    """The type of the stored values.

    Raises:
        Refused: `pixel-format`.
    """
    bits = _number(header, "BitsAllocated", (1, 8, 16, 32))
    if bits == 1:
        raise Refused("pixel-format", "an image has one bit per pixel: a mask or an overlay, which is not read")
    signed = _number(header, "PixelRepresentation", (0, 1))
    return np.dtype(f"{'i' if signed else 'u'}{bits // 8}")


def _number(header: Dataset, keyword: str, allowed: Collection[int], default: int | None = None) -> int:
    said = value(header, keyword)
    if said in (None, "") and default is not None:
        return default
    if not isinstance(said, int):
        raise Refused("pixel-format", f"{keyword} of an image is missing, or not one whole number")
    number = int(said)  # pydicom's IS in a range would be looked for one by one
    if number not in allowed:
        raise Refused("pixel-format", f"{keyword} of an image is {number}")
    return number


def value(header: Dataset, keyword: str) -> Any:
    """An element's value; None where it is not there.

    Raises:
        Refused: `pixel-format`.
    """
    try:
        return header.get(keyword)
    except (*BROKEN, OSError) as error:
        if getattr(error, "errno", None) is not None:  # without one it is pydicom's, of a sequence that is cut short
            raise
        raise Refused("pixel-format", f"{keyword} of an image cannot be read") from None


def _declared(header: Dataset) -> tuple[tuple[int, ...], np.dtype[np.integer]]:
    shape, dtype = pixel_shape(header), pixel_dtype(header)
    stored = _number(header, "BitsStored", range(1, dtype.itemsize * 8 + 1))
    _number(header, "HighBit", (stored - 1,))
    if math.prod(shape) * dtype.itemsize > MAX_IMAGE_BYTES:
        raise Refused("pixel-format", f"an image declares more than {MAX_IMAGE_BYTES >> 30} GiB of pixels")
    syntax, colour = header.file_meta.TransferSyntaxUID, value(header, "PhotometricInterpretation")
    if header.SamplesPerPixel == 1:
        if colour in COLOURS + COLOURS_OF_JPEG_2000:
            raise Refused("pixel-format", f"an image has one sample per pixel, but is said to be {colour}")
        return shape, dtype
    known = COLOURS + (COLOURS_OF_JPEG_2000 if syntax in syntaxes.JPEG2000TransferSyntaxes else ())
    if colour not in known or (colour in ("YBR_FULL", "YBR_FULL_422") and dtype != np.uint8):
        raise Refused("pixel-format", "the colours of an image are stored in a way that is not read")
    if syntax in UNCOMPRESSED:
        planes = _number(header, "PlanarConfiguration", (0, 1))
        if colour == "YBR_FULL_422" and (planes or header.Columns % 2):
            raise Refused("pixel-format", "an image of YBR_FULL_422 has planes, or an odd number of columns")
    return shape, dtype


def _all_there(stored: Stored, length: int, rest_of_file: int) -> None:
    needed, there = stored.native_bytes, min(length, rest_of_file)
    if length == UNDEFINED_LENGTH:
        raise Refused("pixel-format", "the pixels of an image are said to be uncompressed, but come in fragments")
    if there < max(needed, length):
        raise Refused("pixel-data-truncated", f"an image has {there} bytes of pixels where {needed} are declared")
    if stored.header.get("PhotometricInterpretation") == "YBR_FULL_422" and there >= needed // 2 * 3:
        raise Refused("pixel-format", "an image declares YBR_FULL_422, but has as many bytes as without it")


def _native(stored: Stored) -> NDArray[np.integer]:
    header, big_endian = stored.header, stored.header.file_meta.TransferSyntaxUID == syntaxes.ExplicitVRBigEndian
    encoded = stored.dtype.newbyteorder(">" if big_endian else "<")
    if stored.in_words and encoded.itemsize == 1 and big_endian:
        encoded = np.dtype(">u2")
    size = stored.native_bytes
    values = np.fromfile(stored.file, encoded, -(-size // encoded.itemsize), offset=stored.pixels_at)
    if values.nbytes < size:
        raise Refused("pixel-data-truncated", "an image has become shorter")
    values = values.astype(encoded.newbyteorder("<"), copy=False).view(stored.dtype)
    values = unpadded(values[: size // stored.dtype.itemsize], header)
    if header.SamplesPerPixel == 1:
        return values.reshape(stored.shape)
    decoder = get_decoder(syntaxes.ExplicitVRLittleEndian)
    colour = np.empty((stored.frames, *stored.frame_shape), stored.dtype)
    for frame, source in zip(colour, values.reshape(stored.frames, -1), strict=True):
        frame[...] = decoder.as_array(source.tobytes(), **of_frame(header))[0]
    return colour.reshape(stored.shape)


def unpadded(values: NDArray[np.integer], header: Dataset) -> NDArray[np.integer]:
    """Stored values, in place, without what old overlays left in the unused high bits (PS3.5 8.1.1)."""
    spare = values.dtype.itemsize * 8 - header.BitsStored
    if spare and values.dtype.kind == "i":
        values <<= spare
        values >>= spare
    elif spare:
        values &= values.dtype.type((1 << header.BitsStored) - 1)
    return values


def of_frame(header: Dataset) -> dict[str, Any]:
    """What pydicom's decoders are told of one frame."""
    colour = header.PhotometricInterpretation if header.SamplesPerPixel == 3 else "MONOCHROME2"
    planes = header.get("PlanarConfiguration") or 0
    told = dict(pixel_keyword="PixelData", photometric_interpretation=colour, planar_configuration=planes)
    return told | {option: header[keyword].value for option, keyword in OF_FRAME.items()} | {"number_of_frames": 1}


def decoded(images: Sequence[Stored], decoders: Decoders) -> Iterator[NDArray[np.integer]]:
    """The values of each image, of its `shape`: grey and palette as stored, colour as RGB; children decode some ahead.

    Raises:
        Refused: `undecodable-pixels`, `pixel-data-truncated`.
        Failed: `decoder-not-started`.
    """
    with closing(decoders.arrays([image for image in images if image.compressed])) as arrays:
        for image in images:
            native = image.native
            yield next(arrays) if native is None else native
