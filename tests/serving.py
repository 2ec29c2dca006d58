"""Model hosts in threads of the test that run a real bundle: what `models.host` serves, without its start."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from models import card, host
from models.network import Network
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until


class BundleHosts(ThresholdHosts):
    """The supervisor's side, which names the host of one bundle to everybody who asks.

    Args:
        folder: of the bundle.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        network = Network(card.read(folder))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._folder / "bundle.sock"))
        # it listens until the tests end: a host knows no other end than that of its process
        threading.Thread(target=host.Desk(network).serve, args=(listener,), daemon=True).start()

    def __enter__(self) -> BundleHosts:
        super().__enter__()
        self._host = self._folder / "bundle.sock"
        wait_until("the host listens", self._host.exists)
        return self
