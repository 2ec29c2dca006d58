"""The pixels of a segmentation, frame by frame.

Uncompressed ones are read from the file as they are asked for. RLE and Deflated Image Frame of one bit a pixel, which
no decoder of the node knows, are unpacked here, in Python and with a limit; all else is decoded by children, as images
are, because a codec can be brought down by the bytes that it is given.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pydicom.uid as syntaxes
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset

from models.wire import SharedArray

from ..errors import Refused
from ..study import decode_child, pixels
from ..study.decode import PIECE_BYTES, Decoders, Piece
from ..study.frames import has_room
from .label_file import LabelFile, text, whole_number
from .segment_frames import count

DEFLATED_IMAGE_FRAME = syntaxes.UID("1.2.840.10008.1.2.8.1")
#: of a decoded frame: 8192 x 8192 numbers of 8 bits
MOST_FRAME_BYTES = 1 << 26
#: tag and VR of PixelData, explicit and little endian, its length undefined
ENCAPSULATED = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
#: from its tag to its value, with and without a VR
EXPLICIT_HEAD, IMPLICIT_HEAD = 12, 8

Array = NDArray[np.uint8] | NDArray[np.uint16]
Frames = Generator[Array, None, None]


@dataclass(frozen=True)
class Format:
    """How the pixels are stored.

    Attributes:
        kind: "BINARY", "FRACTIONAL" or "LABELMAP".
        bits: allocated for each: 1, 8 or 16.
        most: the value that stands for a fraction of 1.
    """

    kind: str
    frames: int
    rows: int
    columns: int
    bits: int
    most: int

    @property
    def size(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        """Of a frame by itself, its bits packed."""
        return -(-self.size * self.bits // 8)


def format_of(label: LabelFile) -> Format:
    """How the pixels are stored, checked before anything is read by its word.

    Raises:
        Refused: `label-pixels`, `label-too-large`, `label-encoding`, `label-unreadable`.
    """
    header, syntax = label.header, label.syntax
    bits, kind = whole_number(header, "BitsAllocated"), text(header, "SegmentationType").upper()
    kind = kind or ("BINARY" if bits == 1 else "")
    allowed = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}.get(kind, ())
    rows, columns = whole_number(header, "Rows"), whole_number(header, "Columns")
    plain = whole_number(header, "SamplesPerPixel", 1) == 1 and whole_number(header, "PixelRepresentation", 0) == 0
    if bits not in allowed or not plain or not 1 <= rows < 1 << 16 or not 1 <= columns < 1 << 16:
        raise Refused("label-pixels", "the pixels of the segmentation are stored in a way that no segmentation's are")
    most = whole_number(header, "MaximumFractionalValue", 255) if kind == "FRACTIONAL" else 1
    if not 1 <= most <= 255:
        raise Refused("label-pixels", f"MaximumFractionalValue of the segmentation is {most}")
    made = Format(kind, count(header), rows, columns, bits, most)
    if not (syntax == DEFLATED_IMAGE_FRAME or syntax in syntaxes.AllTransferSyntaxes):
        raise Refused("label-encoding", "the segmentation is stored in a transfer syntax that is not known")
    roomy = syntax == DEFLATED_IMAGE_FRAME or has_room(header, label.size)
    if rows * columns * bits // 8 > MOST_FRAME_BYTES or not roomy:
        raise Refused("label-too-large", f"the segmentation declares {made.frames} frames of {columns} x {rows} pixels")
    lossy = syntax in decode_child.LOSSY or text(header, "LossyImageCompression") == "01"
    if lossy and kind != "FRACTIONAL":
        raise Refused("label-encoding", "the segmentation was compressed with loss: its edges are not those drawn")
    return made


def decoded(label: LabelFile, stored: Format, decoders: Decoders | None) -> Frames:
    """Every frame, (rows, columns); close it where it is left early.

    Args:
        decoders: that compressed pixels may be decoded by; without, one is started for the call.

    Raises:
        Refused: `label-pixels`, `label-encoding`, `undecodable-pixels`, `pixel-data-truncated`.
        Failed: `decoder-not-started`.
    """
    syntax = label.syntax
    if syntax in pixels.UNCOMPRESSED:
        return _native(label, stored)
    if syntax == DEFLATED_IMAGE_FRAME or (syntax == syntaxes.RLELossless and stored.bits == 1):
        return _unpacked(label, stored)
    if syntax not in decode_child.PLUGINS:
        raise Refused("label-encoding", "the segmentation is compressed in a way that is not read")
    return _by_children(label, stored, decoders)


def _native(label: LabelFile, stored: Format) -> Frames:
    """Uncompressed: frame after frame without a gap, the first pixel in the lowest bit (PS3.5 8.1.1, 8.2)."""
    begins, length, in_words = _value(label)
    needed = -(-stored.frames * stored.size * stored.bits // 8)
    if length not in (needed, needed + needed % 2):
        raise Refused("label-pixels", f"the segmentation has {length} bytes of pixels, and {needed} are declared")
    with label.file.open("rb") as stream:
        for n in range(stored.frames):
            first = n * stored.size * stored.bits
            at, end = first // 8, -(-(first + stored.size * stored.bits) // 8)
            octets = _octets(stream, begins, (at, end), length, in_words=in_words)
            if stored.bits == 1:
                yield _bits(octets, stored, skipped=first % 8)
            else:
                yield octets.view(f"<u{stored.bits // 8}").reshape(stored.rows, stored.columns)


def _octets(stream: BinaryIO, begins: int, span: tuple[int, int], length: int, *, in_words: bool) -> NDArray[np.uint8]:
    """Bytes of the pixels as they would be in little endian: there words of two bytes are swapped (PS3.5 7.3)."""
    at, end = span
    from_, to = (at - at % 2, min(end + end % 2, length)) if in_words else (at, end)
    stream.seek(begins + from_)
    octets = np.frombuffer(stream.read(to - from_), np.uint8)
    if len(octets) < to - from_:
        raise Refused("pixel-data-truncated", "the segmentation has become shorter")
    if in_words:
        octets = octets.reshape(-1, 2)[:, ::-1].ravel()
    return octets[at - from_ : end - from_]


def _bits(octets: NDArray[np.uint8], stored: Format, *, skipped: int = 0) -> NDArray[np.uint8]:
    bits = np.unpackbits(octets, bitorder="little", count=skipped + stored.size)
    return bits[skipped:].reshape(stored.rows, stored.columns)


def _value(label: LabelFile) -> tuple[int, int, bool]:
    """Where the value of PixelData begins, its length, and whether it is words in big endian."""
    order: Literal["little", "big"] = "big" if label.syntax == syntaxes.ExplicitVRBigEndian else "little"
    with label.file.open("rb") as stream:
        stream.seek(label.pixels_at)
        head = stream.read(EXPLICIT_HEAD)
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag != pixels.PIXEL_DATA or len(head) < EXPLICIT_HEAD:
        raise Refused("label-pixels", "the segmentation has no pixels")
    if head[4:6] in (b"OB", b"OW", b"UN"):
        begins, length = EXPLICIT_HEAD, int.from_bytes(head[8:12], order)
    else:
        begins, length = IMPLICIT_HEAD, int.from_bytes(head[4:8], order)
    return label.pixels_at + begins, length, order == "big" and head[4:6] == b"OW"


def _unpacked(label: LabelFile, stored: Format) -> Frames:
    """Frames that are packed as a whole, one fragment each (PS3.5 A.4.2, A.4.15)."""
    with label.file.open("rb") as stream:
        try:
            items = decode_child.fragments(stream.fileno(), _value(label)[0])
            each = decode_child.by_frame(stream.fileno(), items, stored.frames, syntaxes.RLELossless)
        except ValueError as error:
            raise Refused("undecodable-pixels", f"the segmentation cannot be decoded: {error}") from None
        for fragment in each:
            at, length = fragment[0]
            stream.seek(at)
            octets = _unpack(stream.read(length), stored, label.syntax)
            if stored.bits == 1:
                yield _bits(octets, stored)
            else:
                yield octets.view(f"<u{stored.bits // 8}").reshape(stored.rows, stored.columns)


def _unpack(packed: bytes, stored: Format, syntax: str) -> NDArray[np.uint8]:
    """The bytes of one frame; what comes behind them is padding."""
    try:
        if syntax == DEFLATED_IMAGE_FRAME:
            octets = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, stored.frame_bytes)
        else:
            octets = _run_lengths(packed, stored.frame_bytes)
    except (zlib.error, IndexError) as error:
        raise Refused("undecodable-pixels", f"the segmentation cannot be decoded ({type(error).__name__})") from None
    if len(octets) < stored.frame_bytes:
        raise Refused("undecodable-pixels", "the segmentation cannot be decoded: a frame ends too early")
    return np.frombuffer(octets, np.uint8, stored.frame_bytes)


def _run_lengths(packed: bytes, most: int) -> bytes:
    """The one RLE segment of a frame (PS3.5 G.3), up to so many bytes."""
    if int.from_bytes(packed[:4], "little") != 1:
        raise Refused("undecodable-pixels", "a frame of the segmentation has not one segment of RLE")
    at, found = int.from_bytes(packed[4:8], "little"), bytearray()
    while len(found) < most and at < len(packed):
        head = packed[at]
        if head < 128:
            found += packed[at + 1 : at + 2 + head]
            at += 2 + head
        else:
            found += packed[at + 1 : at + 2] * (257 - head if head > 128 else 0)
            at += 2 if head > 128 else 1
    return bytes(found)


def _by_children(label: LabelFile, stored: Format, decoders: Decoders | None) -> Frames:
    """Frames of a compression that images have, too: a copy of them is decoded as an image would be."""
    with ExitStack() as stack:
        if decoders is None:
            decoders = Decoders(1)
            stack.callback(decoders.close)
        copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planimeter-"))) / "frames.dcm"
        _write_as_image(label, stored, copy)
        image = pixels.read(copy)
        made: set[SharedArray] = set()
        stack.callback(_close, made)
        done = decoders.run(_pieces(image, made))
        for piece in stack.enter_context(closing(done)):
            made.discard(piece.into)
            piece.into.close()
            yield from piece.into.array.reshape(-1, stored.rows, stored.columns)


def _close(arrays: set[SharedArray]) -> None:
    for one in arrays:
        one.close()


def _pieces(image: pixels.Stored, made: set[SharedArray]) -> Iterator[Piece]:
    rows, columns = image.frame_shape
    each = max(1, PIECE_BYTES // (rows * columns * image.dtype.itemsize))
    for first in range(0, image.frames, each):
        leading = (min(each, image.frames - first),) if image.frames > 1 else ()
        into = SharedArray.make((*leading, rows, columns), image.dtype)
        made.add(into)
        yield Piece(image.file, into, first)


def _write_as_image(label: LabelFile, stored: Format, copy: Path) -> None:
    """The compressed frames, said to be of 8 bits where they are of one: a codestream has its own word for it."""
    ds, bits = Dataset(), max(8, stored.bits)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = label.syntax
    ds.file_meta.MediaStorageSOPClassUID = syntaxes.SegmentationStorage
    ds.file_meta.MediaStorageSOPInstanceUID = syntaxes.generate_uid()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = stored.frames, stored.rows, stored.columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    begins = _value(label)[0]
    with copy.open("wb") as into, label.file.open("rb") as source:
        dcmwrite(into, ds, enforce_file_format=True)
        into.write(ENCAPSULATED)
        source.seek(begins)
        shutil.copyfileobj(source, into)
