"""Who is connected, and who gives way: limits that hold before anybody has said who he is.

A connection waits until its association request is accepted. There are so many connections for one address, and so many
that wait, from all addresses together. Where one of these limits is reached, the connection that has waited longest
gives way: of the address that is over its limit, else of the address with the most that wait. Who says nothing can
therefore keep nobody out who speaks at once, not even from the same address: as many others would have to come
between a sender's connection and its request. An association never gives way.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from ..addresses import home_of


class Seat(StrEnum):
    """What a guest may have."""

    TAKEN = "taken"
    FULL = "full"
    """there are as many associations as there may be"""
    GONE = "gone"
    """it had to give way before"""


@dataclass(frozen=True)
class Limits:
    """How many there may be.

    Attributes:
        per_address: connections of one address, or of one /64 network of IPv6.
        waiting: connections without an association.
        associations: with one.
    """

    per_address: int
    waiting: int
    associations: int


@dataclass(eq=False)
class Guest:
    """A connection.

    Attributes:
        address: as the system says it.
        cut: ends it, from any thread: whoever reads from it notices.
        end: asks for its end when it is an association; likewise.
        gave_way: it was ended to let another one in.
    """

    address: str
    cut: Callable[[], None]
    end: Callable[[], None]
    gave_way: bool = False
    home: str = field(init=False)

    def __post_init__(self) -> None:
        self.home = home_of(self.address)


class Guests:
    """All of one receiver."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._changed = threading.Condition()
        self._counts: Counter[str] = Counter()
        self._waiting: defaultdict[str, dict[Guest, None]] = defaultdict(dict)
        self._seated: set[Guest] = set()
        self._leaving: set[Guest] = set()
        """those that have lost their place, and whose thread has not noticed yet"""

    def enter(self, guest: Guest) -> bool:
        """Let a connection in; False where its address has too many associations already."""
        with self._changed:
            leaves = None
            if self._counts[guest.home] >= self.limits.per_address:
                if not self._waiting[guest.home]:
                    del self._waiting[guest.home]
                    return False
                leaves = self._oldest(guest.home)
            elif self._count_waiting() >= self.limits.waiting:
                leaves = self._oldest(max(self._waiting, key=lambda home: len(self._waiting[home])))
            if leaves is not None:
                leaves.gave_way = True
                self._forget(leaves)
                self._leaving.add(leaves)
                leaves.cut()
            self._counts[guest.home] += 1
            self._waiting[guest.home][guest] = None
            return True

    def sit(self, guest: Guest) -> Seat:
        """A connection is to become an association."""
        with self._changed:
            if guest.gave_way:
                return Seat.GONE
            if len(self._seated) >= self.limits.associations:
                return Seat.FULL
            self._unwait(guest)
            self._seated.add(guest)
            return Seat.TAKEN

    def leave(self, guest: Guest) -> None:
        """A connection is over."""
        with self._changed:
            self._leaving.discard(guest)
            if not guest.gave_way:
                self._forget(guest)
            self._changed.notify_all()

    def give_up(self, guest: Guest) -> None:
        """Nobody serves a connection: it has no place any more. Should somebody serve it yet, it is over for them."""
        with self._changed:
            if not guest.gave_way:
                guest.gave_way = True
                self._forget(guest)
                guest.cut()
            self._leaving.discard(guest)
            self._changed.notify_all()

    @property
    def is_full(self) -> bool:
        """Whether no more associations can be had."""
        with self._changed:
            return len(self._seated) >= self.limits.associations

    @property
    def count(self) -> int:
        """Of all connections."""
        with self._changed:
            return self._counts.total() + len(self._leaving)

    def wait_for_a_seat(self, seconds: float) -> None:
        """Wait until another association can be had, up to so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seated) < self.limits.associations, seconds)

    def see_off(self, seconds: float, over: Callable[[], None], grace_seconds: float) -> bool:
        """End all connections: those that wait at once, associations after `seconds`; whether all have gone.

        Args:
            over: called when those seconds are over, before associations are ended.
            grace_seconds: for what is being stored to be answered.
        """
        for guest in self._those(seated=False):
            guest.cut()
        gone = self._wait_until_empty(seconds)
        if not gone:
            over()
            for guest in self._those(seated=True):
                guest.end()
            gone = self._wait_until_empty(grace_seconds)
        return gone

    def _those(self, *, seated: bool) -> list[Guest]:
        with self._changed:
            return list(self._seated) if seated else [guest for guests in self._waiting.values() for guest in guests]

    def _wait_until_empty(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._counts and not self._leaving, seconds)

    def _count_waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _oldest(self, home: str) -> Guest:
        return next(iter(self._waiting[home]))

    def _unwait(self, guest: Guest) -> None:
        self._waiting[guest.home].pop(guest, None)
        if not self._waiting[guest.home]:
            del self._waiting[guest.home]

    def _forget(self, guest: Guest) -> None:
        self._unwait(guest)
        self._seated.discard(guest)
        self._counts[guest.home] -= 1
        if not self._counts[guest.home]:
            del self._counts[guest.home]
