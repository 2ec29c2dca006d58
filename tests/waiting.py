"""Wait for something to come true; never for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, came_true: Callable[[], T], seconds: float = 60.0, every: float = 0.02) -> T:
    """What `came_true` gives as soon as that is true; a failure that names `what` after so many seconds.

    Args:
        every: how long between two looks, where a look costs something.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = came_true()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every)
