"""Ask a model host for a label map. Imports neither torch nor MONAI."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .found import Found
from .wire import Disconnected, Receiver, SharedArray, send

#: what a host is asked beside its work it answers at once, unless it is stuck, or the machine has too much to do
ANSWER_SECONDS = 10.0
#: of what a host says that it holds, what others count with
ROOM = {"on": str, "device": str, "busy": bool, "held": int, "peak": int, "free": int}


class HostGone(Exception):
    """The host died, hung or was never there while it worked on this request: an attempt is used up."""


class HostEnded(HostGone):
    """The node has ended the host, since it wrote more than it may; the sentence says what."""


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
    remark: str = ""
    """in which other way than the usual one it was made, for want of memory, and what that may change"""
    disagreement: dict[int, float] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    """label value -> mean inside it, where the card asks for several passes (`models.uncertainty`)"""
    maps: NDArray[np.float16] | None = None
    """(2, x, y, z): entropy and disagreement on the network's own grid, where the card asks for several passes"""
    maps_affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """4x4, as of the probabilities"""
    found: Found | None = None
    """of a network that gives no label map; then there are no labels"""


def segment(
    address: Path,
    channels: list[SharedArray],
    affine: NDArray[np.float64],
    *,
    limit_seconds: float,
    probabilities: bool = False,
    may_climb: bool = True,
    exchange: Sequence[tuple[int, int]] | None = None,
    on_started: Callable[[float], None] = lambda _idle_seconds: None,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
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
        may_climb: whether it may be tried with less memory where the device is full (`rungs.Rung`).
        exchange: label values that a mirror exchanges; None: nobody has said, and left and right are never flipped.
        on_started: told when the host begins with it, and for how many seconds it had nothing to do before.
        on_progress: told how many windows are done, and of how many; 0 where nobody knows.

    Raises:
        HostGone, HostEnded, HostBusy, HostRefused, HostFailed: see there.
    """
    deadline = time.monotonic() + limit_seconds
    started = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, closing(Receiver(connection)) as receiver:
        connection.settimeout(10)
        try:
            connection.connect(str(address))
        except OSError as error:
            raise HostBusy(f"the model host does not answer: {error.strerror or error}") from None
        pid = _peer(connection)
        try:
            wanted = {"affine": affine.tolist(), "limit": limit_seconds, "probabilities": probabilities}
            wanted["may_climb"] = may_climb
            wanted["exchange"] = None if exchange is None else [list(pair) for pair in exchange]
            send(connection, {"do": "segment"} | wanted, tuple(channels))
            while True:
                message, arrays = _next(receiver, deadline)
                if message["say"] == "started":
                    # it begins once, however often it says so
                    started, deadline = True, deadline if started else time.monotonic() + limit_seconds
                    on_started(message.get("idle_seconds", 0.0))
                elif message["say"] == "progress":
                    on_progress(int(message["done"]), int(message["of"]))
                else:
                    return _answer(message, arrays)
        except TimeoutError:
            if not started:
                raise HostBusy(f"the model host was busy for {limit_seconds:.0f} s") from None
            _kill(pid)
            raise HostGone(f"the network did not finish within {limit_seconds:.0f} s and was stopped") from None
        except Disconnected as error:
            if why := why_ended(address):
                raise HostEnded(why) from None
            if started:
                raise HostGone(f"the model host died while it ran the network ({error})") from None
            raise HostBusy(f"the model host went away before it began ({error})") from None


def ended(address: Path) -> Path:
    """The file where it is said why the node has ended the host at an address; blank where it has not."""
    return address.with_suffix(".ended")


def why_ended(address: Path) -> str:
    """What that file says; "": nothing."""
    try:
        return ended(address).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def environment(address: Path) -> dict[str, str]:
    """On what a host runs its network (`models.environment`).

    Raises:
        HostBusy: it does not answer.
    """
    message = _asked(address, {"do": "environment"})
    if message is None:
        raise HostBusy("the model host does not say what it runs on")
    return {str(key): str(value) for key, value in message["environment"].items()}


def _next(receiver: Receiver, until: float) -> tuple[dict[str, Any], list[SharedArray]]:
    message, arrays = receiver.receive(until)
    for one in arrays:
        one.close()  # the array keeps the memory as long as somebody reads it
    return message, arrays


def _answer(message: dict[str, Any], arrays: list[SharedArray]) -> Answer:
    if message["say"] == "refused":
        raise HostRefused(message["code"], message["sentence"])
    if message["say"] == "failed":
        raise (HostFull if message.get("full") else HostFailed)(message["sentence"])
    if "found" in message:
        nothing, found = np.zeros((0, 0, 0), np.uint8), Found.of(message["found"])
        return Answer(nothing, message["seconds"], message["peak_memory_mb"], message["device"], found=found)
    labels, *others = arrays
    kept = others.pop(0) if "probabilities_affine" in message else None
    maps = others.pop(0) if "maps_affine" in message else None
    return Answer(
        labels.array,
        message["seconds"],
        message["peak_memory_mb"],
        message["device"],
        _means(message, "entropy"),
        kept.array if kept else None,
        np.array(message.get("probabilities_affine", np.eye(4))),
        message.get("remark", ""),
        _means(message, "disagreement"),
        _means(message, "confidence"),
        maps.array if maps else None,
        np.array(message.get("maps_affine", np.eye(4))),
    )


def _means(message: dict[str, Any], name: str) -> dict[int, float]:
    return {int(value): float(mean) for value, mean in message.get(name, {}).items()}  # JSON's keys are text


def room(address: Path) -> dict[str, Any] | None:
    """What a host holds: the fields of `memory.Room`, where it runs (`on`), whether it is `busy`; None: no answer.

    A bundle may answer in the place of its host: what could not be used as an answer is none.
    """
    said = _asked(address, {"do": "room"})
    return said if said is not None and all(type(said.get(name)) is kind for name, kind in ROOM.items()) else None


def end(address: Path, *, soon: bool = False) -> bool:
    """Ask a host to end; whether it does so now. One at work does not, or, if it is to be soon, after this request."""
    answer = _asked(address, {"do": "end", "soon": soon})
    return answer is not None and answer.get("say") == "ended"


def _asked(address: Path, message: dict[str, Any]) -> dict[str, Any] | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, closing(Receiver(connection)) as receiver:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(address))
            send(connection, message)
            return receiver.hear(time.monotonic() + ANSWER_SECONDS)
    except (OSError, Disconnected):
        return None


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
