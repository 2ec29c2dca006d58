"""What strangers' programs write on standard error, for the log: cut, and no more of it than a person would read."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_LINE = 1000
MOST_LINES = 200
MINUTE_SECONDS = 60.0
BLOCK = 1 << 16


@dataclass
class Overheard:
    """Lines, as they come in bytes.

    Attributes:
        say: told each line, and in the end of a minute how many were left out.
        now: seconds on a clock that nobody sets.
    """

    say: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    _began: float = float("-inf")
    _said: int = 0
    _left_out: int = 0
    _line: bytearray = field(default_factory=bytearray)

    def hear(self, words: bytes) -> None:
        """Take what was written; the rest of a line that is too long is never kept."""
        self.pass_time()
        *ended, last = words.split(b"\n")
        for one in ended:
            self._add(one)
            self._end_line()
        self._add(last)

    def _add(self, words: bytes) -> None:
        self._line += words[: LONGEST_LINE + 1 - len(self._line)]

    def _end_line(self) -> None:
        line = self._line.decode("utf-8", "replace").rstrip()
        self._line.clear()
        if not line.strip():
            return
        if self._said == MOST_LINES:
            self._left_out += 1
            return
        self._said += 1
        self.say(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ...")

    def pass_time(self) -> None:
        """Begin a new minute where the last one is over."""
        if self.now() - self._began >= MINUTE_SECONDS:
            self._tell()
            self._began, self._said = self.now(), 0

    def end(self) -> None:
        """Nothing more will come."""
        self._end_line()
        self._tell()

    def _tell(self) -> None:
        if self._left_out:
            self.say(f"{self._left_out} more lines were left out")
            self._left_out = 0

    def follow(self, descriptor: int) -> None:
        """Hear what comes out of a pipe or a socket, until nobody can write into it any more; it is closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            words = b"..."
            while words:
                if selector.select(MINUTE_SECONDS if self._left_out else None):
                    words = os.read(descriptor, BLOCK)
                    self.hear(words)
                self.pass_time()
        self.end()
        os.close(descriptor)
