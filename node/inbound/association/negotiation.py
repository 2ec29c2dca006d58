"""What is answered to an A-ASSOCIATE-RQ: decided by pynetdicom's ACSE, on this thread and without its reactor.

It is pynetdicom's alone which contexts and roles are accepted, so that both loops answer alike. What is used here
(`Association.acse`, `acceptor`, `requestor`, the queue of `dul`) is documented; tests/test_negotiation.py fails when
another version does otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.presentation import PresentationContext

from .pdu import Reason, Violation
from .request import Request


@dataclass(frozen=True)
class Context:
    """A presentation context that was accepted."""

    abstract_syntax: str
    transfer_syntax: UID


@dataclass(frozen=True)
class Agreed:
    """What a peer and we have agreed on.

    Attributes:
        contexts: by presentation context ID.
        declined: contexts that were not accepted.
        longest: P-DATA-TF that the peer takes, in bytes; 0: no limit.
        answer: the A-ASSOCIATE-AC.
    """

    contexts: Mapping[int, Context]
    declined: Sequence[PresentationContext]
    longest: int
    answer: bytes


def negotiate(ae: AE, request: Request, offered: Sequence[PresentationContext]) -> Agreed:
    """Answer a request that is to be accepted.

    Args:
        ae: who we are.
        offered: the presentation contexts for this caller.

    Raises:
        Violation: the request cannot be read.
    """
    assoc = prepared(ae, offered)
    try:
        decoded = A_ASSOCIATE_RQ()
        decoded.decode(request.pdu)
        assoc.requestor.primitive = decoded.to_primitive()
        assoc.acse.negotiate_association()
        answer = A_ASSOCIATE_AC(assoc.dul.to_provider_queue.get_nowait()).encode()
    except Exception as error:
        sentence = f"the association request cannot be read ({type(error).__name__})"
        raise Violation(Reason.INVALID_PARAMETER, "bad-request", sentence) from error
    contexts = {
        int(one.context_id): Context(str(one.abstract_syntax), UID(one.transfer_syntax[0]))
        for one in assoc.accepted_contexts
    }
    return Agreed(contexts, assoc.rejected_contexts, request.longest, answer)


def prepared(ae: AE, offered: Sequence[PresentationContext]) -> Any:
    """An acceptor of pynetdicom's that has no socket yet, and runs no thread."""
    assoc = Association(ae, "acceptor")
    assoc.acceptor.maximum_length = ae.maximum_pdu_size
    assoc.acceptor.ae_title = ae.ae_title
    assoc.acceptor.implementation_class_uid = ae.implementation_class_uid
    assoc.acceptor.implementation_version_name = ae.implementation_version_name
    assoc.acceptor.supported_contexts = list(offered)
    return assoc
