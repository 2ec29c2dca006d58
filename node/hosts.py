"""Model hosts on this machine: started when a network is first needed, kept warm, started again when they die.

They belong to the supervisor; its workers ask for a host's address over a Unix socket, so that all of them share one
process per network.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from models.card import Bundle
from models.host import EXIT_FULL, EXIT_UNUSABLE_BUNDLE
from models.wire import Disconnected, Receiver, send

from .errors import Failed, Unavailable

logger = logging.getLogger(__name__)

START_SECONDS = 180.0
OUT_OF_MEMORY = "out-of-memory"


@dataclass
class _Host:
    process: subprocess.Popen[bytes]
    address: Path
    lifeline: int

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.address))
            return True
        return False


@dataclass
class Hosts:
    """The supervisor's side.

    Attributes:
        folder: private to this user, short (a socket's path may have 107 characters), removed by the supervisor.
        device: "auto", "cpu", "cuda", ...
    """

    folder: Path
    device: str
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _starting: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def address(self, folder: str, card_sha256: str) -> Path:
        """Where the host of a bundle listens; it is started when it does not run.

        Raises:
            Failed: `network-unusable`, `host-not-started`.
        """
        with self._lock:
            starting = self._starting.setdefault(card_sha256, threading.Lock())
        with starting:
            host = self._hosts.get(card_sha256)
            if host is not None and host.process.poll() is None and host.listens():
                return host.address
            if host is not None:
                self._end(self._hosts.pop(card_sha256))
            self._hosts[card_sha256] = host = self._start(folder, card_sha256)
            try:
                self._await(host)
            except Failed:
                if self._hosts.pop(card_sha256, None) is not None:  # else `stop` has ended it
                    self._end(host)
                raise
            return host.address

    def _start(self, folder: str, card_sha256: str) -> _Host:
        address = self.folder / f"{card_sha256[:16]}.sock"
        with contextlib.suppress(FileNotFoundError):
            address.unlink()
        theirs, ours = os.pipe()
        command = [sys.executable, "-P", "-m", "models.host", folder, "--card", card_sha256]
        command += ["--socket", str(address), "--device", self.device, "--lifeline", str(theirs)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs], start_new_session=True
        )
        os.close(theirs)
        logger.info("model host of %s starts (pid %s)", Path(folder).name, process.pid)
        return _Host(process, address, ours)

    def _await(self, host: _Host) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if host.listens():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = host.process.wait(0.05)
                if status == EXIT_UNUSABLE_BUNDLE:
                    raise Failed(
                        "network-unusable", "the bundle is not what its card says; see the log, `planimeter check`"
                    )
                if status == EXIT_FULL:
                    raise Failed(OUT_OF_MEMORY, "there is too little memory to load the network")
                raise Failed("host-not-started", f"the model host ended with exit status {status} while it started")
        raise Failed("host-not-started", f"the model host was not ready after {START_SECONDS:.0f} s")

    @staticmethod
    def _end(host: _Host) -> None:
        host.process.kill()
        host.process.wait()
        os.close(host.lifeline)

    def stop(self) -> None:
        """End all hosts."""
        with self._lock:
            hosts, self._hosts = list(self._hosts.values()), {}
        for host in hosts:
            self._end(host)

    def serve(self) -> Path:
        """Answer the workers, in threads of this process; the address to give them."""
        address = self.folder / "hosts.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address))
        address.chmod(0o600)
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), name="hosts", daemon=True).start()
        return address

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Disconnected, TimeoutError):
            connection.settimeout(10)
            message, _ = Receiver(connection).receive()
            try:
                answer = {"address": str(self.address(message["folder"], message["card"]))}
            except Failed as error:
                answer = {"code": error.code, "sentence": error.sentence}
            send(connection, answer)


def ask(hosts: Path, bundle: Bundle) -> Path:
    """The worker's side: where the host of this bundle listens.

    Raises:
        Failed: it cannot be started.
        Unavailable: the supervisor does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(START_SECONDS + 10)
            connection.connect(str(hosts))
            send(connection, {"folder": str(bundle.folder), "card": bundle.card_sha256})
            answer, _ = Receiver(connection).receive()
    except (OSError, Disconnected) as error:
        raise Unavailable("no-supervisor", f"nobody starts model hosts here: {error}") from None
    if "address" not in answer:
        raise Failed(answer["code"], answer["sentence"])
    return Path(answer["address"])
