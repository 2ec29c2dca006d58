"""A node whose processes are forked one by one, its PACS and its model hosts: for faults of the side of jobs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Collection, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from config.settings import load
from db.database import DatabaseUnreachable
from db.job_states import JobKind
from db.tables import attempt, delivery, input_set, job, result, study
from node.app import Node, open_node
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.ports import free_port
from tests.soak import forked
from tests.soak.oracle import Receipts, Received, digest_of, of_results, of_store, received_by
from tests.soak.tally import Tally
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

#: the results of one small study at one destination: a segmentation and two reports
RESULTS = 3
#: jobs that wait, from which on scanners are to send less
BACKLOG = 8
#: of a new database the schema is made, and Alembic knows one database at a time
OPENING = threading.Lock()


class MortalHosts(ThresholdHosts):
    """One host at a time, in a process that can be killed; the next who asks gets a new one.

    Attributes:
        hang_next: the next volume is never answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self._marks = self._folder / "marks"
        self._mark = self._marks / "hangs"
        self._process: BaseProcess | None = None
        self._starting = threading.Lock()

    @property
    def hang_next(self) -> bool:
        return self._marks.exists()

    @hang_next.setter
    def hang_next(self, wanted: bool) -> None:
        shutil.rmtree(self._marks, ignore_errors=True)
        if wanted:
            self._marks.mkdir()

    def hangs(self) -> int:
        """The pid of the worker that waits in vain; 0 while there is none."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._mark.read_text())
        return 0

    def kill(self) -> None:
        """SIGKILL. It hangs until then: a host that goes on has answered before it dies."""
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self.hang_next = False

    def __enter__(self) -> MortalHosts:
        self._listen(self.address, lambda _message, _arrays: ({"address": str(self._living())}, ()))
        return self

    def _living(self) -> Path:
        with self._starting:
            if self._process is None or not self._process.is_alive():
                self._host.unlink(missing_ok=True)
                self._process = forked.host(self._host, self._mark)
                wait_until("the host listens", self._host.exists)
            return self._host

    def __exit__(self, *about: object) -> None:
        if self._process is not None:
            self.kill()
        super().__exit__(*about)


class House:
    """Runs within a `with`.

    Args:
        settings: TOML of [work], [send] and whatever else is to be otherwise.
        pacs: where results go, a `FakePacs` or like one; None: a usual one.
        url: of a database; empty: SQLite in the home folder.
        receive: TOML of [receive].
        home: the node's folder, where it is not beside the configuration.

    Attributes:
        port: of its receiver.
        processes: that `start` started.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        *,
        pacs: Any = None,
        url: str = "",
        receive: str = "reserve_gb = 0\nquiet_seconds = 0",
        home: Path | None = None,
    ) -> None:
        self.home = home or folder / "home"
        self.folder, self.settings, self.receive, self.url = folder, settings, receive, url
        self.port = free_port()
        self.processes: dict[str, BaseProcess] = {}
        self.pacs = pacs or FakePacs()
        self.hosts = MortalHosts()
        self.receipts = Receipts()
        self.config, self.log = folder / "planimeter.toml", folder / "log.txt"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> House:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(self.pacs)
        self._stack.enter_context(self.hosts)
        self.config.write_text(
            f'[node]\nhome = "{self.home}"\n[receive]\nport = {self.port}\n{self.receive}\n'
            f'[database]\nurl = "{self.url}"\n{self.settings}\n'
            f'[[peer]]\nname = "pacs"\nae_title = "{self.pacs.ae_title}"\n'
            f'destination = {{ host = "127.0.0.1", port = {self.pacs.port} }}\n'
        )
        with OPENING:
            self.node: Node = open_node(load(self.config), self.hosts.address)
        self._stack.callback(self.node.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def start(self, *, workers: int = 1) -> None:
        """A receiver, the scheduler and workers, each a process; `stop` ends them."""
        names = ("receive", "schedule", *(f"work-{number + 1}" for number in range(workers)))
        for name in names:
            self.processes[name] = forked.role(name.split("-")[0], self.config, self.hosts.address, self.log)
        wait_until("the receiver listens", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """SIGTERM to the processes, and their ends."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            forked.end(process)
        self.processes.clear()

    def worker(self, place: str = "") -> BaseProcess:
        return forked.role("work", self.config, self.hosts.address, self.log, place)

    def arrived(self, *, compressed: bool = False, chosen: bool = True) -> str:
        """A study of one small series is there; its uid."""
        images = small_series()
        if compressed:
            for ds in images:
                ds.compress(RLELossless, generate_instance_uid=False)
        self.take(images)
        if chosen:
            work_off(self.node, JobKind.CHOOSE)
        return str(images[0].StudyInstanceUID)

    def take(self, images: Sequence[Dataset]) -> None:
        """Let images arrive, without the network; what is taken in is acknowledged."""
        take_in(self.node, images)
        for ds in images:
            self.receipts.acknowledge(str(ds.SOPInstanceUID), digest_of(ds))

    def jobs(self, study_uid: str) -> list[Any]:
        """The jobs of a study, in the order in which they were asked for."""
        asked = sa.select(job).join(study, study.c.id == job.c.study_id).where(study.c.study_uid == study_uid)
        with self.node.database.read() as tx:
            return list(tx.execute(asked.order_by(job.c.id)).mappings())

    def attempts(self, study_uid: str) -> list[Any]:
        """The attempts at the jobs of a study, with the kind of each, in the order in which they were begun."""
        asked = sa.select(attempt, job.c.kind).select_from(attempt).join(job, job.c.id == attempt.c.job_id)
        asked = asked.join(study, study.c.id == job.c.study_id)
        with self.node.database.read() as tx:
            found = tx.execute(asked.where(study.c.study_uid == study_uid).order_by(attempt.c.id))
            return list(found.mappings())

    def deliveries(self, study_uid: str) -> list[Any]:
        asked = sa.select(delivery, result.c.sop_uid).join(result, result.c.id == delivery.c.result_id)
        asked = asked.join(input_set, input_set.c.id == result.c.input_set_id)
        asked = asked.join(study, study.c.id == input_set.c.study_id).where(study.c.study_uid == study_uid)
        with self.node.database.read() as tx:
            return list(tx.execute(asked).mappings())

    def is_done(self, study_uid: str) -> bool:
        """Whether every job has come to an end, and all results have been answered for."""
        there = self.jobs(study_uid)
        sent = self.deliveries(study_uid)
        return (
            {JobKind.SEGMENT, JobKind.DELIVER} <= {one["kind"] for one in there}
            and all(one["state"] not in ("waiting", "running") for one in there)
            and all(one["state"] != "waiting" for one in sent)
        )

    def until_done(self, study_uid: str, seconds: float = 300) -> None:
        wait_until("the study is done", lambda: self.is_done(study_uid), seconds, 0.05)

    def sent(self, study_uid: str) -> dict[str, list[Dataset]]:
        """What the PACS got of a study, each time that it got it, by SOP Instance UID."""
        found: dict[str, list[Dataset]] = {}
        for ds in list(self.pacs.objects):
            if str(ds.StudyInstanceUID) == study_uid:
                found.setdefault(str(ds.SOPInstanceUID), []).append(ds)
        return found

    # ------------------------------------------------------------ all studies together

    def count(self, state: str) -> int:
        """Jobs of studies in a state."""
        asked = sa.select(sa.func.count()).where(job.c.state == state, job.c.study_id.is_not(None))
        with self.node.database.read() as tx:
            return int(tx.execute(asked).scalar_one())

    def is_behind(self) -> bool:
        """Whether there is more to do than a few studies."""
        with contextlib.suppress(DatabaseUnreachable):
            return self.count("waiting") > BACKLOG
        return True

    def segmented_by(self, pid: int) -> int:
        """The id of the segment job that a worker holds."""
        asked = sa.select(job.c.id).where(job.c.kind == JobKind.SEGMENT, job.c.state == "running")
        with self.node.database.read() as tx:
            return int(tx.execute(asked.where(job.c.worker.contains(f":{pid}:"))).scalar_one())

    def done_by_another(self, job_id: int, pid: int) -> float | None:
        """When the attempt of another worker was begun that ended a job well; None as long as there is none."""
        asked = sa.select(attempt.c.started).where(attempt.c.job_id == job_id, attempt.c.outcome == "done")
        with self.node.database.read() as tx:
            found = tx.execute(asked.where(~attempt.c.worker.contains(f":{pid}:"))).scalar()
        return None if found is None else float(found)

    def claimed_since(self, moment: float) -> bool:
        """Whether an attempt was begun after this, in seconds since 1970."""
        asked = sa.select(attempt.c.id).where(attempt.c.started > moment).limit(1)
        with contextlib.suppress(DatabaseUnreachable), self.node.database.read() as tx:
            return tx.execute(asked).first() is not None
        return False

    def until_all_done(self, studies: Collection[str], seconds: float = 600) -> None:
        """Wait until something of every study was sent, and every job of one has an end."""

        def left() -> int:
            asked = sa.select(study.c.study_uid).join(job, job.c.study_id == study.c.id)
            asked = asked.where(job.c.kind == JobKind.DELIVER)
            with self.node.database.read() as tx:
                missing = set(studies) - set(tx.execute(asked).scalars())
                arriving = tx.execute(sa.select(sa.func.count()).where(study.c.state == "open")).scalar_one()
            return len(missing) + int(arriving) + self.count("waiting") + self.count("running")

        wait_until("all studies are done", lambda: left() == 0, seconds, 0.5)

    def require_done(self, tally: Tally) -> None:
        """Of an outage nothing is dead, and no process died; newer images may have taken the place of older ones."""
        ended = sa.or_(job.c.state == "done", sa.and_(job.c.state == "cancelled", job.c.code == "outdated"))
        with self.node.database.read() as tx:
            bad = list(tx.execute(sa.select(job).where(~ended, job.c.study_id.is_not(None))).mappings())
            dead = tx.execute(sa.select(sa.func.count()).where(delivery.c.state == "dead")).scalar_one()
        tally.missing += len(bad)
        for one in bad:
            tally.complaints.append(f"{one['kind']} of study {one['study_id']} is {one['state']}: {one['reason']}")
        tally.complaints += [f"{dead} dead letters"] if dead else []
        for name, process in self.processes.items():
            if process.exitcode is not None:
                tally.complaints.append(f"{name} ended with {process.exitcode}")

    def outcomes(self) -> dict[str, int]:
        """How attempts at jobs ended: outcome and code -> how many."""
        asked = sa.select(attempt.c.outcome, attempt.c.code, sa.func.count()).group_by(
            attempt.c.outcome, attempt.c.code
        )
        with self.node.database.read() as tx:
            return {f"{one.outcome} {one.code or ''}".strip(): int(one[2]) for one in tx.execute(asked)}

    def _received(self) -> list[Received]:
        return received_by(self.pacs.objects) if isinstance(self.pacs, FakePacs) else list(self.pacs.received())

    def oracle(self) -> Tally:
        """What must hold of all that happened here; nobody may be at work."""
        tally = of_results(self.home, self.url, {"pacs": self._received()})
        tally.add(of_store(self.home, self.url, self.receipts))
        return tally
