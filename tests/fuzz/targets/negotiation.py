"""What is answered to a request that was read: an A-ASSOCIATE-AC that speaks of nothing that was not proposed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from pynetdicom import AE, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC

from node.inbound.association import negotiation
from node.inbound.association.negotiation import Agreed, Context
from node.inbound.association.pdu import Reason, Violation
from node.inbound.association.request import Rejected, Request, parse
from tests import wire
from tests.fuzz.target import Reader, Target
from tests.fuzz.targets import request

OFFERED = {wire.CT: [wire.EXPLICIT, wire.IMPLICIT], wire.VERIFICATION: [wire.IMPLICIT]}


@cache
def ours() -> AE:
    return AE("PLANIMETER")


def negotiate(asked: Request) -> Agreed:
    """The node's, with two SOP classes that are offered."""
    return negotiation.negotiate(ours(), asked, [build_context(name, syntaxes) for name, syntaxes in OFFERED.items()])


def check(read: Reader, body: bytes) -> bool:
    try:
        asked = parse(wire.pdu(1, body))
    except (Rejected, Violation):
        return False
    try:
        agreed: Agreed = read(asked)
    except Violation as violation:
        assert (violation.code, violation.reason) == ("bad-request", Reason.INVALID_PARAMETER)
        return False
    theirs: Any = A_ASSOCIATE_AC()
    theirs.decode(agreed.answer)
    results = wire.results_of(agreed.answer)
    assert {one for one, result in results.items() if result == 0} == set(agreed.contexts), "other contexts are served"
    for number, context in agreed.contexts.items():
        assert number % 2 and context.abstract_syntax in asked.proposed, "what was not proposed is accepted"
        assert context.transfer_syntax in OFFERED[context.abstract_syntax], "what is not offered is accepted"
    assert agreed.longest == asked.longest
    return bool(agreed.contexts)


def another(asked: Request) -> Agreed:
    """Accepts a context that nobody proposed."""
    found = negotiate(asked)
    contexts: Any = {number: replace(one, abstract_syntax="1.2.3") for number, one in found.contexts.items()}
    return replace(found, contexts=contexts or {1: Context("1.2.3", contexts)})


def seeds() -> Iterable[bytes]:
    yield from request.seeds()
    yield wire.request(wire.context(1, "1.2.3", ("1.2",)), wire.context(5, wire.CT, (wire.IMPLICIT, wire.EXPLICIT)))[6:]


TARGET = Target(
    read=negotiate,
    check=check,
    seeds=seeds,
    faults={"accepts what was not proposed": another},
    words=request.TARGET.words,
)
