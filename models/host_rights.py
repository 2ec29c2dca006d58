"""The rights that a model host keeps while it runs a bundle, which is a program."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from . import memory
from .confine import locks
from .confine.environment import live_in
from .confine.process import confine
from .confine.rights import Demand, Rights
from .confine.room import MOST_BYTES

NVIDIA = Path("/dev/nvidiactl")


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
    locks.of_threads()
    write = [own]
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write.append(known.parent)
    total, _ = memory.of_machine()
    data_bytes = total if device == "cpu" else 0  # what a driver maps for a GPU is not memory of the machine
    confine(Rights(read=(bundle,), write=tuple(write), file_bytes=MOST_BYTES, data_bytes=data_bytes), demand)


def tell_of_unused_gpu(device: str) -> None:
    """A GPU that is there and cannot be used from within would otherwise be seen by nothing but slowness."""
    if device == "cpu" and NVIDIA.exists():
        sys.stderr.write(
            "model host: there is an NVIDIA device here that PyTorch cannot use; it runs on the CPU. Where `planimeter "
            'check` finds the GPU, its driver needs what confinement takes away: try `confine = "off"` in [work]\n'
        )
