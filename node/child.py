"""What every process of a node has in common: it ends when it is told to, or when its supervisor has died."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
from typing import Any


class Child:
    """This process, as a child of a supervisor, or alone where it was started by hand.

    Attributes:
        stopping: set on SIGTERM, on SIGINT, and when the supervisor is gone.
        role: which of the processes of this machine it is: "receive-1", "work-2".
    """

    def __init__(self, parent: int | None, role: str) -> None:
        self.role = role
        self.stopping = threading.Event()
        self._parent = socket.socket(fileno=parent) if parent is not None else None
        stop_on_signals(self.stopping)
        if self._parent is not None:
            threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    @property
    def has_parent(self) -> bool:
        """Whether a supervisor started it."""
        return self._parent is not None

    def _watch(self) -> None:
        assert self._parent is not None
        try:
            self._parent.recv(1)
        except OSError:
            logging.getLogger(__name__).warning("the supervisor's line broke")
        self.stopping.set()

    def ready(self, **facts: Any) -> None:
        """Say that this process does its work from now on."""
        if self._parent is not None:
            self._parent.sendall(json.dumps(facts).encode() + b"\n")


def stop_on_signals(stopping: threading.Event) -> None:
    """Set `stopping` on SIGTERM and on SIGINT.

    A Python handler runs in the main thread, and only when that thread runs Python: a signal that the kernel gives to
    another thread, as it does right after SIGCONT, would leave a main thread asleep that waits for this very event. And
    an event must not be set from a handler that may have interrupted its own `wait`. So the interpreter's wake-up
    descriptor tells a thread.
    """
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        with told, tells:
            while told.recv(1):
                stopping.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
