"""Things that a port may have behind it: programs of DCMTK, and whatever answers with something that is not DICOM."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port
from tests.waiting import wait_until

#: what a bare listener does with a caller
CLOSE, HANG = b"", None


@contextlib.contextmanager
def listener(answer: bytes | None, longest: int | None = None) -> Iterator[int]:
    """A port that answers the first bytes with these, closes (`CLOSE`), or says nothing (`HANG`).

    Args:
        longest: bytes of a first message that it reads; its answer to a longer one is lost with the connection.
    """
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(10)
            with contextlib.suppress(OSError):
                came = self.request.recv(4096)
                if longest is not None and len(came) > longest:
                    return
                if answer is None:
                    over.wait(30)
                elif answer:
                    self.request.sendall(answer)
                    self.request.shutdown(socket.SHUT_WR)
                    self.request.recv(4096)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            over.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def program(command: list[str | Path], folder: Path, port: int) -> Iterator[int]:
    """A program that listens at a port, until the end."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder)

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(f"{command[0]} listens", listens, 30)
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def storescp(path: str, folder: Path, *options: str | Path, classes: tuple[tuple[str, str], ...] = ()) -> Iterator[int]:
    """DCMTK's storescp.

    Args:
        classes: SOP class and transfer syntax, of all that it takes beside C-ECHO; everything where none is named.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    if classes:
        (folder / "profile").write_text(profile(classes))
        options = (*options, "-xf", folder / "profile", "Only")
    with program([path, *options, "-od", folder, str(port)], folder, port):
        yield port


def profile(classes: tuple[tuple[str, str], ...]) -> str:
    """An association negotiation profile of DCMTK's."""
    pairs = (*classes, ("1.2.840.10008.1.1", "1.2.840.10008.1.2"))
    lists = "".join(f"[Syntax{n}]\nTransferSyntax1 = {syntax}\n" for n, (_, syntax) in enumerate(pairs, 1))
    contexts = "".join(f"PresentationContext{n} = {one}\\Syntax{n}\n" for n, (one, _) in enumerate(pairs, 1))
    return (
        f"[[TransferSyntaxes]]\n{lists}\n[[PresentationContexts]]\n[Contexts]\n{contexts}\n"
        "[[Profiles]]\n[Only]\nPresentationContexts = Contexts\n"
    )


@contextlib.contextmanager
def dcmqrscp(path: str, folder: Path, ae_title: str, known: dict[str, int]) -> Iterator[int]:
    """DCMTK's archive, which judges AE titles.

    Args:
        known: move destinations: AE title -> port on this machine.
    """
    port = free_port()
    (folder / "store").mkdir()
    hosts = "".join(f"{title} = ({title}, 127.0.0.1, {at})\n" for title, at in known.items())
    (folder / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {folder / 'store'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with program([path, "-c", folder / "qr.cfg"], folder, port):
        yield port
