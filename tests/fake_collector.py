"""A collector of audit messages that misbehaves on demand: a small real syslog server (RFC 5425, 6587, 5426)."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

#: RFC 5424 6: PRI, version, timestamp, host, application, process, message id, structured data, message
HEADER = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) - "
    rb"\xef\xbb\xbf(.*)",
    re.DOTALL,
)


class FakeCollector:
    """Keeps what it is sent. Its knobs may be turned while it runs.

    Args:
        certificate: of its own, with its key; None: plain TCP, or datagrams.
        clients: the certificates that it wants to see of others.

    Attributes:
        silent: it takes connections, and reads nothing.
        drop_after: it ends a connection after so many messages of it.
        messages: syslog messages as they came, without their frames.
        connections: that were taken.
    """

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        clients: Path | None = None,
        port: int = 0,
        datagrams: bool = False,
    ) -> None:
        self.silent, self.drop_after = False, 0
        self.messages: list[bytes] = []
        self.connections = 0
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
            if clients is not None:
                self._tls.verify_mode = ssl.CERT_REQUIRED
                self._tls.load_verify_locations(clients)
        self._open: list[socket.socket] = []
        self._datagrams = datagrams
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._listening.bind(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> FakeCollector:
        if not self._datagrams:
            self._listening.listen(16)
        work = self._take_datagrams if self._datagrams else self._accept
        threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone, as a machine that lost its power: every connection with it."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _take_datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.messages.append(self._listening.recv(65535))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                self._open.append(plain)
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            taken = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._open.append(taken)
            self.connections += 1
            if self.silent:
                return
            with taken, taken.makefile("rb") as stream:
                count = 0
                while message := self._one(stream):
                    self.messages.append(message)
                    count += 1
                    if self.drop_after and count >= self.drop_after:
                        taken.shutdown(socket.SHUT_RDWR)
                        return

    @staticmethod
    def _one(stream: object) -> bytes:
        """One message with octet counting (RFC 5425 4.3)."""
        length = b""
        while (letter := stream.read(1)) not in (b" ", b""):  # type: ignore[attr-defined]
            if not letter.isdigit():
                raise ValueError("a frame begins with its length")
            length += letter
        return stream.read(int(length)) if length else b""  # type: ignore[attr-defined, no-any-return]

    @property
    def xml(self) -> list[ET.Element]:
        """The audit messages of what came."""
        return [ET.fromstring(parts(one)[-1]) for one in list(self.messages)]

    def codes(self) -> list[str]:
        """What they tell of: code of the event, and of its type where it has one."""
        return list(map(code_of, self.xml))


def parts(message: bytes) -> tuple[bytes, ...]:
    """Of a syslog message."""
    found = HEADER.fullmatch(message)
    assert found is not None, message
    return found.groups()


def code_of(root: ET.Element) -> str:
    """Code of the event, and of its type where it has one: "110114/110122"."""
    event = root.find("EventIdentification")
    assert event is not None
    codes = [*event.findall("EventID"), *event.findall("EventTypeCode")]
    return "/".join(str(one.get("csd-code")) for one in codes)
