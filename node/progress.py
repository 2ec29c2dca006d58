"""How far the network of an attempt is, for `planimeter status`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from db import progress
from db.database import Database, DatabaseUnreachable
from db.job_states import Claim

WRITE_SECONDS = 1.0


@dataclass
class Progress:
    """Written into the job's row, now and then. A lost lease ends the attempt; a database that is away ends nothing.

    Attributes:
        database, claim: where, and which job.
    """

    database: Database
    claim: Claim
    _next: float = 0.0

    def __call__(self, done: int, of: int) -> None:
        """Note the windows done, and of how many.

        Raises:
            LostLease: the job belongs to another worker.
        """
        if time.monotonic() >= self._next:
            self._write(done, of)
            self._next = time.monotonic() + WRITE_SECONDS

    def ended(self) -> None:
        """The network has run."""
        if self._next:
            self._write(None, None)

    def _write(self, done: int | None, of: int | None) -> None:
        # its heartbeat, which matters, says so in the log
        with contextlib.suppress(DatabaseUnreachable), self.database.write() as tx:
            progress.note(tx, self.claim, done, of)
