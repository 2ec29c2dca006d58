"""Receiving: Success means on disk and in the database; everything else is refused with a reason that is kept."""

from __future__ import annotations

import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification

from config.settings import Settings, load
from db import overview, refusals
from db.arrivals import Seen
from node.app import Node, open_node
from node.configured import doorkeeper
from node.errors import Refused
from node.inbound.header import data_set_start
from node.inbound.peers import Doorkeeper
from node.operations.control import pause
from node.operations.status import overview as status
from node.operations.submit import take_file
from node.receiver import Receiver
from tests.answered import answered
from tests.doors import door
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

#: what has to hold of our own loop and of pynetdicom's; everything else is tested on ours
on_both_loops = pytest.mark.parametrize("receiver", ["own", "pynetdicom"], indirect=True)


@pytest.fixture
def receiver(
    node: Node, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Receiver]]:
    """Start a receiver for a node; its port is in `.port`."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # a receiver sets it for its whole process
    started: list[Receiver] = []

    def start(doors: Doorkeeper | None = None, reserve_bytes: int = 0) -> Any:
        made: Any = Receiver(
            door(associations=20, reserve_bytes=reserve_bytes, loop=getattr(request, "param", "own")),
            doors or Doorkeeper(()),
            node.inbox,
            node.database,
        )
        made.port = made.start()
        started.append(made)
        return made

    yield start
    for one in started:
        one.stop()


def associate(port: int, *contexts: tuple[str, list[str]], ae_title: str = "CT1") -> Any:
    ae = AE(ae_title)
    proposed = contexts or ((CTImageStorage, [ExplicitVRLittleEndian]), (Verification, [ImplicitVRLittleEndian]))
    for sop_class, syntaxes in proposed:
        ae.add_requested_context(sop_class, syntaxes)
    return ae.associate("127.0.0.1", port)


def store(port: int, *images: Dataset) -> list[int | None]:
    assoc = associate(port)
    assert assoc.is_established
    statuses = [assoc.send_c_store(ds).get("Status") for ds in images]
    assoc.release()
    return statuses


def rows(node: Node) -> list[Any]:
    with node.database.read() as tx:
        import sqlalchemy as sa

        from db.tables import instance

        return list(tx.execute(sa.select(instance).order_by(instance.c.id)).mappings())


def callers(node: Node) -> dict[str, Any]:
    with node.database.read() as tx:
        return {row["code"]: row for row in refusals.callers(tx)}


@on_both_loops
def test_an_echo_is_answered(receiver: Any) -> None:
    assoc = associate(receiver().port)
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


@on_both_loops
def test_success_means_a_whole_file_under_a_name_of_our_own_and_a_row(receiver: Any, node: Node) -> None:
    images = small_series()
    assert store(receiver().port, *images) == [0x0000] * len(images)
    found = rows(node)
    assert [row["sop_uid"] for row in found] == [ds.SOPInstanceUID for ds in images]
    for row, ds in zip(found, images, strict=True):
        file = node.archive.at(row["path"])
        assert ds.SOPInstanceUID not in str(file)
        back = dcmread(file)
        assert back.PixelData == ds.PixelData
        assert back.PatientName == ds.PatientName
        assert (row["calling_ae"], row["address"], row["kind"]) == ("CT1", "127.0.0.1", "image")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(node.archive.spool.iterdir())
    assert stat.S_IMODE(node.archive.home.stat().st_mode) == 0o700


def test_the_same_bytes_again_are_success_and_no_news(receiver: Any, node: Node) -> None:
    (image, *_) = small_series()
    port = receiver().port
    assert store(port, image) + store(port, image, image) == [0x0000] * 3
    assert len(rows(node)) == 1
    assert len(list((node.archive.home / "store").rglob("*.dcm"))) == 1


def test_the_same_uid_with_other_bytes_is_kept_as_a_revision(receiver: Any, node: Node) -> None:
    (image, *_) = small_series()
    port = receiver().port
    store(port, image)
    image.SeriesDescription = "corrected"
    store(port, image)
    found = rows(node)
    assert [(row["revision"], row["sop_uid"]) for row in found] == [
        (1, image.SOPInstanceUID),
        (2, image.SOPInstanceUID),
    ]
    assert [dcmread(node.archive.at(row["path"])).SeriesDescription for row in found] == [
        "Synthetic chest",
        "corrected",
    ]


@on_both_loops
def test_one_instance_from_many_senders_at_once_is_one_row(receiver: Any, node: Node) -> None:
    (image, *_) = small_series()
    port = receiver().port
    answers: list[int | None] = []
    threads = [threading.Thread(target=lambda: answers.extend(store(port, image))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0x0000] * 8
    assert len(rows(node)) == 1
    assert len(list((node.archive.home / "store").rglob("*.dcm"))) == 1


def test_revisions_from_many_senders_at_once_are_all_kept(receiver: Any, node: Node) -> None:
    port = receiver().port
    uid = generate_uid()
    versions = []
    for number in range(6):
        (image, *_) = small_series()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
        image.SeriesDescription = f"version {number}"
        versions.append(image)
    answers: list[int | None] = []
    threads = [threading.Thread(target=lambda ds=ds: answers.extend(store(port, ds))) for ds in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0x0000] * 6
    assert sorted(row["revision"] for row in rows(node)) == [1, 2, 3, 4, 5, 6]


def test_a_file_that_was_lost_is_made_good_by_the_next_sender(receiver: Any, node: Node) -> None:
    (image, *_) = small_series()
    port = receiver().port
    store(port, image)
    file = node.archive.at(rows(node)[0]["path"])
    file.unlink()
    assert store(port, image) == [0x0000]
    (row,) = rows(node)
    assert dcmread(node.archive.at(row["path"])).SOPInstanceUID == image.SOPInstanceUID


@on_both_loops
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_data_sets_are_stored_byte_for_byte_as_they_were_sent(receiver: Any, node: Node, syntax: str) -> None:
    (image, *_) = small_series()
    image.PixelData = image.PixelData if syntax != ExplicitVRBigEndian else _swapped(image.PixelData)
    image.file_meta.TransferSyntaxUID = syntax
    assoc = associate(receiver().port, (CTImageStorage, [syntax]))
    assert assoc.send_c_store(image).Status == 0x0000
    assoc.release()
    (row,) = rows(node)
    assert row["transfer_syntax"] == syntax
    back = dcmread(node.archive.at(row["path"]))
    assert back.file_meta.TransferSyntaxUID == syntax
    assert back.PixelData == image.PixelData


def _swapped(data: bytes) -> bytes:
    return b"".join(data[n + 1 : n + 2] + data[n : n + 1] for n in range(0, len(data), 2))


@on_both_loops
def test_a_deflated_data_set_is_not_negotiated_and_the_status_says_so(receiver: Any, node: Node) -> None:
    running = receiver()
    assoc = associate(running.port, (CTImageStorage, [DeflatedExplicitVRLittleEndian]))
    assert not assoc.is_established
    running.ledger.flush()
    row = callers(node)["transfer-syntax-refused"]
    assert (row["ae_title"], row["count"]) == ("CT1", 1)
    assert "Deflated" in row["sentence"]


@on_both_loops
def test_an_unknown_caller_is_rejected_and_told_how_to_get_in(node: Node, receiver: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[[peer]]\nname = "ct2"\nae_title = "CT2"\naddress = "127.0.0.0/8"\nmay_send = true\n')
    running = receiver(doorkeeper(load(file)))
    calls = 0
    for _ in range(3):
        assoc, times = answered(partial(associate, running.port, ae_title="CT1"))
        calls += times
        assert assoc.is_rejected
        primitive = assoc.acceptor.primitive
        assert (primitive.result, primitive.result_source, primitive.diagnostic) == (1, 1, 3)
    running.ledger.flush()
    row = callers(node)["unknown-caller"]
    assert (row["ae_title"], row["address"], row["count"]) == ("CT1", "127.0.0.1", calls)
    pasted = row["sentence"].split("configuration: ")[1]
    file.write_text(file.read_text() + pasted + "\n")
    again = receiver(doorkeeper(load(file)))
    assoc = associate(again.port, ae_title="CT1")
    assert assoc.is_established
    assoc.release()


def test_a_known_title_from_another_address_is_rejected_too() -> None:
    file_peer = '[[peer]]\nname = "ct2"\nae_title = "CT2"\naddress = "10.1.2.3"\nmay_send = true\n'
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(file_peer)
        file.flush()
        keeper = doorkeeper(load(Path(file.name)))
    assert keeper.judge("10.1.2.3", "CT2").may_send
    assert keeper.judge("::ffff:10.1.2.3", "CT2").may_send
    assert "may not call from 10.9.9.9" in keeper.judge("10.9.9.9", "CT2").sentence
    assert "whose AE title is CT2" in keeper.judge("10.1.2.3", "MR1").sentence
    assert "it is probably peer ct2" in keeper.judge("10.1.2.3", "ct2").sentence
    assert not keeper.judge("10.9.9.9", "CT2").may_call


@on_both_loops
def test_a_peer_that_may_not_send_may_still_echo(receiver: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        '[[peer]]\nname = "a"\nae_title = "A"\naddress = "10.0.0.1"\nmay_send = true\n'
        '[[peer]]\nname = "pacs"\nae_title = "CT1"\naddress = "127.0.0.1"\n'
    )
    running = receiver(doorkeeper(load(file)))
    assoc = associate(running.port)
    assert [context.abstract_syntax for context in assoc.accepted_contexts] == [Verification]
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


def test_without_senders_a_node_listens_on_loopback_only(tmp_path: Path) -> None:
    assert load(None).listen == "127.0.0.1"
    file = tmp_path / "c.toml"
    file.write_text('[[peer]]\nname = "a"\nae_title = "A"\naddress = "10.0.0.1"\nmay_send = true\n')
    assert load(file).listen == "0.0.0.0"


@on_both_loops
def test_below_the_reserve_the_answer_is_out_of_resources(receiver: Any, node: Node) -> None:
    running = receiver(reserve_bytes=1 << 60)
    assert store(running.port, small_series()[0]) == [0xA700]
    running.ledger.flush()
    assert "reserve" in callers(node)["disk-reserve"]["sentence"]
    assert not rows(node)
    assert not list(node.archive.spool.iterdir())


@on_both_loops
@pytest.mark.parametrize(
    ("keyword", "value", "code", "status"),
    [
        ("SOPInstanceUID", "1.2.3", "uid-mismatch", 0xA900),
        ("StudyInstanceUID", "", "uid-missing", 0xC000),
        ("StudyInstanceUID", "../../etc/passwd", "uid-illegal", 0xC000),
        ("SeriesInstanceUID", "1." * 40 + "1", "uid-illegal", 0xC000),
    ],
)
def test_an_object_that_cannot_be_filed_is_refused_with_a_code(
    receiver: Any, node: Node, tmp_path: Path, keyword: str, value: str, code: str, status: int
) -> None:
    image = small_series()[0]
    (file,) = as_files([image], tmp_path)
    ds = dcmread(file)
    setattr(ds, keyword, value)
    assoc = associate(receiver().port)
    if keyword == "SOPInstanceUID":
        answer = store_raw(assoc, ds.SOPClassUID, image.SOPInstanceUID, encode(ds, False, True) or b"")
    else:
        answer = assoc.send_c_store(ds).Status
    assoc.release()
    assert answer == status
    wait_until("the refusal is noted", lambda: code in callers(node))
    assert not rows(node)
    assert not list(node.archive.spool.iterdir())


def store_raw(assoc: Any, sop_class: str, sop_uid: str, data: bytes) -> int:
    """C-STORE with a command and a data set that need not agree."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_uid
    request.DataSet = BytesIO(data)
    (context,) = [cx for cx in assoc.accepted_contexts if cx.abstract_syntax == sop_class]
    assoc._reactor_checkpoint.clear()  # as pynetdicom's own send_c_store does
    wait_until("the reactor pauses", lambda: assoc._is_paused)
    assoc.dimse.send_msg(request, context.context_id)
    _, response = assoc.dimse.get_msg(True)
    assoc._reactor_checkpoint.set()
    return int(response.Status)


@on_both_loops
def test_a_truncated_object_is_refused_and_the_next_one_is_stored(receiver: Any, node: Node) -> None:
    image, other = small_series()[:2]
    assoc = associate(receiver().port)
    cut = (encode(image, False, True) or b"")[:-100]
    assert store_raw(assoc, image.SOPClassUID, image.SOPInstanceUID, cut) == 0xC000
    assert assoc.send_c_store(other).Status == 0x0000
    assoc.release()
    wait_until("the refusal is noted", lambda: "truncated" in callers(node))
    assert [row["sop_uid"] for row in rows(node)] == [other.SOPInstanceUID]


#: by the service provider: an invalid PDU parameter value (PS3.8 9.3.8)
ABORT = b"\x07\0\0\0\0\4\0\0\2\6"


@on_both_loops
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-dicom"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "tls-on-plain-port"),
        (b"\x01\x00\xff\xff\xff\xff", "request-too-long"),
        (b"", "no-request"),
    ],
)
def test_what_does_not_speak_dicom_is_closed_and_counted(receiver: Any, node: Node, said: bytes, code: str) -> None:
    running = receiver()
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(said)
        if not said:
            connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == (ABORT if code == "request-too-long" else b"")
    running.ledger.flush()
    assert callers(node)[code]["count"] == 1
    assert store(running.port, small_series()[0]) == [0x0000]


def test_pausing_rejects_callers_for_now_and_resuming_lets_them_in(receiver: Any, node: Node) -> None:
    running = receiver()
    pause(node.database, ["receive"], paused=True, who="test")

    def rejected() -> bool:
        assoc = associate(running.port)
        if assoc.is_established:
            assoc.release()
        return bool(assoc.is_rejected)

    wait_until("the receiver has noticed", rejected)
    assoc, _ = answered(partial(associate, running.port))
    primitive = assoc.acceptor.primitive
    assert (primitive.result, primitive.result_source, primitive.diagnostic) == (2, 3, 1)
    pause(node.database, ["receive"], paused=False, who="test")

    def let_in() -> bool:
        assoc = associate(running.port)
        try:
            return bool(assoc.is_established)
        finally:
            if assoc.is_established:
                assoc.release()

    wait_until("the receiver has noticed", let_in)


def test_another_patient_under_the_same_uid_holds_the_study_for_a_person(receiver: Any, node: Node) -> None:
    image = small_series()[0]
    port = receiver().port
    store(port, image)
    image.PatientID = "SOMEBODY-ELSE"
    assert store(port, image) == [0x0000]
    (study,) = status(node.database)["studies"]
    assert study["state"] == "held"
    assert "another patient" in study["reason"]
    assert len(rows(node)) == 2


def test_only_images_open_a_study(receiver: Any, node: Node, tmp_path: Path) -> None:
    report = dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "test-SR.dcm")
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assoc = associate(receiver().port, (report.SOPClassUID, [ExplicitVRLittleEndian]))
    assert assoc.send_c_store(report).Status == 0x0000
    assoc.release()
    with node.database.read() as tx:
        (study,) = overview.studies(tx)
    assert study.row["state"] == "none"
    assert study.instances == {"other": 1}


def test_files_come_in_through_the_same_door(node: Node, tmp_path: Path) -> None:
    files = as_files(small_series(), tmp_path)
    assert [take_file(node.inbox, file) for file in files] == [Seen.NEW] * len(files)
    assert take_file(node.inbox, files[0]) is Seen.SAME
    assert rows(node)[0]["calling_ae"] == "SUBMIT"
    stored = node.archive.at(rows(node)[0]["path"]).read_bytes()
    assert stored[:128] == b"\0" * 128
    sent = files[0].read_bytes()
    assert stored[data_set_start(memoryview(stored)) :] == sent[data_set_start(memoryview(sent)) :]


@on_both_loops
def test_what_came_over_the_network_is_known_when_it_comes_from_a_disk(
    receiver: Any, node: Node, tmp_path: Path
) -> None:
    """The digest that is made while an object comes is the one that is made of a file."""
    (image, *_) = small_series()
    assert store(receiver().port, image) == [0x0000]
    assert take_file(node.inbox, as_files([image], tmp_path)[0]) is Seen.SAME
    assert len(rows(node)) == 1


def test_a_preamble_that_is_a_program_does_not_survive(node: Node, tmp_path: Path) -> None:
    (file,) = as_files(small_series()[:1], tmp_path)
    file.write_bytes(b"MZ" + b"\x90" * 126 + file.read_bytes()[128:])
    take_file(node.inbox, file)
    assert node.archive.at(rows(node)[0]["path"]).read_bytes()[:128] == b"\0" * 128


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data[:-50], "truncated"),
        (lambda data: data[132:], "no-file-meta"),
        (lambda data: data[:0], "no-file-meta"),
        (lambda data: data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"), "transfer-syntax-refused"),
    ],
)
def test_files_that_are_no_whole_objects_are_refused(
    node: Node, tmp_path: Path, spoil: Callable[[bytes], bytes], code: str
) -> None:
    (file,) = as_files(small_series()[:1], tmp_path)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(Refused) as refused:
        take_file(node.inbox, file)
    assert refused.value.code == code
    assert not rows(node)
    assert not list(node.archive.spool.iterdir())


def test_two_nodes_may_share_a_database(settings: Settings, node: Node) -> None:
    other = open_node(settings)
    assert other.serial == node.serial
    other.close()


@on_both_loops
def test_a_database_that_is_away_is_out_of_resources_and_not_the_objects_fault(receiver: Any, node: Node) -> None:
    """0xCxxx would tell the PACS never to send it again."""
    (image, other, *_) = small_series()
    started = receiver()
    assert store(started.port, image) == [0x0000]
    file = node.archive.home / "planimeter.db"
    file.rename(file.with_suffix(".away"))
    node.database.engine.dispose()
    file.mkdir()
    try:
        assert store(started.port, other, image) == [0xA700, 0xA700]
    finally:
        file.rmdir()
        file.with_suffix(".away").rename(file)
    assert store(started.port, other) == [0x0000]


@on_both_loops
def test_a_request_that_comes_in_pieces_is_a_request(receiver: Any) -> None:
    port = receiver().port
    request = recorded_request(port)
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (request[:1], request[1:4], request[4:]):
            connection.sendall(piece)
            threading.Event().wait(0.2)
        connection.settimeout(10)
        assert connection.recv(1) == b"\x02", "an A-ASSOCIATE-AC"


def recorded_request(port: int) -> bytes:
    """The bytes of a real A-ASSOCIATE-RQ."""
    from pynetdicom.pdu import A_ASSOCIATE_RQ

    seen: list[bytes] = []
    ae = AE("CT1")
    ae.add_requested_context(Verification, [ImplicitVRLittleEndian])

    def note(event: Any) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RQ):
            seen.append(event.pdu.encode())

    assoc = ae.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_PDU_SENT, note)])
    assoc.release()
    return seen[0]


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (b"\x10\x00\x20\x00", b"FD", b"12"),
        (b"\x10\x00\x20\x00", b"SS", b"12345"),
        (b"\x10\x00\x30\x00", b"US", b"1"),
    ],
)
def test_an_element_that_cannot_be_read_is_a_refusal(
    receiver: Any, node: Node, tmp_path: Path, tag: bytes, vr: bytes, value: bytes
) -> None:
    (file,) = as_files(small_series()[:1], tmp_path)
    data = file.read_bytes()
    start = data.index(tag + (b"LO" if tag[2] == 0x20 else b"DA"), 200)
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    broken = tag + vr + len(value).to_bytes(2, "little") + value
    file.write_bytes(data[:start] + broken + data[start + 8 + length :])
    with pytest.raises(Refused) as refused:
        take_file(node.inbox, file)
    assert refused.value.code == "malformed"
    assert not list(node.archive.spool.iterdir())


def test_a_nul_in_a_header_reaches_no_row(node: Node, tmp_path: Path) -> None:
    """PostgreSQL has none in text: the object is stored as it came, the row without."""
    (image, *_) = small_series()
    image.PatientID = "P\0001"
    take_file(node.inbox, as_files([image], tmp_path)[0])
    assert dcmread(node.archive.at(rows(node)[0]["path"])).PatientID.startswith("P\0")
    with node.database.read() as tx:
        import sqlalchemy as sa

        from db.tables import patient

        assert "\0" not in tx.execute(sa.select(patient.c.patient_id)).scalar_one()


def test_the_ledger_forgets_what_it_has_written(node: Node) -> None:
    from node.inbound.ledger import Ledger

    ledger = Ledger(node.database)
    for number in range(15):
        ledger.count("10.0.0.1", f"T{number}", "unknown-caller", "who?")
    ledger.flush()
    assert not ledger._sentences
    assert callers(node)["unknown-caller"]["sentence"] == "who?"


def test_a_file_without_instance_uids_in_its_meta_information_is_refused(node: Node, tmp_path: Path) -> None:
    (image, *_) = small_series()
    (file,) = as_files([image], tmp_path)
    ds = dcmread(file)
    ds.file_meta.MediaStorageSOPInstanceUID = ""
    ds.save_as(file, enforce_file_format=False)
    with pytest.raises(Refused) as refused:
        take_file(node.inbox, file)
    assert refused.value.code in ("uid-missing", "no-file-meta")
