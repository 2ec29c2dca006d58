"""From a connection to an association: the request is read and judged, and one of the two loops begins."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from ..tls.accepting import HANDSHAKE
from ..tls.shown import Shown
from ..tls.shown import of as shown_by
from .association import pdu, request, stock
from .association.connection import Connection, Ended, NotDicom, Patience, TooSlow
from .association.negotiation import negotiate
from .association.pdu import Reason, Violation
from .association.request import Rejected, Request
from .association.serving import Serving, Terms
from .desk import Desk
from .guests import Guest, Guests, Seat
from .ledger import Ledger
from .listener import GAVE_WAY
from .peers import printable

logger = logging.getLogger(__name__)

#: PS3.8 9.3.4: rejected-transient, by the presentation-related service provider, local limit exceeded
NO_ROOM = (2, 3, 2)
TRANSFER_SYNTAX_NOT_SUPPORTED = 0x04


@dataclass(frozen=True)
class Caller:
    """Who asks for an association.

    Attributes:
        ae_title: as it says itself; not fit to be shown.
        called: the AE title that it calls.
        proposed: abstract syntaxes; none where nobody has looked yet.
        line: what it showed over TLS; None: it calls in the clear.
    """

    address: str
    ae_title: str
    called: str
    proposed: frozenset[str] = frozenset()
    line: Shown | None = None

    @cached_property
    def shown(self) -> str:
        """Its AE title, fit to be shown."""
        return printable(self.ae_title)

    @property
    def only_reports(self) -> bool:
        """Whether it proposes to report on storage commitment, and nothing that makes work."""
        return self.proposed - {Verification} == {StorageCommitmentPushModel}

    @property
    def would_send(self) -> bool:
        """Whether it proposes anything but C-ECHO and reports on storage commitment, which need no room."""
        return bool(self.proposed - {Verification, StorageCommitmentPushModel})


class Reception:
    """Serves connections, each on its own thread.

    Args:
        ae: who we are, and how long PDUs may be.
        require_known: that a caller may call at all, whatever it proposes; raises Rejected.
        admit: the presentation contexts that a caller is offered; raises Rejected.
        desk: what serves an admitted caller.
        loop: "own" or "pynetdicom".
    """

    def __init__(
        self,
        ae: AE,
        guests: Guests,
        ledger: Ledger,
        terms: Terms,
        patience: Patience,
        require_known: Callable[[Caller], object],
        admit: Callable[[Caller], Sequence[PresentationContext]],
        desk: Callable[[Caller], Desk],
        loop: str,
    ) -> None:
        self._ae, self._guests, self._ledger = ae, guests, ledger
        self._terms, self._patience = terms, patience
        self._require_known, self._admit, self._desk, self._loop = require_known, admit, desk, loop

    def serve(self, guest: Guest, connected: socket.socket) -> None:
        """One connection, to its end."""
        connection = Connection(connected, self._patience)
        shown, last = "", b""
        desk: Desk | None = None
        try:
            whole = connection.request()
            who = request.titles(whole)
            caller = Caller(guest.address, who.calling, who.called, line=shown_by(connected))
            shown = caller.shown
            self._require_known(caller)
            asked = request.parse(whole)
            caller = replace(caller, proposed=asked.proposed)
            offered = self._admit(caller)
            self._sit(guest)
            desk = self._desk(caller)
            if self._loop == "own":
                last = self._own(connection, asked, offered, caller, desk)
            else:
                self._stock(guest, connection, asked, offered, caller, desk)
        except Rejected as rejected:
            last = pdu.reject(*rejected.reason)
            self._count(guest, shown, rejected.code, rejected.sentence)
        except Violation as violation:
            last = pdu.abort(violation.reason)
            self._count(guest, shown, violation.code, violation.sentence)
        except NotDicom as error:
            self._count(guest, "", *_strange(error.began))
        except TooSlow:
            sentence = f"the connection sent no association request within {self._patience.request:g} s"
            self._count(guest, "", "no-request", sentence)
        except Ended as error:
            self._count(guest, shown, *(GAVE_WAY if guest.gave_way else _left(str(error))))
        except Exception:  # the caller is told that no answer comes, and the log of the listener why
            last = pdu.abort(Reason.NOT_SPECIFIED)
            raise
        finally:
            connection.finish(last)
            if desk is not None:
                desk.transfer.end()

    def _sit(self, guest: Guest) -> None:
        seat = self._guests.sit(guest)
        if seat is Seat.FULL:
            raise Rejected(NO_ROOM, "too-many-associations", "as many associations as may be are open already")
        if seat is Seat.GONE:
            raise Ended

    def _count(self, who: Guest | Caller, shown: str, code: str, sentence: str) -> None:
        logger.info("connection of %s %s ended: %s", who.address, shown, code)
        self._ledger.count(who.address, shown, code, sentence)

    # ------------------------------------------------------------------ the loops

    def _own(
        self, connection: Connection, asked: Request, offered: Sequence[PresentationContext], caller: Caller, desk: Desk
    ) -> bytes:
        """Serve it; the last word that is owed to the caller."""
        agreed = negotiate(self._ae, asked, offered)
        served = {context.abstract_syntax for context in agreed.contexts.values()}
        self._note(caller, served, agreed.declined)
        connection.send(agreed.answer)
        serving = Serving(connection, agreed, desk, self._terms)
        try:
            return serving.run()
        except TooSlow:
            self._count(caller, caller.shown, *self._silent(serving))
        except Ended:
            if not self._terms.stopping():
                if serving.is_inside:  # between messages it is rude, and common
                    sentence = "the connection ended inside an object; it was not stored"
                    self._count(caller, caller.shown, "broke-off", sentence)
                return b""
        return pdu.abort(Reason.NOT_SPECIFIED)

    def _silent(self, serving: Serving) -> tuple[str, str]:
        if serving.is_inside:
            return "too-slow", "an object came too slowly, or not to its end; it was not stored"
        return "idle", f"nothing came on the association for {self._terms.idle_seconds:g} s"

    def _stock(
        self,
        guest: Guest,
        connection: Connection,
        asked: Request,
        offered: Sequence[PresentationContext],
        caller: Caller,
        desk: Desk,
    ) -> None:
        def accepted(event: Any) -> None:
            served = {str(context.abstract_syntax) for context in event.assoc.accepted_contexts}
            self._note(caller, served, event.assoc.rejected_contexts)

        def begun(end: Callable[[], None]) -> None:
            guest.end = end

        handlers = [
            (evt.EVT_ACCEPTED, accepted),
            (evt.EVT_C_STORE, desk.stock_store),
            (evt.EVT_N_EVENT_REPORT, desk.stock_report),
        ]
        stock.serve(self._ae, asked, offered, connection, handlers, begun)

    def _note(self, caller: Caller, served: set[str], declined: Iterable[PresentationContext]) -> None:
        """Count an association, and what the caller proposed and got no presentation context for."""
        self._ledger.tally(caller.ae_title, associations=1)
        for context in declined:
            if str(context.abstract_syntax) in served:
                continue
            served.add(str(context.abstract_syntax))
            name = printable(str(getattr(context.abstract_syntax, "name", context.abstract_syntax)))
            code, sentence = "sop-class-refused", f"{name} is not accepted from this peer"
            if context.result == TRANSFER_SYNTAX_NOT_SUPPORTED:
                proposed = ", ".join(printable(uid.name) for uid in context.transfer_syntax)
                code = "transfer-syntax-refused"
                sentence = f"{name} was offered only as {proposed}, which we do not take"
            self._ledger.count(caller.address, caller.shown, code, sentence)


def _strange(began: bytes) -> tuple[str, str]:
    if began[0] == HANDSHAKE:
        return "tls-on-plain-port", "the caller speaks TLS on the port without it: give it the port in [tls]"
    shown = printable(began.decode("ascii", "replace"))
    return "not-dicom", f"the connection does not speak DICOM: it began with {shown!r}"


def _left(why: str) -> tuple[str, str]:
    if why == Ended.CLOSED:
        return "no-request", "the connection was closed without a request (a health check, or a port scan)"
    return "no-request", f"the connection broke before a request: {why}"
