"""The model host: one network, warm, in a process of its own, shared by the workers of this machine.

    python -m models.host FOLDER --card SHA256 --socket FILE [--device auto]

It listens once the network is loaded, and serves one request at a time. When the GPU is in an unusable state it ends,
and whoever started it starts another.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import card
from .causes import first_cause, is_full
from .finding_rules import Result
from .wire import Disconnected, Receiver, SharedArray, send

if TYPE_CHECKING:
    from .network import Network

EXIT_UNUSABLE_BUNDLE = 3
EXIT_DEVICE_LOST = 4
EXIT_HUNG = 5
EXIT_FULL = 6
#: for a request that says nothing else
LONGEST_SECONDS = 3600.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.host", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the bundle")
    parser.add_argument("--card", required=True, help="SHA-256 of its card")
    parser.add_argument("--socket", required=True, type=Path, help="where to listen")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--lifeline", type=int, help="a pipe; the host ends when its other end is closed")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")  # what libraries think of a bundle's configuration is for whoever makes bundles
    if options.lifeline is not None:
        threading.Thread(target=_end_with, args=(options.lifeline,), daemon=True).start()
    try:
        bundle = card.read(options.folder)
        if bundle.card_sha256 != options.card:
            raise card.CardError(f"{options.folder}: the card has changed")
        card.verify(bundle)  # whoever waits hears of it before the seconds that the libraries take; again when it loads
        network = _load(bundle, options.device)
    except card.CardError as error:
        sys.stderr.write(f"model host: {error}\n")
        return EXIT_UNUSABLE_BUNDLE
    except Exception as error:
        if not is_full(error):
            raise
        sys.stderr.write(f"model host: {error}\n")
        return EXIT_FULL
    serve(network, options.socket)
    return 0


def _load(bundle: card.Bundle, device: str) -> Network:
    import torch

    from .network import Network

    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    return Network(bundle, device)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def serve(network: Network, address: Path) -> None:
    """Listen and answer, until the process is ended."""
    with contextlib.suppress(FileNotFoundError):
        address.unlink()
    turn = threading.Lock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        address.chmod(0o600)
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_one, args=(network, connection, turn), daemon=True).start()


def _serve_one(network: Network, connection: socket.socket, turn: threading.Lock) -> None:
    with connection, contextlib.suppress(Disconnected):
        connection.settimeout(30)
        message, channels = Receiver(connection).receive()
        try:
            with turn:
                send(connection, {"say": "started"})
                _segment(network, connection, message, channels)
        finally:
            for one in channels:
                one.close()


def _segment(network: Network, connection: socket.socket, message: dict[str, Any], channels: list[SharedArray]) -> None:

    import numpy as np

    from .network import Probabilities, Unusable

    answer: dict[str, object]
    entropy: dict[int, float] = {}
    gives_labels = network.card.result is Result.SEGMENTS
    answers = [SharedArray.make(channels[0].array.shape[:3], np.uint8)] if gives_labels else []
    kept, found = Probabilities() if message.get("probabilities") else None, None
    # whoever asked ends a host that hangs, unless it has died itself meanwhile
    hangs = threading.Timer(float(message.get("limit") or LONGEST_SECONDS) + 5, os._exit, (EXIT_HUNG,))
    hangs.daemon = True
    hangs.start()
    try:
        arrays = [one.array for one in channels]
        if gives_labels:
            seconds = network.segment(arrays, np.array(message["affine"]), answers[0].array, entropy, kept)
        else:
            found, seconds = network.find(arrays, np.array(message["affine"]))
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
        memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = {
            "say": "done",
            "seconds": {key: round(value, 6) for key, value in seconds.items()},
            "peak_memory_mb": round(memory_kib / 1024, 1),
            "device": str(network.device),
            "entropy": entropy,
        }
        if found is not None:
            answer["found"] = found.message()
        if kept is not None and kept.array is not None:
            answers.append(SharedArray.make(kept.array.shape, np.float16))
            answers[-1].array[:] = kept.array
            answer["probabilities_affine"] = kept.affine.tolist()
        send(connection, answer, tuple(answers))
        return
    finally:
        hangs.cancel()
        for one in answers:
            one.close()
    send(connection, answer)


if __name__ == "__main__":
    sys.exit(main())
