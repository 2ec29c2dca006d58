"""`make bench`: how long a C-STORE takes until it is answered, by receivers that keep different promises.

    python -P -m tests.bench.receive [--quick] [--mtu 1500] [--only NAME]

600 CT slices of half a megabyte, by one association and by four, medians of five. All receivers are measured in turns,
each started afresh on the same disk, which is left in peace before. The floor of the same turn is a bare loop of our
contract's own steps: write a file, fdatasync, rename, fsync the folder, commit a row. A durable receiver must take
longer than that; what receiving itself takes is seen of a receiver that keeps nothing safe (storescp).
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from db.journal import driver
from tests.bench import receivers
from tests.bench.raw_sender import template
from tests.bench.receivers import Receiving
from tests.postgres import Postgres

ROW = (
    "CREATE TABLE instance (id {key}, sop_uid TEXT NOT NULL, digest TEXT NOT NULL, path TEXT NOT NULL UNIQUE, "
    "header TEXT NOT NULL, UNIQUE (sop_uid, digest))"
)
WRITE = "INSERT INTO instance (sop_uid, digest, path, header) VALUES ({0}, {0}, {0}, {0})"
DATABASES = {"wal": "SQLite, WAL", "rollback": "SQLite, rollback journal", "postgresql": "PostgreSQL"}


@dataclass
class Measured:
    """Milliseconds per instance, one of each turn."""

    promise: str
    times: dict[int, list[float]] = field(default_factory=dict)

    def median(self, associations: int) -> float | None:
        found = self.times.get(associations)
        return statistics.median(found) if found else None


def main() -> None:
    options = _options()
    if options.mtu:
        _in_a_namespace(options.mtu)
    runs, count = (2, 120) if options.quick else (options.runs, options.instances)
    systems: dict[str, tuple[str, Receiving]] = {
        "storescp": ("nothing is safe", receivers.storescp),
        "Orthanc": ("file synchronized, row not", receivers.orthanc),
        "pynetdicom, raw": ("nothing is safe", receivers.stock("raw")),
        "pynetdicom, event.dataset": ("nothing is safe", receivers.stock("dataset")),
    }
    for kind, name in DATABASES.items():
        systems[f"Planimeter, {name}"] = ("all is safe", receivers.planimeter(kind))
        if options.processes > 1:
            said = f"Planimeter, {name}, {options.processes} processes"
            systems[said] = ("all is safe", receivers.planimeter(kind, options.processes))
    if options.only:
        systems = {name: one for name, one in systems.items() if any(part in name for part in options.only)}
    kinds = [kind for kind, name in DATABASES.items() if f"Planimeter, {name}" in systems]
    found = {f"floor, {DATABASES[kind]}": Measured("all is safe") for kind in kinds}
    found |= {name: Measured(promise) for name, (promise, _) in systems.items()}
    console = Console(width=140)
    console.print(f"{count} CT slices of 0.5 MB, {runs} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-", dir=options.scratch) as scratch:
        for turn in range(runs):
            for kind in kinds:
                with console.status(f"turn {turn + 1} of {runs}: floor, {kind}"):
                    took = _on(Path(scratch), lambda folder, kind=kind: floor(folder, kind, count))
                    found[f"floor, {DATABASES[kind]}"].times.setdefault(1, []).append(took)
            for name, (_, receiving) in systems.items():
                for associations in (1, 4):
                    with console.status(f"turn {turn + 1} of {runs}: {name}, {associations}"):
                        took = _on(Path(scratch), lambda f, r=receiving, n=associations: send(f, r, n, count))
                    found[name].times.setdefault(associations, []).append(took)
    _show(console, found, kinds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="120 instances, two turns")
    parser.add_argument("--mtu", type=int, help="of the loopback device, in a network namespace of its own: 1500")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--instances", type=int, default=600)
    parser.add_argument("--processes", type=int, default=1, help="also so many receivers at one port")
    parser.add_argument("--only", action="append", help="systems that have this in their name; may be repeated")
    parser.add_argument("--scratch", help="a folder on the disk that is measured")
    return parser.parse_args()


def _in_a_namespace(mtu: int) -> None:
    """Go on as another process whose network is its own: real networks have small packets."""
    rest = [one for n, one in enumerate(sys.argv[1:]) if one != "--mtu" and sys.argv[n] != "--mtu"]
    again = f'ip link set lo mtu {mtu} && ip link set lo up && exec "$@"'
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    command = [*unshare, "sh", "-c", again, "sh", sys.executable, "-P", "-m", "tests.bench.receive", *rest]
    os.execvp("unshare", command)


def _on(scratch: Path, measure: Callable[[Path], float]) -> float:
    """Measure in a folder of its own, on a disk that has nothing left to do."""
    folder = scratch / secrets.token_hex(4)
    folder.mkdir()
    os.sync()
    try:
        return measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def floor(folder: Path, kind: str, count: int) -> float:
    """Milliseconds per instance of the contract's own steps, and of nothing else."""
    data, _ = template()
    (folder / "spool").mkdir()
    (folder / "store").mkdir()
    with _rows(folder, kind) as write:
        begun = time.perf_counter()
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
        return (time.perf_counter() - begun) * 1000 / count


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


def send(folder: Path, receiving: Receiving, associations: int, count: int) -> float:
    """Milliseconds per instance, of so many associations at once that share them."""
    with receiving(folder) as (port, called):
        senders = []
        for number in range(associations):
            command = [sys.executable, "-P", "-m", "tests.bench.raw_sender", "127.0.0.1", str(port), called]
            senders.append(
                subprocess.Popen(
                    [*command, str(count // associations), str(number)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for sender in senders:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n", "no association"
        for sender in senders:
            assert sender.stdin is not None
            sender.stdin.write("go\n")
            sender.stdin.flush()
        times = [tuple(map(float, sender.communicate()[0].split())) for sender in senders]
        assert all(sender.returncode == 0 for sender in senders), "an object was not taken"
    return (
        (max(end for _, end in times) - min(begin for begin, _ in times))
        * 1000
        / (count // associations * associations)
    )


def _show(console: Console, found: dict[str, Measured], kinds: list[str]) -> None:
    table = Table(title="Milliseconds per instance until its answer, median (least to most)", title_justify="left")
    for column in ("receiver", "what its answer means", "1 association", "4 associations"):
        table.add_column(column, justify="right" if column[0].isdigit() else "left")
    for name, one in found.items():
        cells = []
        for associations in (1, 4):
            times = one.times.get(associations)
            cells.append(f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})" if times else "")
        table.add_row(name, one.promise, *cells)
    console.print(table)
    for kind in kinds:
        name = DATABASES[kind]
        for processes in [one for one in found if one.startswith(f"Planimeter, {name}")]:
            for sentence in _ratios(found, processes, f"floor, {name}"):
                console.print(sentence)


def _ratios(found: dict[str, Measured], ours: str, floor_of: str) -> list[str]:
    said = []
    mine, bare = found[ours].times, found[floor_of].times[1]
    if "storescp" in found:
        sums = [a + b for a, b in zip(found["storescp"].times[1], bare, strict=True)]
        ratio = statistics.median(a / b for a, b in zip(mine[1], sums, strict=True))
        said.append(f"{ours}: 1 association takes {ratio:.2f} times storescp + floor (1.2 at most is wanted)")
    if "Orthanc" in found:
        for associations, wanted in ((1, "1"), (4, "1.5")):
            theirs = found["Orthanc"].times[associations]
            ratio = statistics.median(a / b for a, b in zip(theirs, mine[associations], strict=True))
            said.append(
                f"{ours}: {associations} associations are {ratio:.2f} times as fast as Orthanc ({wanted} is wanted)"
            )
    return said


if __name__ == "__main__":
    main()
