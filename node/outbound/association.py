"""The one place where associations are requested of peers: in the clear, or over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association

from .target import Target

CONNECT_SECONDS = 15.0
#: an association that has not ended by then is cut: its peer may read nothing any more, or hardly anything
ABORT_SECONDS = 2.0
#: between two looks whether the thread of an association is still there
LOOK_SECONDS = 0.05


def requested(
    target: Target,
    ae_title: str,
    contexts: Sequence[tuple[str, UID | list[UID]]],
    *,
    answer_seconds: float,
    connect_seconds: float,
    tls: ssl.SSLContext | None,
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
    roles: Sequence[Any] = (),
) -> Any:
    """What came of it: established, rejected, or ended, for `scu` and `doctor` to say in words.

    Args:
        contexts: SOP class and transfer syntax, or several to choose from, each a presentation context of its own.
        answer_seconds: for an answer, and for any part of what is sent or comes: a peer may stand still within one.
        connect_seconds: for the connection, a TLS handshake in it.
        handlers: pynetdicom's events and what is called for them: for what the peer asks of us meanwhile.
        roles: SCP/SCU role selections (PS3.7 D.3.3.4): for what the peer is to send us on this association.

    Raises:
        OSError: the name does not resolve.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True  # stored bytes go out as they are
    ae = AE(ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = answer_seconds
    ae.connection_timeout = connect_seconds

    def connected(event: Any) -> None:
        event.assoc.dul.socket.socket.settimeout(answer_seconds)

    return stand_aside(
        ae.associate(
            target.host,
            target.port,
            contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
            ae_title=target.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, connected), *handlers],
            ext_neg=list(roles),
            tls_args=(tls, (target.tls.name if target.tls else "") or target.host) if tls else None,
        )
    )


def stand_aside(assoc: Any) -> Any:
    """Have an association's own thread take no answer that another thread waits for; the same association."""
    assoc._reactor_checkpoint = _Checkpoint(assoc)
    assoc.__class__ = _Requested
    return assoc


class _Requested(Association):
    """An association whose own thread waits at a `_Checkpoint`.

    pynetdicom asks a flag whether it does, after the checkpoint was closed, and a third thread, which serves reports on
    storage commitment, takes that flag down: who asked next waited for ever. Who has closed this checkpoint knows.
    """

    _is_paused = property(lambda _: True, lambda *_: None)

    def kill(self) -> None:
        """End its threads. An A-ABORT goes after all that is still to be sent; who does not read that is cut off."""
        until = time.monotonic() + ABORT_SECONDS
        self._reactor_checkpoint.set()
        self._kill, self.is_established = True, False
        while self.dul.is_alive() and not self.dul.stop_dul():
            if time.monotonic() > until:
                self._cut()
            time.sleep(LOOK_SECONDS / 5)

    def _cut(self) -> None:
        connected = self.dul.socket and self.dul.socket.socket
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


class _Checkpoint:
    """Where the thread of an association waits while another one asks the peer something; takes the place of an event.

    pynetdicom's says that it waits just before it does so. Where it goes on once more, it may take the answer off the
    queue: the peer has answered, and is said not to have. So whoever asks waits here until it stands still.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self._thread, self._changed = thread, threading.Condition()
        self._is_open, self._is_on_its_way = True, True

    def wait(self) -> None:
        """The association's thread comes by, and goes on when it may."""
        with self._changed:
            self._is_on_its_way = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open)
            self._is_on_its_way = True

    def set(self) -> None:
        """It may go on."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """It may not; returns when it waits, or has ended."""
        with self._changed:
            self._is_open = False
            while self._is_on_its_way and self._thread.is_alive() and threading.current_thread() is not self._thread:
                self._changed.wait(LOOK_SECONDS)
