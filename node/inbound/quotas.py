"""How much a peer may ask of us: associations at a time, instances and bytes in an hour.

Associations are counted in this process. What came in the last hour is counted in the database, for all receivers
together; what another one took in the last second is not known here yet.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from db import quotas
from db.database import Database

from ..errors import Unavailable

#: an association that is ending holds its place for a moment: the same sender may be there again before that
ENDING_SECONDS = 1.0
LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Quota:
    """Of one peer; 0: no limit.

    Attributes:
        associations: at a time.
        instances, bytes: in an hour.
    """

    associations: int = 0
    instances: int = 0
    bytes: int = 0

    @property
    def is_hourly(self) -> bool:
        """Whether what it sends has to be counted."""
        return bool(self.instances or self.bytes)


UNLIMITED = Quota()


class Quotas:
    """Counts for one receiver. Peers go by their names."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._inside: defaultdict[str, set[threading.Thread]] = defaultdict(set)
        self._known: Mapping[str, tuple[int, int]] = {}
        self._new: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def enter(self, peer: str, quota: Quota) -> None:
        """An association begins, in this thread; it holds its place until the thread ends.

        Raises:
            Unavailable: `quota-associations`.
        """
        if not quota.associations:
            return
        deadline = time.monotonic() + ENDING_SECONDS
        while not self._entered(peer, quota.associations):
            if time.monotonic() > deadline:
                many = f"{quota.associations} association{'s' * (quota.associations != 1)} at a time"
                raise Unavailable(
                    "quota-associations", f"peer {peer} may have {many} (`associations`), and has them already"
                )
            time.sleep(LOOK_SECONDS)

    def _entered(self, peer: str, most: int) -> bool:
        with self._lock:
            inside = self._inside[peer]
            inside -= {thread for thread in inside if not thread.is_alive()}
            if len(inside) >= most:
                return False
            inside.add(threading.current_thread())
            return True

    def require_left(self, peer: str, quota: Quota) -> None:
        """Raises:
        Unavailable: `quota-hour`: it has sent as much as it may in an hour.
        """
        if not quota.is_hourly:
            return
        with self._lock:
            instances, size = _sum(self._known.get(peer, (0, 0)), self._new[peer])
        if quota.instances and instances >= quota.instances:
            said = f"peer {peer} has sent {quota.instances} instances within an hour (`instances_per_hour`)"
            raise Unavailable("quota-hour", said)
        if quota.bytes and size >= quota.bytes:
            raise Unavailable(
                "quota-hour", f"peer {peer} has sent {quota.bytes / 1e9:g} GB within an hour (`gb_per_hour`)"
            )

    def count(self, peer: str, quota: Quota, size: int) -> None:
        """One instance more of so many bytes."""
        if quota.is_hourly:
            with self._lock:
                self._new[peer] = _sum(self._new[peer], (1, size))

    def keep_up(self, *, hourly: bool) -> None:
        """Write what was counted, and read what all receivers have counted; what cannot be written now is kept.

        Args:
            hourly: whether any peer has a limit for an hour.

        Raises:
            DatabaseUnreachable
        """
        with self._lock:
            new = {peer: counts for peer, counts in self._new.items() if counts != (0, 0)}
        if new:
            with self._database.write() as tx:
                quotas.add(tx, new)
                known = quotas.used(tx)
        elif hourly:
            with self._database.read() as tx:
                known = quotas.used(tx)
        else:
            return
        with self._lock:
            self._known = known
            for peer, (instances, size) in new.items():
                self._new[peer] = _sum(self._new[peer], (-instances, -size))


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
