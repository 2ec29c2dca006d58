"""Protocol data units as bytes (PS3.8 9.3): what is read of a peer, and what is answered. No input or output here."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct, error

HEADER_BYTES = 6
_HEADER = Struct(">BxL")
_PDV = Struct(">LBB")
_P_DATA = Struct(">BxLLBB")

#: PS3.8 sets no limit for A-ASSOCIATE; DCMTK's is the same
LONGEST_REQUEST = 1 << 20
#: message control header (PS3.8 E.2); the other bits are never looked at
COMMAND, LAST = 0x01, 0x02


class Type(IntEnum):
    """PDU types."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class Reason(IntEnum):
    """Of an A-ABORT by the service provider (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class Violation(Exception):
    """A peer broke the protocol; it is answered A-ABORT.

    Attributes:
        reason: of the A-ABORT.
        code, sentence: what is counted of it.
    """

    def __init__(self, reason: Reason, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.reason, self.code, self.sentence = reason, code, sentence


def header(data: bytes | bytearray | memoryview, at: int = 0) -> tuple[int, int]:
    """Type and length of the PDU that begins at `at`; six bytes are there."""
    kind, length = _HEADER.unpack_from(data, at)
    return int(kind), int(length)


def require(kind: int, length: int, longest: int) -> None:
    """Of a PDU in an association, when its header is known.

    Args:
        longest: P-DATA-TF that we offered to take.

    Raises:
        Violation: a peer may not send this, or not so long.
    """
    if kind == Type.P_DATA:
        if length > longest:
            raise _too_long(f"a P-DATA-TF of {length} bytes was announced; {longest} were agreed on")
    elif kind in (Type.RELEASE_RQ, Type.RELEASE_RP, Type.ABORT):
        if length != 4:
            raise _too_long(f"{Type(kind).name} of {length} bytes was announced; it has four")
    elif kind in (Type.ASSOCIATE_RQ, Type.ASSOCIATE_AC, Type.ASSOCIATE_RJ):
        raise Violation(Reason.UNEXPECTED_PDU, "bad-pdu", f"{Type(kind).name} came inside an association")
    else:
        raise Violation(Reason.UNRECOGNIZED_PDU, "bad-pdu", f"a PDU of type 0x{kind:02X} came; there is none")


def _too_long(sentence: str) -> Violation:
    return Violation(Reason.INVALID_PARAMETER, "bad-pdu", sentence)


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The presentation data values of a P-DATA-TF (PS3.8 9.3.5).

    Args:
        body: the PDU without its header.

    Yields:
        Presentation context ID, message control header, and the fragment, which lies in `body`.

    Raises:
        Violation: there is none, or their lengths do not add up.
    """
    at, end = 0, len(body)
    if not end:
        raise Violation(Reason.INVALID_PARAMETER, "bad-pdu", "a P-DATA-TF without a presentation data value")
    while at < end:
        try:
            length, context_id, control = _PDV.unpack_from(body, at)
        except error:
            raise _lying() from None
        after = at + 4 + length
        if length < 2 or after > end:
            raise _lying()
        yield context_id, control, body[at + 6 : after]
        at = after


def _lying() -> Violation:
    return Violation(
        Reason.INVALID_PARAMETER, "bad-pdu", "the lengths of the presentation data values in a P-DATA-TF do not add up"
    )


# ------------------------------------------------------------------ what is answered


def p_data(context_id: int, control: int, data: bytes, longest: int) -> bytes:
    """A command or a data set as P-DATA-TF PDUs, each no longer than the peer takes.

    Args:
        control: COMMAND, or 0 for a data set.
        longest: that the peer takes; 0 is no limit (PS3.8 D.1.1), else at least 7.
    """
    step = longest - HEADER_BYTES if longest else len(data)
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    last = len(parts) - 1
    return b"".join(
        _P_DATA.pack(Type.P_DATA, len(part) + 6, len(part) + 2, context_id, control | (LAST if number == last else 0))
        + part
        for number, part in enumerate(parts)
    )


def abort(reason: Reason) -> bytes:
    """A-ABORT by the service provider (PS3.8 9.3.8)."""
    return bytes((Type.ABORT, 0, 0, 0, 0, 4, 0, 0, 2, reason))


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return bytes((Type.ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, result, source, reason))


#: A-RELEASE-RP (PS3.8 9.3.7)
RELEASE_RP = bytes((Type.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
