"""`make bench`: how long a C-STORE takes until it is answered, by receivers that keep different promises.

    python -P -m tests.bench.receive                        storescp, Orthanc, the floor and the node
    python -P -m tests.bench.receive --all --quick          also the rollback journal, pynetdicom's loop and its server
    python -P -m tests.bench.receive --processes 2 --quick  beside one receiving process, two at one port
    python -P -m tests.bench.receive --mtu 1500 --quick     with the packets of a real network, and TCP_NODELAY

600 CT slices of half a megabyte, by one association and by four, medians of five. All receivers are measured in turns,
each started afresh on the same disk, which is left in peace before, with an empty page cache where this is root;
storescp and Orthanc with TCP_NODELAY. Nothing is removed before the end, since some file systems create files more
slowly for minutes after others were. The floor of the same turn is a bare loop of our contract's own steps: write a
file, fdatasync, rename, fsync the folder, commit a row. A durable receiver must take longer than that; what receiving
itself takes is seen of a receiver that keeps nothing safe (storescp). The table is printed as Markdown, with the
processor time of the receiver beside the clock. It stops to begin turns after `--minutes`, and says how many it made.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from db.journal import driver
from tests.bench import receivers
from tests.bench.raw_sender import template
from tests.bench.receivers import Receiving, processor_seconds
from tests.postgres import Postgres

#: on the disk, with some room for its row
INSTANCE_BYTES = 540_000
ROW = (
    "CREATE TABLE instance (id {key}, sop_uid TEXT NOT NULL, digest TEXT NOT NULL, path TEXT NOT NULL UNIQUE, "
    "header TEXT NOT NULL, UNIQUE (sop_uid, digest))"
)
WRITE = "INSERT INTO instance (sop_uid, digest, path, header) VALUES ({0}, {0}, {0}, {0})"
DATABASES = {"wal": "SQLite, WAL", "rollback": "SQLite, rollback journal", "postgresql": "PostgreSQL"}


@dataclass(frozen=True)
class Took:
    """Milliseconds per instance: of the clock, and of the processors that the receiver took."""

    clock: float
    processor: float


@dataclass
class Measured:
    """What was measured of a receiver: by the number of associations, once in each turn."""

    promise: str
    turns: dict[int, list[Took]] = field(default_factory=dict)

    def times(self, associations: int) -> list[float]:
        return [one.clock for one in self.turns.get(associations, ())]

    def cells(self, associations: int) -> list[str]:
        """Median and range of the clock, median of the processor."""
        if not (times := self.times(associations)):
            return ["", ""]
        processor = statistics.median(one.processor for one in self.turns[associations])
        return [f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})", f"{processor:.1f}"]


def main() -> None:
    options = _options()
    if options.mtu:
        _in_a_namespace(options.mtu)
    runs, count = (2, 120) if options.quick else (options.runs, options.instances)
    systems = _systems(options)
    kinds = [kind for kind, name in DATABASES.items() if f"Planimeter, {name}" in systems]
    found = {f"floor, {DATABASES[kind]}": Measured("all is safe") for kind in kinds}
    found |= {name: Measured(promise) for name, (promise, _) in systems.items()}
    console = Console(width=160, highlight=False)
    begun, done = time.monotonic(), 0
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-", dir=options.scratch) as scratch:
        _require_room(Path(scratch), INSTANCE_BYTES * count * (len(kinds) + 2 * len(systems)), runs)
        while done < runs and (not done or (time.monotonic() - begun) * (done + 1) / done < options.minutes * 60):
            for kind in kinds:
                with console.status(f"turn {done + 1} of {runs}: floor, {kind}"):
                    took = _on(Path(scratch), lambda folder, kind=kind: floor(folder, kind, count))
                    found[f"floor, {DATABASES[kind]}"].turns.setdefault(1, []).append(took)
            for name, (_, receiving) in systems.items():
                for associations in (1, 4):
                    with console.status(f"turn {done + 1} of {runs}: {name}, {associations}"):
                        took = _on(Path(scratch), lambda f, r=receiving, n=associations: send(f, r, n, count))
                    found[name].turns.setdefault(associations, []).append(took)
            done += 1
    network = f"packets of {options.within} bytes" if options.within else "loopback"
    machine = f"{os.cpu_count()} cores, load before {load:.1f}, Python {platform.python_version()}"
    console.print(f"{count} CT slices of 0.5 MB, {done} turns, {network}, {machine}\n")
    _show(console, found, kinds)


def _systems(options: argparse.Namespace) -> dict[str, tuple[str, Receiving]]:
    """What is compared: name -> what its answer means, and how it is started."""
    nothing, everything, files = "nothing is safe", "all is safe", "the file is synchronized, its row is not"
    systems: dict[str, tuple[str, Receiving]] = {
        "storescp": (nothing, receivers.storescp),
        "Orthanc": (files, receivers.orthanc(nodelay=True)),
    }
    for kind, name in DATABASES.items():
        if kind == "rollback" and not (options.all or options.only):
            continue
        systems[f"Planimeter, {name}"] = (everything, receivers.planimeter(kind))
        if options.processes > 1:
            said = f"Planimeter, {name}, {options.processes} processes"
            systems[said] = (everything, receivers.planimeter(kind, options.processes))
    if options.all or options.only:
        wal = DATABASES["wal"]
        systems[f"Planimeter, {wal}, pynetdicom's loop"] = (everything, receivers.planimeter("wal", loop="pynetdicom"))
        systems["Orthanc without TCP_NODELAY"] = (files, receivers.orthanc(nodelay=False))
        systems["pynetdicom's server, bytes written"] = (nothing, receivers.stock("raw"))
        systems["pynetdicom's server, event.dataset saved"] = (nothing, receivers.stock("dataset"))
    if options.only:
        systems = {name: one for name, one in systems.items() if any(part in name for part in options.only)}
    return systems


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="120 instances, two turns")
    parser.add_argument(
        "--all", action="store_true", help="also the rollback journal, pynetdicom's loop and its server"
    )
    parser.add_argument("--mtu", type=int, help="of the loopback device, in a network namespace of its own: 1500")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--instances", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=9.0, help="a turn that would end later is not begun")
    parser.add_argument("--processes", type=int, default=1, help="also so many receivers at one port")
    parser.add_argument("--only", action="append", help="systems that have this in their name; may be repeated")
    parser.add_argument("--scratch", help="a folder on the disk that is measured")
    parser.add_argument("--within", type=int, help=argparse.SUPPRESS)  # the MTU of the namespace that this runs in
    return parser.parse_args()


def _in_a_namespace(mtu: int) -> None:
    """Go on as another process whose network is its own: real networks have small packets."""
    rest = [one for n, one in enumerate(sys.argv[1:]) if not one.startswith("--mtu") and sys.argv[n] != "--mtu"]
    again = f'ip link set lo mtu {mtu} && ip link set lo up && exec "$@"'
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    here = [sys.executable, "-P", "-m", "tests.bench.receive", "--within", str(mtu)]
    command = [*unshare, "sh", "-c", again, "sh", *here, *rest]
    os.execvp("unshare", command)


def _on(scratch: Path, measure: Callable[[Path], Took]) -> Took:
    """Measure in a folder of its own, on a disk that has nothing left to do, with an empty page cache where root may.

    Else who comes later gets pages that a virtual machine has to ask its host for: in one series the node went from 1.1
    to 1.8 ms for each instance, with the same code.

    The folder stays. ext4 without a journal looks at each inode that was removed in the last five minutes whenever it
    makes a file nearby: that took up to 0.7 ms for each instance of the receivers that came next.
    """
    folder = scratch / secrets.token_hex(4)
    folder.mkdir()
    os.sync()
    with suppress(OSError):  # not root, or in a container
        Path("/proc/sys/vm/drop_caches").write_text("3")
    return measure(folder)


def _require_room(scratch: Path, bytes_of_a_turn: int, turns: int) -> None:
    """Say so before, if all that is received will not fit."""
    needed, free = bytes_of_a_turn * turns, shutil.disk_usage(scratch).free
    if free < needed * 1.1:
        sys.exit(f"{needed / 1e9:.0f} GB are needed in {scratch}, {free / 1e9:.0f} are free: --quick, or --scratch")


def floor(folder: Path, kind: str, count: int) -> Took:
    """The contract's own steps, and nothing else."""
    data, _ = template()
    (folder / "spool").mkdir()
    (folder / "store").mkdir()
    with _rows(folder, kind) as write:
        begun, before = time.perf_counter(), time.process_time()
        for number in range(count):
            spooled, stored = folder / "spool" / str(number), folder / "store" / f"{number}.dcm"
            descriptor = os.open(spooled, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            os.close(descriptor)
            spooled.rename(stored)
            above = os.open(stored.parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(above)
            os.close(above)
            write((f"2.25.4.{number:034d}", f"{number:032x}", str(stored)[-60:], "header" * 60))
        clock, processor = time.perf_counter() - begun, time.process_time() - before
        return Took(clock * 1000 / count, processor * 1000 / count)


class _rows:  # noqa: N801 - used as a function
    """A table of its own; within the `with`, what writes a row and commits it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._server: Postgres | None = None
        self._open: Any = None

    def __enter__(self) -> Callable[[tuple[str, ...]], Any]:
        if self._kind == "postgresql":
            self._server = Postgres(Postgres.find() or Path("/usr/lib/postgresql"), durable=True).__enter__()
            url = self._server.new_database().replace("postgresql+psycopg", "postgresql")
            self._open = psycopg.connect(url, autocommit=True)
            self._open.execute(ROW.format(key="BIGSERIAL PRIMARY KEY"))
            statement = WRITE.format("%s")
        else:
            self._open = driver.connect(self._folder / "rows.db", isolation_level=None)
            self._open.execute(f"PRAGMA journal_mode={'wal' if self._kind == 'wal' else 'truncate'}")
            self._open.execute("PRAGMA synchronous=FULL")
            self._open.execute(ROW.format(key="INTEGER PRIMARY KEY"))
            statement = WRITE.format("?")
        return lambda row: self._open.execute(statement, row)

    def __exit__(self, *_: object) -> None:
        self._open.close()
        if self._server is not None:
            self._server.__exit__()


def send(folder: Path, receiving: Receiving, associations: int, count: int) -> Took:
    """So many associations at once, which share the instances."""
    each = count // associations
    with receiving(folder) as (port, called):
        senders = []
        for number in range(associations):
            command = [sys.executable, "-P", "-m", "tests.bench.raw_sender", "127.0.0.1", str(port), called]
            pipe = subprocess.PIPE
            senders.append(subprocess.Popen([*command, str(each), str(number)], stdin=pipe, stdout=pipe, text=True))
        for sender in senders:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n", "no association"
        them = {sender.pid for sender in senders}
        before = processor_seconds(them)
        for sender in senders:
            assert sender.stdin is not None
            sender.stdin.write("go\n")
            sender.stdin.flush()
        times = [tuple(map(float, sender.communicate()[0].split())) for sender in senders]
        spent = processor_seconds(them) - before
        assert all(sender.returncode == 0 for sender in senders), "an object was not taken"
    clock = max(end for _, end in times) - min(begin for begin, _ in times)
    return Took(clock * 1000 / (each * associations), spent * 1000 / (each * associations))


def _show(console: Console, found: dict[str, Measured], kinds: list[str]) -> None:
    """As Markdown: milliseconds per instance, medians, least and most."""
    console.print(
        "| receiver | what its answer means | 1 association, ms | of a processor | 4, ms each | of a processor |"
    )
    console.print("|---|---|---:|---:|---:|---:|")
    for name, one in found.items():
        console.print(f"| {name} | {one.promise} | {' | '.join((*one.cells(1), *one.cells(4)))} |", soft_wrap=True)
    console.print()
    for kind in kinds:
        name = DATABASES[kind]
        for ours in [one for one in found if one.startswith(f"Planimeter, {name}")]:
            for sentence in _ratios(found, ours, f"floor, {name}"):
                console.print(f"- {sentence}", soft_wrap=True)


def _ratios(found: dict[str, Measured], ours: str, floor_of: str) -> list[str]:
    """Medians of the ratios of each turn."""
    said, mine = [], found[ours]
    if "storescp" in found:
        sums = [a + b for a, b in zip(found["storescp"].times(1), found[floor_of].times(1), strict=True)]
        ratio = statistics.median(a / b for a, b in zip(mine.times(1), sums, strict=True))
        said.append(f"{ours}: 1 association takes {ratio:.2f} times storescp + floor (1.2 at most is wanted)")
    if "Orthanc" in found:
        for associations, wanted in ((1, "1"), (4, "1.5; the goal is 2")):
            theirs = found["Orthanc"].times(associations)
            ratio = statistics.median(a / b for a, b in zip(theirs, mine.times(associations), strict=True))
            said.append(f"{ours}: {associations} are {ratio:.2f} times as fast as with Orthanc ({wanted} is wanted)")
    return said


if __name__ == "__main__":
    main()
