"""The model host: one network, warm, in a process of its own, shared by the workers of this machine.

    python -m models.host FOLDER --card SHA256 --socket FILE [--device auto]

It listens once the network is loaded, and serves one request at a time. When the GPU is in an unusable state it ends,
and whoever started it starts another. It tells at any time what it holds of its device's memory, and ends when it is
asked to and idle.

A bundle is a program. Before the first line of one is read, the process takes every right from itself that no network
needs (`models.confine`): what it may open are the bundle, the libraries, and a folder of its own that goes with it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import card, experience, host_rights, memory
from .causes import first_cause, is_full
from .confine.process import Unconfined
from .confine.rights import Demand
from .finding_rules import Result
from .loading import loading
from .rungs import Rung
from .wire import Disconnected, Receiver, SharedArray, send

if TYPE_CHECKING:
    from .network import Network
    from .windows import OnWindows

EXIT_UNUSABLE_BUNDLE = 3
EXIT_DEVICE_LOST = 4
EXIT_HUNG = 5
EXIT_FULL = 6
EXIT_UNCONFINED = 7
#: for a request that says nothing else
LONGEST_SECONDS = 3600.0
#: whoever waits hears no more often how far the network is
PROGRESS_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.host", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the bundle")
    parser.add_argument("--card", required=True, help="SHA-256 of its card")
    parser.add_argument("--socket", required=True, type=Path, help="where to listen")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--known", type=Path, help="file of what was learnt of this network's memory")
    parser.add_argument("--most-bytes", type=int, default=0, help="on the CPU: what it may hold; 0: what is free")
    parser.add_argument(
        "--instead", action="store_true", help="this is not the device that was wanted: too little memory"
    )
    parser.add_argument(
        "--confine", type=Demand, choices=Demand, help="what is wanted of the kernel; else nothing is done"
    )
    parser.add_argument("--lifeline", type=int, help="a pipe; the host ends when its other end is closed")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")  # what libraries think of a bundle's configuration is for whoever makes bundles
    listener = host_rights.bound(options.socket)  # no socket can be had later
    if options.confine is not None:
        try:
            host_rights.keep(
                options.folder, host_rights.scratch(options.socket), options.known, options.device, options.confine
            )
        except Unconfined as error:
            sys.stderr.write(f"model host: {error}\n")
            return EXIT_UNCONFINED
    if options.lifeline is not None:
        threading.Thread(target=_end_with, args=(options.lifeline,), daemon=True).start()
    try:
        bundle = card.read(options.folder)
        if bundle.card_sha256 != options.card:
            raise card.CardError(f"{options.folder}: the card has changed")
        card.verify(bundle)  # whoever waits hears of it before the seconds that the libraries take; again when it loads
        network = _load(bundle, options.device, options.known)
    except card.CardError as error:
        sys.stderr.write(f"model host: {error}\n")
        return EXIT_UNUSABLE_BUNDLE
    except Exception as error:
        if not is_full(error):
            raise
        sys.stderr.write(f"model host: {error}\n")
        return EXIT_FULL
    Desk(network, options.known, options.most_bytes, options.instead).serve(listener)
    return 0


def _load(bundle: card.Bundle, device: str, known: Path | None) -> Network:
    with loading():
        from .network import Network
    import torch

    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
        host_rights.tell_of_unused_gpu(device)
    return Network(bundle, device, known)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Desk:
    """Where requests come in.

    Attributes:
        known: where the peak of each run is kept.
        most_bytes: what this process may hold on the CPU; 0: what is free.
        instead: whether the network was to run on another device, and does not fit there.
    """

    network: Network
    known: Path | None = None
    most_bytes: int = 0
    instead: bool = False
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _free_since: float = field(default_factory=time.monotonic)
    _closing: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Listen and answer, until the process is ended."""
        with listener:
            listener.listen(64)
            while True:
                connection, _ = listener.accept()
                try:
                    threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()
                except RuntimeError:  # no memory for a thread while a volume takes it all: whoever asks comes again
                    connection.close()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Disconnected):
            connection.settimeout(30)
            message, channels = Receiver(connection).receive()
            if message.get("do") == "room":
                send(connection, self._room())
                return
            if message.get("do") == "environment":
                send(connection, {"say": "environment", "environment": _environment(self.network)})
                return
            if message.get("do") == "end":
                self._end(connection, soon=bool(message.get("soon")))
                return
            try:
                with self._turn:
                    self._go_if_closing()
                    idle_seconds = round(time.monotonic() - self._free_since, 3)
                    try:
                        send(connection, {"say": "started", "idle_seconds": idle_seconds})
                        self._work(connection, message, channels)
                    finally:
                        self._free_since = time.monotonic()
                    self._go_if_closing()
            finally:
                for one in channels:
                    one.close()

    def _room(self) -> dict[str, object]:
        device = str(self.network.device)
        held = dataclasses.asdict(memory.of(device))
        return {"say": "room", "on": device, "busy": self._turn.locked()} | held

    def _end(self, connection: socket.socket, *, soon: bool) -> None:
        """End now if nobody is served, else after the present request if that is wanted."""
        if self._turn.acquire(blocking=False):
            send(connection, {"say": "ended"})
            os._exit(0)
        if soon:
            self._closing.set()
        send(connection, {"say": "busy"})

    def _go_if_closing(self) -> None:
        """Whoever waits for a turn finds the host gone before it began, and asks for another."""
        if self._closing.is_set():
            os._exit(0)

    def _work(self, connection: socket.socket, message: dict[str, Any], channels: list[SharedArray]) -> None:
        device = str(self.network.device)
        memory.measure_anew(device)
        if device == "cpu":
            memory.limit_to_what_is_free(self.most_bytes)
        try:
            _segment(self.network, connection, message, channels, instead=self.instead)
        finally:
            memory.no_limit()
            self.network.ladder.give_back()
        experience.note_peak(self.known, memory.of(device))


def _environment(network: Network) -> dict[str, str]:
    from .environment import describe

    return describe(network.device)


def _segment(
    network: Network,
    connection: socket.socket,
    message: dict[str, Any],
    channels: list[SharedArray],
    *,
    instead: bool,
) -> None:
    import numpy as np

    from .network import Probabilities, Unusable
    from .uncertainty import Uncertain

    answer: dict[str, object]
    begun = time.monotonic()
    entropy: dict[int, float] = {}
    gives_labels = network.card.result is Result.SEGMENTS
    answers = [SharedArray.make(channels[0].array.shape[:3], np.uint8)] if gives_labels else []
    kept, found = Probabilities() if message.get("probabilities") else None, None
    uncertain = Uncertain(message.get("exchange"))
    # whoever asked ends a host that hangs, unless it has died itself meanwhile
    hangs = threading.Timer(float(message.get("limit") or LONGEST_SECONDS) + 5, os._exit, (EXIT_HUNG,))
    hangs.daemon = True
    hangs.start()
    try:
        arrays = [one.array for one in channels]
        affine, may_climb = np.array(message["affine"]), bool(message.get("may_climb", True))
        told = _telling(connection)
        prepared_seconds = time.monotonic() - begun
        if gives_labels:
            out = answers[0].array
            seconds = network.segment(arrays, affine, out, entropy, kept, uncertain, told, may_climb=may_climb)
        else:
            found, seconds = network.find(arrays, affine, told, may_climb=may_climb)
    except Unusable as error:
        answer = {"say": "refused", "code": error.code, "sentence": str(error)}
    except Exception as error:  # noqa: BLE001 - the edge of the process: a bundle may raise anything
        cause = first_cause(error)
        said = f"{type(cause).__name__}: {cause}".split("\n")[0][:500]
        answer = {"say": "failed", "sentence": said, "full": is_full(cause)}
        send(connection, answer)
        if "CUDA" in str(cause) and not is_full(cause):
            os._exit(EXIT_DEVICE_LOST)
        return
    else:
        seconds["start"] += prepared_seconds
        answer = {
            "say": "done",
            "seconds": {key: round(value, 6) for key, value in seconds.items()},
            "peak_memory_mb": round(memory.of("cpu").peak / 2**20, 1),
            "device": str(network.device),
            "remark": (Rung.CPU if instead else network.ladder.rung).remark,
            "entropy": uncertain.entropy | entropy,
            "disagreement": uncertain.disagreement,
            "confidence": uncertain.confidence,
        }
        if found is not None:
            answer["found"] = found.message()
        if kept is not None and kept.array is not None:
            answers.append(SharedArray.make(kept.array.shape, np.float16))
            answers[-1].array[:] = kept.array
            answer["probabilities_affine"] = kept.affine.tolist()
        if uncertain.maps is not None:
            answers.append(SharedArray.of(uncertain.maps))
            answer["maps_affine"] = uncertain.affine.tolist()
        send(connection, answer, tuple(answers))
        return
    finally:
        hangs.cancel()
        for one in answers:
            one.close()
    send(connection, answer)


def _telling(connection: socket.socket) -> OnWindows:
    """Say how far the network is, at its first windows, then now and then; it stops where nobody listens any more
    (`Disconnected`)."""
    said = -PROGRESS_SECONDS

    def told(done: int, of: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= PROGRESS_SECONDS:
            said = now
            send(connection, {"say": "progress", "done": done, "of": of})

    return told


if __name__ == "__main__":
    sys.exit(main())
