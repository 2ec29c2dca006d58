"""A destination's report on storage commitment (PS3.4 table J.3-2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from node.errors import Refused
from node.outbound import commitment
from node.outbound.commitment import Report
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def check(read: Reader, data: bytes) -> bool:
    """The first byte says in which transfer syntax the others are."""
    syntax, data = SYNTAXES[data[0] % 2 if data else 0], data[1:]
    try:
        report: Report = read(data, syntax)
    except Refused as refusal:
        assert refusal.code == "commitment-unreadable"
        return False
    for uid in (report.transaction_uid, *report.committed, *report.failed):
        assert 1 <= len(uid) <= 64, "a UID that is none"
        assert not set(uid) - set("0123456789."), "a UID with letters or NUL, which no row takes"
    for why in report.failed.values():
        assert why.isprintable() and len(why) < 200
    theirs = read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
    assert str(theirs.TransactionUID) == report.transaction_uid
    return bool(report.committed or report.failed)


def trusting(data: bytes, syntax: UID) -> Report:
    """Takes for a UID whatever stands there."""
    found = commitment.reported(data, syntax)
    return replace(found, committed=found.committed | {"a\0b"})


def seeds() -> Iterable[bytes]:
    ds, one, other = Dataset(), Dataset(), Dataset()
    ds.TransactionUID = "1.2.3"
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = "1.2", "1.2.3.4"
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID, other.FailureReason = "1.2", "1.2.3.5", 0x0110
    ds.ReferencedSOPSequence, ds.FailedSOPSequence = [one, one], [other]
    for number, syntax in enumerate(SYNTAXES):
        data = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian) or b""
        yield bytes((number,)) + data
        yield bytes((number,)) + data[:-5]


TARGET = Target(
    read=commitment.reported,
    check=check,
    seeds=seeds,
    faults={"takes anything for a UID": trusting},
    words=[*words.ELEMENTS, *words.LENGTHS],
)
