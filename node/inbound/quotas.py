"""How much a peer may ask of us: associations at a time, instances and bytes in an hour.

Associations take places that all receivers share (`places`). What came in the last hour is counted in the database, for
all receivers together too; what another one took in the last second is not known here yet.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from db import quotas
from db.database import Database

from ..errors import Unavailable
from .places import Places

#: an association that is ending holds its place for a moment: the same sender may be there again before that
ENDING_SECONDS = 1.0
LOOK_SECONDS = 0.05


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
    """Counts for one receiver. Peers go by their names.

    Args:
        places: the folder of the places that its receivers share.
    """

    def __init__(self, database: Database, places: Path) -> None:
        self._database, self._places = database, Places(places)
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._known: Mapping[str, tuple[int, int]] = {}
        self._new: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def enter(self, peer: str, quota: Quota) -> None:
        """An association begins, in this thread; it has its place until `leave`.

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
        try:
            self._inside.place = self._places.take(peer, most)
        except OSError as error:
            why = f"the places of associations cannot be counted: {error.strerror}"
            raise Unavailable("quota-associations", why) from None
        return self._inside.place is not None

    def leave(self) -> None:
        """The association of this thread, if there is one, has ended."""
        place, self._inside.place = getattr(self._inside, "place", None), None
        if place is not None:
            self._places.leave(place)

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
