"""Scanners that never give up: what they send is made beforehand, and they write down what they were told."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from tests import wire
from tests.synthetic import small_series

from .oracle import Receipts, digest

#: of a P-DATA-TF PDU
PDU_BYTES = 16384
SUCCESS = 0x0000
#: UIDs of one length, so that one takes the place of another
UID = "1.2.826.0.1.3680043.10.9.4.{:09d}"
NUMBERS = itertools.count(100_000_000)


def new_uid() -> str:
    return UID.format(next(NUMBERS))


@dataclass(frozen=True)
class Letter:
    """An object that is ready to be sent.

    Attributes:
        digest: of its data set.
        message: a C-STORE-RQ, whole.
    """

    sop_uid: str
    digest: str
    message: bytes

    @classmethod
    def of(cls, sop_uid: str, body: bytes) -> Letter:
        room = PDU_BYTES - 12
        parts = [body[at : at + room] for at in range(0, len(body), room)]
        pdus = [wire.p_data(wire.pdv(wire.STORING, 3, wire.store_command(sop_uid)))]
        pdus += [wire.p_data(wire.pdv(wire.STORING, 2 * (part is parts[-1]), part)) for part in parts]
        return cls(sop_uid, digest(body), b"".join(pdus))


def letter_of(ds: Dataset) -> Letter:
    """A data set as a letter, in Explicit VR Little Endian."""
    body = encode(ds, False, True)
    assert body is not None
    return Letter.of(str(ds.SOPInstanceUID), body)


class Studies:
    """Studies without end, each other than the one before: the same slices with other UIDs and other pixels.

    Args:
        shape: columns, rows, slices of each.
    """

    def __init__(self, shape: tuple[int, int, int] = (64, 64, 100)) -> None:
        self._study, self._series = new_uid(), new_uid()
        images = small_series(shape, study_uid=self._study, series_uid=self._series)
        self._slices: list[tuple[str, bytes]] = []
        for ds in images:
            ds.SOPInstanceUID = new_uid()
            self._slices.append((ds.SOPInstanceUID, bytes(encode(ds, False, True) or b"")))
        self._lock = threading.Lock()

    def next(self) -> tuple[str, list[Letter]]:
        """Its Study Instance UID, and its letters."""
        with self._lock:
            study, series = new_uid(), new_uid()
            uids = [new_uid() for _ in self._slices]
        letters = []
        for uid, (known, body) in zip(uids, self._slices, strict=True):
            changed = body.replace(self._study.encode(), study.encode()).replace(self._series.encode(), series.encode())
            changed = changed.replace(known.encode(), uid.encode())
            letters.append(Letter.of(uid, changed[:-8] + uid[-8:].encode()))
        return study, letters


@dataclass
class Crew:
    """Senders at work, and what all of them know.

    Attributes:
        receipts: what was offered and acknowledged.
        sent_bytes: so far, by all.
        again: the share of letters that are sent once more when they have been acknowledged.
        refused: what was answered that is neither Success nor a broken connection.
    """

    port: Callable[[], int]
    receipts: Receipts = field(default_factory=Receipts)
    again: float = 0.1
    stop: threading.Event = field(default_factory=threading.Event)
    sent_bytes: int = 0
    refused: list[str] = field(default_factory=list)
    #: of the newest acknowledgement: when its connection was made, and when it came
    newest: tuple[float, float] = (0.0, 0.0)
    calling: bytes = b"CT1"

    def push(self, letters: Sequence[Letter], random: Random) -> None:
        """Send letters in order until each is acknowledged, connecting anew whenever a connection breaks."""
        left = list(letters)
        while left and not self.stop.is_set():
            with contextlib.suppress(OSError), wire.connected(self.port()) as caller:
                since = time.monotonic()
                caller.say(wire.request(calling=self.calling))
                if wire.said(caller.pdu()) != "accept":
                    self.stop.wait(0.02)
                    continue
                while left and self._send(caller, left[0], since, random):
                    done = left.pop(0)
                    if random.random() < self.again and not self._send(caller, done, since, random):
                        break
                    if self.stop.is_set():
                        break
                caller.say(wire.RELEASE)
                caller.pdu()
            self.stop.wait(0.02)

    def _send(self, caller: wire.Wire, letter: Letter, since: float, random: Random) -> bool:
        """Whether it was acknowledged. It goes in two pieces, so that a kill meets objects that are half there."""
        self.receipts.offer(letter.sop_uid, letter.digest)
        cut = random.randrange(len(letter.message))
        for piece in (letter.message[:cut], letter.message[cut:]):
            caller.socket.sendall(piece)
            self.sent_bytes += len(piece)
        status = caller.status()
        if status == SUCCESS:
            self.receipts.acknowledge(letter.sop_uid, letter.digest)
            self.newest = (since, time.monotonic())
            return True
        if isinstance(status, int):
            self.refused.append(f"{letter.sop_uid} was answered {status:#06x}")
        return False


@contextlib.contextmanager
def at_work(crew: Crew, shares: Sequence[Sequence[Letter]], random: Random) -> Any:
    """A sender for each share, until all is acknowledged; at an error they stop."""
    threads = [threading.Thread(target=crew.push, args=(one, Random(random.random()))) for one in shares]
    for thread in threads:
        thread.start()
    try:
        yield threads
        for thread in threads:
            thread.join(300)
            if thread.is_alive():
                crew.refused.append("a sender is not through after five minutes")
                crew.stop.set()
    finally:
        if any(thread.is_alive() for thread in threads):
            crew.stop.set()
        for thread in threads:
            thread.join()
