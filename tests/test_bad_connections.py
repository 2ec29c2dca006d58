"""Callers that break the transport or the upper layer: closed or aborted, counted, and nobody else notices."""

from __future__ import annotations

import os
import random
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID

from node.inbound.association.connection import Connection, Patience, TooSlow
from node.inbound.association.negotiation import Agreed, Context
from node.inbound.association.request import FIXED_BYTES
from node.inbound.association.serving import Answer, Incoming, Report, Serving, Terms
from tests import wire
from tests.conftest import lacking
from tests.doors import HASTY, Secured, Tried, new_uid, secured, trying
from tests.waiting import wait_until
from tests.wire import p_data, pdu, pdv


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, migrated: Path, over: Secured | None) -> Iterator[Tried]:
    with trying(tmp_path_factory.mktemp("tried"), migrated, over=over) as made:
        yield made


@pytest.fixture
def hasty(tmp_path: Path, migrated: Path, over: Secured | None) -> Iterator[Tried]:
    """One that soon loses patience."""
    with trying(tmp_path, migrated, over=over, **HASTY) as made:
        yield made


def hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="here").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake with nobody")


WHOLE = wire.request()
BODY = WHOLE[6:]
#: what comes first on a connection; what is answered; what is counted
FIRST = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", "closed", "not-dicom"),
    "SMB": (b"\0\0\0\x85\xffSMBr" + b"\0" * 60, "closed", "not-dicom"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "closed", "not-dicom"),
    "noise": (b"\xff" + random.Random(1).randbytes(500), "closed", "not-dicom"),
    "TLS": (hello(), "closed", "tls-on-plain-port"),
    "type 0": (pdu(0, b"\0" * 8), "closed", "not-dicom"),
    "type 8": (pdu(8, b"\0" * 8), "closed", "not-dicom"),
    "type 255": (pdu(255, b"\0" * 8), "closed", "not-dicom"),
    "4 GiB": (pdu(1, b"", 0xFFFFFFFF), "abort 6", "request-too-long"),
    "2 GiB": (pdu(1, b"", 1 << 31), "abort 6", "request-too-long"),
    "1 MiB and a byte": (pdu(1, b"", (1 << 20) + 1), "abort 6", "request-too-long"),
    "no length": (pdu(1, b""), "abort 6", "bad-request"),
    "fixed fields cut": (pdu(1, BODY[: FIXED_BYTES - 1]), "abort 6", "bad-request"),
    "shorter than its items": (pdu(1, BODY[:-3]), "abort 6", "bad-request"),
    "longer than its items": (pdu(1, BODY + b"\x20"), "abort 6", "bad-request"),
    "data first": (wire.echo(), "abort 2", "bad-pdu"),
    "AC first": (pdu(2, BODY), "abort 2", "bad-pdu"),
    "RJ first": (pdu(3, b"\0\1\1\1"), "abort 2", "bad-pdu"),
    "release first": (wire.RELEASE, "abort 2", "bad-pdu"),
    "RP first": (wire.RELEASED, "abort 2", "bad-pdu"),
    "abort first": (pdu(7, b"\0\0\0\0"), "closed", "no-request"),
}


def test_a_reserved_byte_is_not_tested(tried: Tried) -> None:
    """PS3.8 9.3.2."""
    with wire.connected(tried.port) as caller:
        caller.say(b"\1\1" + WHOLE[2:])
        assert wire.said(caller.pdu()) == "accept"
    tried.settled()


#: what comes first, and nothing after it
UNFINISHED = (b"", WHOLE[:1], WHOLE[:100], WHOLE[:-1])


@pytest.mark.parametrize("case", FIRST)
def test_what_comes_first_and_is_no_request_is_answered_and_counted(tried: Tried, case: str) -> None:
    said, answer, code = FIRST[case]
    before = tried.counted()
    with wire.connected(tried.port) as caller:
        caller.say(said)
        assert wire.said(caller.pdu()) == answer
    assert tried.counted() - before == {code: 1}
    tried.settled()


def test_who_does_not_finish_a_request_is_closed_in_time_and_counted(hasty: Tried) -> None:
    before = hasty.counted()
    with ExitStack() as held:
        callers = [held.enter_context(wire.connected(hasty.port)) for _ in UNFINISHED]
        for caller, said in zip(callers, UNFINISHED, strict=True):
            caller.say(said)
        assert [caller.pdu() for caller in callers] == [b""] * len(callers)
    wait_until("they are counted", lambda: hasty.counted() - before == {"no-request": len(UNFINISHED)})
    hasty.settled()


#: what comes inside an association
INSIDE = {
    "4 GiB": (pdu(4, b"", 0xFFFFFFFF), "abort 6"),
    "2 GiB": (pdu(4, b"", 1 << 31), "abort 6"),
    "one byte more than agreed": (pdu(4, b"", 16385), "abort 6"),
    "empty P-DATA": (pdu(4, b""), "abort 6"),
    "PDV of no length": (p_data(pdv(3, 3, b"", 0)), "abort 6"),
    "PDV of one byte": (p_data(pdv(3, 3, b"", 1)), "abort 6"),
    "PDV longer than its PDU": (p_data(pdv(3, 3, b"12", 5)), "abort 6"),
    "PDV of 4 GiB": (p_data(pdv(3, 3, b"12", 0xFFFFFFFF)), "abort 6"),
    "PDV header cut": (p_data(b"\0\0\0"), "abort 6"),
    "a byte behind the last PDV": (pdu(4, wire.echo()[6:] + b"\0"), "0 abort 6"),
    "long release": (pdu(5, b"\0" * 5), "abort 6"),
    "short release": (pdu(5, b""), "abort 6"),
    "short abort": (pdu(7, b"\0" * 3), "abort 6"),
    "type 0": (pdu(0, b""), "abort 1"),
    "type 8": (pdu(8, b"\0" * 4), "abort 1"),
    "type 255": (pdu(255, b"\0" * 4), "abort 1"),
    "second request": (WHOLE, "abort 2"),
    "AC": (pdu(2, BODY), "abort 2"),
    "RJ": (pdu(3, b"\0\1\1\1"), "abort 2"),
    "RP": (wire.RELEASED, "abort 2"),
}


@pytest.mark.parametrize("case", INSIDE)
def test_what_breaks_the_upper_layer_inside_an_association_is_aborted(tried: Tried, case: str) -> None:
    said, answer = INSIDE[case]
    before = tried.counted()
    with wire.associated(tried.port) as caller:
        caller.say(said)
        got = [str(caller.status()) for _ in answer.split(" a")]
        assert " ".join(got) == answer
        assert caller.pdu() == b""
    assert tried.counted() - before == {"bad-pdu": 1}
    tried.settled()


def test_what_comes_after_a_release_is_read_by_nobody(tried: Tried) -> None:
    with wire.associated(tried.port) as caller:
        caller.say(wire.RELEASE + wire.store(uid := new_uid()))
        assert wire.said(caller.pdu()) == "released"
        assert caller.pdu() == b""
    assert not tried.stored(uid)
    tried.settled()


def test_a_length_that_is_announced_is_no_memory_that_is_taken(tried: Tried) -> None:
    before = resident_bytes()
    for _ in range(50):
        with wire.connected(tried.port) as caller:
            caller.say(pdu(1, b"x" * 1000, 1 << 20))
            caller.break_off()
        with wire.connected(tried.port) as caller:
            caller.say(pdu(1, b"", 0xFFFFFFFF))
            assert wire.said(caller.pdu()) == "abort 6"
    assert resident_bytes() - before < 20_000_000
    tried.settled()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --------------------------------------------------------------------------- slow ones


@contextmanager
def dripping(caller: wire.Wire, data: bytes) -> Iterator[None]:
    """A byte now and then, as long as somebody listens."""
    over = threading.Event()

    def drop() -> None:
        for at in range(len(data)):
            if over.wait(0.1):
                return
            caller.say(data[at : at + 1])

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_who_sends_a_byte_now_and_then_is_cut_off(hasty: Tried) -> None:
    before = hasty.counted()
    with ExitStack() as held:
        callers = [held.enter_context(wire.connected(hasty.port))]
        callers += [held.enter_context(wire.associated(hasty.port)) for _ in range(2)]
        small = b"".join(p_data(pdv(wire.STORING, 1, b"x")) for _ in range(9000))  # whole PDUs, each in time
        for caller, data in zip(callers, (WHOLE, wire.store(new_uid()), small), strict=True):
            held.enter_context(dripping(caller, data))
        for caller in callers:
            assert wire.said(caller.pdu()) in ("closed", "abort 0")

    def slow_ones() -> bool:
        counted = hasty.counted() - before
        return (counted["no-request"], counted["idle"] + counted["too-slow"]) == (1, 2)

    wait_until("they are counted", slow_ones)
    hasty.settled()


def test_who_says_nothing_on_an_association_is_aborted(hasty: Tried) -> None:
    before = hasty.counted()
    with wire.associated(hasty.port) as idle, wire.associated(hasty.port) as inside:
        inside.say(wire.store(new_uid())[:-1])
        assert [wire.said(caller.pdu()) for caller in (idle, inside)] == ["abort 0"] * 2
    wait_until("they are counted", lambda: hasty.counted() - before == {"idle": 1, "too-slow": 1})
    hasty.settled()


# ------------------------------------------------------------------------------ many


def test_two_hundred_who_say_nothing_keep_nobody_out(tmp_path: Path, migrated: Path, over: Secured | None) -> None:
    """From the sender's own address, and given a minute: 160 of them give way to others, a few to senders."""
    door: dict[str, Any] = dict(connections_per_address=40, patience=Patience(request=60))
    with trying(tmp_path, migrated, over=over, **door) as tried, ExitStack() as silent:
        callers = [silent.enter_context(wire.connected(tried.port)) for _ in range(200)]
        for caller in callers[::2]:
            caller.say(b"\1")
        wait_until("the last of them are there", lambda: tried.receiver.guests.count == 40)
        for _ in range(5):
            tried.good_sender()
        silent.close()
        tried.settled()
        assert 160 <= tried.counted()["gave-way"] <= 165


def test_associations_do_not_give_way_and_one_more_is_told_to_come_again(
    tmp_path: Path, migrated: Path, over: Secured | None
) -> None:
    door: dict[str, Any] = dict(associations=3, connections_per_address=5, idle_seconds=30)
    with trying(tmp_path, migrated, over=over, **door) as tried, ExitStack() as held:
        callers = [held.enter_context(wire.associated(tried.port)) for _ in range(3)]
        with wire.connected(tried.port) as caller:
            caller.say(WHOLE)
            assert wire.said(caller.pdu()) == "reject 2 3 2"
        for caller in callers:
            caller.say(wire.echo())
            assert caller.status() == 0
        assert tried.counted()["too-many-associations"] == 1
        callers[0].socket.close()
        wait_until("its place is free", lambda: not tried.receiver.guests.is_full)
        tried.good_sender()
        held.close()
        wait_until("they have gone", lambda: not tried.receiver.guests.count)
        tried.settled()


def test_an_address_with_nothing_but_associations_gets_no_more_connections(
    tmp_path: Path, migrated: Path, over: Secured | None
) -> None:
    door: dict[str, Any] = dict(associations=9, connections_per_address=3, idle_seconds=30)
    with trying(tmp_path, migrated, over=over, **door) as tried, ExitStack() as held:
        callers = [held.enter_context(wire.associated(tried.port)) for _ in range(3)]
        with wire.connected(tried.port) as caller:
            caller.say(WHOLE)
            assert caller.pdu() == b""
        assert tried.counted()["too-many-connections"] == 1
        callers[0].say(wire.RELEASE)
        assert wire.said(callers[0].pdu()) == "released"
        held.close()
        wait_until("they have gone", lambda: not tried.receiver.guests.count)
        tried.settled()


@pytest.mark.parametrize("times", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_connections_that_open_and_close_leave_nothing(tried: Tried, times: int) -> None:
    """As a load balancer's health check does, which speaks no TLS."""
    for _ in range(200):
        with wire.connected(int(tried.port)):
            pass
    wait_until("they have gone", lambda: not tried.receiver.guests.count)
    before = resident_bytes()
    for _ in range(times):
        with wire.connected(int(tried.port)):
            pass
    tried.settled()
    assert resident_bytes() - before < 30_000_000


def test_descriptors_beyond_a_thousand_and_none_at_all(tried: Tried) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        lacking("the right to open 3000 files", "ulimit -Hn 4096")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]

    before = tried.counted()

    def is_turned_away() -> bool:
        """A caller for whom no descriptor is left; unless one was closed meanwhile."""
        with socket.socket() as late:
            late.settimeout(2)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), hard))
            late.connect(("127.0.0.1", int(tried.port)))
            try:
                assert wire.Wire(late).read(1) == b""
            except TimeoutError:
                return False
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
        return (tried.counted() - before)["too-many-connections"] >= 1

    try:
        tried.settled()
        wait_until("a caller without a descriptor is turned away", is_turned_away)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    tried.settled()


def lowest_free() -> int:
    """The descriptor that the next file gets."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_nobody_looks_at_the_time_of_the_day(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    uid = new_uid()
    with wire.associated(tried.port) as caller:
        for at, step in enumerate((3600.0, -3600.0, 0.0)):
            shift[0] = step
            caller.say(wire.echo(at))
            assert caller.status() == 0
        message = wire.store(uid)
        for at, step in ((0, 0.0), (10, 7200.0), (20, -7200.0), (30, 0.0)):
            shift[0] = step
            caller.say(message[at : at + 10])
            threading.Event().wait(0.1)  # so that it is read by itself
        caller.say(message[40:])
        assert caller.status() == 0
    tried.settled()


# ------------------------------------------------------------------------------ cut


def conversation(uid: str) -> bytes:
    return WHOLE + wire.store(uid) + wire.RELEASE


@pytest.mark.parametrize("how", ["FIN", pytest.param("RST", marks=pytest.mark.slow)])
def test_a_sender_cut_off_at_any_byte_leaves_an_instance_or_nothing(tried: Tried, how: str) -> None:
    template = conversation(new_uid())
    stored_after = len(template) - len(wire.RELEASE)
    for cut in range(0, len(template), 5 if isinstance(tried.port, wire.TlsPort) and how == "FIN" else 1):
        uid = new_uid()
        said = conversation(uid)
        with wire.connected(tried.port) as caller:
            caller.say(said[: len(said) - len(template) + cut] if cut else b"")
            if how == "RST":
                caller.break_off()
                continue
            caller.fall_silent()
            answers = []
            while answer := caller.pdu():
                answers.append(answer)
        acknowledged = any(one[:1] == b"\4" for one in answers)
        assert acknowledged == (cut >= stored_after)
        assert tried.stored(uid) == acknowledged
    tried.settled()


def test_a_sender_that_goes_at_any_byte_of_the_answers_leaves_an_instance(tried: Tried) -> None:
    with wire.connected(tried.port) as caller:
        caller.say(conversation(new_uid()))
        whole = caller.read(10_000)
    for count in range(0, len(whole), 7):
        wait_until("there is room", lambda: tried.receiver.guests.count < 10)
        uid = new_uid()
        with wire.connected(tried.port) as caller:
            caller.say(conversation(uid))
            assert len(caller.read(count)) == count
            caller.break_off()
        if count >= len(whole) - len(wire.RELEASED):  # it has read that it was stored
            assert tried.stored(uid)
    tried.settled()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_what_the_system_does_not_take_at_once_is_sent_as_it_is_read_and_not_for_ever(
    tmp_path: Path, secure: bool
) -> None:
    much = os.urandom(8 << 20)
    with pair(tmp_path if secure else None) as (ours, theirs), ThreadPoolExecutor(1) as pool:
        connection = Connection(ours, Patience(sending=60))

        def read() -> bytes:
            got = bytearray()
            while more := theirs.recv(len(much) - len(got)):
                got += more
            return bytes(got)

        reading = pool.submit(read)
        connection.send(much)
        assert reading.result() == much
        theirs.sendall(b"x")
        connection.more(connection.clock() + 60)
        assert bytes(connection.buffered()) == b"x"
        connection.patience = Patience(sending=1)
        with pytest.raises(TooSlow):
            connection.send(much)


# ----------------------------------------------------------------- a disk that stalls


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_what_came_while_we_were_busy_is_taken_and_who_drips_has_nothing_there(tmp_path: Path, secure: bool) -> None:
    """The clock of the connection is ours: our disk stalls, and nobody waits."""
    now = [0.0]
    with pair(tmp_path if secure else None) as (ours, theirs):
        connection = Connection(ours, Patience(), lambda: now[0])
        whole = pdu(4, b"x" * 30_000)  # two records of TLS
        theirs.sendall(whole + whole[:50])
        while connection.pdu(40_000) is None:
            connection.more(60)
        while len(connection.buffered()) < 50:
            connection.more(60)
        theirs.sendall(whole[50:] + whole[:9])
        now[0] += 1000  # the rest waits in the system's buffer, or in that of TLS
        while (found := connection.pdu(40_000)) is None:
            connection.more(60)
        assert found[1] == whole[6:]
        for at in range(9, 9 + 5):
            theirs.sendall(whole[at : at + 1])
            size = len(connection.buffered())
            now[0] += 0.5
            while len(connection.buffered()) == size:
                connection.more(now[0] + 60)
        with pytest.raises(TooSlow):
            connection.more(now[0])


@contextmanager
def pair(secured_in: Path | None) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ExitStack() as ends:
        if secured_in is not None:
            tls, wrapped = secured(secured_in), list[socket.socket]()
            hands = threading.Thread(target=lambda: wrapped.append(tls.acceptor.secure(ours)))
            hands.start()
            theirs = tls.trusting.wrap_socket(theirs, server_hostname="127.0.0.1")
            hands.join()
            (ours,) = wrapped
        ends.enter_context(ours)
        ends.enter_context(theirs)
        theirs.settimeout(60)  # who waits for what never comes keeps both open
        yield ours, theirs


class Stalling:
    """Services of an association whose disk stalls while data sets are written."""

    def __init__(self, spool: Path, stall: Callable[[], None]) -> None:
        self._spool, self._stall = spool, stall
        self.sizes: list[int] = []
        self.looks = 0

    def new_file(self) -> Path:
        return self._spool / "coming"

    def ready(self) -> None:
        """Anything may come."""

    def room(self, size: int) -> None:
        assert size >= 0
        self._stall()
        self.looks += 1

    def store(self, incoming: Incoming) -> Answer:
        self.sizes.append(incoming.size)
        return Answer(0)

    def decline(self, sop_instance: str, error: Exception) -> Answer:
        raise AssertionError(f"{sop_instance}: {error}")

    def report(self, report: Report) -> Answer:
        raise AssertionError(report)


def test_a_disk_that_stalls_again_and_again_is_not_laid_to_the_sender(tmp_path: Path) -> None:
    now = [0.0]

    def stall() -> None:
        now[0] += 1000

    services = Stalling(tmp_path, stall)
    data = b"x" * 100_000
    parts = [data[at : at + 10_000] for at in range(0, len(data), 10_000)]
    uid = new_uid()
    with pair(None) as (ours, theirs):
        connection = Connection(ours, Patience(), lambda: now[0])
        agreed = Agreed({wire.STORING: Context(wire.CT, UID(wire.EXPLICIT))}, [], 16384, b"")
        serving = Serving(connection, agreed, services, Terms(60, 16384, 1 << 30, lambda: False))
        ended: list[bytes | Exception] = []

        def serve() -> None:
            try:
                ended.append(serving.run())
            except TooSlow as error:
                ended.append(error)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        caller = wire.Wire(theirs)
        caller.say(p_data(pdv(wire.STORING, 3, wire.store_command(uid))))
        last = len(parts) - 1
        said = [p_data(pdv(wire.STORING, 2 * (number == last), part)) for number, part in enumerate(parts)]
        stream, size = b"".join(said), len(said[0])
        wait_until("the head of the file is written, and the disk stalls", lambda: services.looks == 1)
        caller.say(stream[: size // 2])
        for at in range(size // 2, len(stream), size):  # the end of one PDU and the beginning of the next
            looks = services.looks
            caller.say(stream[at : at + size])
            wait_until("it is read, and the disk stalls", lambda looks=looks: ended or services.looks > looks)
        assert caller.status() == 0
        caller.say(wire.RELEASE)
        thread.join()
    assert ended == [wire.RELEASED]
    assert services.sizes == [len(data)]
