"""A process says that it is alive: a row in the database, every few seconds; gone when it ends as it should."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from db import processes, schema
from db.database import Conflict, Database, DatabaseUnreachable

from . import __version__, machine

logger = logging.getLogger(__name__)

BEAT_SECONDS = 10.0


class Beating:
    """Within a `with` the process is alive.

    Args:
        role: "receive", "receive-2", "work-1", "schedule", "web": one of its name on this machine.
        outdated: called once, from a thread, when the database was brought to another version under this process.
    """

    def __init__(
        self,
        database: Database,
        role: str,
        beat_seconds: float = BEAT_SECONDS,
        outdated: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = machine.process(role)
        self._who = (self.name, role.split("-")[0], machine.name(), __version__)
        self._database, self._seconds, self._outdated = database, beat_seconds, outdated
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="beating", daemon=True)

    def __enter__(self) -> Beating:
        try:
            with self._database.write() as tx:
                processes.begin(tx, *self._who)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("no sign of life of %s: %s", self.name, type(error).__name__)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(max(self._seconds, BEAT_SECONDS))  # a beat after the end would be a process that is there
        if kind is not None:
            return  # it does not end as it should
        try:
            with self._database.write() as tx:
                processes.end(tx, self.name)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("%s ends, and cannot say so: %s", self.name, type(error).__name__)

    def _keep_beating(self) -> None:
        told = False
        while not self._ended.wait(self._seconds):
            try:
                with self._database.write() as tx:
                    processes.beat(tx, *self._who)
                if not told and schema.current(self._database) != schema.newest():
                    logger.critical("the database is of another version of Planimeter now: %s ends", self.name)
                    told = True
                    self._outdated()
            except (DatabaseUnreachable, Conflict) as error:
                logger.warning("no sign of life of %s: %s", self.name, type(error).__name__)
            except Exception:  # the edge of this thread: who lives goes on saying so
                logger.exception("no sign of life of %s", self.name)
