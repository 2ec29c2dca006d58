"""The rights that a model host keeps while it runs a bundle, which is a program."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from . import memory
from .confine.environment import live_in
from .confine.process import confine
from .confine.rights import Demand, Rights


def bound(address: Path) -> socket.socket:
    """The socket of a host, which nobody can reach before it listens; later it can have none."""
    with contextlib.suppress(FileNotFoundError):
        address.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(address))
    address.chmod(0o600)
    return listener


def scratch(address: Path) -> Path:
    """The folder that the host at an address may write into; whoever started it takes it away."""
    return address.with_suffix(".scratch")


def keep(bundle: Path, own: Path, known: Path | None, device: str, demand: Demand) -> None:
    """Take all others from this process.

    Args:
        own: the folder that it may write into; it is made.
        known: the file of what was learnt of the network's memory, in a folder where nothing else is.
        device: "auto", "cpu", "cuda", ...

    Raises:
        Unconfined: the kernel cannot do what is required.
    """
    live_in(own.absolute())
    write = [own]
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write.append(known.parent)
    total, _ = memory.of_machine()
    data_bytes = total if device == "cpu" else 0  # what a driver maps for a GPU is not memory of the machine
    confine(Rights(read=(bundle,), write=tuple(write), data_bytes=data_bytes), demand)
