"""What a peer takes by C-STORE, of all that this node writes; asked by negotiation alone, nothing is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from ...objects.written import WRITTEN, Written
from ...outbound import scu
from .call import Call, associated
from .service import Service

ECHO = "C-ECHO"
SUCCESS = 0x0000


@dataclass(frozen=True)
class Speaker:
    """Who answers.

    Attributes:
        max_pdu_bytes: the longest PDU that it takes; 0 is without a limit.
    """

    implementation_uid: str
    implementation_version: str
    max_pdu_bytes: int


@dataclass(frozen=True)
class Taken:
    """What the peer takes of one kind of object.

    Attributes:
        offered: transfer syntaxes that this node can send it in, the one that it is kept in first.
        accepted: those that the peer takes; none where it does not take the object.
    """

    written: Written
    offered: tuple[UID, ...]
    accepted: tuple[UID, ...]


def negotiate(call: Call) -> tuple[Speaker, Service, tuple[Taken, ...]]:
    """Who answers, whether it answers C-ECHO, and what it takes.

    Raises:
        Unavailable: as `call.associated`.
    """
    offers = {one: scu.can_be_sent_in(one.transfer_syntax) for one in WRITTEN}
    contexts = [(str(Verification), ImplicitVRLittleEndian)]
    contexts += [(str(one.sop_class), syntax) for one, syntaxes in offers.items() for syntax in syntaxes]
    with associated(call, contexts) as assoc:
        agreed = {(one.abstract_syntax, one.transfer_syntax[0]) for one in assoc.accepted_contexts}
        taken = tuple(
            Taken(one, syntaxes, tuple(syntax for syntax in syntaxes if (one.sop_class, syntax) in agreed))
            for one, syntaxes in offers.items()
        )
        return _speaker(assoc), _echo(call, assoc, agreed), taken


def _speaker(assoc: Any) -> Speaker:
    other = assoc.acceptor
    return Speaker(
        str(other.implementation_class_uid or ""),
        str(other.implementation_version_name or "").strip(),
        int(other.maximum_length or 0),
    )


def _echo(call: Call, assoc: Any, agreed: set[tuple[Any, Any]]) -> Service:
    if (Verification, ImplicitVRLittleEndian) not in agreed:
        return Service(ECHO, False, "does not accept Verification, which every SCP should")
    began = time.monotonic()
    response = assoc.send_c_echo()
    status = response.get("Status")
    if status is None:
        return call.unanswered(ECHO, began)
    said = "answered" if status == SUCCESS else f"answered 0x{status:04X}"
    return Service(ECHO, status == SUCCESS, said, int(status))
