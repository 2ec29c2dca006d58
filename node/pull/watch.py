"""Somebody who ends an association that gives no sign of life, takes too long, or brings more than is sane."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import Failed, NodeError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2


class Watch:
    """Within its `with`, it looks at an association from a thread of its own.

    pynetdicom waits for one response as long as a time-out says. That is no measure: a PACS may say "pending" for ever,
    or nothing while it sends a thousand images elsewhere.

    Args:
        assoc: it is aborted.
        name: of the PACS.
        total_seconds: that it may take.
        silent_seconds: that `sign` may stay the same.
        sign: changes while something is going on; asked every `look_seconds`.

    Attributes:
        why: it was ended; None where it was not.
    """

    def __init__(
        self,
        assoc: Any,
        name: str,
        *,
        total_seconds: float,
        silent_seconds: float | None = None,
        sign: Callable[[], object] = lambda: None,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._assoc, self._name, self._sign, self._look = assoc, name, sign, look_seconds
        self._total, self._silent = total_seconds, silent_seconds or total_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watching {name}", daemon=True)
        self._ending = threading.Lock()
        self.why: NodeError | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def end(self, why: NodeError) -> None:
        """Abort the association; the first reason counts. May be called from any thread."""
        with self._ending:
            if self.why is not None or self._over.is_set():
                return
            self.why = why
        self._assoc.abort()
        # who waits for a response would wait on: only the other side's abort wakes pynetdicom
        self._assoc.dimse.msg_queue.put((None, None))

    def _watch(self) -> None:
        begun = heard = time.monotonic()
        last: object = None
        while not self._over.wait(self._look):
            now = time.monotonic()
            try:
                sign = self._sign()
            except NodeError as error:
                self.end(error)
                return
            except Exception:  # the edge of this thread: what cannot be asked is no sign, and time goes on
                logger.exception("%s cannot be watched as it should", self._name)
                sign = last
            if sign != last:
                last, heard = sign, now
            if now - heard > self._silent:
                said = f"{self._name} gave no sign of life for {self._silent:g} s"
                self.end(Failed("fetch-stalled", said))
                return
            if now - begun > self._total:
                self.end(Failed("fetch-stalled", f"{self._name} was not done within {self._total:g} s"))
                return
