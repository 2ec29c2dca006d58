"""Fragments into messages (PS3.7 6.3.1, PS3.8 Annex E), against the same by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from node.inbound.association import command as commands
from node.inbound.association import message
from node.inbound.association.command import Command
from node.inbound.association.message import Messages
from node.inbound.association.pdu import COMMAND, LAST, Violation
from tests import wire
from tests.fuzz.target import Reader, Target

CONTEXTS = (1, 3)
MOST_BYTES = 1000
Fragment = tuple[int, int, bytes]


@dataclass
class Sink:
    """Keeps what comes."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, data: memoryview) -> None:
        self.data += data


def fragments(data: bytes) -> Iterator[Fragment]:
    """Three bytes say context, control header and length of what follows; there is no wrong input."""
    at = 0
    while at + 3 <= len(data):
        context_id, control, length = data[at : at + 3]
        yield context_id % 8, control, data[at + 3 : at + 3 + length]
        at += 3 + length


def packed(*parts: Fragment) -> bytes:
    return b"".join(bytes((one, control, len(part))) + part for one, control, part in parts)


Whole = tuple[int, Command, bytes]


def expected(parts: list[Fragment]) -> tuple[list[Whole], bool]:
    """The messages, and whether something came that does not belong there."""
    found: list[Whole] = []
    while parts:
        context_id = parts[0][0]
        encoded, data, command, count, size = b"", b"", None, 0, 0
        while True:
            if not parts:
                return found, False
            one, control, part = parts.pop(0)
            count, size = count + 1, size + len(part)
            too_many = count > message.FREE_FRAGMENTS + size // message.LEAST_FRAGMENT_BYTES
            if one != context_id or one not in CONTEXTS or too_many or size > MOST_BYTES:
                return found, True
            if bool(control & COMMAND) == (command is not None):
                return found, True
            if command is not None:
                data += part
            else:
                encoded += part
                if not control & LAST:
                    continue
                try:
                    command = commands.parse(encoded)
                except Violation:
                    return found, True
                control = LAST if not command.has_data_set else 0
            if control & LAST:
                found.append((context_id, command, data))
                break
    return found, False


def check(read: Reader, data: bytes) -> bool:
    parts = list(fragments(data))
    wanted, is_broken = expected(list(parts))
    begun: list[tuple[int, Command]] = []

    def begin(context_id: int, command: Command) -> Sink:
        begun.append((context_id, command))
        return Sink()

    messages: Any = read(CONTEXTS, begin, MOST_BYTES)
    found: list[Whole] = []
    try:
        for context_id, control, part in parts:
            one = messages.feed(context_id, control, memoryview(part))
            if one is not None:
                found.append((one.context_id, one.command, bytes(one.data_set.data)))
            assert messages.is_between == (one is not None), "nobody knows whether a message has begun"
            assert messages.bytes <= MOST_BYTES, "more than a message may have"
    except Violation as violation:
        assert violation.code in ("bad-message", "bad-command")
        assert is_broken, f"{violation}"
    else:
        assert not is_broken, "what does not belong there was taken"
    assert found == wanted, "other messages"
    assert begun[: len(found)] == [(one, command) for one, command, _ in found]
    return bool(found)


def seeds() -> Iterable[bytes]:
    store, echo = wire.store_command("1.2.3"), wire.echo()[12:]
    data = wire.instance("1.2.3")
    yield packed((1, 3, store), (1, 2, data))
    yield packed((1, 1, store[:20]), (1, 3, store[20:]), (1, 0, data[:9]), (1, 0, b""), (1, 2, data[9:]))
    yield packed((3, 3, echo), (1, 3, store), (1, 2, data), (3, 3, echo))
    yield packed((1, 3, store), (3, 2, data))
    yield packed((1, 2, data))
    yield packed((1, 3, store), *[(1, 0, b"x" * 200)] * 9)


class Anywhere(Messages[Any]):
    """Lets a message go on in another presentation context."""

    def _require(self, context_id: int, size: int) -> None:
        super()._require(self._context_id if self._fragments and context_id in self.contexts else context_id, size)


class Endless(Messages[Any]):
    """Reads a message on, however long it is."""

    def _require(self, context_id: int, size: int) -> None:
        self.most_bytes = 1 << 40
        super()._require(context_id, size)


TARGET = Target(
    read=Messages,
    check=check,
    seeds=seeds,
    faults={"lets contexts mix": Anywhere, "reads without end": Endless},
    words=[bytes((one, control, size)) for one in CONTEXTS for control in range(4) for size in (0, 1, 90)],
)
