"""The receiving process: C-ECHO and C-STORE SCP; reports on storage commitment come here too."""

from __future__ import annotations

import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext

from db import pauses
from db.database import Database, DatabaseUnreachable

from .inbound import syntaxes
from .inbound.association.connection import PATIENCE, Patience
from .inbound.association.request import Rejected
from .inbound.association.serving import Answer, Report, Terms
from .inbound.desk import Desk
from .inbound.guests import Guests, Limits
from .inbound.inbox import Inbox, Source
from .inbound.ledger import Ledger
from .inbound.listener import Listener, Port, bound
from .inbound.peers import Doorkeeper
from .inbound.reception import NO_ROOM, Caller, Reception
from .inbound.room import Room, Watermarks
from .outbound import commitment

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 1.0
STOP_SECONDS = 8.0
#: for what is being stored when associations are ended
GRACE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Door:
    """How the receiver listens.

    Attributes:
        associations: at a time.
        connections_per_address: at a time, associations and others.
        waiting_connections: at a time, that have no association yet.
        idle_seconds: an association on which nothing comes for so long is aborted.
        max_pdu_bytes: P-DATA-TF that is offered to be taken.
        largest_bytes: of an object.
        loop: "own" or "pynetdicom".
    """

    ae_title: str
    address: str
    port: int
    associations: int
    idle_seconds: float
    max_pdu_bytes: int
    reserve_bytes: int
    refuse_bytes: int = 0
    connections_per_address: int = 100
    waiting_connections: int = 200
    largest_bytes: int = 8_000_000_000
    loop: str = "own"
    patience: Patience = PATIENCE


class Receiver:
    """The SCP. `start` returns once it listens; `stop` lets running associations end their current message.

    Args:
        listener: a socket that listens already, which other processes accept from too; None: one of its own.
        more: other ports to listen at.
    """

    def __init__(
        self,
        door: Door,
        doorkeeper: Doorkeeper,
        inbox: Inbox,
        database: Database,
        listener: socket.socket | None = None,
        more: Sequence[Port] = (),
    ) -> None:
        self.renewed: Callable[[], Doorkeeper] = lambda: doorkeeper  # asked every second who may call by now
        self._door, self._doorkeeper, self._inbox, self._database = door, doorkeeper, inbox, database
        self.ledger = Ledger(database, doorkeeper.ae_titles)
        self._room = Watermarks(inbox.archive.home, door.refuse_bytes, door.reserve_bytes)
        self._paused = False
        self._stopping, self._ending = threading.Event(), threading.Event()
        self._housekeeper = threading.Thread(target=self._keep_house, name="receiver housekeeping", daemon=True)
        self._storage, self._verification = syntaxes.storage(), syntaxes.verification()
        self.guests = Guests(Limits(door.connections_per_address, door.waiting_connections, door.associations))
        self._listening, self._more = listener, more
        self._listener: Listener | None = None

    def start(self) -> int:
        """Listen.

        Returns:
            The port, which is the one the system gave where 0 was asked for.

        Raises:
            OSError: the address or port cannot be had.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # the standard handlers write identifiers into the log
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        if self._door.loop != "own":
            _config.STORE_RECV_CHUNKED_DATASET = True
            tempfile.tempdir = str(self._inbox.archive.spool)  # where pynetdicom streams what it receives
        listening = self._listening or bound(self._door.address, self._door.port)
        port = int(listening.getsockname()[1])
        reception = Reception(
            self._entity(),
            self.guests,
            self.ledger,
            Terms(self._door.idle_seconds, self._door.max_pdu_bytes, 2 * self._door.largest_bytes, self._ending.is_set),
            self._door.patience,
            self._admit,
            self._desk,
            self._door.loop,
        )
        ports = [Port(listening), *self._more]
        shared = self._listening is not None
        self._listener = Listener(ports, self.guests, self.ledger, reception.serve, shared=shared)
        self._listener.start()
        self._housekeeper.start()
        return port

    def _entity(self) -> AE:
        """Who we are; how many associations there are at a time is not pynetdicom's to count."""
        ae = AE(self._door.ae_title)
        ae.maximum_associations = self._door.associations + 1
        ae.maximum_pdu_size = self._door.max_pdu_bytes
        ae.network_timeout = ae.dimse_timeout = self._door.idle_seconds
        return ae

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop listening, let associations end for a while, abort what is left, and write the counts."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop()
        if not self.guests.see_off(seconds, self._ending.set, GRACE_SECONDS):
            logger.warning("%d connections did not end", self.guests.count)
        if self._housekeeper.is_alive():
            self._housekeeper.join(10)
        self.ledger.flush()

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_SECONDS):
            try:
                self.ledger.flush()
                with self._database.read() as tx:
                    self._paused = "receive" in pauses.paused(tx)
                self._doorkeeper = self.renewed()
            except DatabaseUnreachable as error:
                logger.warning("%s", error)
            except Exception:  # the edge of this thread: pausing and counting must go on
                logger.exception("housekeeping failed")

    # ------------------------------------------------------------------ callers

    def _admit(self, caller: Caller) -> Sequence[PresentationContext]:
        """What a caller is offered; judged before anything is negotiated."""
        verdict = self._doorkeeper.judge(caller.address, caller.ae_title)
        if not verdict.may_call:
            raise Rejected((1, 1, 3), verdict.code, verdict.sentence)
        if self._paused and not (verdict.commits and caller.only_reports):
            raise Rejected((2, 3, 1), "paused", "receiving is paused; `planimeter resume receive` ends that")
        if self._door.refuse_bytes and self._room.now() is not Room.ENOUGH and caller.would_send:
            raise Rejected(NO_ROOM, "disk-scarce", self._room.sentence)
        offered = self._storage if verdict.may_send else self._verification
        return [*offered, *syntaxes.commitment()] if verdict.commits else offered

    def _desk(self, caller: Caller) -> Desk:
        return Desk(
            self._inbox,
            self.ledger,
            partial(self._source, caller),
            caller.ae_title,
            self._room,
            self._door.largest_bytes,
            lambda: self._paused,
            partial(self._report, caller),
        )

    def _source(self, caller: Caller) -> Source:
        """Who sends, as it is known now."""
        teaches = self._doorkeeper.teaches(caller.address, caller.ae_title)
        return Source(caller.shown, caller.address, teaches=teaches)

    def _report(self, caller: Caller, report: Report) -> Answer:
        """A destination says whether it keeps what it was sent."""
        verdict = self._doorkeeper.judge(caller.address, caller.ae_title)
        notice = commitment.Notice(report.sop_instance, report.event_type, report.information, report.transfer_syntax)
        taken = commitment.take(self._database, notice, verdict.commits)
        if taken.code:
            logger.warning("storage commitment: %s: %s: %s", caller.shown, taken.code, taken.sentence)
            self.ledger.count(caller.address, caller.shown, taken.code, taken.sentence)
        return Answer(taken.status)
