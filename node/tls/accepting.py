"""The receiver's side of TLS: a handshake in the thread of each connection, by the files as they are now."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass

from ..errors import Refused
from . import words
from .files import SYSTEM, Pair, Stamp, Trust, load_pair, load_trust, stamp
from .profile import Profile, harden

#: a record of a handshake begins with it (RFC 8446 5.1), an A-ASSOCIATE-RQ with the other (PS3.8 9.3.2)
HANDSHAKE, ASSOCIATE = 0x16, 0x01
#: how long the other side may take to read why there is no connection
ALERT_SECONDS = 1.0
MOST_UNREAD = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Accepting:
    """How callers are taken over TLS.

    Attributes:
        trust: the authorities of callers' certificates; without `ca` none is asked for.
        require_certificate: a caller without one gets no connection.
        handshake_seconds: for the whole of a handshake.
    """

    pair: Pair
    trust: Trust = SYSTEM
    require_certificate: bool = True
    profile: Profile = Profile.BCP195
    handshake_seconds: float = 10.0


def context(how: Accepting) -> ssl.SSLContext:
    """Of a server.

    Raises:
        Refused: `tls-files`, `key-readable`.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    harden(made, how.profile)
    load_pair(made, how.pair)
    if how.trust.ca is not None:
        load_trust(made, how.trust)
        made.verify_mode = ssl.CERT_REQUIRED if how.require_certificate else ssl.CERT_OPTIONAL
    return made


class Acceptor:
    """Shakes hands with callers; `renew` takes the files anew when they were changed.

    Raises:
        Refused: as `context`.
    """

    def __init__(self, how: Accepting) -> None:
        self._how = how
        self._lock = threading.Lock()
        self._stamp = self._unusable = self._now()
        self._context = context(how)

    def renew(self) -> bool:
        """Take changed files for the handshakes that come; whether there were any. Connections that are there stay.

        Files that cannot be used are tried again each time: others may read them no more, or there is a descriptor now.

        Raises:
            Refused: as `context`, once for each change: what was in use stays in use.
        """
        with self._lock:
            now = self._now()
            if now == self._stamp:
                self._unusable = now
                return False
            try:
                self._context = context(self._how)
            except Refused:
                if now == self._unusable:
                    return False
                self._unusable = now
                raise
            self._stamp = now
            return True

    def secure(self, connection: socket.socket) -> ssl.SSLSocket:
        """Shake hands, in the thread of the connection. What comes back blocks; where nothing does, it is closed.

        Raises:
            Refused: why there is none: `no-request`, `plain-on-tls-port`, `not-tls`, `tls-stalled`, `tls-too-old`,
                `tls-no-cipher`, `tls-distrusted`, `tls-failed`, `certificate-missing`, `certificate-expired`,
                `certificate-revoked`, `certificate-untrusted`, `crl-unusable`.
        """
        deadline = time.monotonic() + self._how.handshake_seconds
        try:
            self._looks_like_tls(connection)
            line = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except BaseException:
            connection.close()
            raise
        try:
            line.settimeout(max(0.001, deadline - time.monotonic()))
            line.do_handshake()
            line.settimeout(None)
        except OSError as error:
            code, sentence = words.of_handshake(error, "the caller", "our certificate")
            _close(line)
            raise Refused(code, sentence) from None
        return line

    def _looks_like_tls(self, connection: socket.socket) -> None:
        """Raises:
        Refused
        """
        seconds = self._how.handshake_seconds
        connection.settimeout(seconds)
        try:
            first = connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            raise Refused("tls-stalled", f"the caller began no TLS handshake within {seconds:g} s") from None
        except OSError as error:
            raise Refused("no-request", f"the connection broke before a handshake: {error.strerror}") from None
        if not first:
            said = "the connection was closed without a request (a health check, or a port scan)"
            raise Refused("no-request", said)
        if first[0] == ASSOCIATE:
            said = (
                "the caller speaks DICOM without TLS on the port for TLS: turn TLS on there, or give it the other port"
            )
            raise Refused("plain-on-tls-port", said)
        if first[0] != HANDSHAKE:
            raise Refused("not-tls", "the caller speaks neither TLS nor DICOM on the port for TLS")

    def _now(self) -> Stamp:
        how = self._how
        return stamp((how.pair.certificate, how.pair.key, how.trust.ca, how.trust.crl))


def _close(line: ssl.SSLSocket) -> None:
    """Close so that the other side can read the alert: what it has sent meanwhile is read, else that would be lost."""
    with socket.socket(fileno=line.detach()) as plain, contextlib.suppress(OSError):
        plain.settimeout(ALERT_SECONDS)
        plain.shutdown(socket.SHUT_WR)
        deadline, read = time.monotonic() + ALERT_SECONDS, 0
        while read < MOST_UNREAD and time.monotonic() < deadline and (more := len(plain.recv(4096))):
            read += more
