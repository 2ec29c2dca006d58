"""Count who was turned away, without a database write per knock on the door."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from db import audit_trail, refusals, tallies
from db.database import Database, DatabaseUnreachable

from ..audit.codes import What

logger = logging.getLogger(__name__)

MAX_ROWS = 1000
#: for these a person looks who called; what has its reason in the node itself (`paused`, `disk-reserve`) is no alert
ALERTS = frozenset({"unknown-caller", "no-longer-allowed", "not-dicom", "request-too-long", "too-many-callers"})
#: of one caller and code there is one alert in so long
ALERT_SECONDS = 60.0


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
        self._alerted: dict[tuple[str, str, str], float] = {}
        self._quiet: Counter[tuple[str, str, str]] = Counter()
        self._lock, self._writing = threading.Lock(), threading.Lock()

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
        """Write what was counted until now; if the database is away, keep it for the next time."""
        with self._writing:  # who comes meanwhile waits for what the other one has taken with it
            self._flush()

    def _flush(self) -> None:
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
                self._alert(tx, counts)
        except DatabaseUnreachable:
            logger.warning("callers that were turned away are not written yet: the database does not answer")
            with self._lock:
                self._counts.update(counts)
                self._tallies.update(counted)
                self._sentences = sentences | self._sentences

    def _alert(self, tx: Any, counts: Counter[tuple[str, str, str]]) -> None:
        """Tell the audit trail: of each caller and code once in a while, with how often it was."""
        now = time.monotonic()
        self._alerted = {key: until for key, until in self._alerted.items() if until > now}
        self._quiet.update({key: times for key, times in counts.items() if key[2] in ALERTS})
        for key in [key for key in self._quiet if key not in self._alerted]:
            address, ae_title, code = key
            facts = {"address": address, "ae": ae_title, "code": code, "times": self._quiet.pop(key)}
            audit_trail.put(tx, What.TURNED_AWAY, facts)
            self._alerted[key] = now + ALERT_SECONDS
