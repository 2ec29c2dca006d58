"""Do for many at once what costs as much for one: a group commit.

Who comes while nobody is at it begins at once, with what is there; who comes meanwhile waits, and the next batch is all
who wait when this one is done. So one association waits for nobody, and of four, three share what the fourth waits for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Place(Generic[Item, Outcome]):
    """One who waits, or leads the next batch."""

    item: Item
    leads: bool
    told: threading.Lock = field(default_factory=threading.Lock)
    """held until this one leads, or its outcome is there"""
    outcomes: list[Outcome] = field(default_factory=list)
    """one, or none where the batch came to nothing"""

    def __post_init__(self) -> None:
        self.told.acquire()


class Together(Generic[Item, Outcome]):
    """Batches, one at a time, made by the threads themselves.

    Args:
        batch: does it for all of them, in order; an exception says that it was done for none.
        alone: does it for one; what it raises is that one's.
    """

    def __init__(self, batch: Callable[[Sequence[Item]], Sequence[Outcome]], alone: Callable[[Item], Outcome]) -> None:
        self._batch, self._alone = batch, alone
        self._lock = threading.Lock()
        self._waiting: list[_Place[Item, Outcome]] = []
        self._busy = False

    def do(self, item: Item) -> Outcome:
        """Have it done for one, with all who wait.

        A batch that comes to nothing is taken apart: each of it goes alone, in its own thread, so that one that
        cannot be done harms nobody beside it.
        """
        with self._lock:
            waits = self._busy
            mine: _Place[Item, Outcome] = _Place(item, leads=not waits)
            self._waiting.append(mine)
            self._busy = True
        if waits:  # also where it leads by now: whoever told it so has let go of what is taken here
            mine.told.acquire()
        while mine.leads:
            try:
                self._lead(mine)
            except MemoryError:  # others wait for this one: where it could not begin, it tries again
                continue
        return mine.outcomes[0] if mine.outcomes else self._alone(item)

    def _lead(self, mine: _Place[Item, Outcome]) -> None:
        """Whoever leads must let go, or nobody goes on: here nothing but `batch` is called that may find no memory."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        mine.leads = False
        try:
            for one, outcome in zip(batch, self._batch([one.item for one in batch]), strict=True):
                one.outcomes.append(outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one whose fault it is meets it again alone
            logger.info("a batch of %d is taken apart: %s", len(batch), type(error).__name__)
            for one in batch:
                one.outcomes.clear()
        finally:
            passed_on = False  # to the first of those who came meanwhile, before anybody looks at these results
            while not passed_on:
                try:
                    with self._lock:
                        if self._waiting:
                            self._waiting[0].leads = True
                            self._waiting[0].told.release()
                        else:
                            self._busy = False
                    passed_on = True
                except MemoryError:
                    continue
            while batch:
                try:
                    one = batch.pop(0)
                except MemoryError:
                    continue
                one.told.release()
