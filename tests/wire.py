"""DICOM's upper layer by hand, right and wrong: bytes as PS3.8 9.3 and PS3.7 6.3 have them, made by no library."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CT, VERIFICATION, COMMITMENT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
#: presentation context IDs of `request`
STORING, ECHOING = 1, 3
USUAL = ((STORING, CT, (EXPLICIT,)), (ECHOING, VERIFICATION, (IMPLICIT,)))
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
RELEASED = b"\6\0\0\0\0\4\0\0\0\0"


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; `length`: what it says of itself where that is a lie."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body) if length is None else length) + body


def context(number: int, abstract_syntax: str, transfer_syntaxes: tuple[str, ...]) -> bytes:
    """A proposed presentation context."""
    syntaxes = b"".join(item(0x40, one.encode()) for one in transfer_syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract_syntax.encode()) + syntaxes)


def user_information(*more: bytes, longest: int = 16384) -> bytes:
    return item(0x50, item(0x51, struct.pack(">L", longest)) + item(0x52, b"1.2.3.4") + b"".join(more))


APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")


def request(
    *items: bytes,
    calling: bytes = b"CT1",
    called: bytes = b"PLANIMETER",
    version: int = 1,
    user: bytes | None = None,
    application: bytes = APPLICATION,
) -> bytes:
    """An A-ASSOCIATE-RQ; without items: to store CT, and C-ECHO."""
    contexts = items or tuple(context(*one) for one in USUAL)
    head = struct.pack(">HH", version, 0) + called.ljust(16)[:16] + calling.ljust(16)[:16] + b"\0" * 32
    return pdu(1, head + application + b"".join(contexts) + (user_information() if user is None else user))


def pdv(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def element(number: int, value: bytes | int | str) -> bytes:
    """Of a command set: Implicit VR Little Endian."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def command(*elements: tuple[int, bytes | int | str]) -> bytes:
    body = b"".join(element(*one) for one in elements)
    return element(0, struct.pack("<L", len(body))) + body


def store_command(uid: str | None, sop_class: str | None = CT, **other: int) -> bytes:
    """A C-STORE-RQ; None: without that element."""
    elements: list[tuple[int, Any]] = [] if sop_class is None else [(0x0002, sop_class)]
    elements += [(0x0100, other.get("field", 1)), (0x0110, 7), (0x0700, 0), (0x0800, other.get("data_set", 0))]
    return command(*elements, *([] if uid is None else [(0x1000, uid)]))


def echo(message_id: int = 1) -> bytes:
    return p_data(
        pdv(ECHOING, 3, command((0x0002, VERIFICATION), (0x0100, 0x30), (0x0110, message_id), (0x0800, 0x0101)))
    )


def explicit(group: int, number: int, vr: str, value: str) -> bytes:
    padded = value.encode() + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(padded)) + padded


def instance(uid: str, *more: bytes, sop_class: str = CT) -> bytes:
    """A data set that is small, and whole."""
    return b"".join(
        (
            explicit(8, 0x16, "UI", sop_class),
            explicit(8, 0x18, "UI", uid),
            explicit(8, 0x60, "CS", "CT"),
            explicit(0x10, 0x20, "LO", "WIRE"),
            explicit(0x20, 0x0D, "UI", "1.2.826.0.1.3680043.10.9.1"),
            explicit(0x20, 0x0E, "UI", "1.2.826.0.1.3680043.10.9.1.1"),
            *more,
        )
    )


def store(uid: str, data: bytes | None = None) -> bytes:
    """A C-STORE with its data set, in as few PDUs as can be."""
    data = instance(uid) if data is None else data
    return p_data(pdv(STORING, 3, store_command(uid))) + p_data(pdv(STORING, 2, data))


class TlsPort(int):
    """A port at which callers have to speak TLS.

    Attributes:
        trusting: the context that trusts whoever listens there.
    """

    trusting: ssl.SSLContext

    @classmethod
    def at(cls, port: int, trusting: ssl.SSLContext) -> TlsPort:
        made = cls(port)
        made.trusting = trusting
        return made


@dataclass
class Wire:
    """A connection, with TLS or without."""

    socket: socket.socket

    def say(self, data: bytes) -> None:
        """Send, whether anybody listens or not."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read(self, count: int) -> bytes:
        """So many bytes; fewer where the connection ends."""
        came = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while len(came) < count and (more := self.socket.recv(count - len(came))):
                came += more
        return came

    def pdu(self) -> bytes:
        """The next PDU; empty where the connection ends."""
        head = self.read(6)
        return head + self.read(int.from_bytes(head[2:], "big")) if len(head) == 6 else head

    def status(self) -> int | str:
        """Of the next response; else what came in its place: "abort 6", "closed", ..."""
        answer = self.pdu()
        return elements_of(answer)[0x0900] if answer[:1] == b"\4" else said(answer)

    def fall_silent(self) -> None:
        """FIN; what is answered can still be read."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)  # SSLSocket's own would take TLS away

    def break_off(self) -> None:
        """RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def said(answer: bytes) -> str:
    """What an answer is, in words."""
    kind = answer[0] if answer else 0
    if kind == 2:
        return "accept"
    if kind == 3:
        return "reject {} {} {}".format(*answer[7:10])
    if kind == 7:
        return f"abort {answer[9]}" if answer[8] == 2 else f"abort by user {answer[9]}"
    return {b"": "closed", RELEASED: "released"}.get(answer, answer.hex())


def elements_of(answer: bytes) -> dict[int, Any]:
    """The command set of a response that is one PDU: element -> value, US as a number."""
    data, found = answer[12:], {}
    while data:
        _, number, length = struct.unpack_from("<HHL", data)
        value = data[8 : 8 + length]
        found[number] = struct.unpack("<H", value)[0] if length == 2 and number >= 0x0100 else value
        data = data[8 + length :]
    return found


def results_of(answer: bytes) -> dict[int, int]:
    """Of an A-ASSOCIATE-AC: presentation context ID -> result."""
    data, found = answer[74:], {}
    while data:
        length = int.from_bytes(data[2:4], "big")
        if data[0] == 0x21:
            found[data[4]] = data[6]
        data = data[4 + length :]
    return found


@contextlib.contextmanager
def connected(port: int, seconds: float = 30) -> Iterator[Wire]:
    """A connection to this machine, over TLS where the port is one for it; the one place where they are made."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=seconds) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(port, TlsPort):
            with shaken_hands(made, port.trusting) as secured:
                yield Wire(secured)
        else:
            yield Wire(made)


@contextlib.contextmanager
def shaken_hands(plain: socket.socket, trusting: ssl.SSLContext) -> Iterator[socket.socket]:
    """TLS on a connection; where that is over already, something at which a reader comes to the end, too."""
    try:
        secured = trusting.wrap_socket(plain, server_hostname="127.0.0.1")
    except (ConnectionError, ssl.SSLEOFError):
        ended, other = socket.socketpair()
        other.close()
        with ended:
            yield ended
        return
    with secured:
        yield secured


@contextlib.contextmanager
def associated(port: int, asked: bytes = b"") -> Iterator[Wire]:
    """An association that was accepted."""
    with connected(port) as wire:
        wire.say(asked or request())
        assert said(wire.pdu()) == "accept"
        yield wire
