"""DIMSE command sets as bytes (PS3.7 6.3, 9.3, 10.3, Annex E): requests are read, responses written. No I/O here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from .pdu import Reason, Violation

_ELEMENT = Struct("<HHL")
_US = Struct("<H")

NO_DATA_SET = 0x0101
#: of a command set; real ones have some hundred bytes
LONGEST = 1 << 16
#: PS3.5 9.1, but for leading zeros, which some implementations write
UID_PATTERN = re.compile(r"[0-9]+(\.[0-9]+)*")

GROUP_LENGTH, SOP_CLASS, REQUESTED_SOP_CLASS, FIELD, MESSAGE_ID, RESPONDED_TO = (
    0x0000,
    0x0002,
    0x0003,
    0x0100,
    0x0110,
    0x0120,
)
DATA_SET_TYPE, STATUS, COMMENT, SOP_INSTANCE, EVENT_TYPE = 0x0800, 0x0900, 0x0902, 0x1000, 0x1002


class Field(IntEnum):
    """Command Field of the requests that are served, or ignored (PS3.7 E.1)."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    C_CANCEL = 0x0FFF


#: a response has it, a request has not
RESPONSE = 0x8000


@dataclass(frozen=True)
class Command:
    """A request.

    Attributes:
        field: Command Field; not only those of `Field`.
        sop_class, sop_instance: "" where missing, there twice, or no UID.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class: str = ""
    sop_instance: str = ""
    event_type: int | None = None


def parse(data: bytes | bytearray) -> Command:
    """Read the command set of a request: Implicit VR Little Endian, group 0000 alone (PS3.7 6.3.1).

    Raises:
        Violation: it is malformed, lacks what an answer needs, or is a response, of which none is awaited.
    """
    elements = _elements(data)
    field, message_id = _number(elements, FIELD), _number(elements, MESSAGE_ID)
    data_set_type = _number(elements, DATA_SET_TYPE)
    if field is None or data_set_type is None:
        raise _malformed("it has no Command Field, or does not say whether a data set follows")
    if field & RESPONSE:
        raise Violation(Reason.UNEXPECTED_PARAMETER, "bad-command", f"a response (0x{field:04X}) to nothing came")
    if field == Field.C_CANCEL:
        message_id = _number(elements, RESPONDED_TO)
    if message_id is None:
        raise _malformed("it has no Message ID")
    return Command(
        field,
        message_id,
        data_set_type != NO_DATA_SET,
        _uid(elements, SOP_CLASS),
        _uid(elements, SOP_INSTANCE),
        _number(elements, EVENT_TYPE),
    )


def _elements(data: bytes | bytearray) -> dict[int, bytes | None]:
    """Element -> value; None where it is there twice: one reader would take the first, another the last."""
    found: dict[int, bytes | None] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise _malformed("it ends inside an element")
        group, element, length = _ELEMENT.unpack_from(data, at)
        after = at + 8 + length
        if group or after > len(data):
            raise _malformed("it has an element of another group" if group else "it ends inside an element")
        found[element] = None if element in found else bytes(data[at + 8 : after])
        at = after
    return found


def _number(elements: dict[int, bytes | None], element: int) -> int | None:
    value = elements.get(element, b"")
    if value is None:
        raise _malformed(f"element (0000,{element:04X}) is there twice")
    return int(_US.unpack_from(value)[0]) if len(value) >= 2 else None


def _uid(elements: dict[int, bytes | None], element: int) -> str:
    value = (elements.get(element) or b"").rstrip(b"\0 ")
    text = value.decode("ascii", "replace")
    return text if len(text) <= 64 and UID_PATTERN.fullmatch(text) else ""


def _malformed(what: str) -> Violation:
    return Violation(Reason.INVALID_PARAMETER, "bad-command", f"a command set is malformed: {what}")


# ------------------------------------------------------------------ what is answered


def response(command: Command, status: int, comment: str = "") -> bytes:
    """The command set of the response to a request.

    Args:
        comment: Error Comment, up to 64 characters.
    """
    parts = [
        _element(SOP_CLASS, _text(command.sop_class)) if command.sop_class else b"",
        _element(FIELD, _US.pack(command.field | RESPONSE)),
        _element(RESPONDED_TO, _US.pack(command.message_id)),
        _element(DATA_SET_TYPE, _US.pack(NO_DATA_SET)),
        _element(STATUS, _US.pack(status)),
        _element(COMMENT, _text(comment[:64], b" ")) if comment else b"",
        _element(SOP_INSTANCE, _text(command.sop_instance)) if command.sop_instance else b"",
        _element(EVENT_TYPE, _US.pack(command.event_type)) if command.event_type is not None else b"",
    ]
    body = b"".join(parts)
    return _element(GROUP_LENGTH, len(body).to_bytes(4, "little")) + body


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _text(value: str, padding: bytes = b"\0") -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + padding if len(encoded) % 2 else encoded
