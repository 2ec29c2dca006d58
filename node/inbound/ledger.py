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

from ..addresses import home_of
from ..audit.codes import What

logger = logging.getLogger(__name__)

Key = tuple[str, str, str]

#: AE titles of one address and code that are told apart; whoever calls may call himself anything, each time another
MOST_TITLES = 20
#: callers that are told apart at all; those of the configuration have as many of their own
MOST_CALLERS = 1000
#: in place of an AE title or an address: others
ANY = "*"
#: who is told apart is begun anew so often
FORGET_SECONDS = 24 * 3600.0
#: whoever called did not prove to be the node that he says he is (PS3.15 A.5.3.11)
UNPROVEN = {
    "called-ae-unknown",
    "tls-required",
    "plain-on-tls-port",
    "certificate-missing",
    "certificate-unknown",
    "certificate-expired",
    "certificate-revoked",
    "certificate-untrusted",
}
#: for these a person looks who called; what has its reason in the node itself (`paused`, `disk-reserve`) is no alert
ALERTS = UNPROVEN | {"unknown-caller", "no-longer-allowed", "not-dicom", "request-too-long", "too-many-callers"}
#: of one caller and code there is one alert in so long
ALERT_SECONDS = 60.0


#: who is no peer of the configuration has no line of his own in the metrics: he might call himself anything
OTHER = "other"


class Callers:
    """As whom callers are counted: address, AE title and code, or as others.

    Args:
        known: AE titles of the configuration. There are so many of them, whoever calls.
    """

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self._begin()

    def _begin(self) -> None:
        self._keys: tuple[set[Key], set[Key]] = set(), set()
        self._titles: Counter[tuple[str, str]] = Counter()
        self._since = time.monotonic()

    def counted(self, key: Key, sentence: str) -> tuple[Key, str]:
        """The key that a call counts for, and what is said of it."""
        address, ae_title, code = key
        if time.monotonic() - self._since > FORGET_SECONDS:
            self._begin()
        keys = self._keys[ae_title in self.known]
        if key in keys:
            return key, sentence
        home = (home_of(address), code)
        if ae_title not in self.known:
            if self._titles[home] >= MOST_TITLES:
                said = f"and others: more than {MOST_TITLES} AE titles of this address; the last one: {sentence}"
                key, sentence = (home[0], ANY, code), said
            elif len(keys) < MOST_CALLERS:
                self._titles[home] += 1
        if key not in keys and len(keys) >= MOST_CALLERS:
            said = f"and others: more than {MOST_CALLERS} callers were turned away; the last one: {sentence}"
            return (ANY, ANY, "too-many-callers"), said
        keys.add(key)
        return key, sentence


class Ledger:
    """Counts in memory; written once a second and at the end by `flush`.

    Args:
        known: AE titles of the configuration, which the metrics tell apart.
    """

    def __init__(self, database: Database, known: Collection[str] = ()) -> None:
        self._database = database
        self._tallies: Counter[tallies.Key] = Counter()
        self._callers = Callers(frozenset(known))
        self._counts: Counter[Key] = Counter()
        self._sentences: dict[Key, str] = {}
        self._alerted: dict[tuple[str, str], float] = {}
        self._quiet: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def count(self, address: str, ae_title: str, code: str, sentence: str) -> None:
        """One more; beyond so many different callers the rest is counted as others."""
        with self._lock:
            key, sentence = self._callers.counted((address, ae_title, code), sentence)
            self._counts[key] += 1
            self._sentences[key] = sentence
            self._tallies["rejected", self._shown(ae_title), code] += 1

    def tally(self, ae_title: str, **counts: int) -> None:
        """So many more of something that is counted per calling AE title: associations, instances, bytes."""
        with self._lock:
            for name, count in counts.items():
                self._tallies[name, self._shown(ae_title)] += count

    def know(self, titles: frozenset[str]) -> None:
        """The AE titles of the configuration as it is now."""
        with self._lock:
            self._callers.known = titles

    def _shown(self, ae_title: str) -> str:
        return ae_title if ae_title in self._callers.known else OTHER

    def flush(self, *, last: bool = False) -> None:
        """Write what was counted until now; if the database is away, keep it for the next time.

        Args:
            last: alerts that wait for their minute go now: nobody would write them later.
        """
        with self._writing:  # who comes meanwhile waits for what the other one has taken with it
            self._flush(last)

    def _flush(self, last: bool) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            sentences, self._sentences = self._sentences, {}
            counted, self._tallies = self._tallies, Counter()
        quiet = self._with(counts)
        now = time.monotonic()
        due = {key: quiet.pop(key) for key in list(quiet) if last or self._alerted.get(key, now) <= now}
        if not counts and not counted and not due:
            return
        try:
            with self._database.write() as tx:
                for (address, ae_title, code), times in sorted(counts.items()):
                    refusals.count_caller(tx, address, ae_title, code, sentences[address, ae_title, code], times)
                tallies.add(tx, counted)
                for key, who in due.items():
                    _alert(tx, key, who)
        except DatabaseUnreachable:
            logger.warning("callers that were turned away are not written yet: the database does not answer")
            with self._lock:
                self._counts.update(counts)
                self._tallies.update(counted)
                self._sentences = sentences | self._sentences
            return
        self._quiet = quiet
        self._alerted = {key: until for key, until in self._alerted.items() if until > now}
        self._alerted |= dict.fromkeys(due, now + ALERT_SECONDS)

    def _with(self, counts: Counter[Key]) -> dict[tuple[str, str], Counter[tuple[str, str]]]:
        """The calls that no alert has told of yet, with these: address and code -> address and AE title -> times."""
        quiet = {key: Counter(who) for key, who in self._quiet.items()}
        for (address, ae_title, code), times in counts.items():
            if code in ALERTS:
                quiet.setdefault((home_of(address), code), Counter())[address, ae_title] += times
        return quiet


def _alert(tx: Any, key: tuple[str, str], who: Counter[tuple[str, str]]) -> None:
    """Tell the audit trail: of each address and code once in a while, with how often it was."""
    address, ae_title = next(iter(who)) if len(who) == 1 else (key[0], ANY)
    facts = {"address": address, "ae": ae_title, "code": key[1], "times": who.total()}
    audit_trail.put(tx, What.TURNED_AWAY, facts)
