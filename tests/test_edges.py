"""What nobody foresaw, or a machine without a thread or a descriptor left: the loops of a node outlive it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from config.settings import load
from db import duties, jobs, lost_jobs, processes
from db.database import Clock, Database
from db.job_states import Claim, JobKind
from db.tables import attempt, duty, job
from models.card import Bundle
from node import hosts
from node.admission import Limits
from node.app import Node, open_node
from node.attempt import Stages
from node.beating import Beating
from node.duty import Duty
from node.errors import Failed, Unavailable
from node.host_process import HostProcess, Order
from node.nursery import Nursery
from node.pull.watch import Watch
from node.supervisor import FIRST_PAUSE_SECONDS, Supervisor, _Process
from node.worker import EXIT_HUNG, LOOPS, Worker
from tests.descriptors import descriptors
from tests.running import begun
from tests.soak.forked import PROCESSES
from tests.waiting import wait_until


@contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started in this process: no machine has the room for such a stack."""
    threading.stack_size(1 << 62)
    try:
        yield
    finally:
        threading.stack_size(0)


@contextmanager
def working(worker: Worker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run, args=(30,))
    thread.start()
    try:
        yield
    finally:
        worker.stopping.set()
        thread.join()


def ask(node: Node) -> None:
    """For a job that takes no time."""
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.SWEEP, "home", max_attempts=3)


def what_is(node: Node) -> tuple[str, int, str | None]:
    """State, attempts and code of the job."""
    with node.database.read() as tx:
        state, attempts, code = tx.execute(sa.select(job.c.state, job.c.attempts, job.c.code)).one()
    return state, attempts, code


# ------------------------------------------------------------------- a worker


def test_a_worker_that_can_start_no_thread_gives_its_job_back_and_goes_on(node: Node) -> None:
    worker = Worker(node, "w")
    with working(worker):
        wait_until("its loops run", lambda: set(LOOPS) <= {one.name for one in threading.enumerate()})
        with no_threads():
            ask(node)
            wait_until("it has tried", lambda: what_is(node)[0] == "waiting" and what_is(node)[2])
            assert what_is(node) == ("waiting", 0, "no-thread")
            wait_until("it holds nothing", lambda: not worker._held)
        with node.database.write() as tx:
            tx.execute(sa.update(job).values(run_after=0))
        wait_until("it has done it", lambda: what_is(node)[0] == "done")
    with node.database.read() as tx:
        ended = tx.execute(sa.select(attempt.c.outcome).order_by(attempt.c.id)).scalars().all()
    assert ended == ["unavailable", "done"]


class Startled(Worker):
    """Something that nobody foresaw happens to each of its loops once."""

    def _next(self, activity: str, kinds: tuple[JobKind, ...]) -> Claim | None:
        if activity not in self.__dict__.setdefault("startled", set()):
            self.__dict__["startled"].add(activity)
            raise ZeroDivisionError("nobody foresaw this")
        return super()._next(activity, kinds)


def test_a_loop_outlives_what_nobody_foresaw(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    ask(node)
    with working(Startled(node, "w")):
        wait_until("it has done its job all the same", lambda: what_is(node)[0] == "done")
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


# ------------------------------------------------------------------- who lives


@dataclass(frozen=True)
class Startling(Database):
    """A database that can be asked for a lease, of which something unforeseen comes to whoever writes next."""

    faults: list[Exception] = field(default_factory=list)

    @property
    def is_sqlite(self) -> bool:
        return False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if self.faults:
            raise self.faults.pop()
        with super().write() as tx:
            yield tx

    def startle(self) -> None:
        self.faults.append(ZeroDivisionError("nobody foresaw this"))
        wait_until("it has happened", lambda: not self.faults)


def test_a_sign_of_life_outlives_what_nobody_foresaw(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    def known() -> int:
        with node.database.read() as tx:
            return len(processes.listing(tx))

    database = Startling(node.database.engine)
    with Beating(database, "work-1", beat_seconds=0.05) as alive:
        database.startle()
        with node.database.write() as tx:
            processes.end(tx, alive.name)
        wait_until("the process says again that it is alive", known)
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


def test_a_duty_outlives_what_nobody_foresaw(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    def holder() -> str:
        with node.database.read() as tx:
            return duties.holder(tx, "schedule")

    database = Startling(node.database.engine)
    with Duty(database, "schedule", "here"):
        database.startle()
        with node.database.write() as tx:
            tx.execute(sa.update(duty).values(lease_until=0))
        wait_until("it is prolonged again", lambda: holder() == "here")
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


def test_the_lease_of_a_job_outlives_what_nobody_foresaw(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    ask(node)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SWEEP], "w", 0)
    assert claim is not None

    def is_leased() -> bool:
        with node.database.read() as tx:
            return bool(tx.execute(sa.select(job.c.lease_until > Clock())).scalar_one())

    database = Startling(node.database.engine)
    work = replace(node.work, heartbeat_seconds=0.05)
    worker = Worker(replace(node, database=database, work=work), "w")
    database.faults.append(ZeroDivisionError("nobody foresaw this"))
    with worker._lease(claim, Stages()):
        wait_until("its worker says that it works on it", is_leased)
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


def work_on_what_was_lost(url: str, home: Path) -> None:
    """In a process of its own: a step that hangs, and its job goes to somebody else meanwhile."""
    node = open_node(load(None, {"node": {"home": home}, "database": {"url": url}, "receive": {"reserve_gb": 0}}))
    worker = Worker(replace(node, work=replace(node.work, heartbeat_seconds=0.05)), "w")
    ask(node)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SWEEP], "w", 0)
        lost_jobs.rescue(tx, worker="w")
    assert claim is not None
    looked, stages, done = threading.Event(), Stages(), threading.Event()
    sa.event.listen(node.database.engine, "before_cursor_execute", lambda *_: looked.set())
    with worker._lease(claim, stages):
        looked.wait(60)
        stages.moved = float("-inf")
        done.wait(60)
    os._exit(0)


def test_a_worker_ends_also_where_a_step_hangs_whose_job_it_has_lost(database: Database, tmp_path: Path) -> None:
    """Else its loop is never free again, and who sends, sends nothing any more."""
    url = database.engine.url.render_as_string(hide_password=False)
    process = PROCESSES.Process(target=work_on_what_was_lost, args=(url, tmp_path / "home"))
    process.start()
    process.join(120)
    assert process.exitcode == EXIT_HUNG


class Hanging:
    """An association at which nothing comes."""

    def __init__(self) -> None:
        self.dimse, self.msg_queue, self.ended = self, Queue[Any](), threading.Event()

    def abort(self) -> None:
        self.ended.set()


def test_a_retrieval_is_watched_also_where_it_cannot_be_asked_what_came(caplog: pytest.LogCaptureFixture) -> None:
    assoc = Hanging()

    def what_came() -> object:
        raise ZeroDivisionError("nobody foresaw this")

    with Watch(assoc, "pacs", total_seconds=0.05, look_seconds=0.01, sign=what_came) as watch:
        wait_until("it is ended", assoc.ended.is_set)
    assert watch.why is not None and watch.why.code == "fetch-stalled"
    assert "ZeroDivisionError: nobody foresaw this" in caplog.text


# ------------------------------------------------------------------- the model hosts


def asked(address: Path) -> str:
    """What the supervisor says of a bundle that is not there."""
    with pytest.raises((Failed, Unavailable)) as raised:
        hosts.ask(address, Bundle(Path("/nowhere"), None, "0" * 64))  # type: ignore[arg-type]
    return raised.value.code


def test_a_supervisor_that_can_start_no_thread_answers_again_when_it_can() -> None:
    with tempfile.TemporaryDirectory() as folder:
        supervisor = hosts.Hosts(Path(folder), "cpu")
        address = supervisor.serve()
        try:
            with no_threads():
                assert [asked(address) for _ in range(2)] == ["no-supervisor"] * 2
            assert asked(address) == "network-unusable"
        finally:
            supervisor.stop()


#: a thread for each host, and one for the nursery
HEARING = "what a model host says"


def test_a_host_that_nobody_could_watch_is_ended_and_the_worker_is_told() -> None:
    others = set(threading.enumerate())
    nursery = Nursery()

    def hearing() -> int:
        return sum(one.name == HEARING for one in set(threading.enumerate()) - others)

    with tempfile.TemporaryDirectory() as folder:
        order = Order(folder=Path("/nowhere"), card_sha256="0" * 64, address=Path(folder) / "h.sock", device="cpu")

        def refused() -> None:
            with no_threads(), pytest.raises(Unavailable, match="start no thread") as raised:
                HostProcess.start(order, nursery)
            assert raised.value.code == "no-thread"

        try:
            refused()  # by the nursery, which cannot hear what its hosts say
            host = HostProcess.start(order, nursery)
            host.process.wait(60)
            host.end()
            wait_until("nobody hears it", lambda: hearing() == 1)
            before = descriptors()
            refused()
            assert not descriptors() - before, "of what others held, some may have gone"
        finally:
            nursery.stop()


SUPERVISOR = """
import resource, sys
from pathlib import Path
from node.hosts import Hosts

before = resource.getrlimit(resource.RLIMIT_NOFILE)
supervisor = Hosts(Path(sys.argv[1]), "cpu")
print(supervisor.serve(), flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
print("none left", flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_NOFILE, before)
sys.stdin.readline()
supervisor.stop()
"""


def test_a_supervisor_without_a_descriptor_left_answers_again_when_it_has_one() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        begun(
            [sys.executable, "-P", "-c", SUPERVISOR, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            address = Path(process.stdout.readline().strip())
            assert process.stdout.readline() == "none left\n"
            with socket.socket(socket.AF_UNIX) as first:  # whoever listens already has a descriptor for one
                first.connect(str(address))
                assert "Too many open files" in process.stderr.readline()
            process.stdin.write("\n")
            process.stdin.flush()
            assert asked(address) == "network-unusable"
            process.stdin.write("\n")
        finally:
            process.stdin.close()
            process.wait(30)


# ------------------------------------------------------------------- the supervisor


def test_a_process_that_cannot_be_started_again_yet_is_started_later(node: Node, tmp_path: Path) -> None:
    """A machine may have no process, memory or descriptor left for a moment; the others work on."""
    program = tmp_path / "program"
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    supervisor = Supervisor(node, {}, "cpu", Limits())
    line, other = socket.socketpair()
    other.close()
    supervisor._processes["web"] = _Process("web", [str(program)], died, line, 0.0)

    def is_started() -> bool:
        supervisor._look_after()
        return supervisor._processes["web"].popen is not died

    assert not is_started()
    supervisor._processes["web"].again_at = 0.0
    assert not is_started(), "there is no such program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    try:
        wait_until("it is started", is_started)
    finally:
        supervisor._end_all()


class Slow(Database):
    """Whoever writes waits until it answers."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self.asked, self.answers, self.kept_somebody_waiting = threading.Event(), threading.Event(), False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.asked.set()
        self.kept_somebody_waiting |= not self.answers.wait(60)
        with super().write() as tx:
            yield tx


@pytest.mark.parametrize("threads", [True, False])
def test_a_database_that_does_not_answer_keeps_no_process_from_being_started_again(node: Node, threads: bool) -> None:
    """Where no thread can be started, the jobs are put back all the same."""
    ask(node)
    with node.database.write() as tx:
        assert jobs.claim(tx, [JobKind.SWEEP], "w", 600) is not None
    slow = Slow(node.database.engine)
    supervisor = Supervisor(replace(node, database=slow), {}, "cpu", Limits())
    for role, facts in (("work", {"worker": "w"}), ("web", {})):
        died = subprocess.Popen([sys.executable, "-c", ""])
        died.wait()
        line, other = socket.socketpair()
        other.close()
        supervisor._processes[role] = _Process(role, ["/nowhere"], died, line, 0.0, facts)
    if threads:
        supervisor._look_after()
        assert slow.asked.wait(60)
        slow.answers.set()
    else:
        slow.answers.set()
        with no_threads():
            supervisor._look_after()
    assert not slow.kept_somebody_waiting
    assert all(one.again_at is not None for one in supervisor._processes.values())
    wait_until("its job waits again", lambda: what_is(node)[0] == "waiting")


@pytest.mark.parametrize("then", ["", "os.close(int(sys.argv[-1]))"], ids=["silent", "its line is closed"])
def test_a_process_that_is_started_again_and_never_ready_is_ended_and_started_once_more(
    node: Node, tmp_path: Path, then: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport os, signal, sys\n{then}\nsignal.pause()\n")
    program.chmod(0o700)
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    supervisor = Supervisor(node, {}, "cpu", Limits(), start_seconds=2)
    line, other = socket.socketpair()
    other.close()
    supervisor._processes["web"] = _Process("web", [str(program)], died, line, 0.0, again_at=0.0)

    started: list[subprocess.Popen[bytes]] = []

    def times() -> int:
        """How often it was started."""
        supervisor._look_after()
        if (now := supervisor._processes["web"].popen) not in (died, *started):
            started.append(now)
        return len(started)

    try:
        wait_until("it is started three times", lambda: times() >= 3)
        assert not Path(f"/proc/{started[0].pid}").exists()
        assert supervisor._processes["web"].pause > FIRST_PAUSE_SECONDS
    finally:
        supervisor._end_all()
