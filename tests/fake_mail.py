"""A mail server that misbehaves on demand: a small real one (RFC 5321) on a free port; STARTTLS with a certificate."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast


class FakeMail:
    """Keeps what it is sent. Its knobs may be turned while it runs.

    Attributes:
        refuse: a command (upper case) -> what it answers to it instead.
        drop_after: it ends the connection after this command.
        silent: it takes connections, and says nothing.
        password: with it, whoever does not know it is turned away (AUTH PLAIN).
        mails: what it took, with `recipients` of each.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.refuse: dict[str, str] = {}
        self.drop_after = ""
        self.silent = False
        self.password = ""
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.encrypted: list[bool] = []
        self.tls: ssl.SSLContext | None = None
        self.released = threading.Event()
        if certificate is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.knobs = self

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> FakeMail:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    knobs: FakeMail


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.knobs = cast(_Server, self.server).knobs
        if self.knobs.silent:
            self.knobs.released.wait(60)
            return
        self.secret = False
        self.who: list[str] = []
        self._say("220 fake")
        try:
            while line := self.rfile.readline():
                command, _, rest = line.decode("ascii").strip().partition(" ")
                if not self._answer(command.upper(), rest) or command.upper() == self.knobs.drop_after:
                    return
        except (OSError, ssl.SSLError):
            return

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def _answer(self, command: str, rest: str) -> bool:
        if command in self.knobs.refuse:
            self._say(self.knobs.refuse[command])
            return True
        known: dict[str, Any] = {
            "EHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "RCPT": self._rcpt,
            "DATA": self._data,
        }
        if command == "QUIT":
            self._say("221 bye")
            return False
        known.get(command, lambda _rest: self._say("250 ok"))(rest)
        return True

    def _ehlo(self, _rest: str) -> None:
        extensions = ["STARTTLS"] if self.knobs.tls and not self.secret else []
        extensions += ["AUTH PLAIN"] if self.knobs.password else []
        lines = ["fake", *extensions]
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _starttls(self, _rest: str) -> None:
        assert self.knobs.tls is not None
        self._say("220 go")
        self.connection = self.knobs.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), cast(Any, self.connection.makefile("wb", 0))
        self.secret = True

    def _auth(self, rest: str) -> None:
        given = base64.b64decode(rest.split()[1]).split(b"\0")[2].decode()
        self._say("235 ok" if given == self.knobs.password else "535 5.7.8 wrong")

    def _rcpt(self, rest: str) -> None:
        self.who.append(rest[rest.index("<") + 1 : rest.index(">")])
        self._say("250 ok")

    def _data(self, _rest: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        self.knobs.mails.append(cast(EmailMessage, message))
        self.knobs.recipients.append(self.who)
        self.knobs.encrypted.append(self.secret)
        self.who = []
        self._say("250 taken")
