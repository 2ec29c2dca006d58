"""A TCP proxy that cuts a connection after so many bytes, one way or the other."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """Which bytes are counted."""

    TO_NODE = "to the node"
    FROM_NODE = "from the node"


class How(StrEnum):
    """How a connection ends."""

    FIN = "FIN"
    RST = "RST"


@dataclass(frozen=True)
class Cut:
    """Where a connection is cut: after so many bytes of one way, both ways."""

    way: Way
    after: int
    how: How


@dataclass
class Carried:
    """What a connection through the proxy came to.

    Attributes:
        passed: bytes, per way.
    """

    passed: dict[Way, int]


@contextlib.contextmanager
def cutting(port: int, cut: Cut | None) -> Iterator[tuple[int, Carried]]:
    """A proxy for one connection to a port of this machine: its own port, and what it has carried in the end."""
    carried = Carried(dict.fromkeys(Way, 0))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_carry, args=(listener, port, cut, carried))
        thread.start()
        try:
            yield listener.getsockname()[1], carried
        finally:
            thread.join(60)
            assert not thread.is_alive()


def _carry(listener: socket.socket, port: int, cut: Cut | None, carried: Carried) -> None:
    sender, _ = listener.accept()
    with sender, socket.create_connection(("127.0.0.1", port)) as node, selectors.DefaultSelector() as selector:
        sides = {Way.TO_NODE: (sender, node), Way.FROM_NODE: (node, sender)}
        for way, (source, target) in sides.items():
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(source, selectors.EVENT_READ, way)
        while selector.get_map() and not _is_due(cut, carried):
            for key, _ in selector.select(60):
                way = key.data
                source, target = sides[way]
                if not _pass_on(source, target, _room(cut, way, carried), way, carried):
                    selector.unregister(source)
                if _is_due(cut, carried):
                    break
        if cut is not None and cut.how is How.RST and _is_due(cut, carried):
            for side in (sender, node):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _is_due(cut: Cut | None, carried: Carried) -> bool:
    return cut is not None and carried.passed[cut.way] >= cut.after


def _room(cut: Cut | None, way: Way, carried: Carried) -> int:
    """How many bytes may still pass that way."""
    return cut.after - carried.passed[way] if cut is not None and cut.way is way else 65536


def _pass_on(source: socket.socket, target: socket.socket, room: int, way: Way, carried: Carried) -> bool:
    """Whether more may come."""
    try:
        data = source.recv(min(room, 65536))
        if not data:
            target.shutdown(socket.SHUT_WR)
            return False
        target.sendall(data)
        carried.passed[way] += len(data)
    except OSError:
        return False
    return True
