"""Callers that keep a receiver waiting, and come again when it closes: one thread, a few wake-ups a second.

    python -P -m tests.soak.slow_callers PORT --silent 200 --one-byte 50 --slow 20 --from 127.0.0.2 --from 127.0.0.3

It says "there" when all are connected, works until its standard input ends, and says as JSON how often it connected.
Slow ones send a byte per second: half of them inside their association request, half inside the object of an
association that was accepted; with --tls, all of them inside a handshake.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from enum import StrEnum

from tests import wire

TICK_SECONDS = 1.0


class Way(StrEnum):
    """How a caller keeps a receiver waiting."""

    SILENT = "silent"
    ONE_BYTE = "one byte"
    IN_REQUEST = "in its request"
    IN_OBJECT = "in an object"
    IN_HANDSHAKE = "in a handshake"


@dataclass
class Caller:
    """One that comes again and again.

    Attributes:
        at_once: what it sends when it is connected.
        drips: what follows, a byte per tick.
    """

    address: str
    at_once: bytes
    drips: bytes = b""
    socket: socket.socket | None = None
    dripped: int = 0


def hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="here").do_handshake()
    return outgoing.read()


def caller(way: Way, address: str, *, tls: bool) -> Caller:
    """A caller from an address of this machine."""
    first = b"\x16" if tls else b"\1"
    if way is Way.SILENT:
        return Caller(address, b"")
    if way is Way.ONE_BYTE:
        return Caller(address, first)
    if way is Way.IN_HANDSHAKE:
        return Caller(address, first, hello()[1:])
    if way is Way.IN_REQUEST:
        return Caller(address, first, wire.request(calling=b"SLOW")[1:])
    uid = "1.2.826.0.1.3680043.10.9.7.1"
    command = wire.p_data(wire.pdv(wire.STORING, 3, wire.store_command(uid)))
    data = wire.p_data(wire.pdv(wire.STORING, 2, wire.instance(uid)))
    return Caller(address, wire.request(calling=b"SLOW") + command + data[:12], data[12:])


class Callers:
    """All of them, on one thread."""

    def __init__(self, port: int, callers: list[Caller]) -> None:
        self._port, self._callers = port, callers
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Caller] = {}
        self.connected = self.closed = self.refused = 0

    def run(self) -> None:
        """Until standard input ends."""
        self._poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        self._tick()
        sys.stdout.write("there\n")
        sys.stdout.flush()
        due = time.monotonic() + TICK_SECONDS
        while True:
            if self._heard(max(0.0, due - time.monotonic())):
                return
            if time.monotonic() >= due:
                due += TICK_SECONDS
                self._tick()
            else:
                # so that those who are closed are taken in together, and seldom
                select.select([0], [], [], max(0.0, min(TICK_SECONDS / 10, due - time.monotonic())))

    def _heard(self, seconds: float) -> bool:
        """Take in who was closed; whether it is over."""
        for descriptor, _ in self._poll.poll(seconds):
            if descriptor == 0:
                return True
            one = self._by_descriptor[descriptor]
            assert one.socket is not None
            said = b""
            with contextlib.suppress(ConnectionError):
                said = one.socket.recv(4096)
            if not said:
                self._close(one)
        return False

    def _tick(self) -> None:
        """Who was closed comes again; who drips sends a byte."""
        for one in self._callers:
            if one.socket is None:
                self._connect(one)
            elif one.dripped < len(one.drips):
                with contextlib.suppress(OSError):
                    one.socket.send(one.drips[one.dripped : one.dripped + 1])
                one.dripped += 1

    def _connect(self, one: Caller) -> None:
        one.socket = socket.socket()
        one.socket.settimeout(5)
        try:
            one.socket.bind((one.address, 0))
            one.socket.connect(("127.0.0.1", self._port))
            one.socket.send(one.at_once)
        except OSError:
            self.refused += 1
            one.socket.close()
            one.socket = None
            return
        one.socket.setblocking(False)
        one.dripped = 0
        self.connected += 1
        self._by_descriptor[one.socket.fileno()] = one
        self._poll.register(one.socket.fileno(), select.EPOLLIN)

    def _close(self, one: Caller) -> None:
        assert one.socket is not None
        del self._by_descriptor[one.socket.fileno()]
        one.socket.close()
        one.socket = None
        self.closed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--silent", type=int, default=200)
    parser.add_argument("--one-byte", type=int, default=50)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--from", action="append", dest="addresses", metavar="ADDRESS", help="of loopback; repeatable")
    parser.add_argument("--tls", action="store_true", help="the port is one for TLS")
    asked = parser.parse_args()
    addresses = itertools.cycle(asked.addresses or ["127.0.0.1"])
    slow = [Way.IN_HANDSHAKE] if asked.tls else [Way.IN_REQUEST, Way.IN_OBJECT]
    ways = [Way.SILENT] * asked.silent + [Way.ONE_BYTE] * asked.one_byte
    ways += list(itertools.islice(itertools.cycle(slow), asked.slow))
    callers = Callers(asked.port, [caller(way, next(addresses), tls=asked.tls) for way in ways])
    callers.run()
    told = {"connected": callers.connected, "closed": callers.closed, "refused": callers.refused}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
