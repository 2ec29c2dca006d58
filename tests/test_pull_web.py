"""Asking and retrieving by DICOMweb: a server that cuts, pages, lies or never ends."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom.dataset import Dataset

from node.errors import Failed, NodeError, Refused, Unavailable
from node.pull.multipart import parts
from node.pull.pacs import Limits
from node.tls.files import Trust
from tests.certificates import Authority
from tests.pulling import QUICK, Here, dicomweb, look, opened, study

UID = study(1)[0].StudyInstanceUID
BOUNDARY = "--a boundary=('x')"


class FakeWeb:
    """A server of QIDO-RS and WADO-RS. `page` is the most that it gives at a time; `paging` whether it knows offsets.

    `answer`, if there is one, is given in place of every right one: status, content type, body.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.objects: list[Dataset] = study(1)
        self.page, self.paging = 100, True
        self.answer: tuple[int, str, bytes] | None = None
        self.spoil: Callable[[bytes], bytes] = lambda body: body
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_address[1]}/dicom-web"

    def __enter__(self) -> FakeWeb:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def matches(self, asked: dict[str, list[str]]) -> list[dict[str, Any]]:
        made = {}
        for ds in self.objects:
            answer = Dataset()
            for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber", "StudyDate"):
                answer[keyword] = ds[keyword]
            made[ds.StudyInstanceUID] = answer.to_json_dict()
        begin = int(asked.get("offset", ["0"])[0]) if self.paging else 0
        return list(made.values())[begin:][: self.page]

    def multipart(self) -> bytes:
        body = b""
        for ds in self.objects:
            data = BytesIO()
            ds.save_as(data, enforce_file_format=True)
            head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            body += head + data.getvalue()
        return self.spoil(body + f"\r\n--{BOUNDARY}--".encode())


class _Handler(BaseHTTPRequestHandler):
    fake: FakeWeb

    def do_GET(self) -> None:
        self.fake.asked.append(self.path)
        url = urlsplit(self.path)
        if self.fake.answer is not None:
            self._say(*self.fake.answer)
        elif url.path.endswith("/studies"):
            matches = self.fake.matches(parse_qs(url.query))
            self._say(200 if matches else 204, "application/dicom+json", json.dumps(matches).encode())
        else:
            kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
            self._say(200, kind, self.fake.multipart())

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        if status != 204:
            with contextlib.suppress(ConnectionError):  # it had enough
                self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    with FakeWeb() as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with opened(tmp_path, migrated) as made:
        yield made


# ------------------------------------------------------------------- queries


def test_a_server_that_gives_pages_is_asked_for_all_of_them(web: FakeWeb) -> None:
    web.objects = [ds for number in range(1, 6) for ds in study(number, 1)]
    web.page = 2
    found = look(dicomweb(web.url), QUICK, patient_id="P1")
    assert (len(found.studies), found.more) == (5, False)
    assert "PatientID=P1" in web.asked[0]


@pytest.mark.parametrize("paging", [True, False])
def test_more_than_wanted_is_cut_also_where_offsets_are_unknown(web: FakeWeb, paging: bool) -> None:
    web.objects = [ds for number in range(1, 9) for ds in study(number, 1)]
    web.paging = paging
    found = look(dicomweb(web.url), QUICK, patient_id="P1")
    assert (len(found.studies), found.more) == (5, True)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((401, "text/plain", b""), Unavailable, "not-authorised"),
        ((404, "text/plain", b""), Unavailable, "wrong-url"),
        ((302, "text/plain", b""), Unavailable, "wrong-url"),
        ((400, "text/plain", b""), Refused, "query-refused"),
        ((500, "text/plain", b""), Unavailable, "query-failed"),
        ((503, "text/plain", b""), Unavailable, "unreachable"),
        ((200, "text/html", b"<html>"), Unavailable, "query-failed"),
        ((200, "application/json", b"x" * (65 << 20)), Unavailable, "more than 64 MiB"),
    ],
)
def test_what_is_no_answer_is_an_outcome(
    web: FakeWeb, answer: tuple[int, str, bytes], error: type[NodeError], said: str
) -> None:
    web.answer = answer
    with pytest.raises(error, match=said):
        look(dicomweb(web.url), accession="A1")


@pytest.mark.parametrize(
    "item", [b"1", b'"x"', b'{"0020000D": 1}', b"{}", b'{"0020000D": {"vr": "UI", "Value": ["x"]}}']
)
def test_an_answer_that_is_no_study_is_left_out(web: FakeWeb, item: bytes) -> None:
    web.answer = (200, "application/dicom+json", b"[" + item + b"]")
    found = look(dicomweb(web.url), accession="A1")
    assert (len(found.studies), found.left_out) == (0, 1)


# ---------------------------------------------------------------- retrievals


def test_what_comes_is_kept_as_it_is(web: FakeWeb, here: Here) -> None:
    assert here.fetch(dicomweb(web.url), UID) == "3 objects are here, 3 of them new"
    assert not list(here.archive.spool.iterdir())
    assert here.progress[-1] == (3, None)


def test_questions_and_objects_come_over_tls_from_whom_is_trusted(here: Here, tmp_path: Path) -> None:
    """QIDO-RS and WADO-RS, with an authority of the site's own and what it has revoked."""
    authority = Authority(tmp_path / "authority")
    good, revoked = authority.issue("good"), authority.issue("revoked")
    authority.revoke(revoked)
    trust = Trust(authority.pem, authority.crl(tmp_path / "crl.pem"))
    with FakeWeb((good.certificate, good.key)) as web, FakeWeb((revoked.certificate, revoked.key)) as other:
        assert len(look(dicomweb(web.url, trust), QUICK, patient_id="P1").studies) == 1
        assert here.fetch(dicomweb(web.url, trust), UID) == "3 objects are here, 3 of them new"
        for pacs, why in (
            (dicomweb(other.url, trust), "certificate revoked"),
            (dicomweb(web.url), "issuer"),
            (dicomweb(web.url, Trust(tmp_path / "gone.pem")), "tls-files"),
        ):
            with pytest.raises(Unavailable, match=why):
                look(pacs, QUICK, patient_id="P1")
            with pytest.raises(Unavailable, match=why):
                here.fetch(pacs, UID)


@pytest.mark.parametrize(
    ("spoil", "came"),
    [
        (lambda body: body[: len(body) // 2], 1),
        (lambda body: body[:-2], 3),
        (lambda body: body[:40], 0),
        (lambda body: body.replace(b"\r\n", b"\n\n"), 0),
    ],
    ids=["in the middle", "before the end", "in the headers", "nothing of it"],
)
def test_an_answer_that_is_cut_gives_what_was_whole(
    web: FakeWeb, here: Here, spoil: Callable[[bytes], bytes], came: int
) -> None:
    web.spoil = spoil
    with pytest.raises(Failed, match="fetch-failed"):
        here.fetch(dicomweb(web.url), UID)
    assert here.here(UID, "") == came
    assert not list(here.archive.spool.iterdir())


def test_an_answer_that_lacks_objects_is_incomplete(web: FakeWeb, here: Here) -> None:
    del web.objects[2]
    with pytest.raises(Failed, match="fetch-incomplete: 2 of 3"):
        here.fetch(dicomweb(web.url), UID, expected=3)


def test_an_object_that_is_none_is_kept_out_and_said(web: FakeWeb, here: Here) -> None:
    web.spoil = lambda body: body.replace(b"DICM", b"MCID", 1)
    said = here.fetch(dicomweb(web.url), UID, expected=3)
    assert said == "2 objects are here, 2 of them new; 1 were kept out (no-file-meta)"


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((404, "text/plain", b""), Refused, "not-at-pacs"),
        ((403, "text/plain", b""), Unavailable, "not-authorised"),
        ((406, "text/plain", b""), Refused, "fetch-refused"),
        ((500, "text/plain", b""), Failed, "fetch-failed"),
        ((200, "application/zip", b"PK"), Failed, "application/zip, not with DICOM"),
    ],
)
def test_what_is_no_study_is_an_outcome(
    web: FakeWeb, here: Here, answer: tuple[int, str, bytes], error: type[NodeError], said: str
) -> None:
    web.answer = answer
    with pytest.raises(error, match=said):
        here.fetch(dicomweb(web.url), UID)


def test_more_objects_than_any_sane_study_has_are_not_taken(web: FakeWeb, here: Here) -> None:
    web.objects = study(1, 40)
    with pytest.raises(Refused, match="too-many-images"):
        here.fetch(dicomweb(web.url), UID, limits=Limits(most_images=10))
    assert here.here(UID, "") == 11


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_parts_are_told_apart_however_they_are_cut_into_chunks(tmp_path: Path, size: int) -> None:
    bodies = [b"", b"one\r\n--x", b"\r\n\r\n--xx", b"\r\n--bound" * 3, bytes(range(256))]
    whole = (
        b"preamble\r\n" + b"\r\n".join(b"--boundary \r\nA: b\r\n\r\n" + body for body in bodies) + b"\r\n--boundary--"
    )
    chunks = (whole[at : at + size] for at in range(0, len(whole), size))
    names = iter(range(100))
    files = list(parts(chunks, "boundary", lambda: tmp_path / str(next(names))))
    assert [file.read_bytes() for file in files] == bodies
