"""F5 on SQLite: the receiver is killed in the midst of a commit, as its log or its rollback journal is written.

The kernel tells of every write to the database's files (inotify); at one of them, drawn at random, or up to two
milliseconds later, the receiver gets SIGKILL: within a commit, most of the time of which is the sync. Otherwise as
`receiver_kills`. How often a rollback journal was left with a transaction in it is counted.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.receiver_process import ReceiverProcess

from .receiver_kills import Alone, kills, sqlite
from .senders import Crew
from .tally import Tally, Trials

#: a commit of the receiver takes some 25 of them
MOST_WRITES = 600
#: how long a sync may take
LATER_SECONDS = 0.002
IN_MODIFY = 0x2
#: as where the package with the newer library is lacking: Python's own, which gets a rollback journal
WITHOUT_NEWER = (
    sys.executable,
    "-P",
    "-c",
    "import sys; sys.modules['pysqlite3'] = None; from node.cli import main; sys.exit(main())",
)


def with_log(trials: Trials, slices: int = 50) -> Tally:
    """The database has a write-ahead log."""

    def receiver(home: Path, config: Path) -> Alone:
        return Alone(ReceiverProcess(home, ("--config", str(config))))

    return kills(trials, receiver, sqlite, slices=slices, moment=within_a_commit)


def with_journal(trials: Trials, slices: int = 50) -> Tally:
    """The database has a rollback journal."""
    made: list[WithJournal] = []

    def receiver(home: Path, config: Path) -> Alone:
        made.append(WithJournal(ReceiverProcess(home, ("--config", str(config)), program=WITHOUT_NEWER)))
        return made[-1]

    tally = kills(trials, receiver, sqlite, slices=slices, moment=within_a_commit)
    tally.figures["killed with a transaction in the journal"] = sum(one.unfinished for one in made)
    return tally


class WithJournal(Alone):
    """A receiver whose rollback journal is looked at when it has died.

    Attributes:
        unfinished: how often there was a transaction in it.
    """

    unfinished = 0

    def died(self) -> None:
        self.unfinished += (self.home / "planimeter.db-journal").stat().st_size > 0


def within_a_commit(home: Path, crew: Crew, _whole: int, random: Random, is_over: Callable[[], bool]) -> None:
    """Wait for a write to the database's files."""
    left = random.randint(1, MOST_WRITES)
    with _watching(home / f"planimeter.db{end}" for end in ("", "-wal", "-journal")) as writes:
        while left > 0 and not is_over():
            left -= writes(0.1)
    crew.stop.wait(random.uniform(0, LATER_SECONDS))


@contextmanager
def _watching(files: Iterable[Path]) -> Iterator[Callable[[float], int]]:
    """What waits for writes to these files, for so many seconds, and counts them (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify")

    def writes(seconds: float) -> int:
        if not select.select([descriptor], [], [], seconds)[0]:
            return 0
        data, count = os.read(descriptor, 65536), 0
        while data:
            length = struct.unpack_from("iIII", data)[3]
            data, count = data[16 + length :], count + 1
        return count

    try:
        for file in files:
            if file.exists() and libc.inotify_add_watch(descriptor, os.fsencode(file), IN_MODIFY) < 0:
                raise OSError(ctypes.get_errno(), f"inotify: {file}")
        yield writes
    finally:
        os.close(descriptor)
