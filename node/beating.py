"""A process says that it is alive: a row in the database, every few seconds; gone when it ends as it should."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType

from db import processes
from db.database import Conflict, Database, DatabaseUnreachable

logger = logging.getLogger(__name__)

BEAT_SECONDS = 10.0


class Beating:
    """Within a `with` the process is alive.

    Args:
        role: "receive", "receive-2", "work-1", "schedule", "web": one of its name on this machine.
    """

    def __init__(self, database: Database, role: str, beat_seconds: float = BEAT_SECONDS) -> None:
        self.name = f"{socket.gethostname()}/{role}"
        self._database, self._role, self._seconds = database, role.split("-")[0], beat_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="beating", daemon=True)

    def __enter__(self) -> Beating:
        try:
            with self._database.write() as tx:
                processes.begin(tx, self.name, self._role)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("no sign of life of %s: %s", self.name, type(error).__name__)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(self._seconds)
        if kind is not None:
            return  # it does not end as it should
        try:
            with self._database.write() as tx:
                processes.end(tx, self.name)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("%s ends, and cannot say so: %s", self.name, type(error).__name__)

    def _keep_beating(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                with self._database.write() as tx:
                    processes.beat(tx, self.name, self._role)
            except (DatabaseUnreachable, Conflict) as error:
                logger.warning("no sign of life of %s: %s", self.name, type(error).__name__)
