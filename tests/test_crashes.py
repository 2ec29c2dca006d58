"""Processes are killed at every step; nothing acknowledged is lost, and every result arrives exactly once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless
from pynetdicom import AE

from config.settings import load
from db import processes
from db.arrivals import Seen
from db.database import Clock
from db.job_states import JobKind
from db.journal import driver
from db.tables import attempt, instance, job
from node import failpoints, schedule
from node.app import Node, open_node
from node.inbound.inbox import Inbox
from node.operations.status import overview
from node.operations.sweep import sweep_home
from node.outbound.association import stand_aside
from node.study.archive import Archive
from node.worker import Worker
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.receiver_process import ReceiverProcess
from tests.running import PLANIMETER
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

# ------------------------------------------------------------ the receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    made = ReceiverProcess(tmp_path / "home")
    yield made
    made.kill()


def push(port: Callable[[], int], images: Iterable[Dataset], acknowledged: set[str], stop: threading.Event) -> None:
    """Send images until each is acknowledged, as a scanner does: again and again."""
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    left = iter(images)
    image = next(left, None)
    while image is not None and not stop.is_set():
        assoc = stand_aside(ae.associate("127.0.0.1", port()))
        if not assoc.is_established:
            stop.wait(0.05)
            continue
        while image is not None and not stop.is_set():
            try:
                answer = assoc.send_c_store(image)
            except RuntimeError:
                break
            if answer.get("Status") != 0x0000:
                break
            acknowledged.add(image.SOPInstanceUID)
            image = next(left, None)
        if assoc.is_established:
            assoc.release()
        elif assoc.is_alive():
            assoc.abort()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_of_the_receiver_lose_nothing_that_was_acknowledged(receiver: ReceiverProcess, kills: int) -> None:
    senders, random = 4, Random(7)
    sent: dict[str, Dataset] = {}
    acknowledged: set[str] = set()
    stop = threading.Event()

    def without_end(number: int) -> Iterator[Dataset]:
        """Series after series, however late somebody comes to say that it is enough."""
        while True:
            for ds in small_series((40, 40, 20 * kills), patient_id=f"P{number}"):
                sent[ds.SOPInstanceUID] = ds
                yield ds

    receiver.start()
    threads = [
        threading.Thread(target=push, args=(lambda: receiver.port, without_end(number), acknowledged, stop))
        for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        enough = len(acknowledged) + random.randint(0, 25)
        wait_until("more was acknowledged", lambda enough=enough: len(acknowledged) > enough)
        stop.wait(random.uniform(0, 0.02))
        receiver.kill()
        receiver.start()
    stop.set()
    for thread in threads:
        thread.join()
    receiver.kill()
    node = open_node(load(None, {"node": {"home": receiver.home}}))
    with node.database.read() as tx:
        rows = {row.sop_uid: row for row in tx.execute(sa.select(instance))}
    assert len(acknowledged) > 5 * kills
    assert acknowledged - set(rows) == set(), "lost"
    for uid, row in rows.items():
        assert dcmread(node.archive.at(row.path)).PixelData == sent[uid].PixelData, "partial"
    node.close()


def test_killed_between_the_file_and_its_row_the_sender_sends_again_and_the_leftover_goes(
    receiver: ReceiverProcess, tmp_path: Path
) -> None:
    image = small_series()[0]
    receiver.start(PLANIMETER_FAILPOINT=f"stored-before-row:{tmp_path / 'once'}")
    acknowledged: set[str] = set()
    stop = threading.Event()
    thread = threading.Thread(target=push, args=(lambda: receiver.port, [image], acknowledged, stop))
    thread.start()
    wait_until("the receiver killed itself", receiver.has_died)
    assert not acknowledged
    receiver.start()
    thread.join()
    assert acknowledged == {image.SOPInstanceUID}
    receiver.kill()
    node = open_node(load(None, {"node": {"home": receiver.home}}))
    files = set((receiver.home / "store").rglob("*.dcm"))
    assert len(files) == 2
    sweep_home(node.archive, node.database, node.inbox, settled_seconds=-1)
    with node.database.read() as tx:
        (row,) = tx.execute(sa.select(instance)).all()
    assert set((receiver.home / "store").rglob("*.dcm")) == {node.archive.at(row.path)}
    node.close()


def test_what_lost_its_row_with_an_old_backup_is_taken_in_again(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    with node.database.write() as tx:
        tx.execute(sa.delete(instance).where(instance.c.sop_uid != images[0].SOPInstanceUID))
    (node.archive.spool / "leftover.dcm").write_bytes(b"half")
    sweep_home(node.archive, node.database, node.inbox, settled_seconds=-1)
    with node.database.read() as tx:
        rows = {row.sop_uid: row.path for row in tx.execute(sa.select(instance))}
    assert set(rows) == {ds.SOPInstanceUID for ds in images}
    stored = {file.relative_to(node.archive.home).as_posix() for file in (node.archive.home / "store").rglob("*.dcm")}
    assert stored == set(rows.values())
    assert not list(node.archive.spool.iterdir())


class Overtaken(Inbox):
    """Whoever had named the files, and stood still for an hour, goes on just now: they get their rows."""

    def __init__(self, node: Node, rows: list[dict[str, Any]]) -> None:
        super().__init__(node.archive, node.database)
        self.rows = rows

    def take(self, *given: Any, **more: Any) -> Seen:
        with self.database.write() as tx:
            tx.execute(sa.insert(instance), self.rows)
        return super().take(*given, **more)


def test_the_sweep_leaves_a_file_that_gets_its_row_meanwhile(node: Node) -> None:
    take_in(node, small_series()[:1])
    with node.database.write() as tx:
        rows = [dict(row) for row in tx.execute(sa.select(instance)).mappings()]
        tx.execute(sa.delete(instance))
    sweep_home(node.archive, node.database, Overtaken(node, rows), settled_seconds=-1)
    with node.database.read() as tx:
        (row,) = tx.execute(sa.select(instance)).all()
    assert node.archive.at(row.path).exists()


def test_the_sweep_passes_over_what_goes_while_it_looks(node: Node) -> None:
    """A receiver that was sent what is here already takes its file back."""
    gone, left = (node.archive.write_result(b"not committed") for _ in range(2))
    found = iter([node.archive.at(gone), node.archive.at(left)])
    node.archive.discard(gone)

    class Listed(Archive):
        def recent(self, kind: str, days: int) -> Iterator[Path]:
            return found if kind == "results" and days else iter(())

    sweep_home(Listed(node.archive.home), node.database, node.inbox, settled_seconds=-1)
    assert not node.archive.at(left).exists()


def test_the_sweep_leaves_alone_what_somebody_may_be_busy_with(node: Node) -> None:
    (node.archive.spool / "arriving.dcm").write_bytes(b"half")
    path = node.archive.write_result(b"not committed yet")
    sweep_home(node.archive, node.database, node.inbox)
    assert (node.archive.spool / "arriving.dcm").exists()
    assert node.archive.at(path).exists()
    sweep_home(node.archive, node.database, node.inbox, settled_seconds=-1)
    assert not node.archive.at(path).exists()


# --------------------------------------------------------------- the worker

#: before, in the midst of and after what a worker makes; the others in the long form
QUICK_FAILPOINTS = ("claimed", "object-written", "before-results-commit", "sent-before-row")
WORKER_FAILPOINTS = [
    pytest.param(name, marks=() if name in QUICK_FAILPOINTS else pytest.mark.slow)
    for name in failpoints.NAMES
    if name != "stored-before-row"
]
SENDING = ("before-send", "sent-before-row", "after-delivery-commit")


#: no shorter: the first report of a process reads large tables, and no thread runs for half a second meanwhile
SHORT = "lease_seconds = 2\nheartbeat_seconds = 0.3"


#: of who comes after one whose lease was short, and keeps its own however slow the machine is
LONG = "lease_seconds = 60\nheartbeat_seconds = 0.3"


def config(tmp_path: Path, pacs: FakePacs, lease: str, name: str = "planimeter.toml") -> Path:
    file = tmp_path / name
    file.write_text(
        f'[node]\nhome = "{tmp_path / "home"}"\n[receive]\nquiet_seconds = 0\nreserve_gb = 0\n[work]\n{lease}\n'
        f'[[peer]]\nname = "pacs"\nae_title = "{pacs.ae_title}"\n'
        f'destination = {{ host = "127.0.0.1", port = {pacs.port} }}\n'
    )
    return file


def start_worker(file: Path, hosts: ThresholdHosts, **environ: str) -> subprocess.Popen[bytes]:
    command = [*PLANIMETER, "work", "--config", str(file), "--hosts", str(hosts.address)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | environ)


@pytest.mark.parametrize("place", WORKER_FAILPOINTS)
def test_a_worker_killed_at_any_step_of_a_job_leaves_every_result_to_arrive_once(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts, place: str
) -> None:
    file = config(tmp_path, pacs, SHORT)
    node = open_node(load(file))
    images = small_series()
    for ds in images if place == "decoding" else ():
        ds.compress(RLELossless, generate_instance_uid=False)
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    once = tmp_path / "once"
    killed = start_worker(file, threshold_hosts, PLANIMETER_FAILPOINT=f"{place}:{once}")
    try:
        assert killed.wait(60) == -signal.SIGKILL
        assert once.exists()
        second = start_worker(config(tmp_path, pacs, LONG, "second.toml"), threshold_hosts)
        try:
            wait_until("the study is done", lambda: only_study(node)["state"] == "done", every=0.1)
        finally:
            second.terminate()
            assert second.wait(60) in (0, -signal.SIGTERM), "the latter before it was up"
    finally:
        killed.kill()
    assert len(pacs.calls) == 3
    assert {one["state"] for one in overview(node.database)["deliveries"]} == {"delivered"}
    copies: dict[str, list[Any]] = {}
    for ds in pacs.objects:
        copies.setdefault(ds.SOPInstanceUID, []).append(ds)
    assert all(one == many[0] for many in copies.values() for one in many), "sent twice, but not the same"
    assert sum(pacs.calls.values()) == (4 if place == "sent-before-row" else 3)
    # its last attempt: on a busy machine the short lease may have run out once before
    kind = JobKind.DELIVER if place in SENDING else JobKind.SEGMENT
    committed = place in ("after-results-commit", "after-delivery-commit")
    assert outcomes_of(node, killed, kind)[-1] == ("done" if committed else "lost")
    assert bool(outcomes_of(node, second, kind)) is not committed, "what was committed is not done again"
    node.close()


def outcomes_of(node: Node, worker: subprocess.Popen[bytes], kind: JobKind) -> list[str]:
    """How the attempts of a worker at jobs of a kind ended, in the order in which it began them."""
    asked = sa.select(attempt.c.outcome).join(job).where(job.c.kind == kind)
    with node.database.read() as tx:
        found = tx.execute(asked.where(attempt.c.worker.contains(f":{worker.pid}:")).order_by(attempt.c.id))
        return [str(outcome) for outcome in found.scalars()]


def test_with_the_default_lease_a_dead_workers_job_is_claimed_again_within_fifteen_seconds(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    """Promise 3, where nobody but the database knows that the worker is dead."""
    file = config(tmp_path, pacs, "")
    node = open_node(load(file))

    def drained(machine: str, *, drained: bool) -> int:
        with node.database.write() as tx:
            return processes.drain(tx, machine, drained=drained)

    second = start_worker(file, threshold_hosts, PLANIMETER_MACHINE="another")
    try:
        wait_until("the second is up, and begins nothing yet", lambda: drained("another", drained=True))
        take_in(node, small_series())
        work_off(node, JobKind.CHOOSE)
        first = start_worker(file, threshold_hosts, PLANIMETER_FAILPOINT="volume-built")
        assert first.wait(60) == -signal.SIGKILL
        with node.database.read() as tx:
            died = tx.execute(sa.select(Clock())).scalar_one()
        assert drained("another", drained=False) == 1
        wait_until("the study is done", lambda: only_study(node)["state"] == "done", every=0.1)
    finally:
        second.terminate()
        second.wait(60)
    asked = sa.select(attempt.c.worker, attempt.c.started).join(job).where(job.c.kind == JobKind.SEGMENT)
    with node.database.read() as tx:
        of_first, of_second, *_ = tx.execute(asked.order_by(attempt.c.id)).all()
    assert f":{first.pid}:" in of_first.worker
    assert f":{second.pid}:" in of_second.worker
    assert 0 <= of_second.started - died < 15
    node.close()


def freeze(pid: int, rows: Path) -> None:
    """Stop a process where it holds no lock: SQLite makes everybody wait for a process that stands still in one.

    One that reads is in the way too, of every commit.
    """

    def without_a_lock() -> bool:
        os.kill(pid, signal.SIGSTOP)
        with contextlib.closing(driver.connect(rows, timeout=0.5, isolation_level=None)) as database:
            try:
                database.execute("BEGIN EXCLUSIVE")
            except driver.OperationalError:
                os.kill(pid, signal.SIGCONT)
                return False
            database.execute("ROLLBACK")
            return True

    wait_until("it stands still without a lock", without_a_lock)


def test_a_worker_that_was_frozen_cannot_spoil_what_another_did_meanwhile(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    file = config(tmp_path, pacs, SHORT)
    node = open_node(load(file))
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    asked, go_on = threading.Event(), threading.Event()
    usual = threshold_hosts.answer

    def slow(volume: Any) -> Any:
        if not asked.is_set():
            asked.set()
            go_on.wait(60)
        return usual(volume)

    threshold_hosts.answer = slow
    frozen = start_worker(file, threshold_hosts)
    assert asked.wait(60)
    freeze(frozen.pid, node.archive.home / "planimeter.db")
    second = start_worker(config(tmp_path, pacs, LONG, "second.toml"), threshold_hosts)
    try:
        wait_until("the other one did it", lambda: only_study(node)["state"] == "done", every=0.1)
        go_on.set()
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.terminate()
        assert frozen.wait(60) == 0
    finally:
        for process in (frozen, second):
            process.kill()
            process.wait(60)
    assert set(pacs.calls.values()) == {1}
    assert len(pacs.calls) == 3
    assert len(list((node.archive.home / "results").rglob("*.dcm"))) == 5, "each form once, whoever wrote it"
    node.close()


def test_what_one_loop_of_a_worker_made_another_does_not_wait_for(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    node = open_node(load(config(tmp_path, pacs, "")), threshold_hosts.address)
    take_in(node, small_series())
    schedule.settle(node)
    worker = Worker(node, "prompt", poll_seconds=3600)
    thread = threading.Thread(target=worker.run, args=(10,))
    thread.start()
    try:
        wait_until("the results are sent", lambda: only_study(node)["state"] == "done", every=0.1)
    finally:
        worker.stopping.set()
        thread.join(30)
    assert not thread.is_alive(), "nor does it sleep on when it is to stop"
    assert len(pacs.calls) == 3
    node.close()


def test_a_worker_that_is_stopped_gives_its_job_back_and_uses_up_no_attempt(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    file = config(tmp_path, pacs, "")
    node = open_node(load(file), threshold_hosts.address)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    go_on = threading.Event()
    usual = threshold_hosts.answer
    threshold_hosts.answer = lambda volume: (go_on.wait(60), usual(volume))[1]
    worker = Worker(node, "stopped")
    thread = threading.Thread(target=worker.run, args=(0.1,))
    thread.start()
    wait_until("it is at work", lambda: threshold_hosts.asked > 0)
    worker.stopping.set()
    thread.join()
    (segment,) = [job for job in overview(node.database)["jobs"] if job["kind"] == "segment"]
    assert (segment["state"], segment["attempts"]) == ("waiting", 0)
    go_on.set()
    threshold_hosts.answer = usual
    wait_until("the late one has noticed", lambda: not worker._held)
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert set(pacs.calls.values()) == {1}
    node.close()
