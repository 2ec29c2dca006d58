"""Semaphores of `multiprocessing`, for a process that can have no other beside it.

Its thread pools, which MONAI's data sets use, take named ones from /dev/shm, where those of a database may lie too.
Those of threads do the same within one process.
"""

from __future__ import annotations

import threading
from importlib import import_module

RECURSIVE_MUTEX = 0


class SemLock:
    """What `multiprocessing.synchronize` needs of `_multiprocessing.SemLock`."""

    SEM_VALUE_MAX = 2**31 - 1

    def __init__(self, kind: int, value: int, maxvalue: int, *_name_and_unlink: object) -> None:
        self.kind, self.maxvalue, self.name, self.handle = kind, maxvalue, None, 0
        self._semaphore = threading.Semaphore(value)
        self._value = value
        self._owner, self._held = 0, 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self.kind == RECURSIVE_MUTEX and self._is_mine():
            self._held += 1
            return True
        if not self._semaphore.acquire(block, max(0.0, timeout) if block and timeout is not None else None):
            return False
        self._owner, self._held = threading.get_ident(), self._held + 1
        self._value -= 1
        return True

    def release(self) -> None:
        if self.kind == RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._held > 1:
                self._held -= 1
                return
        elif self._value >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        self._held -= 1
        self._value += 1
        self._semaphore.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        raise AssertionError("a confined process does not fork")


def of_threads() -> None:
    """From now on `multiprocessing` of this process makes these."""
    vars(import_module("_multiprocessing"))["SemLock"] = SemLock
