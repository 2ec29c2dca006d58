"""A PACS that misbehaves on demand: a real C-STORE SCP on a free port."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from node.inbound.kinds import LABEL_MAP_SEGMENTATION_STORAGE

__all__ = ["LABEL_MAP_SEGMENTATION_STORAGE", "FakePacs"]


class FakePacs:
    """Keeps what it is sent. Its knobs may be turned while it runs.

    Attributes:
        statuses: what to answer to the next C-STOREs, in order; then Success.
        abort_next: how many of the next C-STOREs to answer with an A-ABORT.
        refuse: SOP classes that are not accepted.
        syntaxes: that are accepted.
        calls: SOP Instance UID -> how often it was sent and answered with Success or a warning.
    """

    def __init__(self, ae_title: str = "FAKEPACS") -> None:
        self.ae_title = ae_title
        self.statuses: list[int] = []
        self.abort_next = 0
        self.reject = False
        self.refuse: set[str] = set()
        self.syntaxes: list[UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        self.calls: Counter[str] = Counter()
        self.objects: list[Dataset] = []
        self.port = 0
        self._lock = threading.Lock()
        self._ae: AE | None = None

    def __enter__(self) -> FakePacs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._ae = AE(self.ae_title)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._requested)]
        self._ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, self.syntaxes)
        server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = int(server.server_address[1])

    def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None

    def _requested(self, event: Any) -> None:
        if self.reject:
            event.assoc.acse.send_reject(1, 1, 7)
            event.assoc.kill()
            return
        contexts = event.assoc.acceptor.supported_contexts
        event.assoc.acceptor.supported_contexts = [
            context for context in contexts if context.abstract_syntax not in self.refuse
        ]

    def _store(self, event: Any) -> int:
        with self._lock:
            if self.abort_next:
                self.abort_next -= 1
                event.assoc.abort()
                return 0xC000
            status = self.statuses.pop(0) if self.statuses else 0x0000
            if status == 0x0000 or status & 0xF000 == 0xB000:
                ds = event.dataset
                ds.file_meta = event.file_meta
                self.calls[ds.SOPInstanceUID] += 1
                self.objects.append(ds)
            return status

    def of_modality(self, modality: str) -> list[Dataset]:
        with self._lock:
            return [ds for ds in self.objects if ds.Modality == modality]
