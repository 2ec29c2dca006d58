"""STOW-RS: what each answer means for the object, and a server that is away, strange, or not the one that was meant."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import CTImageStorage, KeyObjectSelectionDocumentStorage, RLELossless

from config.settings import load
from node.configured import targets_of
from node.errors import Unavailable
from node.outbound import stow, stow_response
from node.outbound.scu import Parcel, Receipt, Unheard
from node.outbound.statuses import Answer
from node.outbound.stow_response import Stored
from node.outbound.target import Target, Web
from node.tls.files import Trust
from tests.certificates import Authority, Issued, self_signed
from tests.conftest import find_program, lacking
from tests.fake_stow import FakeStow
from tests.orthanc import Orthanc
from tests.synthetic import as_files, small_series

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SECRET = "öpen sesame"


@pytest.fixture
def server() -> Iterator[FakeStow]:
    with FakeStow() as web:
        yield web


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return as_files(small_series()[:2], tmp_path)


def target(url: str, **more: object) -> Target:
    return Target("cloud", "", "", 0, web=Web(url, **more))  # type: ignore[arg-type]


def parcels(files: list[Path]) -> list[Parcel]:
    return [Parcel(file, CTImageStorage) for file in files]


def send(to: Target, files: list[Path], seconds: float = 60) -> list[Receipt]:
    offered = parcels(files)
    with stow.connect(to, "PLANIMETER", offered, seconds) as sender:
        return [sender.send(parcel) for parcel in offered]


def uid(file: Path) -> str:
    return str(dcmread(file, stop_before_pixels=True).SOPInstanceUID)


def test_the_stored_bytes_are_sent_one_object_in_each_request(server: FakeStow, files: list[Path]) -> None:
    assert [receipt.answer for receipt in send(target(server.url), files)] == [Answer.DELIVERED] * 2
    assert server.files == [file.read_bytes() for file in files]
    assert [asked.path for asked in server.asked] == ["/dicom-web/studies"] * 2
    for asked in server.asked:
        assert asked.headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
        assert "Transfer-Encoding" not in asked.headers
        assert "PLANIMETER" in asked.headers["User-Agent"]
        assert "Authorization" not in asked.headers


def test_a_compressed_object_keeps_its_transfer_syntax(server: FakeStow, files: list[Path]) -> None:
    ds = dcmread(files[0])
    ds.compress(RLELossless)
    ds.save_as(files[0])
    send(target(server.url), files[:1])
    assert server.files == [files[0].read_bytes()]


def test_a_failure_is_that_objects_own_and_has_its_reason(server: FakeStow, files: list[Path]) -> None:
    server.failed = {uid(files[0]): 0xA900}
    failed, stored = send(target(server.url), files)
    assert (failed.answer, failed.status) == (Answer.DEAD, 0xA900)
    assert "0xA900 the data set does not match the SOP class" in failed.sentence
    assert stored == Receipt(Answer.DELIVERED, 0x0000, "")


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        (0xA700, Answer.LATER),
        (0xA770, Answer.DEAD),
        (0xA778, Answer.DEAD),
        (0xA7F0, Answer.RETRY),
        (0x0110, Answer.RETRY),
        (0xA901, Answer.DEAD),
        (0xC000, Answer.DEAD),
        (0xC122, Answer.DEAD),
        (0x0122, Answer.DEAD),
        (0x0000, Answer.DEAD),
        (0xB000, Answer.DEAD),
        (0x0111, Answer.DELIVERED),
        (0xB00E, Answer.DELIVERED),
    ],
)
def test_what_a_failure_reason_means(server: FakeStow, files: list[Path], reason: int, answer: Answer) -> None:
    server.failed = {uid(files[0]): reason}
    (receipt,) = send(target(server.url), files[:1])
    assert (receipt.answer, receipt.status) == (answer, reason)
    assert f"0x{reason:04X}" in receipt.sentence


@pytest.mark.parametrize(
    ("reason", "answer"), [(0xA770, Answer.DELIVERED), (0xA774, Answer.DELIVERED), (0xA772, Answer.DEAD)]
)
def test_a_rejection_note_that_is_there_already_is_delivered(reason: int, answer: Answer) -> None:
    said = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}).encode()
    receipt = stow_response.receipt(target("http://x/y"), 409, "", said, KeyObjectSelectionDocumentStorage)
    assert (receipt.answer, receipt.status) == (answer, reason)


def test_a_warning_is_delivered_and_shown(server: FakeStow, files: list[Path]) -> None:
    server.warned = {uid(files[0]): 0xB000}
    (receipt,) = send(target(server.url), files[:1])
    assert (receipt.answer, receipt.status) == (Answer.DELIVERED, 0xB000)
    assert "coerced" in receipt.sentence


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.DELIVERED),
        (202, Answer.RETRY),
        (400, Answer.DEAD),
        (406, Answer.DEAD),
        (408, Answer.RETRY),
        (409, Answer.DEAD),
        (413, Answer.DEAD),
        (415, Answer.DEAD),
        (418, Answer.DEAD),
        (500, Answer.RETRY),
        (501, Answer.RETRY),
        (507, Answer.LATER),
    ],
)
@pytest.mark.parametrize("said", [b"", b"<html>Sorry", b"{not json", b"[]", b'{"00081198": 7}', b"\xff\xfe"])
def test_what_a_status_without_reasons_means(status: int, answer: Answer, said: bytes) -> None:
    receipt = stow_response.receipt(target("http://x/y"), status, "", said)
    if status == 200 and said:  # a page on which a person would sign in is no word of the server behind it
        answer = Answer.RETRY
    assert receipt.answer is answer
    assert receipt.perhaps is (status in (202, 500, 501) or (status == 200 and said != b""))
    assert receipt.class_refused is (status == 415)
    if answer is not Answer.DELIVERED:
        assert f"HTTP {status}" in receipt.sentence


@pytest.mark.parametrize("said", [b" \r\n", b"{}", b'{"00081190": {"vr": "UR"}}', b"<NativeDicomModel/>"])
def test_success_that_names_no_object_is_success(said: bytes) -> None:
    receipt = stow_response.receipt(target("http://x/y"), 200, "", said)
    assert receipt == Receipt(Answer.DELIVERED, 0x0000, "")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "not-authorised"),
        (403, "not-authorised"),
        (404, "wrong-url"),
        (405, "wrong-url"),
        (429, "unreachable"),
        (502, "unreachable"),
        (503, "unreachable"),
        (504, "unreachable"),
    ],
)
def test_what_is_not_about_the_object_makes_it_wait(
    server: FakeStow, files: list[Path], status: int, code: str
) -> None:
    server.status = status
    for ask in (lambda: send(target(server.url), files), lambda: stow.echo(target(server.url), "PLANIMETER", 60)):
        with pytest.raises(Unavailable) as raised:
            ask()
        assert raised.value.code == code
        assert isinstance(raised.value, Unheard) is (status in (502, 504))
        assert f"HTTP {status}" in raised.value.sentence
    queries = 2 if status in (502, 504) else 1
    assert [asked.method for asked in server.asked] == ["POST", *["GET"] * queries]


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_gateway_says_of_one_object_keeps_no_other_back(
    server: FakeStow, files: list[Path], status: int
) -> None:
    server.gateway = {uid(files[0]): status}
    unheard, stored = send(target(server.url), files)
    assert (unheard.answer, unheard.silent, unheard.perhaps) == (Answer.RETRY, False, True)
    assert f"(HTTP {status}) with this object, though a query is answered" in unheard.sentence
    assert stored.answer is Answer.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500, 501])
def test_a_server_that_answers_no_query_is_there_all_the_same(server: FakeStow, files: list[Path], status: int) -> None:
    server.gateway, server.queries = {uid(files[0]): 504}, status
    assert [receipt.answer for receipt in send(target(server.url), files)] == [Answer.RETRY, Answer.DELIVERED]


@pytest.mark.parametrize("status", [307, 407, 429, 502, 503, 504])
def test_where_queries_are_turned_away_before_the_server_nobody_answers(
    server: FakeStow, files: list[Path], status: int
) -> None:
    server.gateway, server.queries, server.location = {uid(files[0]): 504}, status, "/elsewhere"
    with pytest.raises(Unheard):
        send(target(server.url), files)


def test_an_answer_in_xml_is_read_too() -> None:
    """The Native DICOM Model, as PS3.19 A.1 has it; the namespace may be missing."""
    item = (
        '<Item number="1"><DicomAttribute tag="00081197" vr="US" keyword="FailureReason"><Value number="1">272</Value>'
        "</DicomAttribute></Item>"
    )
    sequence = f'<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence">{item}</DicomAttribute>'
    for space in ("", ' xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'):
        answer = f'<?xml version="1.0"?><NativeDicomModel{space}>{sequence}</NativeDicomModel>'.encode()
        assert stow_response.read(answer) == Stored(failed=True, reason=0x0110)
    sequence = '<DicomAttribute tag="00081199" vr="SQ"><Item number="1"/></DicomAttribute>'
    assert stow_response.read(f"<NativeDicomModel>{sequence}</NativeDicomModel>".encode()) == Stored(failed=False)


def test_a_redirect_is_not_followed(server: FakeStow, files: list[Path], tmp_path: Path) -> None:
    """The object and the password stay with the host that was configured."""
    (tmp_path / "password").write_text(SECRET)
    with FakeStow() as other:
        server.status, server.location = 307, f"{other.url}/studies?secret=1"
        to = target(server.url, user="node", password_file=tmp_path / "password")
        for ask in (lambda: send(to, files), lambda: stow.echo(to, "PLANIMETER", 60)):
            with pytest.raises(Unavailable, match="redirects to") as raised:
                ask()
            assert "secret" not in raised.value.sentence
        assert other.asked == []


# ------------------------------------------------------------------- credentials


def test_a_password_is_read_anew_and_never_said(
    server: FakeStow, files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    to = target(server.url, user="node", password_file=file)
    with stow.connect(to, "PLANIMETER", parcels(files), 60) as sender:
        sender.send(parcels(files)[0])
        file.write_text("renewed")
        sender.send(parcels(files)[1])
    stow.echo(to, "PLANIMETER", 60)
    given = [asked.headers["Authorization"].removeprefix("Basic ") for asked in server.asked]
    said = [base64.b64decode(text).decode() for text in given]
    assert said == [f"node:{SECRET}", "node:renewed", "node:renewed"]
    for secret in (SECRET, "renewed", *given):
        assert secret not in caplog.text


def test_a_token_is_read_anew(server: FakeStow, files: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    to = target(server.url, token_file=file)
    send(to, files[:1])
    file.write_text("second")
    send(to, files[:1])
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer first", "Bearer second"]


def test_credentials_that_cannot_be_read_are_said_without_a_request(
    server: FakeStow, files: list[Path], tmp_path: Path
) -> None:
    to = target(server.url, token_file=tmp_path / "gone")
    for ask in (lambda: send(to, files), lambda: stow.echo(to, "PLANIMETER", 60)):
        with pytest.raises(Unavailable, match="gone, for cloud, cannot be read: No such file") as raised:
            ask()
        assert raised.value.code == "no-credentials"
    assert server.asked == []


def test_no_credentials_are_taken_from_elsewhere(
    server: FakeStow, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    send(target(server.url), files[:1])
    stow.echo(target(server.url), "PLANIMETER", 60)
    assert all("Authorization" not in asked.headers for asked in server.asked)


# ----------------------------------------------------------------- servers away


def test_a_server_that_is_away_is_said_in_words(files: list[Path]) -> None:
    with FakeStow() as server:
        gone = target(server.url.replace("http://", "http://user:hidden@"))
    for ask in (lambda: send(gone, files), lambda: stow.echo(gone, "PLANIMETER", 60)):
        with pytest.raises(Unavailable, match=r"^unreachable: cloud cannot be reached: Connection refused$"):
            ask()


def test_a_host_without_an_address_is_said_in_words(files: list[Path]) -> None:
    with pytest.raises(Unavailable, match="cloud cannot be reached") as raised:
        send(target("http://no-such-host.invalid/dicom-web"), files)
    assert "/dicom-web" not in raised.value.sentence


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_broken_connection_is_tried_again_for_that_object(server: FakeStow, files: list[Path], cut: str) -> None:
    server.cut = cut
    (receipt,) = send(target(server.url), files[:1])
    assert receipt.answer is Answer.RETRY
    assert receipt.status is None
    assert "cloud cannot be reached" in receipt.sentence


def test_a_server_that_never_answers_is_tried_again(server: FakeStow, files: list[Path]) -> None:
    server.silent = True
    (receipt,) = send(target(server.url), files[:1], 0.3)
    assert receipt == Receipt(Answer.RETRY, None, "cloud did not answer in time", silent=True, perhaps=True)


def test_a_file_that_is_gone_is_that_objects_own_failure(server: FakeStow, files: list[Path]) -> None:
    files[0].unlink()
    gone, stored = send(target(server.url), files)
    assert (gone.answer, stored.answer) == (Answer.RETRY, Answer.DELIVERED)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that nobody has signed, for this machine."""
    openssl = find_program("openssl", "apt-get install openssl")
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -keyout {key}"
    also = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(pem)]
    subprocess.run([openssl, *command.split(), *also], check=True, capture_output=True)
    return pem, key


def test_a_server_is_trusted_by_its_certificate(files: list[Path], certificate: tuple[Path, Path]) -> None:
    with FakeStow(certificate) as server:
        trusted = target(server.url, trust=Trust(certificate[0]))
        assert send(trusted, files[:1])[0].answer is Answer.DELIVERED
        stow.echo(trusted, "PLANIMETER", 60)
        for ask in (lambda: send(target(server.url), files), lambda: stow.echo(target(server.url), "PLANIMETER", 60)):
            with pytest.raises(Unavailable, match=r"cloud cannot be trusted: self.signed certificate; see ca_file"):
                ask()
        assert len(server.files) == 1
        gone = target(server.url, trust=Trust(certificate[0].with_name("gone.pem")))
        with pytest.raises(Unavailable, match=r"gone\.pem"):
            send(gone, files)


def _pair(of: Issued) -> tuple[Path, Path]:
    return of.certificate, of.key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_servers_are_trusted_as_all_peers_are_and_not_those_that_were_revoked(
    files: list[Path], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[tls] ca_file` and `crl_file` hold for STOW-RS and QIDO-RS too; a bundle of the environment does not."""
    good, revoked = authority.issue("good"), authority.issue("revoked")
    authority.revoke(revoked)
    file = tmp_path / "planimeter.toml"
    with (
        FakeStow((good.certificate, good.key)) as server,
        FakeStow((revoked.certificate, revoked.key)) as other,
        FakeStow(_pair(self_signed(tmp_path, "own"))) as own,
    ):
        peers = "".join(
            f'[[peer]]\nname = "{name}"\nae_title = "A"\n[peer.destination]\nurl = "{one.url}"\n{more}\n'
            for name, one, more in (
                ("good", server, ""),
                ("revoked", other, ""),
                ("own", own, f'ca_file = "{tmp_path / "own.pem"}"'),
                ("stranger", own, ""),
            )
        )
        file.write_text(
            f'[node]\nhome = "{tmp_path}"\n[tls]\nca_file = "{authority.pem}"\n'
            f'crl_file = "{authority.crl(tmp_path / "crl.pem")}"\n{peers}',
            encoding="utf-8",
        )
        to = targets_of(load(file))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "own.pem"))
        for name in ("good", "own"):
            assert send(to[name], files[:1])[0].answer is Answer.DELIVERED
            stow.echo(to[name], "PLANIMETER", 60)
        for name, why in (("revoked", "certificate revoked"), ("stranger", "self.signed certificate")):
            with pytest.raises(Unavailable, match=f"{name} cannot be trusted: {why}"):
                send(to[name], files[:1])
            with pytest.raises(Unavailable, match=f"{name} cannot be trusted: {why}"):
                stow.echo(to[name], "PLANIMETER", 60)


def test_a_large_object_is_streamed(server: FakeStow, tmp_path: Path) -> None:
    (image,) = small_series()[:1]
    image.Rows = image.Columns = 4096
    image.PixelData = bytes(2 * 4096 * 4096)
    (file,) = as_files([image], tmp_path)
    size = file.stat().st_size
    server.status = 413  # without reading it
    del image
    tracemalloc.start()
    (receipt,) = send(target(server.url), [file], 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (receipt.answer, receipt.sentence) == (Answer.DEAD, "HTTP 413: the object is too large")
    assert int(server.asked[0].headers["Content-Length"]) > size > 1 << 25
    assert peak < size / 8


# ---------------------------------------------------------------------- Orthanc


def test_orthanc_stores_equal_bytes_and_says_why_it_does_not(files: list[Path], tmp_path: Path) -> None:
    program = find_program("Orthanc", "apt-get install orthanc")
    if not PLUGIN.is_file():
        lacking("the DICOMweb plugin of Orthanc", "apt-get install orthanc-dicomweb")
    with Orthanc(program, Plugins=[str(PLUGIN)], DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as orthanc:
        to = target(f"{orthanc.url}/dicom-web/")
        stow.echo(to, "PLANIMETER", 10)
        assert [receipt.answer for receipt in send(to, files)] == [Answer.DELIVERED] * 2
        ds = dcmread(files[0])
        client = DICOMwebClient(f"{orthanc.url}/dicom-web")
        back = client.retrieve_instance(ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
        assert {element.tag: element.value for element in back} == {element.tag: element.value for element in ds}
        assert {file.read_bytes() for file in files} == set(orthanc.files())
        assert [receipt.answer for receipt in send(to, files)] == [Answer.DELIVERED] * 2
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 100)
        (receipt,) = send(to, [broken])
        assert receipt.answer is Answer.DEAD
        assert receipt.sentence.startswith("HTTP 400")
        body = stow._Body(files[0])
        answer = requests.post(
            f"{orthanc.url}/dicom-web/studies/1.2.3", data=body, headers={"Content-Type": body.content_type}, timeout=10
        )
        assert answer.status_code == 409
        receipt = stow_response.receipt(to, 409, "", answer.content)
        assert receipt.answer is not Answer.DELIVERED
        assert receipt.status is not None and f"0x{receipt.status:04X}" in receipt.sentence
