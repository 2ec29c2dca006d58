"""A browser's connection: HTTP/1.1 by uvicorn, with a deadline for each thing that the browser has to do.

uvicorn itself waits without end for the head of the first request, and for an answer to be read. How long the body of
a request is waited for is the guard's affair: it knows what is being waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

from .entrance import Entrance
from .policy import Patience


class Connection(H11Protocol):
    """One of them; made by uvicorn, with what `Server` adds."""

    def __init__(self, *args: Any, entrance: Entrance, patience: Patience, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entrance, self._patience = entrance, patience
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guest = self._entrance.guest(transport.get_extra_info("socket"))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # also where it broke
        _cancel(self._deadline)
        _cancel(self._unread)

    def handle_events(self) -> None:
        before, guests = self.cycle, self._entrance.guests
        self.app = service_unavailable if guests.is_full else self.config.loaded_app
        super().handle_events()
        if self.cycle is not before:
            _cancel(self._deadline)
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            guests.sit(self._guest)

    def on_response_complete(self) -> None:
        if not self.transport.get_write_buffer_size() and not self._guest.gave_way:
            # it waits again, behind all others; where it still reads, it keeps its seat until the deadline
            self._entrance.guests.leave(self._guest)
            self._entrance.guests.enter(self._guest)
        self._await_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._patience.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._unread)

    def _await_head(self) -> None:
        _cancel(self._deadline)
        self._deadline = self.loop.call_later(self._patience.head_seconds, self._too_late)

    def _too_late(self) -> None:
        if self.transport.is_closing():  # and the browser does not let it
            self.transport.abort()
            return
        self.timeout_keep_alive_handler()
        self._deadline = self.loop.call_later(self._patience.unread_seconds, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
