"""One attempt at a job, measured: the seconds of its stages and the memory that it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from db.job_states import Report
from models import memory


@dataclass
class Stages:
    """What is kept in the attempt's row.

    Attributes:
        moved: when a stage was begun or ended last, on the monotonic clock.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    moved: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = self.moved = time.monotonic()
        try:
            yield
        finally:
            self.moved = time.monotonic()
            self.seconds[name] = round(self.seconds.get(name, 0) + self.moved - begun, 3)

    def report(self, code: str | None = None, sentence: str | None = None) -> Report:
        """The attempt so far; what was remarked of it, where it has no other sentence."""
        peaks = self.peak_memory_mb | {"worker": round(memory.peak_held() / 2**20, 1)}
        said = sentence or "; ".join(dict.fromkeys(self.remarks)) or None
        return Report(code=code, sentence=said, seconds=dict(self.seconds), peak_memory_mb=peaks)
