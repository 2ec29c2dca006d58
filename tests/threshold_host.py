"""Model hosts that threshold at -500 HU: left half of the columns 1, right half 2. They speak the real protocol."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.wire import Disconnected, Receiver, SharedArray, send


def threshold(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What these hosts answer for a volume (slices, rows, columns)."""
    labels = (volume < -500).astype(np.uint8)
    labels[:, :, volume.shape[2] // 2 :] *= 2
    return labels


class ThresholdHosts:
    """The supervisor's side and the hosts, in threads of the test.

    Attributes:
        address: to give to workers as `--hosts`.
        answer: what a host does with a volume; may be replaced.
        chained: what it does with several channels; the first counts where that is None.
        asked: how many volumes came.
        sureness: what a host says beside the label map, as a host does that runs several passes.
        maps: (2, x, y, z) and their affine, of several passes; None: there was one.
        windows: how many windows done, of how many, it tells before it answers.
        environment: what they say that they run on.
        asking: its `pid` is that of the process that this thread answers.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="planimeter-fake-"))
        self.address = self._folder / "hosts.sock"
        self._host = self._folder / "host.sock"
        self.answer: Callable[[NDArray[np.float32]], NDArray[np.uint8]] = threshold
        self.chained: Callable[[list[NDArray[np.float32]]], NDArray[np.uint8]] | None = None
        self.asked = 0
        self.sureness: dict[str, dict[int, float]] = {}
        self.maps: tuple[NDArray[np.float16], NDArray[np.float64]] | None = None
        self.windows: list[tuple[int, int]] = []
        self.environment = {"torch": "0", "device": "threshold"}
        self.asking = threading.local()
        self._listeners: list[socket.socket] = []

    def __enter__(self) -> ThresholdHosts:
        self._listen(self.address, lambda _message, _arrays: ({"address": str(self._host)}, ()))
        self.listen(self._host)
        return self

    def listen(self, address: Path) -> None:
        """Be a host there."""
        self._listen(address, self._segment)

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        shutil.rmtree(self._folder)

    def _segment(
        self, message: dict[str, Any], arrays: list[SharedArray]
    ) -> tuple[dict[str, Any], tuple[SharedArray, ...]]:
        if message["do"] == "environment":
            return {"say": "environment", "environment": dict(self.environment)}, ()
        self.asked += 1
        volume = arrays[0].array
        labels = SharedArray.make(volume.shape, np.uint8)
        if len(arrays) > 1 and self.chained is not None:
            labels.array[...] = self.chained([one.array for one in arrays])
        else:
            labels.array[...] = self.answer(volume)
        answer: dict[str, Any] = {"say": "done", "seconds": {"forward": 0.0}, "peak_memory_mb": 1.0}
        answer |= {"device": "threshold"} | self.sureness
        if self.maps is None:
            return answer, (labels,)
        return answer | {"maps_affine": self.maps[1].tolist()}, (labels, SharedArray.of(self.maps[0]))

    def _listen(self, address: Path, reply: Callable[..., Any]) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address))
        listener.listen(64)
        self._listeners.append(listener)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(Disconnected):
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                self.asking.pid = struct.unpack("3i", credentials)[0]
                message, arrays = Receiver(connection).receive()
                if arrays:
                    send(connection, {"say": "started"})
                    for done, of in self.windows:
                        send(connection, {"say": "progress", "done": done, "of": of})
                answer, back = reply(message, arrays)
                send(connection, answer, back)
                for one in (*arrays, *back):
                    one.close()

        threading.Thread(target=accept, daemon=True).start()
