"""The A-ASSOCIATE-RQ (PS3.8 9.3.2), looked at before anything is made of it: lengths, counts, titles. No I/O here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import pdu
from .pdu import HEADER_BYTES, Reason, Violation

#: of the PDU, before the variable items: version, reserved, AE titles, reserved
FIXED_BYTES = 68
APPLICATION_CONTEXT, PRESENTATION_CONTEXT, USER_INFORMATION = 0x10, 0x20, 0x50
ABSTRACT_SYNTAX, TRANSFER_SYNTAX, MAXIMUM_LENGTH = 0x30, 0x40, 0x51
#: PS3.8 9.3.1: what is not known is skipped; PS3.8 9.3.2.2, PS3.7 D.3.3
KNOWN = {
    0: frozenset({APPLICATION_CONTEXT, PRESENTATION_CONTEXT, USER_INFORMATION}),
    PRESENTATION_CONTEXT: frozenset({ABSTRACT_SYNTAX, TRANSFER_SYNTAX}),
    USER_INFORMATION: frozenset({MAXIMUM_LENGTH, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58}),
}
#: the only one there is (PS3.7 A.2.1)
DICOM_APPLICATION = b"1.2.840.10008.3.1.1.1"
#: 128 presentation contexts with all transfer syntaxes that there are have 6,000; each is an object of Python's when it
#: is decoded
MOST_ITEMS = 8_000
#: where a peer says nothing
USUAL_PDU_BYTES = 16384


class Rejected(Exception):
    """An association is answered A-ASSOCIATE-RJ.

    Attributes:
        reason: result, source and reason (PS3.8 9.3.4).
        code, sentence: what is counted of it.
    """

    def __init__(self, reason: tuple[int, int, int], code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.reason, self.code, self.sentence = reason, code, sentence


@dataclass(frozen=True)
class Request:
    """What a peer asks for.

    Attributes:
        calling, called: AE titles, without padding.
        proposed: abstract syntaxes.
        pdu: the PDU, without items that nobody knows and without the padding of names.
        longest: P-DATA-TF that the peer takes, in bytes; 0: no limit.
    """

    calling: str
    called: str
    proposed: frozenset[str]
    pdu: bytes
    longest: int


@dataclass(frozen=True)
class Titles:
    """Who calls whom: the AE titles, without padding."""

    calling: str
    called: str


def titles(data: bytes) -> Titles:
    """Read the fixed fields of an A-ASSOCIATE-RQ alone: whoever may not call is not worth a look at the rest.

    Raises:
        Violation: it is malformed.
        Rejected: `protocol-version`, `ae-title-illegal`.
    """
    body = data[HEADER_BYTES : HEADER_BYTES + FIXED_BYTES]
    if len(body) < FIXED_BYTES:
        raise _malformed(f"it has {len(body)} bytes, which is less than its fixed fields")
    if not body[1] & 1:
        raise Rejected((1, 2, 2), "protocol-version", "the caller does not speak version 1 of the protocol")
    called, calling = _title(body[4:20]), _title(body[20:36])
    if called is None:
        raise Rejected((1, 1, 7), "ae-title-illegal", "the called AE title is none (PS3.5 6.2)")
    if calling is None:
        raise Rejected((1, 1, 3), "ae-title-illegal", "the calling AE title is none (PS3.5 6.2)")
    return Titles(calling, called)


def parse(data: bytes) -> Request:
    """Read a whole A-ASSOCIATE-RQ, header and all.

    Raises:
        Violation: it is malformed.
        Rejected: it is well-formed, and nothing that is served.
    """
    who, body = titles(data), data[HEADER_BYTES:]
    walk = _Walk()
    items = walk.kept(body[FIXED_BYTES:], 0)
    if walk.application is None:
        raise _malformed("it names no application context")
    if walk.application != DICOM_APPLICATION:
        raise Rejected((1, 1, 2), "application-context", "the caller names another application context than DICOM's")
    if 0 < walk.longest < pdu.HEADER_BYTES + 1:
        raise Rejected(
            (1, 1, 1), "max-pdu-too-small", f"the caller takes PDUs of {walk.longest} bytes, into which nothing fits"
        )
    if walk.is_changed:
        kept = body[:FIXED_BYTES] + items
        data = data[:2] + len(kept).to_bytes(4, "big") + kept
    return Request(who.calling, who.called, frozenset(walk.proposed), data, walk.longest)


def _title(field: bytes) -> str | None:
    """An AE title; None where it is none: empty, or with other than printable ASCII or with a backslash."""
    if any(byte < 0x20 or byte > 0x7E or byte == 0x5C for byte in field):
        return None
    return field.decode("ascii").strip() or None


class _Walk:
    """Over the items and those inside them."""

    def __init__(self) -> None:
        self.items, self.is_changed = 0, False
        self.contexts: set[int] = set()
        self.proposed: list[str] = []
        self.application: bytes | None = None
        self.longest, self.said_longest = USUAL_PDU_BYTES, False

    def kept(self, data: bytes, inside: int) -> bytes:
        """The items that are known, encoded."""
        return b"".join(self._item(kind, value) for kind, value in self._items(data) if self._known(kind, inside))

    def _items(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at < len(data):
            after = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            if at + 4 > len(data) or after > len(data):
                raise _malformed("the lengths of its items do not add up")
            self.items += 1
            if self.items > MOST_ITEMS:
                raise _malformed(f"it has more than {MOST_ITEMS} items")
            yield data[at], data[at + 4 : after]
            at = after

    def _known(self, kind: int, inside: int) -> bool:
        known = kind in KNOWN[inside]
        self.is_changed = self.is_changed or not known
        return known

    def _item(self, kind: int, value: bytes) -> bytes:
        if kind == PRESENTATION_CONTEXT:
            value = value[:4] + self._context(value)
        elif kind == APPLICATION_CONTEXT:
            if self.application is not None:
                raise _malformed("its application context is there twice")
            value = self.application = self._name(value, "an application context")
        elif kind == ABSTRACT_SYNTAX:
            value = self._name(value, "an abstract syntax")
            self.proposed.append(value.decode("ascii"))
        elif kind == USER_INFORMATION:
            value = self.kept(value, USER_INFORMATION)
        elif kind == MAXIMUM_LENGTH:
            if len(value) != 4:
                raise _malformed("its maximum length has not four bytes")
            if self.said_longest:  # one reader would take the first, another the last
                raise _malformed("its maximum length is there twice")
            self.longest, self.said_longest = int.from_bytes(value, "big"), True
        return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value

    def _context(self, value: bytes) -> bytes:
        """The sub-items of a proposed presentation context (PS3.8 9.3.2.2)."""
        if len(value) < 4 or not value[0] & 1 or value[0] in self.contexts:
            raise _malformed("a presentation context ID is missing, even, or there twice")
        self.contexts.add(value[0])
        kinds = []
        for kind, _ in self._items(value[4:]):
            kinds.append(kind)
            self.items -= 1  # they are counted when they are kept
        if kinds.count(ABSTRACT_SYNTAX) != 1 or TRANSFER_SYNTAX not in kinds:
            raise _malformed("a presentation context has not one abstract syntax and a transfer syntax")
        return self.kept(value[4:], PRESENTATION_CONTEXT)

    def _name(self, field: bytes, of: str) -> bytes:
        """A name without padding. What is printable and no UID is nothing that is served; of the rest one reader leaves
        away what another keeps.

        Raises:
            Violation: it has other characters.
        """
        name = field.rstrip(b"\0 ").lstrip(b" ")
        if any(byte < 0x21 or byte > 0x7E for byte in name):
            raise _malformed(f"the name of {of} has characters that are not printable")
        self.is_changed = self.is_changed or name != field
        return name


def _malformed(what: str) -> Violation:
    return Violation(Reason.INVALID_PARAMETER, "bad-request", f"the association request is malformed: {what}")
