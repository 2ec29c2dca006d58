"""Write down what the collector is to be told. Whatever goes wrong here is counted, and stops nobody else's work."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from typing import Any

from db import audit_trail
from db.database import Conflict, Database, DatabaseUnreachable

from .codes import What

logger = logging.getLogger(__name__)

#: what was told of within its time is remembered, up to so many
MOST_KNOWN = 10_000


class Trail:
    """Of one process. Threads may share it.

    Args:
        database: None: nothing is written.
    """

    def __init__(self, database: Database | None) -> None:
        self.database = database
        self._lock = threading.Lock()
        self._lost = 0
        self._known: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._ends: deque[tuple[What, int, str, dict[str, Any]]] = deque()

    def note(self, what: What, study_uid: str = "", **facts: Any) -> None:
        """One message, in a transaction of its own.

        Args:
            study_uid: what is known of it and of its patient is added.
        """
        if self.database is None:
            return
        telling = 0
        try:
            with self.database.read() as tx:
                if not audit_trail.is_on(tx):
                    return
            telling = self._take_lost()
            with self.database.write() as tx:
                known = audit_trail.about(tx, study_uid) if study_uid else {}
                audit_trail.put(tx, what, known | facts)
                if telling:
                    audit_trail.lose(tx, telling)
        except (DatabaseUnreachable, Conflict) as error:
            self.lose(what, error, telling + 1)

    def note_once(self, seconds: float, key: tuple[str, ...], what: What, study_uid: str = "", **facts: Any) -> None:
        """The same, but not again within so many seconds for the same key."""
        if self._is_new((what, *key), seconds):
            self.note(what, study_uid, **facts)

    def end(self, what: What, message_id: int, study_uid: str, facts: dict[str, Any]) -> None:
        """A message that was left open gets its facts; where the database is away, `catch_up` sees to it."""
        self._ends.append((what, message_id, study_uid, facts))
        self.catch_up()

    def catch_up(self) -> None:
        """End what could not be ended before."""
        while self._ends and self.database is not None:
            try:
                what, message_id, study_uid, facts = one = self._ends.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                with self.database.write() as tx:
                    if not audit_trail.end(tx, message_id, audit_trail.about(tx, study_uid) | facts):
                        # it was told of as it was then, or taken back with what it told of
                        audit_trail.put(tx, what, audit_trail.about(tx, study_uid) | facts)
            except (DatabaseUnreachable, Conflict) as error:
                logger.warning("an audit message stays open for now: %s", type(error).__name__)
                self._ends.appendleft(one)
                return

    def end_left(self, open_by: str) -> None:
        """What a process of this name left open when it died is told of as it is."""
        if self.database is None:
            return
        try:
            with self.database.write() as tx:
                audit_trail.end_left(tx, open_by)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("audit messages stay open: %s", type(error).__name__)

    def lose(self, what: str, error: Exception, count: int = 1) -> None:
        """A message that cannot be written down is counted, and the database told when it answers again."""
        with self._lock:
            self._lost += count
        logger.warning("an audit message is lost: %s: %s", what, type(error).__name__)

    def _take_lost(self) -> int:
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def _is_new(self, key: tuple[str, ...], seconds: float) -> bool:
        now = time.monotonic()
        with self._lock:
            if self._known.get(key, now) > now:
                return False
            self._known[key] = now + seconds
            self._known.move_to_end(key)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return True


SILENT = Trail(None)
"""where nobody is told of anything"""
