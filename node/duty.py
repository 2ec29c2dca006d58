"""One process of all machines acts at a time: it holds a lease in the database and prolongs it; the others stand by.

Whoever ends gives the lease back; whoever dies loses it within LEASE_SECONDS. What is done under it has to be harmless
when two do it: a process that was frozen learns only afterwards that it has lost the lease. A SQLite file belongs to
one machine, and there to one schedule process: nobody has to be asked, and nothing is written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from db import duties
from db.database import Conflict, Database, DatabaseUnreachable

logger = logging.getLogger(__name__)

LEASE_SECONDS = 8.0
RENEW_SECONDS = 2.5


class Duty:
    """Within a `with` this process holds the duty, or takes it over as soon as nobody does.

    Args:
        name: of the duty.
        holder: the name of this process, which no other one has.
    """

    def __init__(self, database: Database, name: str, holder: str) -> None:
        self._database, self._name, self._holder = database, name, holder
        self._until = float("-inf")
        self._ours = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"duty {name}", daemon=True)

    @property
    def held(self) -> bool:
        """Whether this process may act now: its lease has not run out, by a clock that nobody sets."""
        return self._database.is_sqlite or time.monotonic() < self._until

    @property
    def was_ours(self) -> bool:
        """Whether it held the duty when the database answered last: for what has to be said of the database itself."""
        return self._database.is_sqlite or self._ours

    def act(self, what: Callable[..., None], *given: Any) -> None:
        """Do it, where it is this process that does it."""
        if self.held:
            what(*given)

    def __enter__(self) -> Duty:
        if not self._database.is_sqlite:
            self._renew()
            self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._database.is_sqlite:
            return
        self._ended.set()
        self._thread.join(LEASE_SECONDS)
        try:
            with self._database.write() as tx:
                duties.give_up(tx, self._name, self._holder)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("the duty %s is not given back: %s", self._name, type(error).__name__)
        self._until, self._ours = float("-inf"), False

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
            except Exception:  # the edge of this thread: the lease runs out unless the next time goes well
                logger.exception("the duty %s was not asked for", self._name)

    def _renew(self) -> None:
        asked = time.monotonic()
        try:
            with self._database.write() as tx:
                ours = duties.take(tx, self._name, self._holder, LEASE_SECONDS)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("the duty %s was not asked for: %s", self._name, type(error).__name__)
            return
        if ours != self._ours:
            logger.info("%s %s", self._holder, "is on duty" if ours else "stands by")
        self._until, self._ours = (asked + LEASE_SECONDS if ours else float("-inf")), ours
