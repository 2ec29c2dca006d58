"""A node that fetches, in the process of the test: a home, a database, a receiver, and PACS to ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from db import fetches
from db.database import Database, open_database, sqlite_url
from node.inbound.inbox import Inbox
from node.inbound.peers import Doorkeeper
from node.outbound.target import Target, Web
from node.pull import retrieve, search
from node.pull.pacs import Limits, Pacs, Way
from node.pull.query import Search, Wish
from node.pull.retrieve import Us
from node.receiver import Receiver
from node.study.archive import Archive
from node.tls.files import SYSTEM, Trust
from tests.doors import door
from tests.synthetic import small_series

QUICK = Limits(timeout_seconds=30, silent_seconds=0.6, study_seconds=60, most_matches=5, most_images=100)
#: one that takes its time, on a machine that does other things too
PATIENT = Limits(timeout_seconds=30, silent_seconds=30, study_seconds=60)


def study(number: int = 1, images: int = 3, **values: str) -> list[Dataset]:
    """A CT study with a UID, an accession number and a day of its own."""
    uid = f"1.2.826.0.1.3680043.10.1.{number}"
    made = small_series((16, 16, images), patient_id="P1", study_uid=uid, series_uid=f"{uid}.1")
    for ds in made:
        ds.AccessionNumber, ds.StudyDate = f"A{number}", f"202601{number:02d}"
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return made


class Here:
    """Where it is fetched to."""

    def __init__(self, home: Path, database: Database) -> None:
        self.archive = Archive(home)
        self.archive.prepare()
        self.database = database
        self.inbox = Inbox(self.archive, database)
        self.us = Us("PLANIMETER", 11112, self.inbox, self.here)
        self.progress: list[tuple[int, int | None]] = []
        self._receiver: Receiver | None = None

    def receive(self) -> int:
        """Start a receiver; its port."""
        self._receiver = Receiver(door(), Doorkeeper(()), self.inbox, self.database)
        return self._receiver.start()

    def stop(self) -> None:
        if self._receiver is not None:
            self._receiver.stop()

    def here(self, study_uid: str, series_uid: str) -> int:
        with self.database.read() as tx:
            return fetches.here(tx, study_uid, series_uid)

    def fetch(
        self, pacs: Pacs, study_uid: str, series_uid: str = "", expected: int | None = None, limits: Limits = PATIENT
    ) -> str:
        def shown(done: int, of: int | None) -> None:
            self.progress.append((done, of))

        return retrieve.study(self.us, pacs, limits, study_uid, series_uid, expected, shown)


def dimse(archive: Any, way: Way) -> Pacs:
    """How an archive is configured that is asked by C-FIND."""
    return Pacs("archive", Target("archive", archive.ae_title, "127.0.0.1", archive.port), way)


def dicomweb(url: str, trust: Trust = SYSTEM) -> Pacs:
    """How one is configured that is asked by QIDO-RS."""
    return Pacs("archive", Target("archive", "ARCHIVE", "", 0, web=Web(url, trust=trust)), "wado")


def look(pacs: Pacs, limits: Limits = PATIENT, **wish: Any) -> Search:
    """Search a PACS for a wish."""
    with search.asking(pacs, "PLANIMETER", limits) as finder:
        return search.studies(finder, Wish(**wish))


@contextmanager
def opened(folder: Path, migrated: Path) -> Iterator[Here]:
    """A place to fetch to, on SQLite."""
    shutil.copyfile(migrated, folder / "rows.db")
    database = open_database(sqlite_url(folder / "rows.db"))
    made = Here(folder / "home", database)
    yield made
    made.stop()
    database.dispose()
