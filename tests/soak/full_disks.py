"""F4: the disk of the home folder, of the rows, of PostgreSQL is full for a while, or takes no more files."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from db.database import sqlite_url
from tests.postgres import Postgres
from tests.small_disk import fill, leave, mounted
from tests.soak.house import House
from tests.soak.scanners import OUT_OF_RESOURCES, Scanners
from tests.soak.tally import Tally, Trials
from tests.waiting import wait_until

MB = 1_000_000
SIZE = 160 * MB
#: reserve and refuse marks of 20 and 40 MB; and none
MARKS = "reserve_gb = 0.02\nrefuse_gb = 0.04\nquiet_seconds = 2"
NO_MARKS = "reserve_gb = 0\nquiet_seconds = 2"
#: what a scanner may be told meanwhile: rejected, transient; no answer because the connection ended
ALLOWED = {-1, OUT_OF_RESOURCES}
#: of files that use up the file system's
NUMBERS = count()
#: how long it stays full; workers are to come across it too
FULL_SECONDS = 4.0


@dataclass(frozen=True)
class Disk:
    """What is full.

    Attributes:
        fill: so that nothing more fits; `free`: again as it was.
        url: of the database; empty: SQLite in the home folder.
        home: where the node lives.
        mend: what an administrator does when there is room again, beside nothing.
    """

    home: Path
    url: str
    receive: str
    fill: Callable[[], None]
    free: Callable[[], None]
    mend: Callable[[], None] = lambda: None


def _filled(disk: Path, bytes_left: int) -> None:
    if bytes_left:
        leave(disk, bytes_left)
    else:
        fill(disk)


def _emptied(disk: Path) -> None:
    (disk / "ballast").unlink()


@contextmanager
def home(folder: Path, receive: str, bytes_left: int) -> Iterator[Disk]:
    """Spool, store, results and SQLite on one disk."""
    with mounted(folder / "disk", SIZE) as disk:
        yield Disk(disk / "home", "", receive, partial(_filled, disk, bytes_left), partial(_emptied, disk))


@contextmanager
def rows(folder: Path) -> Iterator[Disk]:
    """SQLite alone on a disk."""
    with mounted(folder / "disk", SIZE) as disk:
        url = sqlite_url(disk / "planimeter.db")
        yield Disk(folder / "home", url, NO_MARKS, partial(_filled, disk, 0), partial(_emptied, disk))


@contextmanager
def files(folder: Path, receive: str) -> Iterator[Disk]:
    """Not the bytes are used up, but the files that there may be."""
    with mounted(folder / "disk", SIZE, inodes=60_000) as disk:
        ballast = disk / "files"

        def use_up() -> None:
            ballast.mkdir(exist_ok=True)
            with suppress(OSError):
                for number in NUMBERS:
                    (ballast / str(number)).touch(exist_ok=False)

        def free() -> None:
            for one in ballast.iterdir():
                one.unlink()

        yield Disk(disk / "home", "", receive, use_up, free)


@contextmanager
def postgresql(folder: Path) -> Iterator[Disk]:
    """PostgreSQL's own disk. It ends when it cannot write its log ahead; somebody starts it again."""
    programs = Postgres.find()
    assert programs is not None, "PostgreSQL is not here"
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # an ordinary user's, who need not see the folder of the trials
        with mounted(Path(place) / "disk", 2 * SIZE) as disk, Postgres(programs, within=disk) as server:
            url = server.new_database()

            def mend() -> None:
                if not server.is_running():
                    server.start()

            yield Disk(folder / "home", url, NO_MARKS, partial(_filled, disk, 0), partial(_emptied, disk), mend)


KINDS: dict[str, Callable[[Path], AbstractContextManager[Disk]]] = {
    "home, with marks": partial(home, receive=MARKS, bytes_left=10 * MB),
    "home, without marks": partial(home, receive=NO_MARKS, bytes_left=0),
    "rows": rows,
    "files, with marks": partial(files, receive=MARKS),
    "files, without marks": partial(files, receive=NO_MARKS),
    "postgresql": postgresql,
}


def run(trials: Trials) -> Tally:
    """The kinds one after the other, each on a node that is never started again."""
    tally = Tally()
    for number, (kind, made) in enumerate(KINDS.items()):
        times = trials.count // len(KINDS) + (number < trials.count % len(KINDS))
        if not times or trials.stopped.is_set():
            continue
        folder = trials.folder / kind.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        try:
            with made(folder) as disk:
                tally.add(_of_kind(trials, kind, folder, disk, times))
        except AssertionError as error:  # it never went on
            tally.missing += 1
            tally.complaints.append(f"{kind}: {error}")
    return tally


def _of_kind(trials: Trials, kind: str, folder: Path, disk: Disk, times: int) -> Tally:
    tally = Tally()
    with House(folder, url=disk.url, receive=disk.receive, home=disk.home) as house:
        house.start(workers=1)
        full = threading.Event()
        # whose disk is full works nothing off: nobody is to wait for that
        with Scanners(house.port, house.receipts, rest=lambda: not full.is_set() and house.is_behind()) as scanners:
            for _ in range(times):
                tally.recoveries.append(_full(house, scanners, disk, full))
                tally.trials += 1
                trials.step()
        house.until_all_done(scanners.studies)
        house.require_done(tally)
        if unexpected := set(scanners.refused) - ALLOWED:
            tally.complaints.append(f"scanners were told {sorted(unexpected)}")
        if not scanners.refused:
            tally.complaints.append("nobody was refused anything")
        told = {f"{status & 0xFFFF:04X}" if status >= 0 else str(status): n for status, n in scanners.refused.items()}
        tally.figures[kind] = {"studies": len(scanners.studies), "told": told, "attempts": house.outcomes()}
        house.stop()
        checked = house.oracle()
        checked.figures = {}
        tally.add(checked)
    tally.complaints = [f"{kind}: {one}" for one in tally.complaints]
    return tally


def _full(house: House, scanners: Scanners, disk: Disk, full: threading.Event) -> float:
    """Fill it in the midst of everything; seconds from its being free until an image and a job went on."""
    studies, told = len(scanners.studies), sum(scanners.refused.values())
    wait_until("studies come", lambda: len(scanners.studies) > studies + 2, 300)
    begun = time.monotonic()

    def noticed() -> bool:
        disk.fill()  # what others remove meanwhile
        return time.monotonic() - begun > FULL_SECONDS and sum(scanners.refused.values()) > told

    full.set()
    wait_until("a scanner is refused something", noticed, 120, 0.2)
    disk.free()
    disk.mend()
    full.clear()
    freed = time.time()
    acknowledged = house.receipts.count
    wait_until("images are acknowledged again", lambda: house.receipts.count > acknowledged, 120)
    wait_until("jobs are claimed again", lambda: house.claimed_since(freed), 120, 0.1)
    return time.time() - freed
