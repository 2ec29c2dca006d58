"""What many browsers ask for every second is made once for all of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

#: what was made is good for so long whatever was committed since: many viewers cost what one does
SECONDS = 0.5
MOST = 64


@dataclass
class _Made:
    lock: threading.Lock = field(default_factory=threading.Lock)
    mark: str = ""
    body: str = ""
    at: float = float("-inf")


class Shared:
    """The newest of each fragment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()

    def get(self, key: Hashable, mark: str, make: Callable[[], str]) -> tuple[str, str]:
        """A body, and the mark of the database from before it was made, which may be older than `mark`.

        Args:
            key: all that the body depends on, besides the database.
            make: is called where there is none of this mark, nor one that is young; by one thread at a time.
        """
        with self._lock:
            made = self._made.setdefault(key, _Made())
            self._made.move_to_end(key)
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        with made.lock:
            if made.mark != mark and time.monotonic() - made.at > SECONDS:
                made.body, made.mark, made.at = make(), mark, time.monotonic()
            return made.mark, made.body
