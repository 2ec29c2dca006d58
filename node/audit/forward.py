"""Send what waits to the collector: in order, by one process at a time, and until it is taken."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence
from random import Random

from db import audit_trail
from db.database import Conflict, Database, DatabaseUnreachable, Row

from ..errors import Unavailable
from ..failpoints import reach
from . import codes, messages
from .messages import Us
from .syslog import Collector, Connection, line

logger = logging.getLogger(__name__)

#: messages that are sent, and marked, at once: of so many at most is one sent twice after a crash
AT_ONCE = 20
#: a process that died while it was the one that sends: another one takes that on
HOLD_SECONDS = 60.0
IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Forwarder:
    """Sends. Several may run; one of them does it."""

    def __init__(self, database: Database, collector: Collector, us: Us, random: Random) -> None:
        self._database, self._collector, self._us, self._random = database, collector, us, random
        self._name = f"{us.host}:{secrets.token_hex(8)}"
        self._connection: Connection | None = None
        self._pause = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Send until `stopping` is set."""
        wait_seconds = 0.0
        while not stopping.wait(wait_seconds):
            try:
                wait_seconds = self.step()
            except (DatabaseUnreachable, Conflict) as error:
                logger.warning("audit messages wait: %s", type(error).__name__)
                wait_seconds = IDLE_SECONDS
            except Exception:
                logger.exception("audit messages were not sent")  # the edge of the thread: the next time may go well
                wait_seconds = LONGEST_PAUSE_SECONDS
        self.close()

    def close(self) -> None:
        """End the connection, and let another process send."""
        self._hang_up()
        try:
            with self._database.write() as tx:
                audit_trail.let_go(tx, self._name)
        except (DatabaseUnreachable, Conflict) as error:
            logger.warning("%s", type(error).__name__)

    def step(self) -> float:
        """Send the next messages; the seconds until there may be more to do."""
        with self._database.read() as tx:
            if not audit_trail.any_due(tx):
                return IDLE_SECONDS
        with self._database.write() as tx:
            if not audit_trail.hold(tx, self._name, HOLD_SECONDS + self._collector.timeout_seconds):
                return IDLE_SECONDS
            audit_trail.take_over(tx, codes.told)
            rows = audit_trail.waiting(tx, AT_ONCE)
        written = self._written(rows)
        if not written:
            return 0.0 if rows else IDLE_SECONDS
        try:
            self._send(list(written.values()))
        except Unavailable as error:
            return self._failed(error)
        reach("audit-sent-before-row")
        with self._database.write() as tx:
            audit_trail.sent(tx, self._name, list(written))
        if self._pause:
            logger.info("%s takes messages again", self._collector.name)
        self._pause = 0.0
        return 0.0

    def _written(self, rows: Sequence[Row]) -> dict[int, bytes]:
        made: dict[int, bytes] = {}
        for row in rows:
            try:
                xml = messages.written(row["what"], row["at"], row["facts"], self._us)
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                logger.exception("audit message %s cannot be written and is set aside", row["id"])
                with self._database.write() as tx:
                    audit_trail.set_aside(tx, row["id"], type(error).__name__)
            else:
                made[row["id"]] = line(xml, time.time(), self._collector.facility, self._us.host)
        return made

    def _send(self, written: list[bytes]) -> None:
        try:
            if self._connection is None:
                self._connection = Connection(self._collector)
            self._connection.send(written)
        except Unavailable:
            self._hang_up()
            raise

    def _failed(self, error: Unavailable) -> float:
        if not self._pause:
            logger.warning("%s", error.sentence)
        self._pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * self._pause))
        with self._database.write() as tx:
            audit_trail.failing(tx, error.sentence)
            audit_trail.let_go(tx, self._name)
        return self._pause * self._random.uniform(0.5, 1.0)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def try_once(collector: Collector, us: Us) -> None:
    """Send a test, at once and past the queue.

    Raises:
        Unavailable: the collector did not take it.
    """
    now = time.time()
    xml = messages.written(codes.What.TEST, now, {"said": "a test"}, us)
    connection = Connection(collector)
    try:
        connection.send([line(xml, now, collector.facility, us.host)])
    finally:
        connection.close()
