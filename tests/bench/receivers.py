"""The receivers that are compared: each is started afresh on the same disk, and is gone afterwards."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.postgres import Postgres
from tests.running import PLANIMETER
from tests.waiting import wait_until

#: folder -> port and called AE title, while the `with` lasts
Receiving = Callable[[Path], AbstractContextManager[tuple[int, str]]]
#: what the library that brings a newer SQLite is replaced by
HIDDEN = "raise ImportError('as where there is no wheel of it')\n"


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def program(command: list[str], port: int, **environ: str) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(f"{Path(command[0]).name} listens", lambda: answers(port))
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, str]]:
    """DCMTK's, a process per association; it never synchronizes anything."""
    port = free_port()
    command = ["/usr/bin/storescp", "--fork", "-od", str(folder), str(port)]
    with program(command, port, TCP_NODELAY="1"):
        yield port, "STORESCP"


@contextmanager
def storescp_alone(folder: Path) -> Iterator[tuple[int, str]]:
    """DCMTK's as its defaults have it: one process, one association after the other."""
    port = free_port()
    with program(["/usr/bin/storescp", "-od", str(folder), str(port)], port, TCP_NODELAY="1"):
        yield port, "STORESCP"


def orthanc(*, nodelay: bool) -> Receiving:
    """Its files are synchronized, the rows of its index are not, as its defaults have it.

    Args:
        nodelay: with DCMTK's variable for it. Without, each of its answers waits 40 ms for the sender's acknowledgement
            (Nagle's algorithm), and that is what would be compared.
    """

    @contextmanager
    def receiving(folder: Path) -> Iterator[tuple[int, str]]:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc"
        try:
            with Orthanc(program, environ={"TCP_NODELAY": "1"} if nodelay else None) as server:
                yield server.port, server.ae_title
        finally:
            tempfile.tempdir = before

    return receiving


def stock(how: str) -> Receiving:
    @contextmanager
    def receiving(folder: Path) -> Iterator[tuple[int, str]]:
        port = free_port()
        command = [sys.executable, "-P", "-m", "tests.bench.stock_receiver", how, str(folder), str(port)]
        with program(command, port):
            yield port, "STOCK"

    return receiving


def processor_seconds(but: Collection[int]) -> float:
    """What all processes that this one started have taken of a processor: they, theirs, and those of them that ended.

    Args:
        but: process IDs that are not counted.
    """
    seconds = 0.0
    above, before = {os.getpid()}, set[int]()
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in but:
            with suppress(OSError):  # it has ended
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    while above != before:
        before, above = above, above | {one for one, stat in stats.items() if int(stat[1]) in above}
    for one in above - {os.getpid()}:
        seconds += sum(map(int, stats[one][11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def planimeter(database: str, processes: int = 1, loop: str = "own", more: str = "") -> Receiving:
    """`planimeter receive`.

    Args:
        database: "wal", "rollback" or "postgresql".
        processes: at the same port.
        loop: as in the configuration.
        more: further sections of it.
    """

    @contextmanager
    def receiving(folder: Path) -> Iterator[tuple[int, str]]:
        environ = dict(os.environ)
        with ExitStack() as stack:
            options: list[str] = []
            if database == "postgresql":
                server = Postgres(Postgres.find() or Path("/usr/lib/postgresql"), durable=True)
                options = ["--database", stack.enter_context(server).new_database()]
            if database == "rollback":
                (folder / "hidden").mkdir()
                (folder / "hidden" / "pysqlite3.py").write_text(HIDDEN)
                environ["PYTHONPATH"] = os.pathsep.join([str(folder / "hidden"), environ.get("PYTHONPATH", "")])
            config = folder / "planimeter.toml"
            config.write_text(
                f'[receive]\nquiet_seconds = 3600\nreserve_gb = 0\nprocesses = {processes}\nloop = "{loop}"\n{more}'
            )
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
            port = int(listener.getsockname()[1])
            command = [*PLANIMETER, "receive", "--config", str(config), "--home", str(folder / "home"), *options]
            for number in range(processes):
                started = stack.enter_context(_receiver(command, listener, number + 1, environ))
                wait_until("it listens", started.is_set)
            yield port, "PLANIMETER"

    return receiving


@contextmanager
def _receiver(
    command: list[str], listener: socket.socket, number: int, environ: dict[str, str]
) -> Iterator[threading.Event]:
    descriptor = listener.fileno()
    process = subprocess.Popen(
        [*command, "--listener", str(descriptor), "--role", f"receive-{number}"],
        env=environ,
        pass_fds=[descriptor],
        stderr=subprocess.PIPE,
        text=True,
    )
    listens = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if re.search("listens on", line):
                    listens.set()
                elif "rror" in line:
                    sys.stderr.write(line)

    threading.Thread(target=read, daemon=True).start()
    try:
        yield listens
    finally:
        process.kill()
        process.wait()
