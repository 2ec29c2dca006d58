"""The child that decodes compressed pixels: its own process, with limits, so that a bad file ends it and nothing else.

    python -P -m node.study.decode_child --orders DESCRIPTOR

This loads the codecs and forks into a child for each order (`models.nursery`), which has a line and one word: best,
require or off. Loading takes a third of a second, a fork a hundredth: so no child lives longer than what it is for.

It is given an open file, and memory to write the pixels into; it answers in JSON. What it is handed is all it can harm:
before it reads the first byte it has lost the right to open any other file, a socket or a program (`models.confine`).
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import struct
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from rle.rle import decode_segment

from models import nursery
from models.confine.process import Unconfined, confine
from models.confine.rights import Demand, Rights
from models.wire import Disconnected, Receiver, send

from ..errors import Refused
from . import jpeg, pixels

MEMORY_BYTES = 4 << 30
#: it opens nothing but what libraries are made of, and writes no file
RIGHTS = Rights(descriptors=128, file_bytes=0, address_bytes=MEMORY_BYTES)
EXIT_UNCONFINED = 7

#: the one plugin of pydicom that decodes a transfer syntax: the next one would be asked after a failure, and guess
PLUGINS = {
    **dict.fromkeys((uid.RLELossless, uid.JPEG2000Lossless, uid.JPEG2000), "pylibjpeg"),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), "pylibjpeg"),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys(jpeg.LOSSLESS + jpeg.LOSSY, jpeg.NAME),
}
LOSSY = (*jpeg.LOSSY, uid.JPEG2000, uid.HTJ2K, uid.JPEGLSNearLossless)

ITEM, DELIMITER = 0xE000FFFE, 0xE0DDFFFE
#: how a codestream begins, of every compression but RLE
BEGINNINGS = (b"\xff\xd8\xff", jpeg.JPEG_2000, jpeg.JP2_BOX)

Fragment = tuple[int, int]
"""where its value begins in the file, and its length"""


def serve(words: list[str], line: int) -> int:
    """Serve a line until it closes; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # who stops the node does not say that the image is bad
    connection = socket.socket(fileno=line)
    receiver = Receiver(connection, takes_files=True)
    try:
        lacking = confine(RIGHTS, Demand(words[0]))
    except Unconfined as error:
        sys.stderr.write(f"decoder: {error}\n")
        return EXIT_UNCONFINED
    _be_silent()
    send(connection, {"say": "ready", "lacking": lacking})
    source: _Source | None = None
    while True:
        try:
            message, arrays = receiver.receive()
            _limit_processor_time(message["seconds"])
            try:
                (descriptor,) = message["files"]
                source = _Source.opened(os.fdopen(descriptor, "rb"), source)
                source.decode(message["first_frame"], arrays[0].array)
                answer = {"say": "done"}
            except Refused as refusal:
                answer = {"say": "refused", "sentence": refusal.sentence}
            except BaseException as error:  # noqa: BLE001 - the edge of the process: codecs raise what they like
                said = str(error).split("\n")[-1].strip()[:300]
                kind = "" if said and isinstance(error, ValueError) else f"{type(error).__name__}: "
                answer = {"say": "refused", "sentence": kind + said}
            send(connection, answer)
        except Disconnected:
            return 0
        for array in arrays:
            array.close()


def _load() -> None:
    """What all children have in common. Who stops the node stops no image that it needs to the end of its job."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    jpeg.register()


def _be_silent() -> None:
    """What codecs and pydicom print of a bad file names no image and helps nobody; the answer says what was wrong."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, for its descriptor
        os.dup2(nowhere.fileno(), 2)


def _limit_processor_time(seconds: float) -> None:
    """Have the kernel end this process when it takes longer, also where nobody waits for it any more."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


@dataclass(frozen=True)
class _Source:
    """The file that was asked for last: where many pieces are asked for, its header and its items are read once."""

    stream: BinaryIO
    stored: pixels.Stored
    state: tuple[int, ...]
    frames: list[list[Fragment]]

    @classmethod
    def opened(cls, stream: BinaryIO, last: _Source | None) -> _Source:
        found = os.fstat(stream.fileno())
        state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        if last is not None and last.state == state:
            stream.close()
            return last
        stored = pixels.read_open(stream, Path())
        syntax = stored.header.file_meta.TransferSyntaxUID
        if syntax not in PLUGINS:
            raise ValueError(f"there is no decoder for {syntax.name}")
        items = fragments(stream.fileno(), stored.pixels_at)
        return cls(stream, stored, state, by_frame(stream.fileno(), items, stored.frames, syntax))

    def decode(self, first: int, into: NDArray[Any]) -> None:
        """Decode as many frames as `into` has, (frames,) rows, columns (, samples), from `first` on."""
        shape, frame_shape = self.stored.shape, self.stored.frame_shape
        wanted = (len(into), *frame_shape) if self.stored.frames > 1 else shape
        if into.shape != wanted or into.dtype != self.stored.dtype:
            raise ValueError(f"the pixels decode to {wanted} {self.stored.dtype}, there is {into.shape} {into.dtype}")
        for number, frame in enumerate(into.reshape(-1, *frame_shape), first):
            parts = [os.pread(self.stream.fileno(), length, at) for at, length in self.frames[number]]
            frame[...] = _frame(b"".join(parts), self.stored)


def fragments(descriptor: int, at: int) -> list[Fragment]:
    """The items of encapsulated pixels, without the first, the offset table, and without empty ones (PS3.5 A.4).

    Raises:
        ValueError: the file ends before their delimiter, or there is something else between them.
    """
    size = os.fstat(descriptor).st_size
    found: list[Fragment] = []
    while len(head := os.pread(descriptor, 8, at)) == 8:
        tag, length = struct.unpack("<LL", head)
        if tag == DELIMITER:
            return found[1:]
        if tag != ITEM:
            raise ValueError("there is something else between the fragments of the pixels")
        if at + 8 + length > size:
            break
        if length or not found:
            found.append((at + 8, length))
        at += 8 + length
    raise ValueError("the file ends within the pixels")


def by_frame(descriptor: int, items: list[Fragment], frames: int, syntax: str) -> list[list[Fragment]]:
    """The fragments of each frame.

    Offset tables are not needed, so it does no harm where they lie: a frame of RLE is one fragment, and any other
    begins as a codestream does.

    Raises:
        ValueError: there are more or fewer frames than the header declares.
    """
    if len(items) == frames:
        return [[item] for item in items]
    begun: list[list[Fragment]] = []
    for at, length in items:
        if syntax == uid.RLELossless or not begun or os.pread(descriptor, 8, at).startswith(BEGINNINGS):
            begun.append([])
        begun[-1].append((at, length))
    if len(begun) != frames:
        raise ValueError(f"there are {len(begun)} frames in {len(items)} fragments, the header says {frames}")
    return begun


def _run_lengths(codestream: bytes, header: Any) -> bytes:
    """The values of a frame of RLE as they would be uncompressed, colour by pixel; each segment is decoded once.

    A segment is one byte of each value, the highest first, sample by sample (PS3.5 G.2). Of what is padded a row is
    enough for every encoder; what is longer is of another image.

    Raises:
        ValueError: there are more or fewer segments, or values in one, than the header says.
    """
    values, samples, each = header.Rows * header.Columns, header.SamplesPerPixel, header.BitsAllocated // 8
    segments = int.from_bytes(codestream[:4], "little")
    if segments != samples * each:
        raise ValueError(f"a frame has {segments} segments of RLE")
    native = np.empty((values, samples, each), np.uint8)
    begins = struct.unpack_from(f"<{segments}L", codestream, 4)
    for number, (begin, end) in enumerate(zip(begins, (*begins[1:], len(codestream)), strict=True)):
        segment = np.frombuffer(decode_segment(codestream[begin:end]), np.uint8)
        if not values <= len(segment) <= values + header.Columns:
            raise ValueError(f"a segment of RLE has {len(segment)} values, the header says {values}")
        sample, byte = divmod(number, each)
        native[:, sample, each - 1 - byte] = segment[:values]
    return native.tobytes()


def _frame(codestream: bytes, stored: pixels.Stored) -> NDArray[np.integer]:
    header, syntax = stored.header, stored.header.file_meta.TransferSyntaxUID
    options = pixels.of_frame(header) | {"planar_configuration": 0, "correct_unused_bits": False}
    if syntax == uid.RLELossless:
        native = _run_lengths(codestream, header)
        values, _ = get_decoder(uid.ExplicitVRLittleEndian).as_array(native, **options)
        return pixels.unpadded(values, header)
    said = jpeg.declared(codestream)
    if (said.rows, said.columns, said.samples) != (header.Rows, header.Columns, header.SamplesPerPixel):
        size = f"{said.columns} x {said.rows} with {said.samples} samples"
        raise ValueError(f"a codestream is of {size}, the header says otherwise")
    if said.bits > header.BitsAllocated:
        raise ValueError(f"a codestream has {said.bits} bits per sample, the header {header.BitsAllocated}")
    if said.tiles_missing:
        raise ValueError(f"a codestream lacks {said.tiles_missing} of its tiles")
    plugin = PLUGINS[syntax]
    values, _ = get_decoder(syntax).as_array(encapsulate([codestream]), decoding_plugin=plugin, **options)
    # lossy values may leave the range of BitsStored a little; those of JPEG have no sign of their own
    if syntax not in LOSSY or (syntax in jpeg.LOSSY and header.PixelRepresentation):
        return pixels.unpadded(values, header)
    return values


if __name__ == "__main__":
    sys.exit(nursery.main(serve, _load))
