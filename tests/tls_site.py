"""A receiver with a port for TLS, in the process of the test, and whoever calls it."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from db import refusals
from node.app import Node
from node.inbound.peers import Doorkeeper
from node.outbound.association import stand_aside
from node.receiver import Receiver
from node.tls.accepting import Accepting, Acceptor
from node.tls.files import Pair, Trust
from tests.certificates import Authority, Issued
from tests.doors import door
from tests.waiting import wait_until


class TlsSite:
    """A receiver with a port for TLS, and certificates for it and for a scanner."""

    def __init__(self, node: Node, authority: Authority, folder: Path) -> None:
        self.node, self.authority, self.folder = node, authority, folder
        self.scanner = authority.issue("ct1")
        self._started: list[Receiver] = []
        self.files = Pair(folder / "node.pem", folder / "node.key")
        self.install(authority.issue("node"))

    def install(self, issued: Issued) -> None:
        """Put a pair where the node looks for its own, the key first."""
        for source, target in ((issued.key, self.files.key), (issued.certificate, self.files.certificate)):
            shutil.copy(source, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)

    def start(self, doors: Doorkeeper | None = None, *, plain: bool = True, **how: Any) -> Any:
        """A receiver; its ports are in `.port` and `.tls_port`."""
        asked = Accepting(**{"pair": self.files, "trust": Trust(self.authority.pem), "handshake_seconds": 20.0} | how)
        made: Any = Receiver(
            door(port=0 if plain else None, associations=20, idle_seconds=20),
            doors or Doorkeeper(()),
            self.node.inbox,
            self.node.database,
            tls=Acceptor(asked),
        )
        made.port = made.start()
        self._started.append(made)
        return made

    def stop(self) -> None:
        for one in self._started:
            one.stop()

    def counted(self) -> list[tuple[str, str, int]]:
        """Who was turned away by now: code, sentence, how often."""
        for one in self._started:
            one.ledger.flush()
        with self.node.database.read() as tx:
            return [(row["code"], row["sentence"], row["count"]) for row in refusals.callers(tx)]

    def refused(self, code: str, times: int = 1) -> str:
        """The sentence of a code with which so many callers were turned away."""

        def enough() -> str:
            return next((said for one, said, count in self.counted() if one == code and count >= times), "")

        return wait_until(f"{code} is counted", enough, 60)

    def associate(self, port: int, ours: Issued | None = None, called: str = "PLANIMETER", title: str = "CT1") -> Any:
        """An association over TLS."""
        context = ssl.create_default_context(cafile=str(self.authority.pem))
        shown = ours or self.scanner
        context.load_cert_chain(shown.certificate, shown.key)
        return associated(port, (context, "127.0.0.1"), called, title)


def associated(port: int, tls: Any = None, called: str = "PLANIMETER", title: str = "CT1") -> Any:
    ae = AE(title)
    ae.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    ae.add_requested_context(Verification, [ImplicitVRLittleEndian])
    return stand_aside(ae.associate("127.0.0.1", port, ae_title=called, tls_args=tls))


def done(assoc: Any) -> bool:
    """Whether an association was established; it is released."""
    if assoc.is_established:
        assoc.release()
        return True
    return False
