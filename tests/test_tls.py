"""Callers over TLS: who gets a connection, who does not and why, and that nobody waits for anybody's handshake."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.errors import Refused
from node.tls import accepting
from node.tls.accepting import Accepting, Acceptor
from node.tls.files import Pair, Trust, stamp
from node.tls.profile import Profile
from tests.certificates import Authority, Issued, connected, self_signed
from tests.conftest import find_program
from tests.synthetic import as_files, small_series
from tests.tls_site import TlsSite, associated, done
from tests.waiting import wait_until

PROFILES = ("+py", "+px", "+pz")  # of DCMTK: non-downgrading BCP 195, BCP 195, extended BCP 195


def echoes(tls_site: TlsSite, port: int) -> bool:
    """Whether a good caller gets through."""
    assoc = tls_site.associate(port)
    if not assoc.is_established:
        return False
    status = assoc.send_c_echo().Status
    assoc.release()
    return bool(status == 0x0000)


def dcmtk_echo(path: str, port: int, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [path, *map(str, options), "-aec", "PLANIMETER", "-aet", "CT1", "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# ------------------------------------------------------------------------ real senders


@pytest.mark.parametrize("ours", list(Profile))
def test_dcmtk_calls_with_each_of_its_profiles(tls_site: TlsSite, dcmtk: Callable[[str], str], ours: Profile) -> None:
    running = tls_site.start(profile=ours)
    shown = ("+tls", tls_site.scanner.key, tls_site.scanner.certificate, "+cf", tls_site.authority.pem)
    for theirs in PROFILES:
        done = dcmtk_echo(dcmtk("echoscu"), running.tls_port, *shown, theirs)
        assert done.returncode == 0, done.stderr + done.stdout


def test_dcmtk_sends_images_that_are_stored(tls_site: TlsSite, dcmtk: Callable[[str], str], tmp_path: Path) -> None:
    running = tls_site.start()
    folder = tmp_path / "images"
    folder.mkdir()
    as_files(small_series(), folder)
    shown = ["+tls", tls_site.scanner.key, tls_site.scanner.certificate, "+cf", tls_site.authority.pem, "+sd"]
    command = [dcmtk("storescu"), *map(str, shown), "-aet", "CT1", "127.0.0.1", str(running.tls_port), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(list((tls_site.node.archive.home / "store").rglob("*.dcm"))) == len(list(folder.iterdir()))


def test_without_a_certificate_dcmtk_calls_where_none_is_required(
    tls_site: TlsSite, dcmtk: Callable[[str], str]
) -> None:
    strict, open_to_all = tls_site.start(), tls_site.start(require_certificate=False)
    anonymous = ("+tla", "+cf", tls_site.authority.pem)
    assert dcmtk_echo(dcmtk("echoscu"), open_to_all.tls_port, *anonymous).returncode == 0
    assert dcmtk_echo(dcmtk("echoscu"), strict.tls_port, *anonymous).returncode != 0
    assert "shows no certificate, and has to" in tls_site.refused("certificate-missing")


# --------------------------------------------------------------------- certificates


@pytest.mark.parametrize(
    ("kind", "code", "said", "alert"),
    [
        ("none", "certificate-missing", "shows no certificate", "certificate required"),
        ("expired", "certificate-expired", "has expired", "certificate expired"),
        ("not-yet", "certificate-expired", "is not valid yet", "bad certificate"),
        ("self-signed", "certificate-untrusted", "signs itself", "unknown ca"),
        ("other-authority", "certificate-untrusted", "by an authority that is not among", "unknown ca"),
        ("revoked", "certificate-revoked", "was revoked", "certificate revoked"),
        ("for-servers", "certificate-untrusted", "not made for this use", "unsupported certificate"),
    ],
)
def test_a_bad_certificate_gets_no_connection_and_both_sides_are_told_why(
    tls_site: TlsSite, tmp_path: Path, kind: str, code: str, said: str, alert: str
) -> None:
    revoked = tls_site.authority.issue("lost") if kind == "revoked" else None
    if revoked:
        tls_site.authority.revoke(revoked)
    shown = {
        "none": lambda: None,
        "expired": lambda: tls_site.authority.issue("old", days=(-3, -1)),
        "not-yet": lambda: tls_site.authority.issue("early", days=(1, 2)),
        "self-signed": lambda: self_signed(tmp_path, "selfish"),
        "other-authority": lambda: Authority(tmp_path / "other", "Others").issue("ct1"),
        "revoked": lambda: revoked,
        "for-servers": lambda: tls_site.authority.issue("server", use="serverAuth"),
    }[kind]()
    crl = tls_site.authority.crl(tmp_path / "crl.pem")
    running = tls_site.start(trust=Trust(tls_site.authority.pem, crl))
    # with TLS 1.3 the caller is through its part of the handshake before its certificate is judged
    with connected(running.tls_port, tls_site.authority.pem, shown) as line, pytest.raises(ssl.SSLError) as told:
        line.recv(1)
    assert alert in str(told.value)
    assert said in tls_site.refused(code)
    assert echoes(tls_site, running.tls_port)


def test_a_list_of_revoked_certificates_that_has_expired_lets_nobody_in_and_says_so(
    tls_site: TlsSite, tmp_path: Path
) -> None:
    crl = tls_site.authority.crl(
        tmp_path / "crl.pem", "-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260102000000Z"
    )
    running = tls_site.start(trust=Trust(tls_site.authority.pem, crl))
    assert not echoes(tls_site, running.tls_port)
    assert "has expired: put a new one there" in tls_site.refused("crl-unusable")


def test_the_authorities_may_be_a_folder(tls_site: TlsSite, tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    selfish = self_signed(tmp_path, "selfish")
    shutil.copy(tls_site.authority.pem, folder / "a.pem")
    running = tls_site.start(trust=Trust(folder))
    assert not tls_site.associate(running.tls_port, selfish).is_established
    shutil.copy(selfish.certificate, folder / "b.crt")
    wait_until("the new one is trusted", lambda: done(tls_site.associate(running.tls_port, selfish)), 30)
    assert echoes(tls_site, running.tls_port)


# ------------------------------------------------------------------ versions, ciphers


def s_client(port: int, *options: str, said: str = "") -> str:
    command = [
        find_program("openssl", "apt-get install openssl"),
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        *options,
    ]
    ran = subprocess.run(command, input=said, capture_output=True, text=True, check=False, timeout=60)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-tls1", "-cipher", "ALL:@SECLEVEL=0"), "tls-too-old"),
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "tls-too-old"),
        (("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"), "tls-no-cipher"),
        (("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0"), "tls-no-cipher"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"), "tls-no-cipher"),
    ],
)
@pytest.mark.parametrize("profile", list(Profile))
def test_what_the_profiles_have_not_is_refused(
    tls_site: TlsSite, profile: Profile, options: tuple[str, ...], code: str
) -> None:
    running = tls_site.start(profile=profile)
    assert "Cipher is (NONE)" in s_client(running.tls_port, *options)
    tls_site.refused(code)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_nothing_is_compressed_resumed_or_negotiated_again(tls_site: TlsSite, version: str) -> None:
    running = tls_site.start()
    shown = (
        "-cert",
        str(tls_site.scanner.certificate),
        "-key",
        str(tls_site.scanner.key),
        "-CAfile",
        str(tls_site.authority.pem),
    )
    answer = s_client(running.tls_port, version, *shown, "-verify_return_error", said="R\n")
    assert "Verify return code: 0 (ok)" in answer
    assert "Compression: NONE" in answer
    assoc = tls_site.associate(running.tls_port)
    assert assoc.send_c_echo().Status == 0x0000  # with TLS 1.3 tickets come with the first answer
    assert not assoc.dul.socket.socket.session.has_ticket
    assoc.release()
    if version == "-tls1_2":
        assert "RENEGOTIATING" in answer
        assert "no renegotiation" in answer


# --------------------------------------------------------------------- bad beginnings


def test_handshakes_that_stall_keep_nobody_out(tls_site: TlsSite) -> None:
    running = tls_site.start(handshake_seconds=6.0)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", running.tls_port))) for _ in range(40)]
        for one in silent[::2]:
            one.sendall(hello)
        assert echoes(tls_site, running.tls_port)
        tls_site.refused("tls-stalled", len(silent))
        for one in silent:
            one.settimeout(30)
            assert one.recv(100)[:1] in (b"", b"\x15")
    assert echoes(tls_site, running.tls_port)


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        (b"\x01\0\0\0\0\x40\0\1\0\0", "plain-on-tls-port", "DICOM without TLS on the port for TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "not-tls", "neither TLS nor DICOM"),
        (b"\x16\x03\x01\x00\x05hello", "tls-failed", "broke off the TLS handshake"),
        (b"", "no-request", "closed without a request"),
    ],
)
def test_what_is_no_tls_on_the_port_for_it_is_closed_and_counted(
    tls_site: TlsSite, said: bytes, code: str, sentence: str
) -> None:
    running = tls_site.start()
    with socket.create_connection(("127.0.0.1", running.tls_port)) as line:
        line.sendall(said)
        with contextlib.suppress(OSError):  # it may have been closed at the first byte
            line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            line.recv(100)
    assert sentence in tls_site.refused(code)
    assert echoes(tls_site, running.tls_port)


def test_tls_on_the_port_without_it_is_named(tls_site: TlsSite) -> None:
    running = tls_site.start()
    with pytest.raises((ssl.SSLError, OSError)):
        connected(running.port, tls_site.authority.pem)
    assert "on the port without it" in tls_site.refused("tls-on-plain-port")
    assert done(associated(running.port))


def test_the_port_without_tls_may_be_closed(tls_site: TlsSite) -> None:
    running = tls_site.start(plain=False)
    assert running.port == running.tls_port
    assert echoes(tls_site, running.tls_port)
    assert not associated(running.tls_port).is_established


# ------------------------------------------------------------------------- renewal


def certificate_at(port: int, authority: Authority, ours: Issued) -> bytes:
    """What a node shows; the connection is used for what it is there for."""
    context = ssl.create_default_context(cafile=str(authority.pem))
    context.load_cert_chain(ours.certificate, ours.key)
    assoc = associated(port, (context, "127.0.0.1"))
    assert assoc.is_established
    shown = assoc.dul.socket.socket.getpeercert(binary_form=True)
    assoc.release()
    return bytes(shown)


def test_changed_files_hold_for_the_next_connection_and_disturb_none(tls_site: TlsSite) -> None:
    """Another certificate every moment, while a sender goes on storing on one association and others come and go."""
    running = tls_site.start()
    before = certificate_at(running.tls_port, tls_site.authority, tls_site.scanner)
    pairs = [tls_site.authority.issue(f"node-{number}") for number in range(3)]
    over, statuses, calls = threading.Event(), list[int](), list[bool]()
    images = small_series()

    def sends() -> None:
        assoc = tls_site.associate(running.tls_port)
        while assoc.is_established and (not over.is_set() or len(statuses) < 20):
            statuses.append(int(assoc.send_c_store(images[len(statuses) % len(images)]).get("Status", -1)))
        assoc.release()

    def calls_again() -> None:
        while not over.is_set():
            calls.append(echoes(tls_site, running.tls_port))

    threads = [threading.Thread(target=sends), threading.Thread(target=calls_again)]
    for thread in threads:
        thread.start()
    try:
        for pair in pairs:
            tls_site.install(pair)
            wanted = ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
            wait_until(
                "the new certificate is shown",
                lambda wanted=wanted: certificate_at(running.tls_port, tls_site.authority, tls_site.scanner) == wanted,  # type: ignore[misc]
                30,
            )
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert certificate_at(running.tls_port, tls_site.authority, tls_site.scanner) != before
    assert set(statuses) == {0x0000}, tls_site.counted()
    assert calls
    assert all(calls), tls_site.counted()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda pair: pair.certificate.write_text("no PEM"), "tls-files"),
        (lambda pair: pair.key.unlink(), "tls-files"),
        (lambda pair: pair.key.chmod(0o644), "key-readable"),
    ],
)
def test_broken_files_leave_those_before_in_use_and_are_counted_once(
    tls_site: TlsSite, harm: Callable[[Pair], Any], code: str
) -> None:
    acceptor = Acceptor(Accepting(pair=tls_site.files, trust=Trust(tls_site.authority.pem)))
    running = tls_site.start()
    harm(tls_site.files)
    os.utime(tls_site.files.certificate, ns=(1, 1))
    with pytest.raises(Refused, match=code):
        acceptor.renew()
    assert not acceptor.renew()
    assert "changed files of [tls] are not in use" in tls_site.refused(code)
    assert echoes(tls_site, running.tls_port)
    tls_site.install(tls_site.authority.issue("mended"))
    assert acceptor.renew()
    wanted = ssl.PEM_cert_to_DER_cert(tls_site.files.certificate.read_text())
    wait_until(
        "it is mended", lambda: certificate_at(running.tls_port, tls_site.authority, tls_site.scanner) == wanted, 30
    )


def test_a_new_key_is_in_use_once_others_may_read_it_no_more(tls_site: TlsSite) -> None:
    """As the sentence says to mend it: `chmod 600` changes neither the time of a file nor its size."""
    acceptor = Acceptor(Accepting(pair=tls_site.files, trust=Trust(tls_site.authority.pem)))
    tls_site.install(tls_site.authority.issue("new"))
    tls_site.files.key.chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        acceptor.renew()
    assert not acceptor.renew(), "it is said once"
    tls_site.files.key.chmod(0o600)
    assert acceptor.renew()
    assert not acceptor.renew()
    tls_site.files.key.chmod(0o644)
    os.utime(tls_site.files.key, ns=(1, 1))
    with pytest.raises(Refused, match="chmod 600"):
        acceptor.renew()


def test_a_certificate_that_is_revoked_while_the_node_runs_is_refused_from_then_on(
    tls_site: TlsSite, tmp_path: Path
) -> None:
    lost, crl = tls_site.authority.issue("stolen"), tls_site.authority.crl(tmp_path / "crl.pem")
    running = tls_site.start(trust=Trust(tls_site.authority.pem, crl))
    assert done(tls_site.associate(running.tls_port, lost))
    tls_site.authority.revoke(lost)
    tls_site.authority.crl(crl)
    wait_until("it is refused", lambda: not done(tls_site.associate(running.tls_port, lost)), 30)
    tls_site.refused("certificate-revoked")
    assert echoes(tls_site, running.tls_port)


# --------------------------------------------------------------------------- files


def test_where_nobody_may_look_is_no_reason_to_do_nothing_else(authority: Authority, tmp_path: Path) -> None:
    """A receiver asks every second, before who may call, what is paused, and how full the disk is.

    Of root no folder is closed; a name that is too long is answered in the same way.
    """
    node, nowhere = authority.issue("node"), tmp_path / ("x" * 300)
    assert stamp((nowhere,)) == ((str(nowhere), 0, 0, 0),)
    for how in (
        Accepting(pair=Pair(node.certificate, node.key), trust=Trust(nowhere)),
        Accepting(pair=Pair(nowhere, node.key), trust=Trust(authority.pem)),
        Accepting(pair=Pair(node.certificate, nowhere), trust=Trust(authority.pem)),
    ):
        with pytest.raises(Refused, match="tls-files"):
            Acceptor(how)


def test_files_that_cannot_be_used_are_refused_with_what_is_wrong(authority: Authority, tmp_path: Path) -> None:
    node, other = authority.issue("node"), authority.issue("other")
    good = Accepting(pair=Pair(node.certificate, node.key), trust=Trust(authority.pem))
    accepting.context(good)
    (tmp_path / "empty").mkdir()
    locked = tmp_path / "locked.key"
    openssl = find_program("openssl", "apt-get install openssl")
    subprocess.run([openssl, "pkey", "-in", node.key, "-aes256", "-passout", "pass:secret", "-out", locked], check=True)
    locked.chmod(0o600)
    wrong: list[tuple[Accepting, str]] = [
        (replace(good, pair=Pair(node.certificate, other.key)), "this is not the key of this certificate"),
        (replace(good, pair=Pair(node.certificate, tmp_path / "gone.key")), "gone.key: No such file"),
        (replace(good, pair=Pair(tmp_path / "gone.pem", node.key)), "No such file"),
        (replace(good, pair=Pair(node.certificate, locked)), "locked.key has a password"),
        (replace(good, trust=Trust(tmp_path / "gone.pem")), "gone.pem: No such file"),
        (replace(good, trust=Trust(tmp_path / "empty")), "no certificate is in it"),
        (replace(good, trust=Trust(node.key)), "no PEM that can be read"),
        (replace(good, trust=Trust(authority.pem, authority.pem)), "no list of revoked certificates is in it"),
    ]
    for how, said in wrong:
        with pytest.raises(Refused, match="tls-files") as refused:
            accepting.context(how)
        assert said in refused.value.sentence
    for mode in (0o644, 0o640, 0o604):
        node.key.chmod(mode)
        with pytest.raises(Refused, match="key-readable"):
            accepting.context(good)
    node.key.chmod(0o400)
    accepting.context(good)
