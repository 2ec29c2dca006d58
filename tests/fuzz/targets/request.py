"""The A-ASSOCIATE-RQ (PS3.8 9.3.2), and what pynetdicom reads of the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_RQ

from node.inbound.association.pdu import Reason, Violation
from node.inbound.association.request import FIXED_BYTES, KNOWN, Rejected, Request, parse
from tests import wire
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

PADDED = (f" {wire.CT} ", f"{wire.CT}\0\0", f"{wire.CT}\t")
REJECTED = {"protocol-version", "ae-title-illegal", "application-context", "max-pdu-too-small"}


def adds_up(items: bytes, inside: int = 0) -> bool:
    """Whether the lengths of items, and of those inside known ones, lead to their ends."""
    at = 0
    while at < len(items):
        after = at + 4 + int.from_bytes(items[at + 2 : at + 4], "big")
        if len(items) - at < 4 or after > len(items):
            return False
        kind, value = items[at], items[at + 4 : after]
        if kind in KNOWN[inside] and kind in (0x20, 0x50) and not adds_up(value[4 if kind == 0x20 else 0 :], kind):
            return False
        at = after
    return True


def check(read: Reader, body: bytes) -> bool:
    try:
        asked: Request = read(wire.pdu(1, body))
    except Rejected as rejected:
        assert rejected.code in REJECTED
        assert rejected.sentence.isprintable()
        return False
    except Violation as violation:
        assert (violation.code, violation.reason) == ("bad-request", Reason.INVALID_PARAMETER)
        assert violation.sentence.isprintable()
        return False
    assert adds_up(body[FIXED_BYTES:]), "its lengths do not add up, and it was accepted"
    for title in (asked.calling, asked.called):
        assert 1 <= len(title) <= 16, f"{title!r} is an AE title"
        assert title.isascii() and title.isprintable() and title == title.strip() and "\\" not in title
    assert wire.APPLICATION[4:] in asked.pdu[6 + FIXED_BYTES :], "without the application context of DICOM"
    assert asked.longest == 0 or asked.longest >= 7, "PDUs into which nothing fits"
    assert len(asked.pdu) <= 6 + len(body) and len(asked.pdu) == 6 + int.from_bytes(asked.pdu[2:6], "big")
    assert parse(asked.pdu) == asked, "without what is unknown it is another request"
    return agrees(asked)


def uids(names: Iterable[str]) -> set[str]:
    """Those that are some: of others pynetdicom leaves control characters away."""
    return {one for one in names if not set(one) - set("0123456789.")}


def agrees(asked: Request) -> bool:
    """pynetdicom reads the same of it, or not at all (which `negotiation` answers A-ABORT)."""
    theirs: Any = A_ASSOCIATE_RQ()
    try:
        theirs.decode(asked.pdu)
        primitive = theirs.to_primitive()
    except Exception:  # noqa: BLE001 - it has no list of what it raises
        return False
    assert primitive.calling_ae_title.strip() == asked.calling, "another calling AE title"
    assert primitive.called_ae_title.strip() == asked.called, "another called AE title"
    with suppress(UnicodeDecodeError):
        proposed = {str(one.abstract_syntax) for one in primitive.presentation_context_definition_list}
        assert uids(proposed) == uids(asked.proposed), "other abstract syntaxes"
    ids = [one.context_id for one in primitive.presentation_context_definition_list]
    assert len(set(ids)) == len(ids) and all(one % 2 for one in ids)
    if primitive.maximum_length_received is not None:
        assert primitive.maximum_length_received == asked.longest, "another maximum length"
    return True


def seeds() -> Iterable[bytes]:
    yield wire.request()[6:]
    yield wire.request(calling=b"  CT1", called=b"PLANIMETER      ")[6:]
    role = wire.item(0x54, b"\0\x19" + wire.CT.encode() + b"\0\1")
    identity = wire.item(0x58, b"\2\1\0\4name\0\4pass")
    window, extended = wire.item(0x53, b"\0\1\0\1"), wire.item(0x56, b"\0\x05" + b"1.2.3" + b"\1\1")
    yield wire.request(user=wire.user_information(role, identity, window, extended))[6:]
    yield wire.request(*(wire.context(1 + 2 * at, name, wire.USUAL[0][2]) for at, name in enumerate(PADDED)))[6:]
    for name in (b"1.2.840.10008.3.1.1.1\0", b"1.2.3.4"):
        yield wire.request(application=wire.item(0x10, name))[6:]
    yield wire.request(wire.item(0x99, b"?"), *(wire.context(*one) for one in wire.USUAL), user=b"")[6:]
    yield wire.request(wire.item(0x20, b"\1\0\0\0" + wire.item(0x30, b"1.2"), 500))[6:]


def forgiving(data: bytes) -> Request:
    """Leaves away what does not add up at the end."""
    for end in range(len(data), max(74, len(data) - 40), -1):
        with suppress(Violation):
            return parse(data[:2] + (end - 6).to_bytes(4, "big") + data[6:end])
    return parse(data)


def padded(data: bytes) -> Request:
    """Leaves AE titles as they came."""
    found = parse(data)
    return replace(found, calling=data[26:42].decode("ascii"))


TARGET = Target(
    read=parse,
    check=check,
    seeds=seeds,
    faults={"forgives lengths": forgiving, "keeps padding": padded},
    words=[
        *words.ITEMS,
        *words.LENGTHS,
        b"1.2.840.10008.3.1.1.1",
        b"1.2.840.10008.1.1",
        b"1.2.840.10008.1.2",
        b"1.2.840.10008.5.1.4.1.1.2",
    ],
)
