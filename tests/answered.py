"""Ask for an association until there is an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: of which each but the last was lost
MOST = 50


def answered(call: Callable[[], Any]) -> tuple[Any, int]:
    """An association that was accepted or rejected, and how often it was asked for.

    pynetdicom takes a rejection that comes quickly for a connection that was never made, where one of its threads has
    ended the connection before the other has looked. What was rejected is rejected again.
    """
    for times in range(1, MOST + 1):
        assoc = call()
        if assoc.is_established or assoc.acceptor.primitive is not None:
            return assoc, times
    raise AssertionError(f"asked {MOST} times without an answer")
