"""Scanners that send one small study after the other, each image again and again until it is acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from node.outbound.association import stand_aside
from tests.soak.oracle import Receipts, digest_of
from tests.synthetic import small_series

#: Refused: Out of resources (PS3.4 B.2.3)
OUT_OF_RESOURCES = 0xA700
#: between two tries
PAUSE_SECONDS = 0.2


class Scanners:
    """Threads that send until they are told to stop; then each ends its study.

    Args:
        make: the images of the next study.
        rest: whether to wait a little before the next study.

    Attributes:
        studies: Study Instance UIDs of which everything was acknowledged.
        refused: how often what was answered to a C-STORE; -1: the association was rejected; -2: it broke.
    """

    def __init__(
        self,
        port: int,
        receipts: Receipts,
        count: int = 3,
        make: Callable[[], list[Dataset]] = small_series,
        rest: Callable[[], bool] = lambda: False,
    ) -> None:
        self.port, self.receipts, self.make, self.rest = port, receipts, make, rest
        self.studies: list[str] = []
        self.refused: dict[int, int] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(count)]

    def __enter__(self) -> Scanners:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self, seconds: float = 120) -> None:
        """No new study is begun; those that were are sent to their end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a scanner cannot send its study to its end"

    def _send(self) -> None:
        while not self._stop.is_set():
            left = self.make()
            study_uid = str(left[0].StudyInstanceUID)
            digests = {str(ds.SOPInstanceUID): digest_of(ds) for ds in left}
            while left:
                self._associated(left, digests)
            with self._lock:
                self.studies.append(study_uid)
            while self.rest() and not self._stop.wait(PAUSE_SECONDS):
                pass

    def _associated(self, left: list[Dataset], digests: dict[str, str]) -> None:
        ae = AE("CT1")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        assoc = stand_aside(ae.associate("127.0.0.1", self.port))
        if not assoc.is_established:
            self._count(-1)
            threading.Event().wait(PAUSE_SECONDS)
            return
        while left and assoc.is_established:
            uid = str(left[0].SOPInstanceUID)
            self.receipts.offer(uid, digests[uid])
            try:
                answer: Any = assoc.send_c_store(left[0])
            except RuntimeError:
                break
            status = answer.get("Status")
            if status != 0x0000:
                self._count(int(status) if status is not None else -2)
                threading.Event().wait(PAUSE_SECONDS)
                break
            self.receipts.acknowledge(uid, digests[uid])
            left.pop(0)
        if assoc.is_established:
            assoc.release()
        elif assoc.is_alive():
            assoc.abort()

    def _count(self, status: int) -> None:
        with self._lock:
            self.refused[status] = self.refused.get(status, 0) + 1
