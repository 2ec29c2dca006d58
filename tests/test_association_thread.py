"""An association that we request has a thread of its own, which takes no answer, and ends whatever the peer does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from node.outbound.association import requested, stand_aside
from node.outbound.target import Target
from tests.synthetic import small_series
from tests.waiting import wait_until


class Peer:
    """It answers C-ECHO.

    Attributes:
        asked: it was.
        aborts: it ends the association instead.
    """

    def __init__(self) -> None:
        self.asked, self.aborts = threading.Event(), False
        ae = AE("PEER")
        ae.add_supported_context(Verification)
        self._server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, self._echo)])
        self.port = int(self._server.server_address[1])

    def _echo(self, event: Any) -> int:
        self.asked.set()
        if self.aborts:
            event.assoc.abort()
        return 0x0000

    def stop(self) -> None:
        self._server.shutdown()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.stop()


class Slow:
    """A checkpoint that the association's thread has passed, and that it leaves only later."""

    def __init__(self, checkpoint: Any) -> None:
        self._checkpoint = checkpoint
        self.passed, self.go_on = threading.Event(), threading.Event()

    def wait(self) -> None:
        self._checkpoint.wait()
        self.passed.set()
        assert self.go_on.wait(60)

    def set(self) -> None:
        self._checkpoint.set()

    def clear(self) -> None:
        self._checkpoint.clear()


def test_nothing_is_asked_while_the_associations_thread_may_take_the_answer(peer: Peer) -> None:
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = stand_aside(ae.associate("127.0.0.1", peer.port))
    assoc._reactor_checkpoint = slow = Slow(assoc._reactor_checkpoint)
    assert slow.passed.wait(60)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(assoc.send_c_echo)
        assert not peer.asked.wait(0.5)
        slow.go_on.set()
        assert answer.result(60).Status == 0x0000
    assoc.release()
    assert assoc.is_released


def test_who_asks_does_not_wait_for_a_flag_that_a_report_has_taken_down(peer: Peer) -> None:
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = stand_aside(ae.associate("127.0.0.1", peer.port))
    assoc._reactor_checkpoint.clear()
    assoc._is_paused = False  # as pynetdicom's own thread for N-EVENT-REPORT does at its end
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()


@pytest.mark.parametrize("end", ["release", "abort", "the peer"])
def test_it_asks_many_times_and_ends(peer: Peer, end: str) -> None:
    ae = AE()
    ae.add_requested_context(Verification)
    assoc = stand_aside(ae.associate("127.0.0.1", peer.port))
    for _ in range(50):
        assert assoc.send_c_echo().Status == 0x0000
    if end == "release":
        assoc.release()
    elif end == "abort":
        assoc.abort()
    else:
        peer.aborts = True
        assert "Status" not in assoc.send_c_echo()
    assoc.join(60)
    assert not assoc.is_alive()
    with pytest.raises(RuntimeError, match="association"):
        assoc.send_c_echo()


def test_a_network_timeout_ends_an_association_by_its_own_thread(peer: Peer) -> None:
    ae = AE()
    ae.add_requested_context(Verification)
    ae.network_timeout = 0.5
    assoc = stand_aside(ae.associate("127.0.0.1", peer.port))
    assoc.network_timeout_response = "A-RELEASE"
    assoc.join(60)
    assert not assoc.is_alive()
    assert not assoc.is_established


# -------------------------------------------------------- peers that stand still


class Lazy:
    """It accepts an association for CT, and then takes a while over each PDU.

    Args:
        seconds: how long; None: for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds, self.over = seconds, threading.Event()
        ae = AE("LAZY")
        ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        handlers = [(evt.EVT_DATA_RECV, self._received)]
        self._server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = int(self._server.server_address[1])

    def _received(self, event: Any) -> bytes:
        if event.data[0] == 0x04:
            self.over.wait(self._seconds)
        return bytes(event.data)

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()


@pytest.mark.parametrize(("seconds", "answer_seconds"), [(None, 1.0), (0.1, 3.0)], ids=["not at all", "hardly"])
def test_a_peer_that_reads_no_further_keeps_nobody_waiting(seconds: float | None, answer_seconds: float) -> None:
    peer = Lazy(seconds)
    image = small_series()[0]
    image.Rows = image.Columns = 4000
    image.PixelData = bytes(4000 * 4000 * 2)
    try:
        assoc = wait_until("something is sent before that time is over", lambda: begun(peer, image, answer_seconds))
        assoc.join(60)
        assert not assoc.is_alive()
        assert not assoc.dul.is_alive()
    finally:
        peer.stop()


def begun(peer: Lazy, image: Dataset, answer_seconds: float) -> Any:
    """An association on which the image was not stored; None where it had ended before anything was sent."""
    assoc = called(peer.port, answer_seconds)
    if not assoc.is_established:
        return None
    with ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(assoc.send_c_store, image).result(60)
        except RuntimeError:
            return None
    assert "Status" not in answer
    return assoc


def test_a_peer_that_stops_within_its_answer_keeps_nobody_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:
        asking = threads.submit(called, listening.getsockname()[1], 1.0)
        listening.settimeout(60)
        with listening.accept()[0] as line:
            line.sendall(b"\2\0\0")
            assoc = asking.result(60)
            assert not assoc.is_established
            assoc.dul.join(60)
            assert not assoc.dul.is_alive()


def called(port: int, answer_seconds: float) -> Any:
    target = Target("lazy", "LAZY", "127.0.0.1", port)
    contexts = [(str(CTImageStorage), ExplicitVRLittleEndian)]
    return requested(target, "US", contexts, answer_seconds=answer_seconds, connect_seconds=5, tls=None)
