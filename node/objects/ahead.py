"""What results need of their images alone, made while the network runs: this process has nothing else to do then."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import highdicom as hd
from pydicom.dataset import Dataset

from .checks import codes
from .headers import fingerprint


class Ahead:
    """Begun at once, in a thread of its own.

    Args:
        sources: the repaired headers of a run (`headers.repaired`); nobody changes them any more.
    """

    def __init__(self, sources: Sequence[Dataset]) -> None:
        self.sources = list(sources)
        with_thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._fingerprint = with_thread.submit(fingerprint, self.sources)
        self._tables = with_thread.submit(_read_tables, self.sources[0])
        with_thread.shutdown(wait=False)

    def fingerprint(self) -> str:
        """`headers.fingerprint` of the sources."""
        self._tables.result()  # two threads that read one table would both take the time
        return self._fingerprint.result()


def _read_tables(source: Dataset) -> None:
    """The tables of codes and of modules that highdicom and pydicom read once in a process, when they are needed."""
    if source.get("Manufacturer"):
        hd.ContributingEquipment.for_image_acquisition(source)
    codes.read_tables()
