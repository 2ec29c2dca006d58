"""DIMSE command sets (PS3.7 6.3), and what pydicom reads of the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from node.inbound.association import command as commands
from node.inbound.association.command import Command, parse, response
from node.inbound.association.pdu import Reason, Violation
from tests import wire
from tests.fuzz import words
from tests.fuzz.target import Reader, Target


def elements(data: bytes) -> dict[int, list[bytes]] | None:
    """Element -> its values, as often as it is there; None where the lengths do not add up, or the group is another."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if len(data) - at < 8 + length or data[at : at + 2] != b"\0\0":
            return None
        found.setdefault(int.from_bytes(data[at + 2 : at + 4], "little"), []).append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found


def check(read: Reader, data: bytes) -> bool:
    there = elements(data)
    try:
        said: Command = read(data)
    except Violation as violation:
        assert violation.code == "bad-command"
        assert violation.reason in (Reason.INVALID_PARAMETER, Reason.UNEXPECTED_PARAMETER)
        return False
    assert there is not None, "its lengths do not add up, and it was accepted"
    assert not said.field & commands.RESPONSE, "a response is taken for a request"
    for element, uid in ((commands.SOP_CLASS, said.sop_class), (commands.SOP_INSTANCE, said.sop_instance)):
        assert len(uid) <= 64 and not set(uid) - set("0123456789."), "a UID that is none"
        assert not uid or [one.rstrip(b"\0 ") for one in there[element]] == [uid.encode()]
    for element, number in ((commands.FIELD, said.field), (commands.EVENT_TYPE, said.event_type)):
        assert number is None or [int.from_bytes(one[:2], "little") for one in there[element]] == [number]
    theirs = read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)
    assert {int(tag) for tag in theirs.keys()} == set(there), "pydicom reads other elements"  # noqa: SIM118
    assert theirs.get_item(0x00000100).value[:2] == there[commands.FIELD][0][:2]
    answered(said)
    return True


def answered(said: Command) -> None:
    """The response is a command set that pydicom reads, of the same message."""
    encoded = response(said, 0xC000, "what a person reads")
    theirs = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert theirs.CommandGroupLength == len(encoded) - 12
    assert theirs.CommandField == said.field | commands.RESPONSE
    assert theirs.MessageIDBeingRespondedTo == said.message_id
    assert (theirs.get("AffectedSOPInstanceUID") or "") == said.sop_instance
    assert (theirs.Status, theirs.CommandDataSetType) == (0xC000, commands.NO_DATA_SET)
    assert isinstance(theirs, Dataset)


def seeds() -> Iterable[bytes]:
    yield wire.store_command("1.2.3")
    yield wire.store_command(None, None)
    yield wire.store_command("1.2.3", field=0x8001)
    yield wire.echo()[12:]
    yield wire.command((0x100, 0x0FFF), (0x120, 3), (0x800, 0x101))
    yield wire.command((2, wire.COMMITMENT), (0x100, 0x100), (0x110, 1), (0x800, 0), (0x1000, "1.2.3"), (0x1002, 1))


def cut(data: bytes) -> Command:
    """Takes what is there of an element that was cut."""
    for end in range(len(data), max(0, len(data) - 20), -1):
        with suppress(Violation):
            return parse(data[:end])
    return parse(data)


def first(data: bytes) -> Command:
    """Takes the first of two elements."""
    there, kept, at = set(), b"", 0
    while len(data) - at >= 8:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] not in there:
            kept += data[at : at + 8 + length]
        there.add(data[at : at + 4])
        at += 8 + length
    return parse(kept + data[at:])


TARGET = Target(
    read=parse,
    check=check,
    seeds=seeds,
    faults={"takes what is cut": cut, "takes the first of two": first},
    words=[*words.LENGTHS, *(b"\0\0" + number.to_bytes(2, "little") for number in (0, 2, 0x100, 0x110, 0x800, 0x1000))],
)
