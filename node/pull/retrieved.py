"""What a PACS says of a retrieval while it goes on and in the end (PS3.4 C.4.2.1.5 and C.4.3.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from ..errors import Failed, NodeError, Refused, Unavailable
from ..inbound.peers import printable
from .watch import Watch

#: until somebody has told the PACS where we are, or has let us in
ADMINISTRATOR_SECONDS = 900.0
BUSY_SECONDS = 300.0
SUCCESS, WARNING, CANCELLED = 0x0000, 0xB000, 0xFE00
PENDING = (0xFF00, 0xFF01)
DESTINATION_UNKNOWN = 0xA801
OUT_OF_RESOURCES = range(0xA700, 0xA800)
#: of these, the one that also says that sub-operations were tried, and failed
SUBOPERATIONS_FAILED = 0xA702
NOT_AUTHORISED, SOP_CLASS_UNKNOWN = 0x0124, 0x0122

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Retrieved:
    """What the PACS says to have sent.

    Attributes:
        sent: objects, also those that were answered with a warning; None where it did not say.
        failed: objects that it could not send, or that were not taken.
    """

    sent: int | None
    failed: int = 0


@dataclass
class Follower:
    """Reads the responses to one C-MOVE or C-GET request.

    Attributes:
        name: of the PACS.
        register: what has to be registered there, where it does not know where to send to.
        progress: is told how many sub-operations are done, and of how many.
        last: the counts of the last response: a sign of life.
    """

    name: str
    register: str
    progress: Progress
    last: tuple[int | None, ...] = ()

    def follow(self, responses: Iterable[tuple[Dataset, Any]], watch: Watch) -> Retrieved:
        """Read them to the end.

        Raises:
            Unavailable: `fetch-failed`, `move-destination-unknown`: later it may go.
            Failed: `fetch-failed`, `fetch-stalled`: it broke off in the middle.
            Refused: `fetch-refused`: it does not do this.
        """
        for status, _ in responses:
            code = int(status.Status) if "Status" in status else None
            counts = _counts(status)
            if code in PENDING:
                self.last = (*counts, status.get("NumberOfRemainingSuboperations"))
                self._show(status, counts)
                continue
            if code in (SUCCESS, WARNING):
                return _retrieved(counts)
            raise self._error(watch, code, str(status.get("ErrorComment") or ""), counts)
        raise watch.why or Failed("fetch-failed", f"{self.name} ended the association before it was done")

    def _show(self, status: Dataset, counts: tuple[int | None, ...]) -> None:
        remaining = status.get("NumberOfRemainingSuboperations")
        done = sum(count or 0 for count in counts)
        self.progress(done, done + int(remaining) if remaining is not None else None)

    def _error(self, watch: Watch, code: int | None, comment: str, counts: tuple[int | None, ...]) -> NodeError:
        came = sum(count or 0 for count in (counts if code is not None else self.last)[:2])
        hint = "" if came else f"; if it retrieves nothing at all, see that there is registered: {self.register}"
        if code is None:  # Orthanc, for one, ends the association where it does not know where to send to
            why = (
                f"{self.name} ended the association in the middle, or did not answer in time; {came} objects were sent"
            )
            return watch.why or Failed("fetch-failed", why + hint)
        said = f": {printable(comment)}" if comment else ""
        answer = f"status 0x{code:04X}{said}"
        if code == DESTINATION_UNKNOWN:
            why = f"{self.name} does not know where to send to ({answer}); register there: {self.register}"
            return Unavailable("move-destination-unknown", why, ADMINISTRATOR_SECONDS)
        tried = code == SUBOPERATIONS_FAILED and any(counts)  # then it may be this study that it cannot send
        if code in OUT_OF_RESOURCES and not tried:
            return Unavailable("fetch-failed", f"{self.name} has no resources for it now ({answer})", BUSY_SECONDS)
        if code == NOT_AUTHORISED:
            why = f"{self.name} does not allow us to retrieve ({answer}); it has to be allowed there"
            return Unavailable("fetch-failed", why, ADMINISTRATOR_SECONDS)
        if code == SOP_CLASS_UNKNOWN or code in range(0xA900, 0xAA00):
            return Refused("fetch-refused", f"{self.name} does not retrieve in this way ({answer})")
        return Failed("fetch-failed", f"{self.name} could not send ({answer}); {came} objects were sent{hint}")


def _counts(status: Dataset) -> tuple[int | None, int | None, int | None]:
    """Sub-operations that are completed, that ended with a warning, that failed."""
    return (
        status.get("NumberOfCompletedSuboperations"),
        status.get("NumberOfWarningSuboperations"),
        status.get("NumberOfFailedSuboperations"),
    )


def _retrieved(counts: tuple[int | None, int | None, int | None]) -> Retrieved:
    completed, warned, failed = counts
    sent = None if completed is None and warned is None else (completed or 0) + (warned or 0)
    return Retrieved(sent, failed or 0)
