"""The child that decodes compressed pixels: its own process, with limits, so that a bad file ends it and nothing else.

It is told a file and given memory to write the pixels into; it answers in JSON. What it is handed is all it can harm.
"""

from __future__ import annotations

import resource
import socket
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.pixels import get_decoder

from models.wire import Disconnected, Receiver, SharedArray, send

from . import jpeg

MEMORY_BYTES = 4 << 30
CORE_BYTES = 0


def main() -> None:
    """Serve the socket on descriptor 0 until it closes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (CORE_BYTES, CORE_BYTES))
    connection = socket.socket(fileno=0)
    receiver = Receiver(connection)
    jpeg.register()
    send(connection, {"say": "ready"})
    while True:
        try:
            message, arrays = receiver.receive()
            answer = _decode(Path(message["file"]), arrays[0])
            send(connection, answer)
        except Disconnected:
            return
        for array in arrays:
            array.close()


def _decode(file: Path, into: SharedArray) -> dict[str, Any]:
    try:
        ds = dcmread(file)
        decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
        pixels, _ = decoder.as_array(ds, raw=True)
    except Exception as error:  # noqa: BLE001 - the edge of the process: codecs raise what they like
        said = str(error).split("\n")[0][:300]
        return {"say": "refused", "sentence": f"{type(error).__name__}: {said}"}
    if pixels.shape != into.array.shape:
        return {
            "say": "refused",
            "sentence": f"the pixels decode to {pixels.shape}, the header says {into.array.shape}",
        }
    if not np.can_cast(pixels.dtype, into.array.dtype, "same_kind"):
        return {"say": "refused", "sentence": f"the pixels decode to {pixels.dtype}"}
    into.array[...] = pixels
    return {"say": "done"}


if __name__ == "__main__":
    main()
