"""A toy PACS: a real C-STORE SCP that keeps what it is sent in memory."""

from __future__ import annotations

import threading
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification


class ToyPacs:
    """Listens on a free port of this machine, within a `with`.

    Attributes:
        received: every object that was stored, in order.
        port: that it listens on.
    """

    def __init__(self, ae_title: str = "TOYPACS") -> None:
        self.ae_title = ae_title
        self.received: list[Dataset] = []
        self._lock = threading.Lock()
        self._ae = AE(ae_title)
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.add_supported_context(Verification)
        self.port = 0

    def __enter__(self) -> ToyPacs:
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = int(server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    def _store(self, event: Any) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        with self._lock:
            self.received.append(ds)
        return 0x0000

    def of_modality(self, modality: str) -> list[Dataset]:
        """What was received of a modality."""
        with self._lock:
            return [ds for ds in self.received if ds.Modality == modality]
