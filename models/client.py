"""Ask a model host for a label map. Imports neither torch nor MONAI."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .found import Found
from .wire import Disconnected, Receiver, SharedArray, send


class HostGone(Exception):
    """The host died, hung or was never there while it worked on this request: an attempt is used up."""


class HostBusy(Exception):
    """The host went away before it began with this request: nobody's fault."""


class HostRefused(Exception):
    """The host says that the input or the bundle cannot be used.

    Attributes:
        code: stable, for the refusal's row.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class HostFailed(Exception):
    """The bundle failed on this input; trying again may help."""


class HostFull(HostFailed):
    """The device has no memory left for this input."""


@dataclass(frozen=True)
class Answer:
    """What a host made of a volume."""

    labels: NDArray[np.uint8]
    """(slices, rows, columns): the label values of the card"""
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    device: str = ""
    entropy: dict[int, float] = field(default_factory=dict)
    """label value -> mean entropy inside it, 0 (sure) ... 1 (guessing); none where the bundle gives no probabilities"""
    probabilities: NDArray[np.float16] | None = None
    """(class, x, y, z) on the network's own grid, as it gave them, where they were asked for and it gives any"""
    probabilities_affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """4x4, from their (x, y, z) index to DICOM patient coordinates (LPS, mm)"""
    found: Found | None = None
    """of a network that gives no label map; then there are no labels"""


def segment(
    address: Path,
    channels: list[SharedArray],
    affine: NDArray[np.float64],
    *,
    limit_seconds: float,
    probabilities: bool = False,
    on_progress: Callable[[dict[str, Any]], None] = lambda _message: None,
) -> Answer:
    """Send a volume, wait for its label map.

    Args:
        address: the host's Unix socket.
        channels: float32 (slices, rows, columns), or with a last axis for colour, in the order of the card's inputs,
            all on one grid.
        affine: 4x4, from (column, row, slice) index to DICOM patient coordinates in mm (LPS).
        limit_seconds: on the wall clock, from the moment the host begins with this request; then it is killed. A
            request that has not been begun with after the same time is given up, and the host is left alone.
        probabilities: whether they are wanted too.

    Raises:
        HostGone, HostBusy, HostRefused, HostFailed: see there.
    """
    deadline = time.monotonic() + limit_seconds
    started = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(address))
        except OSError as error:
            raise HostBusy(f"the model host does not answer: {error.strerror or error}") from None
        pid = _peer(connection)
        receiver = Receiver(connection)
        try:
            wanted = {"affine": affine.tolist(), "limit": limit_seconds, "probabilities": probabilities}
            send(connection, {"do": "segment"} | wanted, tuple(channels))
            while True:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                message, arrays = receiver.receive()
                if message["say"] == "started":
                    started, deadline = True, time.monotonic() + limit_seconds
                elif message["say"] == "progress":
                    on_progress(message)
                else:
                    return _answer(message, arrays)
        except TimeoutError:
            if not started:
                raise HostBusy(f"the model host was busy for {limit_seconds:.0f} s") from None
            _kill(pid)
            raise HostGone(f"the network did not finish within {limit_seconds:.0f} s and was stopped") from None
        except Disconnected as error:
            if started:
                raise HostGone(f"the model host died while it ran the network ({error})") from None
            raise HostBusy(f"the model host went away before it began ({error})") from None


def _answer(message: dict[str, Any], arrays: list[SharedArray]) -> Answer:
    for one in arrays:
        one.close()  # the array keeps the memory as long as somebody reads it
    if message["say"] == "refused":
        raise HostRefused(message["code"], message["sentence"])
    if message["say"] == "failed":
        raise (HostFull if message.get("full") else HostFailed)(message["sentence"])
    if "found" in message:
        nothing, found = np.zeros((0, 0, 0), np.uint8), Found.of(message["found"])
        return Answer(nothing, message["seconds"], message["peak_memory_mb"], message["device"], found=found)
    labels, *kept = arrays
    entropy = {int(value): float(mean) for value, mean in message.get("entropy", {}).items()}  # JSON's keys are text
    return Answer(
        labels.array,
        message["seconds"],
        message["peak_memory_mb"],
        message["device"],
        entropy,
        kept[0].array if kept else None,
        np.array(message.get("probabilities_affine", np.eye(4))),
    )


def _peer(connection: socket.socket) -> int:
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _kill(pid: int) -> None:
    if pid > 0:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
