"""A clock that somebody sets, compared with one that nobody sets: by how much, and when.

Leases, waits and quiet periods go by the database's clock, so that machines agree. NTP, a person or a suspended
virtual machine may set that clock by an hour; nothing is to be lost by it, or to wait for an hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from db.database import Database, clock

#: less is NTP's slewing, or a database that took its time
STEP_SECONDS = 3.0
#: until then every worker that lives has prolonged its leases by the clock as it is now, if it does so often enough
SETTLED_SECONDS = 10.0
#: a look that took longer says nothing
QUICK_SECONDS = 1.0
#: a database that stood still for so long may have kept others from prolonging a lease
STILL_SECONDS = 5.0


class ClockSteps:
    """One process's look at one clock; asked every few seconds, by one thread at a time.

    Args:
        steady: a clock that nobody sets.
        heartbeat_seconds: how often workers prolong their leases.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic, heartbeat_seconds: float = 0.0) -> None:
        self._steady = steady
        self._settled = max(SETTLED_SECONDS, 2 * heartbeat_seconds)
        self._ahead: float | None = None
        self._said = False
        self._disturbed = float("-inf")

    def look(self, read: Callable[[], float]) -> float:
        """By how many seconds the clock was set since the last look; 0: by none that matters."""
        asked, self._said = self._steady(), False
        ahead = read() - asked
        if self._steady() - asked > QUICK_SECONDS:
            return 0.0
        self._said = True
        step = 0.0 if self._ahead is None else ahead - self._ahead
        if self._ahead is None or abs(step) > STEP_SECONDS:
            self._ahead = ahead
        else:  # slewing
            self._ahead, step = ahead, 0.0
        if step:
            self.disturb()
        return step

    def not_followed(self, step_seconds: float) -> None:
        """What `look` said was of no use: it says so again."""
        if self._ahead is not None:
            self._ahead -= step_seconds

    def disturb(self) -> None:
        """A lease that seems to have run out now may be that of one who lives: the database could not be asked."""
        self._disturbed = self._steady()

    def is_settled(self, read: Callable[[], float]) -> bool:
        """Whether all workers that live have prolonged their leases by the clock as it is now."""
        asked = self._steady()
        try:
            self.look(read)
        except BaseException:
            self.disturb()
            raise
        if self._steady() - asked > STILL_SECONDS:
            self.disturb()
        return self._said and self._steady() - self._disturbed > self._settled


def of_database(database: Database) -> float:
    """The database's clock, read.

    Raises:
        DatabaseUnreachable.
    """
    with database.read() as tx:
        return clock(tx)
