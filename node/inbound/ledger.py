"""Count who was turned away, without a database write per knock on the door."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from db import refusals
from db.database import Database, DatabaseUnreachable

logger = logging.getLogger(__name__)

MAX_ROWS = 1000


class Ledger:
    """Counts in memory; written once a second and at the end by `flush`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._sentences: dict[tuple[str, str, str], str] = {}
        self._lock = threading.Lock()

    def count(self, address: str, ae_title: str, code: str, sentence: str) -> None:
        """One more. Beyond a thousand different callers between two writes, the rest is counted as one."""
        key = (address, ae_title, code)
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAX_ROWS:
                key = ("*", "*", "too-many-callers")
                sentence = "more different callers were turned away in one second than are counted one by one"
            self._counts[key] += 1
            self._sentences[key] = sentence

    def flush(self) -> None:
        """Write what was counted; if the database is away, keep it for the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            sentences, self._sentences = self._sentences, {}
        if not counts:
            return
        try:
            with self._database.write() as tx:
                for (address, ae_title, code), times in sorted(counts.items()):
                    refusals.count_caller(tx, address, ae_title, code, sentences[address, ae_title, code], times)
        except DatabaseUnreachable:
            logger.warning("callers that were turned away are not written yet: the database does not answer")
            with self._lock:
                self._counts.update(counts)
                self._sentences = sentences | self._sentences
