"""What serves one caller: its objects go into the inbox, and every answer says what became of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from db.arrivals import Seen
from db.database import DatabaseUnreachable

from ..audit.transfer import Transfer
from ..errors import NodeError, Refused, Unavailable
from .association.serving import CLASS_NOT_SUPPORTED, SUCCESS, Answer, Incoming, Report
from .inbox import Inbox, Source
from .ledger import Ledger
from .peers import printable
from .room import Room, Watermarks

logger = logging.getLogger(__name__)

NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
STATUS_OF = {"uid-mismatch": DATA_SET_MISMATCH}


class NotAllowed(NodeError):
    """Whoever was let in may not send any more: the configuration was changed."""


@dataclass(frozen=True)
class Desk:
    """For the objects of one association.

    Attributes:
        sender: says who sends them, as that is known now.
        largest_bytes: of one object.
        paused: whether receiving is paused.
        require_may: raises NotAllowed where the sender may not send any more, Unavailable where it has sent as much as
            it may for now.
        took: told of each instance that was stored, with its bytes.
        reported: takes in a report on storage commitment.
        transfer: what the association brings, for the audit trail.
    """

    inbox: Inbox
    ledger: Ledger
    sender: Callable[[], Source]
    watermarks: Watermarks
    largest_bytes: int
    paused: Callable[[], bool]
    require_may: Callable[[], None]
    took: Callable[[int], None]
    reported: Callable[[Report], Answer]
    transfer: Transfer

    # ------------------------------------------------------------------ for the own loop

    def new_file(self) -> Path:
        return self.inbox.archive.new_spool_file()

    def ready(self) -> None:
        self.require_may()
        if self.watermarks.now() is Room.NONE:
            raise Unavailable("disk-reserve", self.watermarks.sentence)
        if self.paused():
            raise Unavailable("paused", "receiving is paused")

    def room(self, size: int) -> None:
        if size > self.largest_bytes:
            raise Refused("object-too-large", f"the object is larger than {self.largest_bytes / 1e9:g} GB")
        if self.watermarks.now() is Room.NONE:
            raise Unavailable("disk-reserve", self.watermarks.sentence)

    def decline(self, sop_instance: str, error: NodeError | OSError) -> Answer:
        if isinstance(error, Refused):
            return self._refused(sop_instance, error)
        if isinstance(error, NotAllowed):
            return self._not_allowed(error)
        if isinstance(error, NodeError):
            return self._not_now(error.code, error.sentence)
        return self._not_now("not-stored", f"{type(error).__name__}: {error}".split("\n")[0])

    def store(self, incoming: Incoming) -> Answer:
        """Success means that the instance is on disk and in the database (promise 1)."""
        source = self.sender()
        try:
            seen = self.inbox.take(
                incoming.path,
                incoming.transfer_syntax,
                source,
                incoming.command,
                digest=incoming.digest,
                descriptor=incoming.descriptor,
                transfer=self.transfer,
            )
        except (Refused, OSError) as error:
            return self.decline(incoming.command[1], error)
        except DatabaseUnreachable as error:
            return self._not_now("not-stored", f"{type(error).__name__}: {error}".split("\n")[0])
        except Exception:  # the edge of a handler: an answer is owed, and the sender may come again
            logger.exception("an instance could not be taken in")
            return self._not_now("not-stored", "it could not be taken in; the log of the node says why")
        self.took(incoming.size)
        if seen is not Seen.NEW:
            logger.info("instance came again (%s) from %s", seen, source.calling_ae)
        return Answer(SUCCESS)

    def report(self, report: Report) -> Answer:
        return self.reported(report)

    def _refused(self, sop_instance: str, refusal: Refused) -> Answer:
        source = self.sender()
        self.transfer.failed += 1
        logger.info("instance refused: %s %s: %s", source.address, source.calling_ae, refusal.code)
        try:
            self.inbox.refuse(source, printable(sop_instance), refusal)
        except DatabaseUnreachable:
            self.ledger.count(source.address, source.calling_ae, refusal.code, refusal.sentence)
        return Answer(STATUS_OF.get(refusal.code, CANNOT_UNDERSTAND), refusal.sentence)

    def _not_allowed(self, error: NotAllowed) -> Answer:
        """It is turned away as it would be if it called now; that is no business of the instance."""
        source = self.sender()
        self.transfer.failed += 1
        logger.warning("instance answered 0x0124: %s %s: %s", source.address, source.calling_ae, error.code)
        self.ledger.count(source.address, source.calling_ae, error.code, error.sentence)
        return Answer(NOT_AUTHORIZED, "this peer may not send any more", is_last=True)

    def _not_now(self, code: str, sentence: str) -> Answer:
        source = self.sender()
        logger.warning("instance answered 0xA700: %s: %s", code, sentence)
        self.ledger.count(source.address, source.calling_ae, code, sentence)
        return Answer(OUT_OF_RESOURCES, sentence)

    # ------------------------------------------------------------------ for pynetdicom's loop

    def stock_store(self, event: Any) -> Dataset:
        """EVT_C_STORE."""
        asked, path = event.request, event.dataset_path
        command = (str(asked.AffectedSOPClassUID), str(asked.AffectedSOPInstanceUID))
        if command[0] != event.context.abstract_syntax:  # pynetdicom would take an image in the context of C-ECHO
            return _status(Answer(CLASS_NOT_SUPPORTED, "SOP class is not that of the presentation context"))
        try:
            size = path.stat().st_size
            self.ready()
            self.room(size)
        except (NodeError, OSError) as error:
            return _status(self.decline(command[1], error))
        return _status(self.store(Incoming(path, event.context.transfer_syntax, command, size)))

    def stock_report(self, event: Any) -> tuple[int, None]:
        """EVT_N_EVENT_REPORT."""
        asked = event.request
        information = asked.EventInformation.getvalue() if asked.EventInformation else b""
        report = Report(
            str(asked.AffectedSOPInstanceUID), event.event_type, information, UID(event.context.transfer_syntax)
        )
        return self.reported(report).status, None


def _status(answer: Answer) -> Dataset:
    status = Dataset()
    status.Status = answer.status
    if answer.comment:
        status.ErrorComment = answer.comment[:64]
    return status
