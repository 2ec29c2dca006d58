"""The line to a peer: its name, its port, and what is spoken there, before any of it is DICOM."""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from ...errors import Unavailable
from ...tls import words
from ...tls.calling import Attempt, Calling
from ...tls.shown import distinguished

#: for what a peer says of the certificate after a handshake
ALERT_SECONDS = 0.5
#: X509_V_FLAG_NO_CHECK_TIME of OpenSSL
NO_CHECK_TIME = 0x200000
#: bytes of an A-ASSOCIATE-RJ or A-ABORT (PS3.8 9.3.4, 9.3.8)
SHORTEST_ANSWER = 10


@dataclass(frozen=True)
class Security:
    """What a TLS handshake showed.

    Attributes:
        subject, issuer, until: of the peer's certificate; empty where it cannot be read.
        sha256: of the certificate.
        trusted: it is one that we trust, for this host.
        why_not: else the reason, and what can be done.
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


def secure(host: str, port: int, seconds: float, how: Calling) -> Security:
    """Shake hands, trusting nobody by default; a certificate that is not trusted is described all the same.

    Raises:
        Unavailable: `tls-failed`, `tls-files`, `key-readable`, or as `connect`.
    """
    why_not, name = "", how.name or host
    try:
        shown = _handshake(host, port, seconds, name, Attempt(how).context)
    except ssl.SSLCertVerificationError as error:
        why_not = words.of_handshake(error, f"{host}:{port}", "ours")[1]
        try:
            shown = _handshake(host, port, seconds, name, Attempt(how, verify=False).context)
        except OSError as other:
            raise _failed(host, port, other) from None
    except OSError as error:
        raise _failed(host, port, error) from None
    version, cipher, der, told = shown
    told = told or _described(host, port, seconds, how, der)
    return Security(
        version,
        cipher,
        hashlib.sha256(der).hexdigest(),
        trusted=not why_not,
        why_not=why_not,
        subject=distinguished(told.get("subject")),
        issuer=distinguished(told.get("issuer")),
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


def _handshake(
    host: str, port: int, seconds: float, name: str, tls: ssl.SSLContext
) -> tuple[str, str, bytes, dict[str, Any]]:
    with connect(host, port, seconds) as plain, tls.wrap_socket(plain, server_hostname=name) as line:
        cipher = line.cipher()
        der = line.getpeercert(binary_form=True) or b""
        return line.version() or "", cipher[0] if cipher else "", der, dict(line.getpeercert() or {})


def _described(host: str, port: int, seconds: float, how: Calling, der: bytes) -> dict[str, Any]:
    """What a certificate says that we do not trust: the standard library reads only those that it has verified, so it
    stands for itself here, and its end does not count. Empty where it cannot be read all the same."""
    alone = Attempt(how, verify=False).context
    alone.verify_mode = ssl.CERT_REQUIRED
    alone.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    try:
        alone.load_verify_locations(cadata=der)
        return _handshake(host, port, seconds, host, alone)[3]
    except OSError:
        return {}


def _failed(host: str, port: int, error: OSError) -> Unavailable:
    said = words.of_handshake(error, f"{host}:{port}", "our certificate")[1]
    return Unavailable("tls-failed", f"{host}:{port} does not speak TLS with us: {said}")
