"""`planimeter doctor`: what real peers, strange peers and no peer at all are found to be, and what is said to do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from node import cli
from node.operations.doctor import custody, line, query
from node.operations.doctor.examination import Examination, examine
from node.operations.doctor.service import Service
from node.operations.doctor.verdict import Mark, Verdict, judge
from node.outbound.target import Target
from node.tls.calling import Calling
from node.tls.files import Pair, Trust
from tests.certificates import Issued, self_signed
from tests.fake_archive import is_sent
from tests.fake_pacs import LABEL_MAP_SEGMENTATION_STORAGE, FakePacs
from tests.fake_stow import FakeStow
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.strange_peers import CLOSE, HANG, dcmqrscp, listener, storescp
from tests.waiting import wait_until

TODAY = date(2026, 11, 22)
SECONDS = 30.0
EXPLICIT = str(ExplicitVRLittleEndian)


def look(port: int, ae_title: str = "PACS", tls: Calling | None = None, seconds: float = SECONDS, **wishes: Any) -> Any:
    found = examine(Target("pacs", ae_title, "127.0.0.1", port, **wishes), "PLANIMETER", seconds, tls, TODAY)
    return found, judge(found)


def problem(found: Examination) -> str:
    assert found.problem is not None, found
    return found.problem[0]


def service(found: Examination, name: str) -> Service:
    (one,) = [one for one in found.services if one.name == name]
    return one


def taken(found: Examination) -> dict[str, list[str]]:
    return {str(one.written.sop_class): [str(syntax) for syntax in one.accepted] for one in found.taken}


def text(verdict: Verdict, mark: Mark | None = None) -> str:
    return "\n".join(one.sentence for one in verdict.sentences if mark in (None, one.mark))


# ------------------------------------------------------------------ real peers


def test_a_stock_orthanc_is_described_before_and_after_it_knows_us(orthanc: Orthanc) -> None:
    stranger, verdict = look(orthanc.port, "ORTHANC")
    assert verdict.deliverable
    assert stranger.speaker.implementation_version.startswith("OFFIS_DCMTK")
    assert "takes SEG and SR" in text(verdict, Mark.GOOD)
    assert "takes no label map SEG: keep `label_map = false`" in text(verdict)
    assert service(stranger, query.FIND).dropped
    assert "add PLANIMETER there" in text(verdict)

    orthanc.know("PLANIMETER", 11112)
    known, verdict = look(orthanc.port, "ORTHANC")
    assert service(known, custody.NAME).works
    assert service(known, query.FIND).works
    assert service(known, query.FIND_IMAGE).said == "answers: no such object, as it should"
    assert service(known, query.GET).works
    assert orthanc.files() == []


def test_an_archive_that_judges_ae_titles_is_described(dcmtk: Callable[[str], str], tmp_path: Path) -> None:
    with dcmqrscp(dcmtk("dcmqrscp"), tmp_path, "ARCHIVE", {"OTHER": 4000}) as port:
        found, verdict = look(port, "ARCHIVE")
        assert service(found, query.FIND).works
        assert service(found, custody.NAME).said == "not offered"
        # it looks at the destination only when it has found something to move
        assert service(found, query.MOVE).works is None
        assert "shows only when a real study is moved" in text(verdict)
        wrong, verdict = look(port, "ARCHIV")
    assert problem(wrong) == "called-title-unknown"
    assert "does not go by the AE title ARCHIV" in text(verdict)


@pytest.mark.parametrize(
    ("classes", "wishes", "deliverable", "said"),
    [
        ([CTImageStorage, SecondaryCaptureImageStorage], {}, False, "takes no SEG: allow Segmentation Storage"),
        ([SecondaryCaptureImageStorage], {"objects": frozenset({"SC"})}, True, "takes SC"),
        ([SegmentationStorage, ComprehensiveSRStorage], {}, True, "takes reports only as Comprehensive SR Storage"),
        ([SegmentationStorage], {}, False, 'or leave "SR" out of `objects`'),
        (
            [SegmentationStorage],
            {"objects": frozenset({"SEG"}), "rejection_notes": True},
            False,
            "turn `rejection_notes`",
        ),
        ([LABEL_MAP_SEGMENTATION_STORAGE], {"objects": frozenset({"SEG"})}, False, "set `label_map = true` if it also"),
        (
            [LABEL_MAP_SEGMENTATION_STORAGE],
            {"objects": frozenset({"SEG"}), "label_map": True},
            False,
            "takes no binary SEG: results whose segments overlap",
        ),
        (
            [LABEL_MAP_SEGMENTATION_STORAGE, SegmentationStorage],
            {"objects": frozenset({"SEG"}), "label_map": True},
            True,
            "not RLE: they are sent uncompressed",
        ),
        ([SegmentationStorage], {"objects": frozenset({"SEG"}), "label_map": True}, True, "set `label_map = false`"),
    ],
)
def test_a_peer_that_takes_only_some_classes_is_told_apart(
    dcmtk: Callable[[str], str],
    tmp_path: Path,
    classes: list[str],
    wishes: dict[str, Any],
    deliverable: bool,
    said: str,
) -> None:
    allowed = tuple((str(one), EXPLICIT) for one in classes)
    with storescp(dcmtk("storescp"), tmp_path / "scp", classes=allowed) as port:
        found, verdict = look(port, **wishes)
    assert {uid for uid, syntaxes in taken(found).items() if syntaxes} == {
        uid for uid in map(str, classes) if uid in taken(found)
    }
    assert verdict.deliverable is deliverable
    assert said in text(verdict)
    assert service(found, query.FIND).said == service(found, query.MOVE).said == "not offered"


def test_transfer_syntaxes_are_told_one_by_one(pacs: FakePacs) -> None:
    pacs.syntaxes[:] = [ImplicitVRLittleEndian]
    pacs.stop()
    pacs.start()
    implicit, verdict = look(pacs.port, pacs.ae_title)
    assert set(map(tuple, taken(implicit).values())) == {(str(ImplicitVRLittleEndian),)}
    assert verdict.deliverable
    pacs.syntaxes[:] = [RLELossless]
    pacs.stop()
    pacs.start()
    packed, verdict = look(pacs.port, pacs.ae_title)
    assert taken(packed)[str(LABEL_MAP_SEGMENTATION_STORAGE)] == [str(RLELossless)]
    assert taken(packed)[str(SegmentationStorage)] == []
    assert not verdict.deliverable


# ------------------------------------------------------------------------ TLS


def pair(issued: Issued) -> tuple[Path, Path]:
    return issued.certificate, issued.key


def test_tls_is_shaken_hands_with_described_and_never_taken_for_granted(
    dcmtk: Callable[[str], str], tmp_path: Path
) -> None:
    cert, key = pair(self_signed(tmp_path, "pacs"))
    with storescp(dcmtk("storescp"), tmp_path / "scp", "+tls", key, cert, "-ic") as port:
        plain, verdict = look(port)
        assert problem(plain) == "speaks-tls"
        assert "try again with --tls" in text(verdict)
        unknown, verdict = look(port, tls=Calling())
        assert not unknown.security.trusted
        assert unknown.security.version in ("TLSv1.2", "TLSv1.3")
        assert unknown.security.subject == "O=Tests, CN=pacs"
        assert "signs itself, and is not among those that are trusted" in text(verdict, Mark.BAD)
        assert "give its authority with --ca-file" in text(verdict, Mark.BAD)
        trusted, verdict = look(port, tls=Calling(trust=Trust(cert)))
        assert trusted.security.trusted
        assert any(taken(trusted).values())
        assert "its certificate is trusted: `tls = true` where it is configured uses it" in text(verdict, Mark.GOOD)
        assert verdict.deliverable


def test_a_peer_that_wants_a_certificate_of_ours_says_so(
    dcmtk: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cert, key), (ours, our_key) = (pair(self_signed(tmp_path, name)) for name in ("pacs", "planimeter"))
    with storescp(dcmtk("storescp"), tmp_path / "scp", "+tls", key, cert, "+cf", ours) as port:
        monkeypatch.setattr(line, "ALERT_SECONDS", SECONDS)
        without, verdict = look(port, tls=Calling(trust=Trust(cert)))
        assert problem(without) == "certificate-wanted", text(verdict)
        monkeypatch.undo()
        assert "--certificate and --key" in text(verdict)
        with_ours, _ = look(port, tls=Calling(trust=Trust(cert), pair=Pair(ours, our_key)))
        assert any(taken(with_ours).values())
    unusable, _ = look(port, tls=Calling(pair=Pair(cert, our_key)))
    assert problem(unusable) == "tls-files"


def test_a_plain_peer_is_not_asked_for_tls_in_vain(pacs: FakePacs) -> None:
    found, verdict = look(pacs.port, pacs.ae_title, tls=Calling())
    assert problem(found) == "speaks-plain"
    assert "leave --tls out" in text(verdict)


# --------------------------------------------------------------- no peer at all


def test_nobody_there_is_said_with_what_to_look_at() -> None:
    found, verdict = look(free_port())
    assert problem(found) == "port-closed"
    assert "is the peer running" in text(verdict)
    assert not verdict.deliverable
    lost = examine(Target("x", "PACS", "no-such-host.invalid", 104), "PLANIMETER", SECONDS, None, TODAY)
    assert problem(lost) == "host-unknown"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", "not-dicom", "a web server; the DICOM port is another"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-dicom", "it answered 'SSH-2.0-OpenSSH_9.2"),
        (b"\x1b[2J" + b"\xff" * 64, "not-dicom", "does not speak DICOM"),
        (CLOSE, "closed", "only callers that it knows by address"),
        (HANG, "silent", "says nothing for 1 s"),
        (b"\x07\0\0\0\0\x04\0\0\0\0", "aborted", "may not know our AE title PLANIMETER"),
        (b"\x02\0\0\0\x02\0\0\x01", "unreadable-answer", "cannot be read"),
        (b"\x15\x03\x03\0\x02\x02\x28", "speaks-tls", "try again with --tls"),
        (b"\x03\0\0\0\0\x04\0\x01\x01\x03", "calling-title-unknown", "does not know our AE title PLANIMETER"),
        (b"\x03\0\0\0\0\x04\0\x01\x01\x07", "called-title-unknown", "does not go by the AE title PACS"),
        (b"\x03\0\0\0\0\x04\0\x02\x03\x02", "rejected", "it is busy, try again later"),
    ],
)
def test_what_is_no_healthy_peer_is_named(answer: bytes | None, code: str, said: str) -> None:
    with listener(answer) as port:
        found, verdict = look(port, seconds=1 if answer is HANG else SECONDS)
    assert problem(found) == code, found.problem
    assert said in text(verdict)
    assert "\x1b" not in text(verdict)


def test_a_rejection_that_is_lost_with_the_line_is_asked_for_again() -> None:
    with listener(b"\x03\0\0\0\0\x04\0\x01\x01\x07", longest=1000) as port:
        found, _ = look(port)
        assert problem(found) == "called-title-unknown"
    with listener(b"\x03\0\0\0\0\x04\0\x09\x09\x09", longest=1000) as port:
        found, _ = look(port)
        assert problem(found) == "rejected"


# ------------------------------------------------------------------------ knobs


@contextlib.contextmanager
def archive(matches: int, heeds: bool, destinations: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """An SCP of C-FIND and C-MOVE: its port, and the levels and titles that it was asked with.

    Args:
        matches: of every query.
        heeds: it stops when it is told to.
        destinations: AE title -> status of a C-MOVE to it; 0xA801 for every other.
    """
    asked: list[str] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier.QueryRetrieveLevel)
        for number in range(matches):
            wait_until("the one before is sent", lambda: is_sent(event.assoc), every=0.001)
            if not event.assoc.dul.is_alive():
                return
            if heeds and number == 2 * query.FEW:
                wait_until("C-CANCEL", lambda: event.is_cancelled)
                yield 0xFE00, None
                return
            found = Dataset()
            found.QueryRetrieveLevel, found.StudyInstanceUID = "STUDY", f"1.2.{number}"
            yield 0xFF00, found

    def move(event: Any) -> Iterator[Any]:
        asked.append(event.move_destination)
        status = destinations.get(event.move_destination)
        yield (None, None) if status is None else ("127.0.0.1", 1)
        yield 0
        if status:
            yield status, None

    ae = AE("PACS")
    for one in (
        Verification,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        ae.add_supported_context(one)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield int(server.server_address[1]), asked
    finally:
        ae.shutdown()


def test_a_query_with_many_answers_is_cancelled_and_a_deaf_peer_is_left() -> None:
    with archive(100_000, True, {}) as (port, _):
        found, _ = look(port)
        assert service(found, query.FIND).said.startswith("answers: at least 3 studies, then cancelled")
        assert service(found, query.FIND).status == query.CANCELLED
    with archive(100_000, False, {}) as (port, asked):
        found, _ = look(port)
        assert f"goes on {query.HEED_SECONDS:.0f} s after C-CANCEL: left after " in service(found, query.FIND).said
        assert asked[:2] == ["STUDY", "IMAGE"]


@pytest.mark.parametrize(
    ("destinations", "works", "said"),
    [
        ({}, False, "does not know our AE title PLANIMETER as a move destination (0xA801): add PLANIMETER there"),
        ({"PLANIMETER": 0x0000}, True, "knows PLANIMETER as a move destination"),
        ({"PLANIMETER": 0xC000}, True, "knows PLANIMETER as a move destination"),
    ],
)
def test_only_a_peer_that_refuses_strangers_is_said_to_know_us(
    destinations: dict[str, int], works: bool, said: str
) -> None:
    with archive(0, True, destinations) as (port, asked):
        found, verdict = look(port)
    assert service(found, query.MOVE).works is works
    assert said in text(verdict)
    assert asked[:3] == ["STUDY", "IMAGE", "PLANIMETER"]
    assert all(title.startswith("NOBODY") for title in asked[3:])


def test_a_refused_n_action_and_a_refused_query_are_told_with_their_status(pacs: FakePacs) -> None:
    pacs.action_status, pacs.find_status = 0x0124, 0xC123
    found, verdict = look(pacs.port, pacs.ae_title, commitment=True)
    assert "0x0124 not authorised" in service(found, custody.NAME).said
    assert service(found, query.FIND).said == "refused: 0xC123"
    assert "nobody will know whether it keeps results" in text(verdict)
    assert verdict.deliverable


def test_what_is_said_of_an_instance_that_nobody_has_is_not_said_of_the_service(pacs: FakePacs) -> None:
    pacs.action_status = 0x0112
    found, verdict = look(pacs.port, pacs.ae_title)
    assert service(found, custody.NAME).works is None
    assert "`commitment = true` will show it" in text(verdict, Mark.NOTE)


def test_a_report_on_the_same_association_is_heard_and_nothing_is_kept(
    pacs: FakePacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "HERE_SECONDS", SECONDS)
    pacs.commits = "same"
    found, _ = look(pacs.port, pacs.ae_title)
    assert "on the same association" in service(found, custody.NAME).said
    wait_until("it has our answer", lambda: pacs.reported)
    assert pacs.reported == [0x0000]
    ((asked,),) = [request.objects for request in pacs.requests]
    assert not pacs.has(asked[1])
    assert pacs.objects == []


# --------------------------------------------------------------- the command line


def doctor(tmp_path: Path, *arguments: str) -> int:
    return cli.main(["doctor", "--home", str(tmp_path / "home"), *arguments])


def test_programs_get_json_and_an_exit_status(
    pacs: FakePacs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(tmp_path, f"{pacs.ae_title}@127.0.0.1:{pacs.port}", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["deliverable"] is True
    assert said["objects"][0]["object"] == "SEG"
    assert {one["name"] for one in said["services"]} >= {"C-ECHO", "C-MOVE", "storage commitment"}
    assert doctor(tmp_path, f"{pacs.ae_title}@127.0.0.1:{free_port()}", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["problem"]["code"] == "port-closed"
    assert doctor(tmp_path, "nobody") == 1
    assert "neither a [[peer]] nor AET@HOST:PORT" in capsys.readouterr().err
    assert doctor(tmp_path, "SEVENTEEN_LETTERS@127.0.0.1:104") == 1
    assert "those have up to 16 characters" in capsys.readouterr().err
    assert doctor(tmp_path, "PACS@127.0.0.1:104", "--timeout", "0") == 1


def test_a_peer_of_the_configuration_is_judged_by_what_it_is_to_get(
    pacs: FakePacs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs.refuse = {str(SecondaryCaptureImageStorage)}
    config = tmp_path / "planimeter.toml"
    config.write_text(
        f'[[peer]]\nname = "pacs"\nae_title = "{pacs.ae_title}"\n'
        f'destination = {{ host = "127.0.0.1", port = {pacs.port}, objects = ["SEG", "SC"] }}\n'
        '[[peer]]\nname = "scanner"\nae_title = "CT1"\naddress = "10.1.2.3"\nmay_send = true\n'
    )
    assert doctor(tmp_path, "pacs", "--config", str(config)) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "FAKEPACS takes no SC: allow Secondary Capture Image Storage" in shown
    assert "Results cannot be delivered as it is." in shown
    pacs.refuse = set()
    assert doctor(tmp_path, "pacs", "--config", str(config)) == 0
    assert doctor(tmp_path, "scanner", "--config", str(config)) == 1
    assert "has no `destination`" in capsys.readouterr().err


def test_a_web_server_is_asked_what_dicomweb_has_an_answer_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeStow() as web:
        config = tmp_path / "planimeter.toml"
        config.write_text(f'[[peer]]\nname = "cloud"\nae_title = "C"\ndestination = {{ url = "{web.url}" }}\n')
        assert doctor(tmp_path, "cloud", "--config", str(config)) == 0
    assert "answers QIDO-RS" in capsys.readouterr().out
    assert doctor(tmp_path, "cloud", "--config", str(config), "--json") == 1
    assert json.loads(capsys.readouterr().out)["problem"]["code"] == "unreachable"
