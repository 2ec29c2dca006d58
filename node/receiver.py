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
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from db import pauses
from db.arrivals import Seen
from db.database import Database, DatabaseUnreachable

from .errors import Refused, Unavailable
from .inbound import first_bytes, proposed, syntaxes
from .inbound.inbox import Inbox, Source
from .inbound.ledger import Ledger
from .inbound.peers import Doorkeeper, Verdict, printable
from .inbound.quotas import Quotas
from .inbound.room import Room, Watermarks
from .outbound import commitment
from .tls import shown
from .tls.accepting import Acceptor

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
    """How the receiver listens.

    Attributes:
        port: in the clear; None: there is none.
        tls_port: over TLS, where the receiver is given an `Acceptor`.
    """

    ae_title: str
    address: str
    port: int | None
    associations: int
    idle_seconds: float
    max_pdu_bytes: int
    reserve_bytes: int
    refuse_bytes: int = 0
    tls_port: int = 0


class Receiver:
    """The SCP. `start` returns once it listens; `stop` lets running associations end their current message."""

    def __init__(
        self, door: Door, doorkeeper: Doorkeeper, inbox: Inbox, database: Database, tls: Acceptor | None = None
    ) -> None:
        self.renewed: Callable[[], Doorkeeper] = lambda: doorkeeper  # asked every second who may call by now
        self._door, self._doorkeeper, self._inbox, self._database = door, doorkeeper, inbox, database
        self.ledger, self._tls = Ledger(database, doorkeeper.ae_titles), tls
        self._quotas = Quotas(database)
        self._shown: WeakKeyDictionary[Any, shown.Shown | None] = WeakKeyDictionary()
        self._room = Watermarks(inbox.archive.home, door.refuse_bytes, door.reserve_bytes)
        self._paused = False
        self._stopping = threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="receiver housekeeping", daemon=True)
        self._ae = AE(door.ae_title)
        self._ae.maximum_associations = door.associations
        self._ae.maximum_pdu_size = door.max_pdu_bytes
        self._ae.network_timeout = door.idle_seconds
        self._ae.dimse_timeout = door.idle_seconds
        self._servers: list[Any] = []
        self.tls_port: int | None = None

    def start(self) -> int:
        """Listen.

        Returns:
            The port, which is the one the system gave where 0 was asked for; that for TLS where there is no other.

        Raises:
            OSError: the address or port cannot be had.
        """
        _config.STORE_RECV_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"  # the standard handlers write identifiers into the log
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        tempfile.tempdir = str(self._inbox.archive.spool)  # where pynetdicom streams what it receives
        port = self._listen(self._door.port, None) if self._door.port is not None else None
        if self._tls is not None:
            self.tls_port = self._listen(self._door.tls_port, self._tls)
        self._housekeeper.start()
        return port if port is not None else int(self.tls_port or 0)

    def _listen(self, port: int, tls: Acceptor | None) -> int:
        server: Any = self._ae.make_server(
            (self._door.address, port),
            server_class=_Server,
            contexts=syntaxes.storage(),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_EVENT_REPORT, self._report),
            ],
            request_handler=first_bytes.checked(self.ledger, tls),
        )
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, name="receiver accepting", daemon=True).start()
        return int(server.server_address[1])

    def stop(self) -> None:
        """Stop listening, let associations end for a while, abort what is left, and write the counts."""
        self._stopping.set()
        for server in self._servers:
            server.shutdown()
        deadline = time.monotonic() + STOP_SECONDS
        while any(server.active_associations for server in self._servers) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._ae.shutdown()
        if self._housekeeper.is_alive():
            self._housekeeper.join(10)
        self.ledger.flush()

    def _keep_house(self) -> None:
        while not self._stopping.wait(TURNED_AWAY_FLUSH_SECONDS):
            try:
                self._renew_certificates()
                self.ledger.flush()
                with self._database.read() as tx:
                    self._paused = "receive" in pauses.paused(tx)
                self._doorkeeper = self.renewed()
                self._quotas.keep_up(hourly=self._doorkeeper.counts_hours)
            except DatabaseUnreachable as error:
                logger.warning("%s", error)
            except Exception:  # the edge of this thread: pausing and counting must go on
                logger.exception("housekeeping failed")

    def _renew_certificates(self) -> None:
        """Take changed files of [tls] for the next handshakes; where they cannot be used, what is in use stays."""
        try:
            if self._tls is not None and self._tls.renew():
                logger.info("the files of [tls] were changed, and are in use")
        except Refused as refusal:
            logger.error("the files of [tls] were changed, and those before stay in use: %s", refusal.sentence)  # noqa: TRY400
            self.ledger.count("-", "", refusal.code, f"changed files of [tls] are not in use: {refusal.sentence}")

    def _requested(self, event: evt.Event) -> None:
        """Judge the caller before anything is negotiated."""
        assoc = event.assoc
        verdict, ae_title = self._judge(assoc)
        if not verdict.may_call:
            self._turn_away(assoc, verdict.reject, ae_title, verdict.code, verdict.sentence)
        elif self._paused and not (verdict.commits and proposed.only_reports(assoc)):
            sentence = "receiving is paused; `planimeter resume receive` ends that"
            self._turn_away(assoc, (2, 3, 1), ae_title, "paused", sentence)
        elif self._door.refuse_bytes and self._room.now() is not Room.ENOUGH and proposed.would_send(assoc):
            self._turn_away(assoc, NO_ROOM, ae_title, "disk-scarce", self._room.sentence)
        elif over := self._over_quota(verdict, assoc):
            self._turn_away(assoc, NO_ROOM, ae_title, over.code, over.sentence)
        elif verdict.commits or not verdict.may_send:
            offered = assoc.acceptor.supported_contexts if verdict.may_send else syntaxes.verification()
            assoc.acceptor.supported_contexts = offered + (syntaxes.commitment() if verdict.commits else [])

    def _judge(self, assoc: Any) -> tuple[Verdict, str]:
        """What a caller may do, and its AE title as it can be shown."""
        primitive = assoc.requestor.primitive
        ae_title = str(primitive.calling_ae_title if primitive else "").strip()
        called = str(primitive.called_ae_title if primitive else "").strip()
        if self._tls is not None and assoc not in self._shown:  # later the connection may be gone
            self._shown[assoc] = shown.of(assoc.dul.socket.socket)
        line = self._shown.get(assoc)
        return self._doorkeeper.judge(assoc.requestor.address, ae_title, called, line), printable(ae_title)

    def _over_quota(self, verdict: Verdict, assoc: Any) -> Unavailable | None:
        """Why a peer has had enough for now; else it has a place among its associations."""
        if (peer := verdict.peer) is None:
            return None
        try:
            if proposed.would_send(assoc):
                self._quotas.require_left(peer.name, peer.quota)
            self._quotas.enter(peer.name, peer.quota)
        except Unavailable as over:
            return over
        return None

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
        verdict, ae_title = self._judge(assoc)
        source = Source(ae_title, assoc.requestor.address, teaches=verdict.teaches)
        command = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if self._room.now() is Room.NONE:
            return self._not_now(source, "disk-reserve", self._room.sentence)
        if self._paused:
            return self._not_now(source, "paused", "receiving is paused")
        size, peer = event.dataset_path.stat().st_size, verdict.peer
        try:
            if peer is not None:
                self._quotas.require_left(peer.name, peer.quota)
            seen = self._inbox.take(event.dataset_path, event.context.transfer_syntax, source, command)
        except Refused as refusal:
            logger.info("instance refused: %s %s: %s", source.address, source.calling_ae, refusal.code)
            self._keep_refusal(source, printable(command[1]), refusal)
            return _status(STATUS_OF.get(refusal.code, CANNOT_UNDERSTAND), refusal.sentence)
        except Unavailable as over:
            return self._not_now(source, over.code, over.sentence)
        except (DatabaseUnreachable, OSError) as error:
            return self._not_now(source, "not-stored", f"{type(error).__name__}: {error}".split("\n")[0])
        self.ledger.tally(ae_title, instances=1, bytes=size)
        if peer is not None:
            self._quotas.count(peer.name, peer.quota, size)
        if seen is not Seen.NEW:
            logger.info("instance came again (%s) from %s", seen, source.calling_ae)
        return _status(SUCCESS)

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
