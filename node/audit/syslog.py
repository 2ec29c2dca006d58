"""Messages to a syslog collector: RFC 5424 over TLS (RFC 5425), over TCP (RFC 6587 3.4.1), or in datagrams (RFC 5426).

Syslog has no acknowledgement. A message counts as taken when the collector's machine has acknowledged its last byte
and the connection still stands; a collector that dies with it in its hands loses it, as with every syslog sender.
"""

from __future__ import annotations

import array
import fcntl
import os
import re
import select
import socket
import ssl
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import Unavailable

#: RFC 5424 6.2.1: notice
SEVERITY = 5
#: PS3.15 A.6
MSGID = "DICOM+RFC3881"
APP_NAME = "Planimeter"
BOM = b"\xef\xbb\xbf"
#: a collector that wants another certificate says so after the handshake (RFC 8446 4.4.2.4), if it says anything
AFTER_HANDSHAKE_SECONDS = 1.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Where audit messages go.

    Attributes:
        transport: "tls", "tcp" or "udp".
        ca_file: certificates to trust instead of the system's.
        certificate, key: of ours, where it asks for one.
        facility: of syslog; 10 is security and authorization.
    """

    host: str
    port: int
    transport: str = "tls"
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    facility: int = 10
    timeout_seconds: float = 10.0

    @property
    def name(self) -> str:
        """For people."""
        return f"the audit collector {self.host}:{self.port} ({self.transport.upper()})"


def line(xml: bytes, at: float, facility: int, host: str) -> bytes:
    """A syslog message (RFC 5424 6), without a frame.

    Args:
        at: seconds since 1970 when it is sent.
        host: this machine's name.
    """
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    named = re.sub(r"[^!-~]", "-", host)[:255] or "-"
    head = f"<{facility * 8 + SEVERITY}>1 {when} {named} {APP_NAME} {os.getpid()} {MSGID} - "
    return head.encode("ascii") + BOM + xml


def framed(message: bytes) -> bytes:
    """With its length in octets before it (RFC 5425 4.3)."""
    return b"%d %b" % (len(message), message)


class Connection:
    """An open way to the collector.

    Raises:
        Unavailable: `unreachable`: there is none, and the sentence says why.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        try:
            self._socket = self._opened()
        except (OSError, ValueError) as error:
            raise self._away(error) from None

    def _opened(self) -> socket.socket:
        to = self._collector
        if to.transport == "udp":
            family, kind, number, _, address = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0]
            made = socket.socket(family, kind, number)
            made.connect(address)
            return made
        plain = socket.create_connection((to.host, to.port), to.timeout_seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if to.transport == "tcp":
                return plain
            secret = _context(to).wrap_socket(plain, server_hostname=to.host)
        except BaseException:
            plain.close()
            raise
        heard = select.poll()
        heard.register(secret, select.POLLIN)
        if heard.poll(AFTER_HANDSHAKE_SECONDS * 1000):
            try:
                self._hear(secret)
            except OSError:
                secret.close()
                raise
        return secret

    def send(self, messages: Iterable[bytes]) -> None:
        """Send them, and wait until the collector's machine has them.

        Raises:
            Unavailable: some of them may not be there.
        """
        try:
            if self._collector.transport == "udp":
                for one in messages:
                    self._socket.send(one)
                return
            self._hear(self._socket)
            self._socket.sendall(b"".join(map(framed, messages)))
            self._until_acknowledged()
            self._hear(self._socket)
        except OSError as error:
            raise self._away(error) from None

    def _until_acknowledged(self) -> None:
        deadline = time.monotonic() + self._collector.timeout_seconds
        left = array.array("i", [0])
        while True:
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, left)  # tcp(7), SIOCOUTQ: sent or not, and not acked
            if not left[0]:
                return
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _hear(connection: socket.socket) -> None:
        """A collector says nothing; what there is to be read is its end, or why it wants no more."""
        before = connection.gettimeout()
        connection.setblocking(False)
        try:
            while connection.recv(4096):
                pass
            raise ConnectionResetError("it ended the connection")
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        finally:
            connection.settimeout(before)

    def _away(self, error: Exception) -> Unavailable:
        said = f"{self._collector.name} does not take messages: {_why(error)}"
        return Unavailable("unreachable", said)

    def close(self) -> None:
        """End it; nothing is waited for."""
        self._socket.close()


def _context(to: Collector) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(to.ca_file) if to.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if to.certificate is not None:
        context.load_cert_chain(to.certificate, to.key)
    return context


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); `ca_file` in [audit] says whom to trust"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "it ended the connection").replace("_", " ").lower()
        return f"TLS: {reason}; does it want another `certificate`?"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)
