"""What fuzzing has found in the readers of strangers' bytes, mended: each as it was found, made small."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from db.database import Database
from node.errors import Refused
from node.inbound.association.data_set import file_meta
from node.inbound.association.pdu import Violation
from node.inbound.association.request import parse
from node.inbound.files import take_file
from node.inbound.header import WANTED, read_header
from node.inbound.inbox import Inbox
from node.outbound import commitment
from node.outbound.statuses import Answer
from node.outbound.stow_response import receipt
from node.outbound.target import Target
from node.pull.answer import data_set, listed
from node.study.archive import Archive
from tests import wire
from tests.fuzz.targets import contours

PACS = Target("pacs", "PACS", "pacs", 104)


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element with a length of four bytes."""
    head = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value) if length is None else length)
    return head + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def header(data: bytes) -> Dataset:
    return read_header(memoryview(data), 0, ExplicitVRLittleEndian, WANTED)


SEQUENCE, END = 0x0018A001, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
WHOLE = wire.instance("1.2.3")


def test_an_element_behind_the_end_of_its_item_is_malformed() -> None:
    """pydicom would read on behind the item, and take the elements of the image for those of the sequence."""
    device = wire.explicit(0x0018, 0x1002, "UI", "1.2.3.4")
    sound = explicit(SEQUENCE, b"SQ", item(device) + item(b"") + END, 0xFFFFFFFF)
    assert header(WHOLE + sound).PatientID == "WIRE"
    longer = device[:6] + struct.pack("<H", 60) + device[8:]
    spoilt = explicit(SEQUENCE, b"SQ", item(longer) + END, 0xFFFFFFFF)
    with pytest.raises(Refused, match="does not end with its item"):
        header(WHOLE + spoilt + explicit(0x00204000, b"UT", b" " * 90))
    with pytest.raises(Refused, match="truncated"):
        header(WHOLE + explicit(SEQUENCE, b"SQ", item(device, 900) + END, 0xFFFFFFFF))


def test_an_item_of_a_stated_length_has_no_delimiter() -> None:
    stop = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    with pytest.raises(Refused, match="a delimiter where none belongs"):
        header(WHOLE + explicit(SEQUENCE, b"SQ", item(stop) + END, 0xFFFFFFFF))


@pytest.mark.parametrize("is_open", [False, True], ids=["defined", "undefined"])
def test_by_its_first_element_an_item_is_implicit_throughout(is_open: bool) -> None:
    """As pydicom has it: to an element of Explicit VR behind that, its VR is part of a length."""
    implicit, alone = (struct.pack("<HHL", 0x0018, element, 2) + b"1 " for element in (0x1000, 0x1020))
    named = wire.explicit(0x0018, 0x1020, "LO", "1 ")

    def ends(*elements: bytes) -> bytes:
        inside = b"".join(elements)
        stop = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        one = item(inside + stop, 0xFFFFFFFF) if is_open else item(inside)
        return WHOLE + explicit(SEQUENCE, b"SQ", one + END, 0xFFFFFFFF)

    assert header(ends(implicit, alone)).PatientID == "WIRE"
    assert header(ends(named, struct.pack("<HHL", 0x0018, 0x1030, 2) + b"1 ")).PatientID == "WIRE", (
        "one that changes alone"
    )
    with pytest.raises(Refused, match="truncated"):
        header(ends(implicit, named))


def test_items_may_be_implicit_where_the_object_is_explicit() -> None:
    """Some senders do that, and pydicom reads it."""
    implicit = struct.pack("<HHL", 0x0018, 0x1002, 8) + b"1.2.3.4\0"
    for inside in (item(implicit), item(implicit + struct.pack("<HHL", 0xFFFE, 0xE00D, 0), 0xFFFFFFFF)):
        read = header(WHOLE + explicit(SEQUENCE, b"SQ", inside + END, 0xFFFFFFFF))
        assert read.ContributingEquipmentSequence[0].DeviceUID == "1.2.3.4"


def test_a_value_representation_that_nobody_knows_is_malformed() -> None:
    """Of a new one the length has four bytes (PS3.5 7.1.2); pydicom takes two, and would read another object."""
    with pytest.raises(Refused, match="no value representation that is known"):
        header(WHOLE + explicit(0x00204000, b"SJ", b"abcd"))


def test_no_transfer_syntax_breaks_a_line(tmp_path: Path, database: Database) -> None:
    file = tmp_path / "file"
    file.write_bytes(file_meta("1.2", "1.2.3", "1.2\n\x1b[31mPWNED") + WHOLE)
    archive = Archive(tmp_path / "home")
    (tmp_path / "home").mkdir(mode=0o700)
    archive.prepare()
    with pytest.raises(Refused) as refused:
        take_file(Inbox(archive, database), file)
    assert refused.value.code == "transfer-syntax-refused"
    assert refused.value.sentence.isprintable()


def test_a_maximum_length_is_said_once() -> None:
    """pynetdicom takes the first, and we took the last."""
    again = wire.item(0x51, struct.pack(">L", 65537))
    with pytest.raises(Violation, match="maximum length is there twice"):
        parse(wire.request(user=wire.user_information(again)))
    assert parse(wire.request()).longest == 16384


@pytest.mark.parametrize("odd", ["\t", "\n", "\x1f"])
def test_an_abstract_syntax_is_read_once_and_by_one(odd: str) -> None:
    """pynetdicom left white space away and served what we took for another, and for nothing that is counted."""
    with pytest.raises(Violation, match="not printable"):
        parse(wire.request(wire.context(1, f"{odd}{wire.CT}", ("1.2.840.10008.1.2",))))
    for padding in (" {}", "{} ", "{}\0", "{}\0\0\0"):
        asked = parse(wire.request(wire.context(1, padding.format(wire.CT), ("1.2.840.10008.1.2",))))
        assert asked.proposed == {wire.CT}
        theirs: Any = A_ASSOCIATE_RQ()
        theirs.decode(asked.pdu)
        (proposed,) = theirs.to_primitive().presentation_context_definition_list
        assert proposed.abstract_syntax == wire.CT


@pytest.mark.parametrize("number", ["1_0", "-17.51_0"])
def test_a_coordinate_is_a_number_of_dicom_and_not_of_python(number: str) -> None:
    sound = contours.square(1, 5)
    assert contours.check(contours.TARGET.read, b"\0" + sound)
    roi = Dataset()
    roi.ContourSequence = [contours.contour("CLOSED_PLANAR", number.encode() + sound[sound.index(b"\\") :])]
    with pytest.raises(Refused, match="ContourData"):
        contours.TARGET.read(contours.slices(), roi, None)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_json_that_is_nested_deeply_is_no_answer(depth: int) -> None:
    body = b'{"0020000D": {"vr": "SQ", "Value": [' * depth + b"{}" + b"]}}" * depth
    if depth > 1000:
        with pytest.raises(ValueError, match="nested"):
            listed(body)
    else:
        assert [data_set(one) for one in listed(body)] == [None]


@pytest.mark.parametrize("uid", ["1.2.3\0" + "4" * 8, "x" * 100, "'; --"])
def test_a_report_names_uids_or_nothing(database: Database, uid: str) -> None:
    """PostgreSQL takes no NUL, and the receiver would have had no answer."""
    ds, failed = Dataset(), Dataset()
    ds.TransactionUID, failed.ReferencedSOPInstanceUID, failed.FailureReason = uid, uid, 0x0110
    ds.FailedSOPSequence = [failed]
    taken = commitment.take(database, notice(ds), ("pacs",))
    assert (taken.status, taken.code) == (commitment.INVALID_ARGUMENT, "commitment-unreadable")
    ds.TransactionUID = "1.2.3"
    assert commitment.reported(encoded(ds), ExplicitVRLittleEndian).failed == {}
    assert commitment.take(database, notice(ds), ("pacs",)).code == "unknown-transaction"


def encoded(ds: Dataset) -> bytes:
    made = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert made
    return made


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("sequence", ["ReferencedSOPSequence", "FailedSOPSequence"])
def test_a_report_that_is_longer_than_any_answer_is_not_decoded(sequence: str, syntax: UID) -> None:
    order = (syntax.is_implicit_VR, syntax.is_little_endian)
    ds = Dataset()
    ds.TransactionUID = "1.2.3"
    setattr(ds, sequence, [Dataset()] * commitment.MOST_ITEMS)
    assert commitment.reported(encode(ds, *order) or b"", syntax).transaction_uid == "1.2.3"
    setattr(ds, sequence, [Dataset()] * (commitment.MOST_ITEMS + 1))
    with pytest.raises(Refused, match="10000 items"):
        commitment.reported(encode(ds, *order) or b"", syntax)
    with pytest.raises(Refused, match="has more than 1048576 bytes"):
        commitment.reported(bytes(commitment.LONGEST + 1), syntax)


def notice(ds: Dataset) -> commitment.Notice:
    return commitment.Notice(str(StorageCommitmentPushModelInstance), 2, encoded(ds), UID(ExplicitVRLittleEndian))


@pytest.mark.parametrize("reason", [1e999, -1, 1 << 70, 65536, "x", None])
def test_a_reason_that_is_none_is_no_reason_and_no_success(reason: Any) -> None:
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "FD", "Value": [reason]}}]}}
    found = receipt(PACS, 202, "", json.dumps(failed).encode())
    assert found.answer is not Answer.DELIVERED
    assert found.status is None


@pytest.mark.parametrize("reason", ["-1", "99999", "9" * 5000, "nan", ""])
def test_nor_is_one_in_xml(reason: str) -> None:
    inner = f'<DicomAttribute tag="00081197" vr="US"><Value number="1">{reason}</Value></DicomAttribute>'
    outer = f'<DicomAttribute tag="00081198" vr="SQ"><Item number="1">{inner}</Item></DicomAttribute>'
    found = receipt(PACS, 200, "", f"<NativeDicomModel>{outer}</NativeDicomModel>".encode())
    assert (found.answer, found.status) == (Answer.DEAD, None)


def test_a_conflict_is_no_success_whatever_else_the_answer_says() -> None:
    stored = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]}}
    assert receipt(PACS, 409, "", json.dumps(stored).encode()).answer is Answer.RETRY
    assert receipt(PACS, 200, "", json.dumps(stored).encode()).answer is Answer.DELIVERED
