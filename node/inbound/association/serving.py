"""The loop over an association, on one thread: read, write into the spool, answer. Nothing sleeps and nothing polls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.uid import UID

from ...errors import NodeError
from . import command as commands
from . import pdu
from .command import Command, Field
from .connection import Connection, Ended
from .data_set import InMemory, Nowhere, Spooled, file_meta
from .message import Message, Messages
from .negotiation import Agreed, Context
from .pdu import Reason, Type, Violation

#: on average, of a message that has begun; what is needed for one PDU of 16 KiB within its ten seconds
LEAST_BYTES_PER_SECOND = 1600
#: more than any report has that answers this node: on some 8,000 instances
LONGEST_REPORT = 1 << 20

SUCCESS = 0x0000
INVALID_INSTANCE = 0x0117
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213
CANNOT_UNDERSTAND = 0xC000

VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"

DataSet = Spooled | InMemory | Nowhere


@dataclass(frozen=True)
class Answer:
    """What a request is answered.

    Attributes:
        is_last: the association is ended after it.
    """

    status: int
    comment: str = ""
    is_last: bool = False


@dataclass(frozen=True)
class Incoming:
    """An instance that lies in the spool, whole; whoever takes it moves or removes the file.

    Attributes:
        command: SOP class and instance UID of the request.
        size: of the data set, in bytes.
        digest, descriptor: as `Inbox.take` wants them; None where nobody has them.
    """

    path: Path
    transfer_syntax: UID
    command: tuple[str, str]
    size: int
    digest: str | None = None
    descriptor: int | None = None


@dataclass(frozen=True)
class Report:
    """An N-EVENT-REPORT."""

    sop_instance: str
    event_type: int | None
    information: bytes
    transfer_syntax: UID


class Services(Protocol):
    """What is behind an association."""

    def new_file(self) -> Path:
        """A path in the spool that nobody has."""

    def ready(self) -> None:
        """Come before a data set is read that is to be stored.

        Raises:
            NodeError, OSError: nothing can be taken now.
        """

    def room(self, size: int) -> None:
        """Come while it grows.

        Raises:
            Refused, Unavailable, OSError: it is too large, or nothing more can be taken.
        """

    def store(self, incoming: Incoming) -> Answer:
        """C-STORE."""

    def decline(self, sop_instance: str, error: NodeError | OSError) -> Answer:
        """C-STORE of what could not be received."""

    def report(self, report: Report) -> Answer:
        """N-EVENT-REPORT of storage commitment."""


@dataclass(frozen=True)
class Terms:
    """How long is waited, and how much is taken.

    Attributes:
        longest: P-DATA-TF that we offered, in bytes.
        most_bytes: of one message; what is too large and less than this is read, and refused with a status.
        stopping: whether this process ends, so that no more messages are taken.
    """

    idle_seconds: float
    longest: int
    most_bytes: int
    stopping: Callable[[], bool]


class Serving:
    """One association, from its acceptance to its end."""

    def __init__(self, connection: Connection, agreed: Agreed, services: Services, terms: Terms) -> None:
        self._connection, self._agreed, self._services, self._terms = connection, agreed, services, terms
        self._messages: Messages[DataSet] = Messages(agreed.contexts, self._begin, terms.most_bytes)
        self._data_set: DataSet | None = None
        self._is_over = False
        self._since = connection.clock()  # when the message that comes began

    def run(self) -> bytes:
        """Serve until the association ends, however it ends; the spool has nothing of it then.

        Returns:
            The last word that is owed to the peer.

        Raises:
            Violation: the peer broke the protocol.
            TooSlow, Ended: it said nothing for too long, or went without a word.
        """
        try:
            self._connection.widen()
            return self._serve()
        finally:
            if self._data_set is not None:
                self._data_set.discard()

    @property
    def is_inside(self) -> bool:
        """Whether something has begun that is not complete."""
        return not self._messages.is_between or bool(self._connection.buffered())

    def _serve(self) -> bytes:
        """Take one PDU after the other."""
        while not ((self._is_over or self._terms.stopping()) and self._messages.is_between):
            found = self._connection.pdu(self._terms.longest)
            if found is None:
                if self._data_set is not None:
                    self._pause(self._data_set)
                self._connection.more(self._until())
                continue
            kind, body = found
            if kind == Type.P_DATA:
                self._take(body)
            elif kind == Type.RELEASE_RQ:
                return pdu.RELEASE_RP
            elif kind == Type.ABORT:
                raise Ended("it was aborted")
            else:
                raise Violation(Reason.UNEXPECTED_PDU, "bad-pdu", "A-RELEASE-RP came, and nobody had asked to release")
        return pdu.abort(Reason.NOT_SPECIFIED)

    def _take(self, body: memoryview) -> None:
        for context_id, control, data in pdu.fragments(body):
            if self._messages.is_between:
                self._since = self._connection.touched
            message = self._messages.feed(context_id, control, data)
            if message is not None:
                self._answer(message)

    def _pause(self, data_set: DataSet) -> None:
        """What it holds of the buffer is about to be moved. For how long the disk takes, the peer is not to blame."""
        before = self._connection.clock()
        data_set.pause()
        self._since += self._connection.clock() - before

    def _until(self) -> float:
        """When something more must have come."""
        until = self._connection.clock() + self._terms.idle_seconds
        if self._messages.is_between:
            return until
        allowed = self._terms.idle_seconds + self._messages.bytes / LEAST_BYTES_PER_SECOND
        return min(until, self._since + allowed)

    # ------------------------------------------------------------------ messages

    def _begin(self, context_id: int, command: Command) -> DataSet:
        """Where the data set of a request goes."""
        context = self._agreed.contexts[context_id]
        if command.field == Field.C_STORE:
            self._data_set = self._begin_store(context, command)
        elif command.field == Field.N_EVENT_REPORT and context.abstract_syntax == COMMITMENT:
            self._data_set = InMemory(LONGEST_REPORT)
        elif command.field == Field.C_ECHO and context.abstract_syntax == VERIFICATION:
            self._data_set = Nowhere(SUCCESS)
        elif command.field in (Field.C_ECHO, Field.N_EVENT_REPORT):
            self._data_set = Nowhere(CLASS_NOT_SUPPORTED, "this is another service's presentation context")
        else:
            self._data_set = Nowhere(UNRECOGNIZED_OPERATION, "this operation is not offered")
        return self._data_set

    def _begin_store(self, context: Context, command: Command) -> DataSet:
        if command.sop_class != context.abstract_syntax or context.abstract_syntax in (VERIFICATION, COMMITMENT):
            return Nowhere(CLASS_NOT_SUPPORTED, "SOP class is not that of the presentation context")
        if not command.sop_instance:
            return Nowhere(INVALID_INSTANCE, "Affected SOP Instance UID is missing or illegal")
        if not command.has_data_set:
            return Nowhere(CANNOT_UNDERSTAND, "the request has no data set")
        try:
            self._services.ready()
        except (NodeError, OSError) as error:
            answer = self._services.decline(command.sop_instance, error)
            self._is_over = answer.is_last
            return Nowhere(answer.status, answer.comment)
        meta = file_meta(command.sop_class, command.sop_instance, context.transfer_syntax)
        return Spooled(self._services.new_file(), meta, context.transfer_syntax, self._services.room)

    def _answer(self, message: Message[DataSet]) -> None:
        data_set, command = message.data_set, message.command
        context = self._agreed.contexts[message.context_id]
        try:
            if isinstance(data_set, Spooled):
                answer = self._store(context, command, data_set)
            elif isinstance(data_set, InMemory):
                answer = self._report(context, command, data_set)
            else:
                answer = Answer(data_set.status, data_set.comment)
        finally:
            data_set.discard()
            self._data_set = None
        if command.field != Field.C_CANCEL:
            encoded = commands.response(command, answer.status, answer.comment)
            self._connection.send(pdu.p_data(message.context_id, pdu.COMMAND, encoded, self._agreed.longest))

    def _store(self, context: Context, command: Command, data_set: Spooled) -> Answer:
        data_set.pause()
        if data_set.error is not None:
            return self._services.decline(command.sop_instance, data_set.error)
        incoming = Incoming(
            data_set.path,
            context.transfer_syntax,
            (command.sop_class, command.sop_instance),
            data_set.size,
            data_set.digest,
            data_set.descriptor,
        )
        answer = self._services.store(incoming)
        data_set.is_taken = True
        return answer

    def _report(self, context: Context, command: Command, data_set: InMemory) -> Answer:
        if not data_set.is_whole:
            return Answer(RESOURCE_LIMITATION, "the report is too long")
        report = Report(command.sop_instance, command.event_type, bytes(data_set.data), context.transfer_syntax)
        return self._services.report(report)
