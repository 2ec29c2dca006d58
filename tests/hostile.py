"""What a hostile program would try, whoever runs it. Needs nothing but the standard library.

Copied into a bundle and into a stand-in of a codec, beside a `told.json` that says where everything worth having is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DENIED = (MemoryError, OSError)
LIBRARY = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, MOST = 16, 10_000


def attempts() -> dict[str, str]:
    """Each attempt, and what came of it: "denied", or what it got."""
    told = json.loads(Path(__file__).with_name("told.json").read_text())
    return {name: _outcome(attempt) for name, attempt in _attempts(told)}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        got = attempt()
    except DENIED:
        return "denied"
    return f"got {got!r}"[:100]


def _attempts(told: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    home, worker, port = Path(told["home"]), int(told["worker"]), int(told["port"])
    yield "tcp", lambda: socket.create_connection(("127.0.0.1", port), 5)
    yield "udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
    yield "unix socket", lambda: socket.socket(socket.AF_UNIX).connect(told["unix"])
    yield "netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    yield "reads the database", (home / "planimeter.db").read_bytes
    yield "writes into the database", lambda: (home / "planimeter.db").open("ab")
    yield "cuts the database off", lambda: os.truncate(home / "planimeter.db", 0)
    yield "reads a secret", (home / "secret").read_text
    yield "opens the secret to all", lambda: (home / "secret").chmod(0o777)
    yield "takes the secret away", lambda: (home / "secret").unlink()
    yield "puts a name on the secret", lambda: os.link(home / "secret", Path.home() / "mine")
    yield "lists the home folder", lambda: list(home.iterdir())
    yield "lists that of root", lambda: list(Path("/root").iterdir())
    yield "reads the passwords", Path("/etc/shadow").read_text
    yield "writes outside", lambda: (home / "written").write_text("x")
    yield "writes where all may", lambda: (Path(told["temporary"]) / f"written-{os.getpid()}").write_text("x")
    yield "writes its own program", lambda: Path(__file__).write_text("")
    yield "forks", _forks
    yield "starts a shell", lambda: subprocess.run(["/bin/sh", "-c", "id"], check=False, capture_output=True)
    yield "ends the worker", lambda: os.kill(worker, signal.SIGKILL)
    yield "reads the worker's words", Path(f"/proc/{worker}/cmdline").read_text
    yield "reads the worker's environment", Path(f"/proc/{worker}/environ").read_text
    yield "traces the worker", lambda: _called("ptrace", PTRACE_ATTACH, worker, 0, 0)
    yield "another user space", lambda: _called("unshare", 0x10000000)
    yield "asks for everything", lambda: mmap.mmap(-1, 1 << 46, flags=mmap.MAP_PRIVATE)
    yield "opens without end", _opens
    yield "a huge file", _huge
    yield "has the environment", lambda: _has(told["secret words"])
    yield "cuts off what it shares", _cuts


def _called(name: str, *arguments: object) -> int:
    done = int(getattr(LIBRARY, name)(*arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return done


def _forks() -> int:
    pid = os.fork()
    if not pid:
        os._exit(0)
    return pid


def _opens() -> int:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(Path(os.devnull).open("rb"))
    return MOST


def _huge() -> str:
    with (Path.home() / "huge").open("wb") as stream:
        stream.truncate(1 << 50)
        return stream.name


def _has(words: str) -> str:
    """Whether the environment says this, also that with which the process began."""
    here = Path("/proc/self/environ").read_bytes() + repr(os.environ).encode()
    if words.encode() not in here:
        raise PermissionError
    return words


def _cuts() -> list[str]:
    """Memory that two processes share, cut off by one, ends the other."""
    cut = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "memfd:planimeter" in str(one.readlink()):
                os.ftruncate(int(one.name), 0)
                cut.append(one.name)
    if not cut:
        raise PermissionError
    return cut


if __name__ == "__main__":
    json.dump(attempts(), sys.stdout)
