"""Give instances their names in the store and their rows; for all that come at once together (docs/decisions/0013).

The order of the contract is that of this module: the data are on the disk already; the rename, the sync of the folder,
the commit of the row, and only then does `file` return (promise 1).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import recording
from db.arrivals import Arrival, Kind, Seen
from db.database import Conflict, Database
from db.shortcut import Shortcut

from ..failpoints import reach
from ..study.archive import Archive
from .together import Together

#: files of one shelf, until another is taken: who comes at once shares the sync of one folder, and a day needs few
SHELF_FILES = 1000


@dataclass(eq=False)
class Coming:
    """An instance on its way into the store.

    Attributes:
        spooled: its file, whose data are on the disk.
        arrival: its row, with the path that it gets.
        also: what else is written with a row that is new.
        is_usual: probably it is the next image of a series that was sent before.
        named: it has its name already.
        error: why it is not safe under its name.
    """

    spooled: Path
    arrival: Arrival
    also: Callable[[Any], None] | None = None
    is_usual: bool = False
    named: bool = False
    error: OSError | None = None


class Filing:
    """The way into the store."""

    def __init__(self, archive: Archive, database: Database) -> None:
        self._archive, self._database = archive, database
        self._shortcut = Shortcut(database)  # of whoever leads
        self._together: Together[Coming, Seen | OSError] = Together(self._all, self._one)
        self._lock = threading.Lock()
        self._shelf, self._room = "", 0

    def new_path(self) -> str:
        """A path that nobody has."""
        with self._lock:
            if not self._room:
                self._shelf, self._room = secrets.token_hex(1), SHELF_FILES
            self._room -= 1
            return self._archive.new_path("store", self._shelf)

    def file(self, coming: Coming) -> Seen:
        """Name and record an instance, durably.

        Returns:
            SAME: another instance with its digest has a row; its file has its name, and no row.

        Raises:
            DatabaseUnreachable, OSError: it could not be done now.
        """
        outcome = self._together.do(coming)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _all(self, batch: Sequence[Coming]) -> list[Seen | OSError]:
        self._name(batch)
        safe = [one for one in batch if one.error is None]
        usual = [one for one in safe if one.is_usual and one.also is None and one.arrival.kind is Kind.IMAGE]
        written = self._shortcut.record([one.arrival for one in usual]) if usual else []
        done = {id(one) for one, was in zip(usual, written, strict=True) if was}
        seen = iter(self._record([one for one in safe if id(one) not in done]))
        return [one.error or (Seen.NEW if id(one) in done else next(seen)) for one in batch]

    def _one(self, coming: Coming) -> Seen | OSError:
        self._name([coming])
        if coming.error is not None:
            return coming.error
        for _ in range(20):  # two revisions of one instance that come at once: one of them goes again
            with suppress(Conflict):
                return self._record([coming])[0]
        return OSError("the database kept refusing the row")

    def _name(self, batch: Sequence[Coming]) -> None:
        unnamed = [one for one in batch if not one.named and one.error is None]
        failed = self._archive.publish([(one.spooled, one.arrival.path) for one in unnamed])
        for one in unnamed:
            one.error = failed.get(one.arrival.path)
            one.named = one.error is None
        reach("stored-before-row")

    def _record(self, batch: Sequence[Coming]) -> list[Seen]:
        if not batch:
            return []
        with self._database.write() as tx:
            seen = recording.record(tx, [one.arrival for one in batch])
            for one, was in zip(batch, seen, strict=True):
                if one.also is not None and was is not Seen.SAME:
                    one.also(tx)
        return seen
