"""The receiving process: C-ECHO and C-STORE SCP on pynetdicom; reports on storage commitment come here too."""

from __future__ import annotations

import logging
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from db import pauses
from db.arrivals import Seen
from db.database import Database, DatabaseUnreachable

from .audit.trail import SILENT, Trail
from .audit.transfer import Transfer, receiver_name
from .errors import Refused
from .inbound import first_bytes, syntaxes
from .inbound.inbox import Inbox, Source
from .inbound.ledger import Ledger
from .inbound.peers import Doorkeeper, Verdict, printable
from .inbound.room import Room, Watermarks
from .outbound import commitment

logger = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
STATUS_OF = {"uid-mismatch": DATA_SET_MISMATCH}

#: PS3.8 9.3.4: rejected-transient, by the presentation-related service provider, local limit exceeded
NO_ROOM = (2, 3, 2)
TURNED_AWAY_FLUSH_SECONDS = 1.0
STOP_SECONDS = 8.0


@dataclass(frozen=True, kw_only=True)
class Door:
    """How the receiver listens."""

    ae_title: str
    address: str
    port: int
    associations: int
    idle_seconds: float
    max_pdu_bytes: int
    reserve_bytes: int
    refuse_bytes: int = 0


class Receiver:
    """The SCP. `start` returns once it listens; `stop` lets running associations end their current message."""

    def __init__(
        self, door: Door, doorkeeper: Doorkeeper, inbox: Inbox, database: Database, trail: Trail = SILENT
    ) -> None:
        self.renewed: Callable[[], Doorkeeper] = lambda: doorkeeper  # asked every second who may call by now
        self._door, self._doorkeeper, self._inbox, self._database = door, doorkeeper, inbox, database
        self.ledger = Ledger(database, doorkeeper.ae_titles)
        self._room = Watermarks(inbox.archive.home, door.refuse_bytes, door.reserve_bytes)
        self._trail = trail
        self._transfers: dict[Any, Transfer] = {}
        self._paused = False
        self._stopping = threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="receiver housekeeping", daemon=True)
        self._ae = AE(door.ae_title)
        self._ae.maximum_associations = door.associations
        self._ae.maximum_pdu_size = door.max_pdu_bytes
        self._ae.network_timeout = door.idle_seconds
        self._ae.dimse_timeout = door.idle_seconds
        self._server: Any = None

    def start(self) -> int:
        """Listen.

        Returns:
            The port, which is the one the system gave where 0 was asked for.

        Raises:
            OSError: the address or port cannot be had.
        """
        _config.STORE_RECV_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"  # the standard handlers write identifiers into the log
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        tempfile.tempdir = str(self._inbox.archive.spool)  # where pynetdicom streams what it receives
        self._trail.end_left(receiver_name())
        self._server = self._ae.make_server(
            (self._door.address, self._door.port),
            server_class=_Server,
            contexts=syntaxes.storage(),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_EVENT_REPORT, self._report),
                (evt.EVT_CONN_CLOSE, self._closed),
            ],
            request_handler=first_bytes.checked(self.ledger),
        )
        threading.Thread(target=self._server.serve_forever, name="receiver accepting", daemon=True).start()
        self._housekeeper.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening, let associations end for a while, abort what is left, and write the counts."""
        self._stopping.set()
        self._server.shutdown()
        deadline = time.monotonic() + STOP_SECONDS
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        self._ae.shutdown()
        if self._housekeeper.is_alive():
            self._housekeeper.join(10)
        for assoc in list(self._transfers):
            self._told(assoc)
        self.ledger.flush()

    def _keep_house(self) -> None:
        while not self._stopping.wait(TURNED_AWAY_FLUSH_SECONDS):
            try:
                self.ledger.flush()
                with self._database.read() as tx:
                    self._paused = "receive" in pauses.paused(tx)
                self._doorkeeper = self.renewed()
            except DatabaseUnreachable as error:
                logger.warning("%s", error)
            except Exception:  # the edge of this thread: pausing and counting must go on
                logger.exception("housekeeping failed")

    def _requested(self, event: evt.Event) -> None:
        """Judge the caller before anything is negotiated."""
        assoc = event.assoc
        verdict, ae_title = self._judge(assoc)
        if not verdict.may_call:
            self._turn_away(assoc, (1, 1, 3), ae_title, verdict.code, verdict.sentence)
        elif self._paused and not (verdict.commits and _only_reports(assoc)):
            sentence = "receiving is paused; `planimeter resume receive` ends that"
            self._turn_away(assoc, (2, 3, 1), ae_title, "paused", sentence)
        elif self._door.refuse_bytes and self._room.now() is not Room.ENOUGH and _would_send(assoc):
            self._turn_away(assoc, NO_ROOM, ae_title, "disk-scarce", self._room.sentence)
        elif verdict.commits or not verdict.may_send:
            offered = assoc.acceptor.supported_contexts if verdict.may_send else syntaxes.verification()
            assoc.acceptor.supported_contexts = offered + (syntaxes.commitment() if verdict.commits else [])

    def _judge(self, assoc: Any) -> tuple[Verdict, str]:
        """What a caller may do, and its AE title as it can be shown."""
        primitive = assoc.requestor.primitive
        ae_title = str(primitive.calling_ae_title if primitive else "").strip()
        return self._doorkeeper.judge(assoc.requestor.address, ae_title), printable(ae_title)

    def _turn_away(self, assoc: Any, reason: tuple[int, int, int], ae_title: str, code: str, sentence: str) -> None:
        self.ledger.count(assoc.requestor.address, ae_title, code, sentence)
        logger.info("association rejected: %s %s: %s", assoc.requestor.address, ae_title, code)
        assoc.acse.send_reject(*reason)
        assoc.kill()

    def _accepted(self, event: evt.Event) -> None:
        """Count what a caller proposed and got no presentation context for."""
        assoc = event.assoc
        self.ledger.tally(str(assoc.requestor.ae_title).strip(), associations=1)
        served = {context.abstract_syntax for context in assoc.accepted_contexts}
        for context in assoc.rejected_contexts:
            if context.abstract_syntax in served:
                continue
            served.add(context.abstract_syntax)
            name = printable(str(getattr(context.abstract_syntax, "name", context.abstract_syntax)))
            offered = ", ".join(printable(str(getattr(uid, "name", uid))) for uid in context.transfer_syntax)
            if context.result == 0x04:
                code, sentence = (
                    "transfer-syntax-refused",
                    f"{name} was offered only as {offered}, which we do not take",
                )
            else:
                code, sentence = "sop-class-refused", f"{name} is not accepted from this peer"
            who = printable(str(assoc.requestor.ae_title))
            self.ledger.count(assoc.requestor.address, who, code, sentence)

    def _store(self, event: evt.Event) -> Dataset:
        """The C-STORE handler: Success means that the instance is on disk and in the database (promise 1)."""
        assoc, request = event.assoc, event.request
        ae_title, address = str(assoc.requestor.ae_title).strip(), assoc.requestor.address
        source = Source(printable(ae_title), address, teaches=self._doorkeeper.teaches(address, ae_title))
        command = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if self._room.now() is Room.NONE:
            return self._not_now(source, "disk-reserve", self._room.sentence)
        if self._paused:
            return self._not_now(source, "paused", "receiving is paused")
        size = event.dataset_path.stat().st_size
        transfer = self._transfers.setdefault(
            assoc, Transfer(self._trail, source.calling_ae, source.address, open_by=receiver_name())
        )
        try:
            seen = self._inbox.take(event.dataset_path, event.context.transfer_syntax, source, command, transfer)
        except Refused as refusal:
            transfer.failed += 1
            logger.info("instance refused: %s %s: %s", source.address, source.calling_ae, refusal.code)
            self._keep_refusal(source, printable(command[1]), refusal)
            return _status(STATUS_OF.get(refusal.code, CANNOT_UNDERSTAND), refusal.sentence)
        except (DatabaseUnreachable, OSError) as error:
            return self._not_now(source, "not-stored", f"{type(error).__name__}: {error}".split("\n")[0])
        finally:
            if not assoc.is_established:  # it broke meanwhile, and may have been told of without this
                self._told(assoc)
        self.ledger.tally(ae_title, instances=1, bytes=size)
        if seen is not Seen.NEW:
            logger.info("instance came again (%s) from %s", seen, source.calling_ae)
        return _status(SUCCESS)

    def _closed(self, event: evt.Event) -> None:
        """Tell the audit trail of what an association brought."""
        self._told(event.assoc)

    def _told(self, assoc: Any) -> None:
        transfer = self._transfers.pop(assoc, None)
        if transfer is not None:
            transfer.end()

    def _report(self, event: evt.Event) -> tuple[int, None]:
        """The N-EVENT-REPORT handler: a destination says whether it keeps what it was sent."""
        verdict, ae_title = self._judge(event.assoc)
        taken = commitment.take(self._database, event, verdict.commits)
        if taken.code:
            logger.warning("storage commitment: %s: %s: %s", ae_title, taken.code, taken.sentence)
            self.ledger.count(event.assoc.requestor.address, ae_title, taken.code, taken.sentence)
        return taken.status, None

    def _not_now(self, source: Source, code: str, sentence: str) -> Dataset:
        logger.warning("instance answered 0xA700: %s: %s", code, sentence)
        self.ledger.count(source.address, source.calling_ae, code, sentence)
        return _status(OUT_OF_RESOURCES, sentence)

    def _keep_refusal(self, source: Source, subject: str, refusal: Refused) -> None:
        try:
            self._inbox.refuse(source, subject, refusal)
        except DatabaseUnreachable:
            self.ledger.count(source.address, source.calling_ae, refusal.code, refusal.sentence)


def _only_reports(assoc: Any) -> bool:
    """Whether a caller proposes to report on storage commitment, and nothing that makes work."""
    return _proposed(assoc) - syntaxes.uids(syntaxes.verification()) == syntaxes.uids(syntaxes.commitment())


def _would_send(assoc: Any) -> bool:
    """Whether a caller proposes anything but C-ECHO and reports on storage commitment, which need no room."""
    return bool(_proposed(assoc) - syntaxes.uids(syntaxes.verification()) - syntaxes.uids(syntaxes.commitment()))


def _proposed(assoc: Any) -> set[Any]:
    return {context.abstract_syntax for context in assoc.requestor.primitive.presentation_context_definition_list}


class _Server(ThreadedAssociationServer):
    """Many senders may knock at once; a closed server is forgotten without pynetdicom's own list of servers."""

    request_queue_size = 128
    daemon_threads = True

    def shutdown(self) -> None:
        socketserver.BaseServer.shutdown(self)
        self.server_close()


def _status(status: int, comment: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment[:64]
    return answer
