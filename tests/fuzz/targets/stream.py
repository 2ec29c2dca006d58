"""What comes on a connection: the request, then PDUs, in pieces as the network has it (PS3.8 9.3)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from node.inbound.association import pdu
from node.inbound.association.connection import Connection, Ended, NotDicom
from node.inbound.association.pdu import Reason, Type, Violation
from tests import wire
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

#: P-DATA-TF that was offered
LONGEST = 300


@dataclass
class Line:
    """A socket from which so many bytes come at a time."""

    left: bytes
    step: int

    def setblocking(self, flag: bool) -> None:
        assert not flag, "a read would wait, whatever the time"

    def fileno(self) -> int:
        return 0  # it is never waited for: something is there until the end

    def recv_into(self, view: memoryview) -> int:
        count = min(self.step, len(view), len(self.left))
        view[:count], self.left = self.left[:count], self.left[count:]
        return count


@dataclass(frozen=True)
class Said:
    """The request, the PDUs behind it, and how it ended: "closed", or the reason of the A-ABORT."""

    request: bytes
    pdus: tuple[tuple[int, bytes], ...]
    end: str


def said(read: Reader, stream: bytes, step: int) -> Said:
    connection: Connection = read(cast(socket.socket, Line(stream, step)), clock=lambda: 0.0)
    request, found = b"", []
    try:
        request = connection.request()
        while True:
            one = connection.pdu(LONGEST)
            if one is not None:
                found.append((one[0], bytes(one[1])))
                assert len(one[1]) <= LONGEST, "a PDU that is longer than was offered"
                continue
            assert len(connection.buffered()) < LONGEST + pdu.HEADER_BYTES, "more is held than one PDU"
            connection.more(1.0)
    except Violation as violation:
        assert violation.code in ("bad-pdu", "request-too-long")
        return Said(request, tuple(found), str(int(violation.reason)) if request else "no request")
    except NotDicom:
        return Said(b"", (), "no request")
    except Ended:
        return Said(request, tuple(found), "closed" if request else "no request")


def expected(stream: bytes) -> Said:
    """The same, by slicing what is there all at once."""
    length = int.from_bytes(stream[2:6], "big")
    if stream[:1] != b"\1" or len(stream) < 6 + length or length > pdu.LONGEST_REQUEST:
        return Said(b"", (), "no request")
    request, rest, found = stream[: 6 + length], stream[6 + length :], []
    while len(rest) >= 6:
        kind, length = rest[0], int.from_bytes(rest[2:6], "big")
        if kind in (Type.ASSOCIATE_RQ, Type.ASSOCIATE_AC, Type.ASSOCIATE_RJ):
            return Said(request, tuple(found), str(int(Reason.UNEXPECTED_PDU)))
        if not Type.P_DATA <= kind <= Type.ABORT:
            return Said(request, tuple(found), str(int(Reason.UNRECOGNIZED_PDU)))
        if length > LONGEST if kind == Type.P_DATA else length != 4:
            return Said(request, tuple(found), str(int(Reason.INVALID_PARAMETER)))
        if len(rest) < 6 + length:
            break
        found.append((kind, rest[6 : 6 + length]))
        rest = rest[6 + length :]
    return Said(request, tuple(found), "closed")


def check(read: Reader, data: bytes) -> bool:
    """The first byte says in which steps the others come, which must not matter."""
    step, stream = 1 + data[0] % 61 if data else 1, data[1:]
    whole = said(read, stream, len(stream) + 1)
    assert whole == expected(stream), f"{whole} is not {expected(stream)}"
    assert said(read, stream, step) == whole, f"in steps of {step} bytes it is another one"
    return whole.end == "closed" and bool(whole.pdus)


def seeds() -> Iterable[bytes]:
    talk = wire.request() + wire.store("1.2.3") + wire.echo() + wire.RELEASE
    yield b"\x00" + talk
    yield b"\x07" + talk
    yield b"\x20" + talk[:-3]
    yield b"\x01" + wire.request() + wire.echo() * 3 + wire.pdu(7, b"\0\0\0\0")
    yield b"\x01" + wire.request() + wire.pdu(4, b"x", 0xFFFFFFFF)
    yield b"\x01" + wire.pdu(1, b"", 1 << 31)
    yield b"\x01GET / HTTP/1.1\r\n\r\n"


class Trusting(Connection):
    """Does not look at the length that a P-DATA-TF announces."""

    def pdu(self, longest: int) -> tuple[int, memoryview] | None:
        return super().pdu(longest << 20)


class Careless(Connection):
    """Forgets what is left when it makes room."""

    def _make_room(self) -> None:
        left = self._end - self._begin
        super()._make_room()
        if left:
            self._view[0] = 0


TARGET = Target(
    read=Connection,
    check=check,
    seeds=seeds,
    faults={"trusts a length": Trusting, "moves its buffer wrongly": Careless},
    words=[*words.PDUS, *words.LENGTHS],
    longest=2048,
)
