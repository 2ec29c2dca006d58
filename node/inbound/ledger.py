"""Count who was turned away, without a database write per knock on the door."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection

from db import refusals, tallies
from db.database import Database, DatabaseUnreachable

logger = logging.getLogger(__name__)

MAX_ROWS = 1000


#: who is no peer of the configuration has no line of his own in the metrics: he might call himself anything
OTHER = "other"


class Ledger:
    """Counts in memory; written once a second and at the end by `flush`.

    Args:
        known: AE titles of the configuration, which the metrics tell apart.
    """

    def __init__(self, database: Database, known: Collection[str] = ()) -> None:
        self._database, self._known = database, frozenset(known)
        self._tallies: Counter[tallies.Key] = Counter()
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
            self._tallies["rejected", self._shown(ae_title), code] += 1

    def tally(self, ae_title: str, **counts: int) -> None:
        """So many more of something that is counted per calling AE title: associations, instances, bytes."""
        with self._lock:
            for name, count in counts.items():
                self._tallies[name, self._shown(ae_title)] += count

    def _shown(self, ae_title: str) -> str:
        return ae_title if ae_title in self._known else OTHER

    def flush(self) -> None:
        """Write what was counted; if the database is away, keep it for the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            sentences, self._sentences = self._sentences, {}
            counted, self._tallies = self._tallies, Counter()
        if not counts and not counted:
            return
        try:
            with self._database.write() as tx:
                for (address, ae_title, code), times in sorted(counts.items()):
                    refusals.count_caller(tx, address, ae_title, code, sentences[address, ae_title, code], times)
                tallies.add(tx, counted)
        except DatabaseUnreachable:
            logger.warning("callers that were turned away are not written yet: the database does not answer")
            with self._lock:
                self._counts.update(counts)
                self._tallies.update(counted)
                self._sentences = sentences | self._sentences
