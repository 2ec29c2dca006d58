"""The line to a peer: its name, its port, and what is spoken there, before any of it is DICOM."""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Unavailable

#: for what a peer says of the certificate after a handshake
ALERT_SECONDS = 0.5
#: bytes of an A-ASSOCIATE-RJ or A-ABORT (PS3.8 9.3.4, 9.3.8)
SHORTEST_ANSWER = 10


@dataclass(frozen=True)
class Wish:
    """How TLS is wanted.

    Attributes:
        ca_file: certificates to trust instead of the system's.
        certificate, key: ours, for a peer that asks for one.
    """

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Security:
    """What a TLS handshake showed.

    Attributes:
        subject, issuer, until: of the peer's certificate; empty where it cannot be read.
        sha256: of the certificate.
        trusted: it is one that we trust, for this host.
        why_not: else the reason.
    """

    version: str
    cipher: str
    sha256: str
    trusted: bool
    why_not: str = ""
    subject: str = ""
    issuer: str = ""
    until: str = ""


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection.

    Raises:
        Unavailable: `host-unknown`, `port-closed`, `no-answer`.
    """
    where = f"{host}:{port}"
    try:
        return socket.create_connection((host, port), timeout=seconds)
    except (socket.gaierror, UnicodeError):
        raise Unavailable(
            "host-unknown", f"nobody knows the host name {host}: check its spelling, or give the IP address"
        ) from None
    except ConnectionRefusedError:
        raise Unavailable(
            "port-closed",
            f"nobody listens at {where}: is the peer running, and is {port} its DICOM port (often 104, 11112 or 4242)?",
        ) from None
    except TimeoutError:
        raise Unavailable(
            "no-answer",
            f"{where} does not answer within {seconds:g} s: check the address, and ask whether a firewall is between",
        ) from None
    except OSError as error:
        raise Unavailable("no-answer", f"{where} cannot be reached: {error.strerror or error}") from None


def context(wish: Wish, *, verify: bool) -> ssl.SSLContext:
    """A TLS context of ours.

    Raises:
        Unavailable: `tls-files`: one of the files cannot be used.
    """
    try:
        made = ssl.create_default_context(cafile=str(wish.ca_file) if wish.ca_file else None)
        if wish.certificate:
            made.load_cert_chain(wish.certificate, wish.key, password=lambda: "")
    except (OSError, ValueError) as error:
        files = ", ".join(str(file) for file in (wish.ca_file, wish.certificate, wish.key) if file)
        raise Unavailable("tls-files", f"{files}: no certificate or key that can be used ({_reason(error)})") from None
    if not verify:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def secure(host: str, port: int, seconds: float, wish: Wish) -> Security:
    """Shake hands, trusting nobody by default; a certificate that is not trusted is described all the same.

    Raises:
        Unavailable: `tls-failed`, `tls-files`, or as `connect`.
    """
    why_not = ""
    try:
        shown = _handshake(host, port, seconds, context(wish, verify=True))
    except ssl.SSLCertVerificationError as error:
        why_not = error.verify_message
        try:
            shown = _handshake(host, port, seconds, context(wish, verify=False))
        except OSError as other:
            raise _failed(host, port, other) from None
    except OSError as error:
        raise _failed(host, port, error) from None
    version, cipher, der, told = shown
    told = told or _described(host, port, seconds, wish, der)
    return Security(
        version,
        cipher,
        hashlib.sha256(der).hexdigest(),
        trusted=not why_not,
        why_not=why_not,
        subject=_name(told.get("subject")),
        issuer=_name(told.get("issuer")),
        until=str(told.get("notAfter", "")),
    )


def exchange(host: str, port: int, seconds: float, request: bytes, tls: ssl.SSLContext | None) -> bytes:
    """Send a first message and see how the answer begins; empty where the peer closes instead.

    Raises:
        TimeoutError: it says nothing.
        ssl.SSLError: it ends the handshake or the line with an alert.
        OSError: the connection broke.
        Unavailable: as `connect`.
    """
    with connect(host, port, seconds) as plain:
        line = tls.wrap_socket(plain, server_hostname=host) if tls else plain
        with line:
            unasked = _said_first(line, seconds) if tls else b""
            line.sendall(request)
            return _beginning(line, unasked)


def _said_first(line: socket.socket, seconds: float) -> bytes:
    """What comes before anything was sent: with TLS 1.3 the alert that a certificate of ours is wanted.

    It comes after the handshake, and who writes meanwhile may never read it: the line is broken by then.
    """
    line.settimeout(min(seconds, ALERT_SECONDS))
    try:
        return line.recv(64)
    except TimeoutError:
        return b""
    finally:
        line.settimeout(seconds)


def _beginning(line: socket.socket, came: bytes) -> bytes:
    """As much as the shortest answer has; it may come in pieces. Less where the peer closes, or says no more."""
    try:
        while len(came) < SHORTEST_ANSWER and (more := line.recv(64)):
            came += more
    except TimeoutError:
        if not came:
            raise
    return came


def _handshake(host: str, port: int, seconds: float, tls: ssl.SSLContext) -> tuple[str, str, bytes, dict[str, Any]]:
    with connect(host, port, seconds) as plain, tls.wrap_socket(plain, server_hostname=host) as line:
        cipher = line.cipher()
        der = line.getpeercert(binary_form=True) or b""
        return line.version() or "", cipher[0] if cipher else "", der, dict(line.getpeercert() or {})


def _described(host: str, port: int, seconds: float, wish: Wish, der: bytes) -> dict[str, Any]:
    """What a certificate says that we do not trust: the standard library reads only those that it has verified, so it
    stands for itself here. Empty for one that has expired, which nothing verifies."""
    alone = context(wish, verify=False)
    alone.verify_mode = ssl.CERT_REQUIRED
    alone.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        alone.load_verify_locations(cadata=der)
        return _handshake(host, port, seconds, alone)[3]
    except OSError:
        return {}


def _name(parts: Any) -> str:
    """A distinguished name as `CN=pacs, O=Hospital`."""
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
    return ", ".join(f"{short.get(key, key)}={value}" for part in parts or () for key, value in part)


def _failed(host: str, port: int, error: OSError) -> Unavailable:
    return Unavailable("tls-failed", f"{host}:{port} does not speak TLS with us: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
