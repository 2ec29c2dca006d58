"""Fragments into messages: a command, then its data set, one message after the other (PS3.7 6.3.1, PS3.8 Annex E)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from . import command as commands
from .command import Command
from .pdu import COMMAND, LAST, Reason, Violation

#: of one message; an object in fragments of some kilobytes never comes near
FREE_FRAGMENTS = 10_000
LEAST_FRAGMENT_BYTES = 64


class Sink(Protocol):
    """Where the data set of a message goes."""

    def write(self, data: memoryview) -> None:
        """Take a fragment, which holds until the next bytes are read."""


S = TypeVar("S", bound=Sink)


@dataclass(frozen=True)
class Message(Generic[S]):
    """One that is complete."""

    context_id: int
    command: Command
    data_set: S


@dataclass
class Messages(Generic[S]):
    """What comes on one association.

    Attributes:
        contexts: IDs of the presentation contexts that were accepted.
        begin: called when a command is complete: where its data set goes.
        most_bytes: of one message; beyond it is not read to its end.
        bytes: of the message that has begun; 0 between messages.
    """

    contexts: Collection[int]
    begin: Callable[[int, Command], S]
    most_bytes: int
    bytes: int = 0
    _fragments: int = 0
    _context_id: int = 0
    _encoded: bytearray = field(default_factory=bytearray)
    _command: Command | None = None
    _data_set: S | None = None

    @property
    def is_between(self) -> bool:
        """Whether no message has begun."""
        return not self._fragments

    def feed(self, context_id: int, control: int, data: memoryview) -> Message[S] | None:
        """Take the next fragment; the message that it completes.

        Raises:
            Violation: it does not belong here.
        """
        self._require(context_id, len(data))
        if control & COMMAND:
            return self._command_fragment(control, data)
        return self._data_fragment(control, data)

    def _require(self, context_id: int, size: int) -> None:
        if context_id not in self.contexts:
            raise Violation(
                Reason.INVALID_PARAMETER, "bad-message", f"presentation context {context_id} was not agreed on"
            )
        if not self._fragments:
            self._context_id = context_id
        elif context_id != self._context_id:
            raise _unexpected(f"a message began in presentation context {self._context_id} and went on in {context_id}")
        self._fragments += 1
        self.bytes += size
        if self._fragments > FREE_FRAGMENTS + self.bytes // LEAST_FRAGMENT_BYTES:
            raise _unexpected("a message came in too many and too small fragments")
        if self.bytes > self.most_bytes:
            raise _unexpected(f"a message did not end after {self.most_bytes / 1e9:g} GB")

    def _command_fragment(self, control: int, data: memoryview) -> Message[S] | None:
        if self._command is not None:
            raise _unexpected("a command came inside a data set")
        self._encoded += data
        if len(self._encoded) > commands.LONGEST:
            raise _unexpected("a command set is longer than 64 KiB")
        if not control & LAST:
            return None
        self._command = commands.parse(self._encoded)
        self._data_set = self.begin(self._context_id, self._command)
        return None if self._command.has_data_set else self._complete()

    def _data_fragment(self, control: int, data: memoryview) -> Message[S] | None:
        if self._data_set is None:
            raise _unexpected("a data set came without a command")
        self._data_set.write(data)
        return self._complete() if control & LAST else None

    def _complete(self) -> Message[S]:
        assert self._command is not None
        assert self._data_set is not None
        message = Message(self._context_id, self._command, self._data_set)
        self._command, self._data_set = None, None
        self._encoded = bytearray()
        self.bytes = self._fragments = 0
        return message


def _unexpected(sentence: str) -> Violation:
    return Violation(Reason.UNEXPECTED_PARAMETER, "bad-message", sentence)
