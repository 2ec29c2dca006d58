"""The receiving process: C-ECHO and C-STORE SCP; reports on storage commitment come here too."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext

from db import pauses
from db.database import Database, DatabaseUnreachable

from . import machine
from .audit.trail import SILENT, Trail
from .audit.transfer import Transfer
from .errors import Refused, Unavailable
from .inbound import syntaxes
from .inbound.association.request import Rejected
from .inbound.association.serving import Answer, Report, Terms
from .inbound.desk import Desk, NotAllowed
from .inbound.door import Door
from .inbound.guests import Guests, Limits
from .inbound.inbox import Inbox, Source
from .inbound.ledger import Ledger
from .inbound.listener import Listener, Port, bound
from .inbound.peers import Doorkeeper, Verdict
from .inbound.quotas import Quotas
from .inbound.reception import NO_ROOM, Caller, Reception
from .inbound.room import Room, Watermarks
from .outbound import commitment
from .tls.accepting import Acceptor

logger = logging.getLogger(__name__)

#: below the home folder: the places of peers' associations, which all receivers share
PLACES = "run/associations"
HOUSEKEEPING_SECONDS = 1.0
STOP_SECONDS = 8.0
#: for so long what a caller may do is not judged anew, unless who may call was changed
JUDGED_SECONDS = 1.0
#: for what is being stored when associations are ended
GRACE_SECONDS = 5.0


class Receiver:
    """The SCP. `start` returns once it listens; `stop` lets running associations end their current message.

    Args:
        tls: shakes hands with callers; None: nobody calls over TLS.
        listener, tls_listener: sockets that listen already; None: its own.
        shared: other processes accept from these too.
        trail: is told of what callers bring.
        role: of this process, among those of this machine.

    Attributes:
        tls_port: where it listens for TLS, once it listens; None: nowhere.
    """

    def __init__(
        self,
        door: Door,
        doorkeeper: Doorkeeper,
        inbox: Inbox,
        database: Database,
        *,
        tls: Acceptor | None = None,
        listener: socket.socket | None = None,
        tls_listener: socket.socket | None = None,
        shared: bool = True,
        trail: Trail = SILENT,
        role: str = "receive",
    ) -> None:
        self.renewed: Callable[[], Doorkeeper] = lambda: doorkeeper  # asked every second who may call by now
        self.marks = lambda: (door.refuse_bytes, door.reserve_bytes)  # of the disk; likewise
        self._door, self._doorkeeper, self._inbox, self._database = door, doorkeeper, inbox, database
        self.ledger = Ledger(database, doorkeeper.ae_titles)
        self._quotas = Quotas(database, inbox.archive.home / PLACES)
        self._tls, self.tls_port = tls, None if tls is None else door.tls_port
        self._trail, self._name = trail, machine.process(role)
        self._room = Watermarks(inbox.archive.home, door.refuse_bytes, door.reserve_bytes)
        self._paused, self._stopping, self._ending = False, threading.Event(), threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="receiver housekeeping", daemon=True)
        self._storage, self._verification = syntaxes.storage(), syntaxes.verification()
        self.guests = Guests(Limits(door.connections_per_address, door.waiting_connections, door.associations))
        self._listening, self._tls_listening = listener, tls_listener
        self._shared = shared and (listener or tls_listener) is not None
        self._listener: Listener | None = None

    def start(self) -> int:
        """Listen.

        Returns:
            The port, which is the one the system gave where 0 was asked for; that for TLS where there is no other.

        Raises:
            OSError: the address or port cannot be had.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # the standard handlers write identifiers into the log
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        if self._door.loop != "own":
            _config.STORE_RECV_CHUNKED_DATASET = True
            tempfile.tempdir = str(self._inbox.archive.spool)  # where pynetdicom streams what it receives
        self._trail.end_left(self._name)
        ports = self._ports()
        reception = Reception(
            self._entity(),
            self.guests,
            self.ledger,
            Terms(self._door.idle_seconds, self._door.max_pdu_bytes, 2 * self._door.largest_bytes, self._ending.is_set),
            self._door.patience,
            self._known,
            self._admit,
            self._desk,
            self._door.loop,
        )

        def serve(*connection: Any) -> None:
            try:
                reception.serve(*connection)
            finally:
                self._quotas.leave()

        self._look_round()
        self._listener = Listener(ports, self.guests, self.ledger, serve, shared=self._shared)
        self._listener.start()
        self._housekeeper.start()
        return ports[0].number

    def _ports(self) -> list[Port]:
        """Where it listens; in the clear first."""
        ports = []
        if self._door.port is not None:
            ports.append(Port(self._listening or bound(self._door.address, self._door.port)))
        if self._tls is not None:
            listening = self._tls_listening or bound(self._door.address, self._door.tls_port)
            ports.append(Port(listening, self._tls.secure))
            self.tls_port = ports[-1].number
        return ports

    def _entity(self) -> AE:
        """Who we are; how many associations there are at a time is not pynetdicom's to count."""
        ae = AE(self._door.ae_title)
        ae.maximum_associations = self._door.associations + 1
        ae.maximum_pdu_size = self._door.max_pdu_bytes
        ae.network_timeout = ae.dimse_timeout = self._door.idle_seconds
        return ae

    def room(self) -> Room:
        """How much room there is for what comes."""
        return self._room.now()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop listening, let associations end for a while, abort what is left, and write the counts."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()
        if not self.guests.see_off(seconds, self._ending.set, GRACE_SECONDS):
            logger.warning("%d connections did not end", self.guests.count)
        if self._housekeeper.is_alive():
            self._housekeeper.join(10)
        self.ledger.flush(last=True)

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_SECONDS):
            self._look_round()

    def _look_round(self) -> None:
        """What is asked and written every second; before the first caller too, so that nobody comes in meanwhile."""
        try:
            self._renew_certificates()
            self.ledger.flush()
            with self._database.read() as tx:
                self._paused = "receive" in pauses.paused(tx)
            self._trail.catch_up()
            self._doorkeeper = self.renewed()
            self.ledger.know(self._doorkeeper.ae_titles)
            self._quotas.keep_up(hourly=self._doorkeeper.counts_hours)
            self._room.refuse_bytes, self._room.reserve_bytes = self.marks()
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

    # ------------------------------------------------------------------ callers

    def _judge(self, caller: Caller) -> Verdict:
        """What a caller may do, as that is known now."""
        return self._doorkeeper.judge(caller.address, caller.ae_title, caller.called, caller.line)

    def _lately(self, caller: Caller) -> Callable[[], Verdict]:
        """What a caller may do, as that was known a moment ago: of each of its instances it is asked three times."""
        judged = [(-JUDGED_SECONDS, self._doorkeeper, Verdict(may_call=False))]

        def verdict() -> Verdict:
            since, doorkeeper, found = judged[0]
            if time.monotonic() - since >= JUDGED_SECONDS or doorkeeper is not self._doorkeeper:
                since, doorkeeper, found = time.monotonic(), self._doorkeeper, self._judge(caller)
                judged[0] = since, doorkeeper, found
            return found

        return verdict

    def _known(self, caller: Caller) -> Verdict:
        """What a caller may do who may call at all; raises Rejected for others."""
        verdict = self._judge(caller)
        if not verdict.may_call:
            raise Rejected(verdict.reject, verdict.code, verdict.sentence)
        return verdict

    def _admit(self, caller: Caller) -> Sequence[PresentationContext]:
        """What a caller is offered; judged before anything is negotiated."""
        verdict = self._known(caller)
        if self._paused and not (verdict.commits and caller.only_reports):
            raise Rejected((2, 3, 1), "paused", "receiving is paused; `planimeter resume receive` ends that")
        if caller.would_send:
            self._require_room()
        self._require_quota(verdict, caller)
        offered = self._storage if verdict.may_send else self._verification
        return [*offered, *syntaxes.commitment()] if verdict.commits else offered

    def _require_room(self) -> None:
        """Nobody new who would send comes in where there is little room, or where the disk does not say how much."""
        try:
            enough = not self._room.refuse_bytes or self._room.now() is Room.ENOUGH
        except OSError as error:  # of each object it would be said anew
            sentence = f"the disk of the home folder does not say how much is free: {error.strerror}"
            raise Rejected(NO_ROOM, "disk-scarce", sentence) from None
        if not enough:
            raise Rejected(NO_ROOM, "disk-scarce", self._room.sentence)

    def _require_quota(self, verdict: Verdict, caller: Caller) -> None:
        """A peer that has not had enough has a place among its associations from now on."""
        if (peer := verdict.peer) is None:
            return
        try:
            if caller.would_send:
                self._quotas.require_left(peer.name, peer.quota)
            self._quotas.enter(peer.name, peer.quota)
        except Unavailable as over:
            raise Rejected(NO_ROOM, over.code, over.sentence) from over

    def _require_may(self, verdict: Callable[[], Verdict]) -> None:
        """Raises:
        NotAllowed: who was let in may not send any more.
        Unavailable: the peer has sent as much as it may in an hour.
        """
        now = verdict()
        if not now.may_send:
            why = now.sentence or "its [[peer]] may not send (`may_send`)"
            raise NotAllowed("no-longer-allowed", f"it was let in, and may not send any more: {why}")
        if (peer := now.peer) is not None:
            self._quotas.require_left(peer.name, peer.quota)

    def _took(self, caller: Caller, verdict: Callable[[], Verdict], size: int) -> None:
        """An instance of so many bytes was stored."""
        self.ledger.tally(caller.ae_title, instances=1, bytes=size)
        if (peer := verdict().peer) is not None:
            self._quotas.count(peer.name, peer.quota, size)

    def _desk(self, caller: Caller) -> Desk:
        verdict = self._lately(caller)
        return Desk(
            self._inbox,
            self.ledger,
            lambda: Source(caller.shown, caller.address, teaches=verdict().teaches),  # who sends, as it is known now
            self._room,
            self._door.largest_bytes,
            lambda: self._paused,
            partial(self._require_may, verdict),
            partial(self._took, caller, verdict),
            partial(self._report, caller),
            Transfer(self._trail, caller.shown, caller.address, open_by=self._name),
        )

    def _report(self, caller: Caller, report: Report) -> Answer:
        """A destination says whether it keeps what it was sent."""
        verdict = self._judge(caller)
        notice = commitment.Notice(report.sop_instance, report.event_type, report.information, report.transfer_syntax)
        taken = commitment.take(self._database, notice, verdict.commits)
        if taken.code:
            logger.warning("storage commitment: %s: %s: %s", caller.shown, taken.code, taken.sentence)
            self.ledger.count(caller.address, caller.shown, taken.code, taken.sentence)
        return Answer(taken.status)
