"""Peers that are called over TLS: every service, by real peers; and each certificate that is not to be trusted."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from db.database import Database
from node import cli
from node.configured import accepting_of, alarms_of, targets_of
from node.errors import Unavailable
from node.inbound.peers import Doorkeeper
from node.operations import tls_check
from node.operations.alarms.findings import World
from node.operations.alarms.findings import look as look_for
from node.outbound import commitment, find, scu
from node.outbound.find import Wanted
from node.outbound.scu import Parcel
from node.outbound.statuses import Answer
from node.outbound.target import Target
from node.receiver import Receiver
from node.tls import shown
from node.tls.accepting import Accepting, Acceptor
from node.tls.calling import Calling
from node.tls.files import Pair, Trust
from node.tls.profile import Profile
from tests.certificates import Authority, Issued, connected, self_signed
from tests.conftest import find_program
from tests.doors import door
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.pulling import Here, look, opened, study
from tests.running import PLANIMETER
from tests.strange_peers import storescp
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

SECONDS = 20.0


def target(port: int, how: Calling | None, ae_title: str = "PACS", host: str = "127.0.0.1") -> Target:
    return Target("pacs", ae_title, host, port, tls=how)


def echo(port: int, how: Calling | None, host: str = "127.0.0.1") -> None:
    scu.echo(target(port, how, host=host), "PLANIMETER", SECONDS)


# ------------------------------------------------------------------------- DCMTK


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("theirs", ["+py", "+px", "+pz"])
def test_dcmtk_is_sent_to_and_knows_us_by_our_certificate(
    dcmtk: Callable[[str], str], authority: Authority, tmp_path: Path, profile: Profile, theirs: str
) -> None:
    pacs, ours = authority.issue("pacs"), authority.issue("planimeter")
    shown = ("+tls", pacs.key, pacs.certificate, "+cf", authority.pem, theirs)
    files = as_files(small_series(), tmp_path)
    parcels = [Parcel(file, "1.2.840.10008.5.1.4.1.1.2") for file in files]
    how = Calling(trust=Trust(authority.pem), pair=Pair(ours.certificate, ours.key), profile=profile)
    with storescp(dcmtk("storescp"), tmp_path / "scp", *shown) as port:
        with scu.connect(target(port, how), "PLANIMETER", parcels, SECONDS) as sender:
            assert {sender.send(parcel).answer for parcel in parcels} == {Answer.DELIVERED}
        # TLS 1.2 has no word of its own for it, and what it says may be lost with the connection
        with pytest.raises(Unavailable, match=r"certificate-wanted|tls-no-cipher|unreachable") as wanted:
            echo(port, replace(how, pair=None))
        assert "wants a certificate" in wanted.value.sentence
    assert len(list((tmp_path / "scp").glob("CT*"))) == len(files)


# ------------------------------------------------------------------------ Orthanc


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(tempfile, "tempdir", None)  # who receives sets it for the whole process
    with opened(tmp_path, migrated) as made:
        yield made


def test_orthanc_over_tls_in_every_way(here: Here, authority: Authority, tmp_path: Path) -> None:
    """It is sent to, asked, fetched from in both ways, and asked for storage commitment; it calls us over TLS too."""
    from tests.pulling import dimse

    theirs, ours = authority.issue("orthanc"), authority.issue("planimeter")
    how = Calling(trust=Trust(authority.pem), pair=Pair(ours.certificate, ours.key))
    accepting = Accepting(pair=Pair(ours.certificate, ours.key), trust=Trust(authority.pem))
    receiver = Receiver(
        door(port=None, idle_seconds=20), Doorkeeper(()), here.inbox, here.database, tls=Acceptor(accepting)
    )
    secured = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(authority.pem),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomAlwaysAllowGet": True,
    }
    port = receiver.start()
    try:
        with Orthanc(find_program("Orthanc", "apt-get install orthanc"), **secured) as orthanc:
            orthanc.know("PLANIMETER", port, over_tls=True)
            to = target(orthanc.port, how, orthanc.ae_title)
            with pytest.raises(Unavailable):
                scu.echo(replace(to, tls=None), "PLANIMETER", SECONDS)
            parcels = [Parcel(file, "1.2.840.10008.5.1.4.1.1.2") for file in as_files(study(1), tmp_path)]
            with scu.connect(to, "PLANIMETER", parcels, SECONDS) as sender:
                assert {sender.send(parcel).answer for parcel in parcels} == {Answer.DELIVERED}
            (one, *_) = orthanc.instances()
            wanted = Wanted(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
            assert find.found(to, "PLANIMETER", [wanted], SECONDS) == {one.SOPInstanceUID}
            with commitment.connect(to, "PLANIMETER", here.database, SECONDS) as requester:
                requester.ask("1.2.3.4", [(one.SOPClassUID, one.SOPInstanceUID)])
            pacs = dimse(orthanc, "get")
            assert one.StudyInstanceUID in {
                each.study_uid for each in look(replace(pacs, target=to), patient_id="P1").studies
            }
            for way in ("get", "move"):
                other = study(2 if way == "get" else 3)
                for ds in other:
                    data = BytesIO()
                    ds.save_as(data, enforce_file_format=True)
                    orthanc.take(data.getvalue())
                asked = replace(dimse(orthanc, way), target=to)
                assert here.fetch(asked, other[0].StudyInstanceUID, expected=3) == "3 objects are here, 3 of them new"
    finally:
        receiver.stop()


# ----------------------------------------------------------------- who is not trusted


@contextlib.contextmanager
def shows(issued: Issued, **options: Any) -> Iterator[int]:
    """A port that shakes hands with whoever calls, and then closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    for name, value in options.items():
        setattr(context, name, value)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("expired", "certificate-expired", "has expired"),
        ("self-signed", "certificate-untrusted", "signs itself"),
        ("other-authority", "certificate-untrusted", "not among those that are trusted"),
        ("revoked", "certificate-revoked", "was revoked"),
        ("other-host", "certificate-name", "see `tls_name`"),
        ("other-name", "certificate-name", "see `tls_name`"),
        ("for-clients", "certificate-untrusted", "not made for this use"),
        ("other-pin", "certificate-untrusted", "another one than those in `certificate_sha256`"),
    ],
)
def test_a_peer_with_a_bad_certificate_is_sent_nothing(
    authority: Authority, tmp_path: Path, kind: str, code: str, said: str
) -> None:
    how = Calling(trust=Trust(authority.pem))
    issued = {
        "expired": lambda: authority.issue("old", days=(-3, -1)),
        "self-signed": lambda: self_signed(tmp_path, "selfish"),
        "other-authority": lambda: Authority(tmp_path / "other", "Others").issue("pacs"),
        "other-host": lambda: authority.issue("elsewhere", names="IP:10.1.2.3"),
        "for-clients": lambda: authority.issue("client", use="clientAuth"),
    }.get(kind, lambda: authority.issue("pacs"))()
    if kind == "revoked":
        authority.revoke(issued)
        how = replace(how, trust=Trust(authority.pem, authority.crl(tmp_path / "crl.pem")))
    elif kind == "other-name":
        how = replace(how, name="pacs.hospital.example")
    elif kind == "other-pin":
        how = replace(how, sha256=frozenset({"0" * 64}))
    with shows(issued) as port, pytest.raises(Unavailable) as unavailable:
        echo(port, how)
    assert unavailable.value.code == code
    assert said in unavailable.value.sentence
    assert f"PACS at 127.0.0.1:{port}" in unavailable.value.sentence


def test_old_versions_weak_ciphers_and_no_tls_are_named(authority: Authority) -> None:
    pacs, how = authority.issue("pacs"), Calling(trust=Trust(authority.pem))
    with shows(pacs) as port, socket.create_server(("127.0.0.1", 0)) as plain:
        # what a server of TLS 1.1 answers: a fatal alert, protocol_version (RFC 8446 6.2)
        for answer, code in ((b"\x15\x03\x02\x00\x02\x02\x46", "tls-too-old"), (b"\x07\0\0\0\0\4\0\0\0\0", "not-tls")):
            threading.Thread(target=_answer, args=(plain, answer), daemon=True).start()
            with pytest.raises(Unavailable, match=code):
                echo(int(plain.getsockname()[1]), how)
        with pytest.raises(Unavailable, match="unreachable"):
            echo(port, how)  # the handshake was right: it is no DICOM peer


def _answer(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)


def test_a_certificate_may_be_written_down_or_have_another_name(
    dcmtk: Callable[[str], str], authority: Authority, tmp_path: Path
) -> None:
    """A PACS whose certificate signs itself, has ended, or is of another name: nothing of it counts but its digest."""
    elsewhere = authority.issue("pacs.hospital.example", names="DNS:pacs.hospital.example", days=(-3, -1))
    named = authority.issue("named", names="DNS:pacs.hospital.example")
    for issued, how in (
        (elsewhere, Calling(sha256=frozenset({elsewhere.sha256.replace(":", "").lower()}))),
        (named, Calling(trust=Trust(authority.pem), name="pacs.hospital.example")),
    ):
        folder = tmp_path / issued.key.stem
        with storescp(dcmtk("storescp"), folder, "+tls", issued.key, issued.certificate, "-ic") as port:
            echo(port, how)


def test_files_of_ours_that_cannot_be_used_make_what_is_to_be_sent_wait(authority: Authority, tmp_path: Path) -> None:
    pacs, ours = authority.issue("pacs"), authority.issue("planimeter")
    ours.key.chmod(0o644)
    with shows(pacs) as port:
        for how, code in (
            (Calling(pair=Pair(ours.certificate, ours.key)), "key-readable"),
            (Calling(trust=Trust(tmp_path / "gone.pem")), "tls-files"),
        ):
            with pytest.raises(Unavailable, match=code):
                echo(port, how)


# ------------------------------------------------------------ configuration, commands

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"


def test_the_manuals_own_authority_is_one(tmp_path: Path) -> None:
    """What it says to type, typed; then a call over TLS with what came of it."""
    find_program("openssl", "apt-get install openssl")
    (typed,) = re.findall(r"```sh\n(.*?)```", OPERATIONS.read_text().split("## DICOM over TLS")[1], re.DOTALL)
    subprocess.run(["sh", "-eu", "-c", textwrap.dedent(typed)], cwd=tmp_path, check=True, capture_output=True)
    pair = Pair(tmp_path / "planimeter.pem", tmp_path / "planimeter.key")
    acceptor = Acceptor(Accepting(pair=pair, trust=Trust(tmp_path / "ca.pem")))
    pacs = Issued(tmp_path / "pacs.pem", tmp_path / "pacs.key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = threading.Thread(target=lambda: connected(server.getsockname()[1], tmp_path / "ca.pem", pacs).close())
        caller.start()
        with acceptor.secure(server.accept()[0]) as line:
            assert shown.of(line) is not None
            assert "pacs.hospital.example" in shown.of(line).names  # type: ignore[union-attr]
        caller.join()


CONFIG = """
[node]
home = "{home}"
[receive]
port = 0
[tls]
certificate = "{ours.certificate}"
key = "{ours.key}"
port = {port}
ca_file = "{ca}"
[[peer]]
name = "pacs"
ae_title = "PACS"
destination = {{ host = "127.0.0.1", port = {to}, tls = true }}
[[peer]]
name = "pinned"
ae_title = "PACS"
destination = {{ host = "127.0.0.1", port = {to}, tls = true, certificate_sha256 = ["{sha256}"] }}
[[peer]]
name = "public"
ae_title = "PACS"
destination = {{ host = "127.0.0.1", port = {to}, tls = true, ca_file = "{other}" }}
"""


def test_doctor_check_and_send_use_the_configured_line(
    dcmtk: Callable[[str], str], authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs, ours = authority.issue("pacs"), authority.issue("planimeter")
    other = Authority(tmp_path / "other", "Others")
    (tmp_path / "home").mkdir(mode=0o700)
    file = tmp_path / "planimeter.toml"
    shown = ("+tls", pacs.key, pacs.certificate, "+cf", authority.pem)
    with storescp(dcmtk("storescp"), tmp_path / "scp", *shown) as port:
        said = CONFIG.format(
            home=tmp_path / "home", ours=ours, ca=authority.pem, to=port, other=other.pem, sha256=pacs.sha256, port=0
        )
        file.write_text(said)
        made = targets_of(load(file))
        assert made["pacs"].tls is not None and made["pacs"].tls.trust.ca == authority.pem
        assert made["pacs"].tls.pair == Pair(ours.certificate, ours.key)
        for name in ("pacs", "pinned"):
            assert cli.main(["doctor", name, "--json", "--config", str(file)]) == 0
            found = json.loads(capsys.readouterr().out)
            assert found["tls"]["trusted"]
            assert found["tls"]["version"] in ("TLSv1.2", "TLSv1.3")
            assert found["tls"]["sha256"] == pacs.sha256.replace(":", "").lower()
        assert (found["deliverable"], found["problem"]) == (True, None)
        assert cli.main(["doctor", "public", "--config", str(file)]) == 1
        printed = " ".join(capsys.readouterr().out.split())
        assert "by an authority that is not among those that are trusted" in printed
        assert "of O=Tests, CN=pacs, by O=Tests, CN=Tests authority, until" in printed
        assert cli.main(["check", "--config", str(file)]) == 1
        printed = capsys.readouterr().out
        # a line may end inside a path
        checked, unbroken = (joint.join(printed.split()) for joint in (" ", ""))
        assert "port 0, profile bcp195; callers show a certificate of" in checked
        assert str(authority.pem) in unbroken
        assert f"thecertificate{ours.certificate}isgooduntil" in unbroken
        assert "pacs answers C-ECHO" in checked
        assert "pinned answers C-ECHO" in checked
        as_files(small_series()[:1], tmp_path / "home")
        image = next((tmp_path / "home").glob("*.dcm"))
        assert cli.main(["send", str(image), "pacs", "--config", str(file)]) == 0
        assert "1 of 1 stored at PACS" in capsys.readouterr().out


def test_doctor_describes_a_certificate_that_has_ended(
    dcmtk: Callable[[str], str], authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = authority.issue("old", days=(-3, -1))
    with storescp(dcmtk("storescp"), tmp_path / "scp", "+tls", old.key, old.certificate, "-ic") as port:
        peer = f"PACS@127.0.0.1:{port}"
        assert cli.main(["doctor", peer, "--ca-file", str(authority.pem), "--json", "--home", str(tmp_path / "h")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "has expired: it needs a new one" in found["tls"]["why_not"]
    assert found["tls"]["subject"] == "O=Tests, CN=old"
    assert found["tls"]["until"].endswith("GMT")


def test_a_node_that_takes_tls_alone(
    dcmtk: Callable[[str], str], authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`planimeter receive` as a site starts it: who gets in, where nothing of the key is, and a key that is open."""
    ours, scanner = authority.issue("node-alone"), authority.issue("ct1")
    (tmp_path / "home").mkdir(mode=0o700)
    file, port = tmp_path / "planimeter.toml", free_port()
    said = CONFIG.format(
        home=tmp_path / "home", ours=ours, ca=authority.pem, to=9, other=authority.pem, sha256="00" * 32, port=port
    )
    file.write_text(said.replace(f"port = {port}\n", f"port = {port}\nplain = false\n"))
    echo_over = [dcmtk("echoscu"), "+tls", scanner.key, scanner.certificate, "+cf", authority.pem, "127.0.0.1"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*PLANIMETER, "receive", "--config", str(file)], stdout=log, stderr=log)
    try:
        done = wait_until("it answers C-ECHO", lambda: _ends_well([*echo_over, str(port)], running), 60, 0.2)
        assert done
        secret = ours.key.read_text().split("\n")[1].encode()
        assert secret not in (tmp_path / "log").read_bytes()
        assert secret not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
        assert secret not in Path(f"/proc/{running.pid}/environ").read_bytes()
    finally:
        running.terminate()
        running.wait(30)
    assert secret not in (tmp_path / "home" / "planimeter.db").read_bytes()
    ours.key.chmod(0o644)
    assert cli.main(["receive", "--config", str(file)]) == 1
    assert "can be read by others: chmod 600 it" in capsys.readouterr().err


def _ends_well(command: list[Any], running: subprocess.Popen[bytes]) -> bool:
    assert running.poll() is None, "the receiver ended"
    return subprocess.run(list(map(str, command)), capture_output=True, check=False, timeout=60).returncode == 0


def test_what_ends_or_cannot_be_used_is_an_alarm(database: Database, authority: Authority, tmp_path: Path) -> None:
    soon, good = authority.issue("soon", days=(-1, 5)), authority.issue("good", days=(-1, 300))
    crl = authority.crl(
        tmp_path / "crl.pem", "-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260102000000Z"
    )
    fresh = authority.crl(tmp_path / "fresh.pem")
    tls = {"certificate": soon.certificate, "key": good.key, "ca_file": authority.pem, "crl_file": crl}
    tls |= {"client_certificate": good.certificate, "client_key": good.key}

    def found(**section: Any) -> dict[str, str]:
        policy = alarms_of(load(None, {"tls": section}))
        with database.read() as tx:
            return {one.subject: one.sentence for one in look_for(tx, policy, World(10**12, time.time()))}

    wrong = {
        subject: sentence for subject, sentence in found(**tls).items() if subject in ("[tls]", "soon.pem", "crl.pem")
    }
    assert "this is not the key of this certificate" in wrong["[tls]"]
    assert "the certificate soon.pem ends on" in wrong["soon.pem"]
    assert wrong["crl.pem"] == "the list of revoked certificates crl.pem has ended on 2026-01-02"
    right = found(**tls | {"certificate": good.certificate, "crl_file": fresh})
    assert not right.keys() & {"[tls]", "good.pem", "fresh.pem"}
    said = list(tls_check.check(accepting_of(load(None, {"tls": tls | {"key": soon.key}})), 2762, (), time.time()))
    assert [right for right, _ in said] == [True, None, False]
