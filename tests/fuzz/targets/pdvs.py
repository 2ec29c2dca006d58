"""The presentation data values of a P-DATA-TF (PS3.8 9.3.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pynetdicom.pdu import P_DATA_TF

from node.inbound.association import pdu
from node.inbound.association.pdu import Violation, fragments
from tests import wire
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

Fragment = tuple[int, int, memoryview]


def adds_up(body: bytes) -> bool:
    """Whether the lengths lead from one to the next, and the last one to the end."""
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        if len(body) - at < 6 or length < 2:
            return False
        at += 4 + length
    return at == len(body) and bool(body)


def check(read: Reader, body: bytes) -> bool:
    try:
        found = [(one, control, bytes(data)) for one, control, data in read(memoryview(body))]
    except Violation as violation:
        assert (violation.code, violation.reason) == ("bad-pdu", pdu.Reason.INVALID_PARAMETER)
        assert not adds_up(body), "its lengths add up, and it was refused"
        return False
    assert adds_up(body), "its lengths do not add up, and it was accepted"
    theirs = P_DATA_TF()
    theirs.decode(wire.pdu(4, body))
    said = [(one.presentation_context_id, one.presentation_data_value) for one in theirs.presentation_data_value_items]
    assert found == [(one, value[0], value[1:]) for one, value in said], "pynetdicom reads other fragments"
    written_again(*found[0])
    return True


def written_again(context_id: int, control: int, data: bytes) -> None:
    """What we write of it is read as it was, in PDUs that are no longer than they may be."""
    longest = 7 + len(data) % 50
    encoded, again = pdu.p_data(context_id, control & pdu.COMMAND, data, longest), b""
    while encoded:
        _, length = pdu.header(encoded)
        assert length <= longest, "we write a PDU that is too long"
        (one,) = fragments(memoryview(encoded[6 : 6 + length]))
        again, encoded = again + one[2], encoded[6 + length :]
        assert (one[0], bool(one[1] & pdu.LAST)) == (context_id, not encoded)
    assert again == data


def seeds() -> Iterable[bytes]:
    yield wire.echo()[6:]
    yield wire.pdv(1, 3, wire.store_command("1.2.3")) + wire.pdv(1, 2, wire.instance("1.2.3"))
    yield wire.pdv(1, 0, b"") * 9
    yield wire.pdv(255, 255, b"x" * 99, 0xFFFFFFFF)


def overlooking(body: memoryview) -> Iterator[Fragment]:
    """Does not see that the last value ends behind its PDU."""
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        if length < 2 or len(body) - at < 6:
            raise Violation(pdu.Reason.INVALID_PARAMETER, "bad-pdu", "")
        yield body[at + 4], body[at + 5], body[at + 6 : at + 4 + length]
        at += 4 + length


TARGET = Target(
    read=fragments,
    check=check,
    seeds=seeds,
    faults={"does not look for the end": overlooking},
    words=words.LENGTHS,
)
