"""Where browsers come in: the socket that listens for them, and who gives way where there are too many.

A connection waits until a whole request has come, and again when that is answered. Where there are too many, one that
waits gives way (`inbound.guests`): who says nothing, or says it too slowly, keeps nobody out who asks at once. Behind a
proxy all have one address, and may together be as many as there is room for.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from dataclasses import replace
from typing import Any, cast

from ..inbound.guests import Guest, Guests
from .policy import WebPolicy

logger = logging.getLogger(__name__)

#: it is said so often at most
SAID_SECONDS = 60.0
BACKLOG = 128


class Entrance(socket.socket):
    """A socket that listens; one thread accepts from it.

    Attributes:
        guests: who is connected; also whoever has not finished the handshake of TLS.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, policy: WebPolicy) -> None:
        super().__init__(socket.AF_INET6 if ":" in policy.address else socket.AF_INET)
        room = policy.room
        if policy.proxies is not None:
            room = replace(room, per_address=room.waiting + room.associations)
        self.guests = Guests(room)
        self._there: dict[int, tuple[socket.socket, Guest]] = {}
        self._said = -SAID_SECONDS
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.bind((policy.address, policy.port))
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"{error.strerror} ({policy.address}:{policy.port})") from None
        self.listen(BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next one that there is room for.

        Raises:
            ConnectionAbortedError: there is none for it; the event loop comes again for the one after it.
        """
        connected, address = super().accept()
        for number, (one, guest) in list(self._there.items()):
            if one.fileno() == -1:
                del self._there[number]
                self.guests.leave(guest)
        guest = Guest(address[0], cut=lambda: self._cut(connected), end=lambda: None)
        if not self.guests.enter(guest):
            connected.close()
            raise ConnectionAbortedError
        self._there[connected.fileno()] = (connected, guest)
        return connected, address

    def guest(self, connected: Any) -> Guest:
        """Whose connection it is."""
        return self._there[cast(int, connected.fileno())][1]

    def _cut(self, connected: socket.socket) -> None:
        """The event loop reads its end, and closes it."""
        with contextlib.suppress(OSError):  # it went by itself
            connected.shutdown(socket.SHUT_RDWR)
        if time.monotonic() - self._said >= SAID_SECONDS:
            self._said = time.monotonic()
            logger.warning("the pages have more connections than room: those that ask for nothing give way")
