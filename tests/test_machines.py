"""Two machines on one PostgreSQL and one folder: they share the work, and one goes on when the other is gone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import CTImageStorage

from db import duties, overview, processes, schema
from db.database import Clock, Database, open_database
from db.job_states import JobKind
from db.tables import process, study
from node import place, schedule, warm
from node.app import Node
from node.beating import Beating
from node.duty import Duty
from node.errors import Refused
from node.operations import health, machines
from node.outbound import scu
from node.outbound.scu import Parcel
from node.outbound.target import Target
from node.remembered import recall, remember
from node.worker import Worker
from tests import mini_bundle
from tests.driving import take_in
from tests.fake_pacs import FakePacs
from tests.machines import Machine, Network
from tests.postgres import Postgres
from tests.running import planimeter
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

CONFIG = """
[database]
url = "{url}"
[node]
ae_title = "PLANIMETER"
[receive]
port = 0
quiet_seconds = 600
reserve_gb = 0
[work]
workers = 1
device = "cpu"
confine = "off"  # the network of these tests says where nobody else may write that it runs
lease_seconds = 6
heartbeat_seconds = 0.5
[hosts]
at_start = false
[web]
enabled = false
[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "{address}"
may_send = true
[[peer]]
name = "pacs"
ae_title = "FAKEPACS"
destination = {{ host = "{address}", port = {port} }}
[[route]]
name = "all"
networks = ["thresholds"]
destinations = ["pacs"]
"""


@dataclass
class Department:
    """Two machines, what they share, and the PACS."""

    a: Machine
    b: Machine
    database: Database
    pacs: FakePacs
    home: Path
    folder: Path

    def send(self, machine: Machine, name: str) -> str:
        """Send a small study from the scanner to a machine; its Study Instance UID."""
        images = small_series(patient_id=name)
        parcels = [Parcel(file, CTImageStorage) for file in as_files(images, self.folder / name)]
        target = Target("node", "PLANIMETER", machine.address, machine.port)
        with scu.connect(target, "SCANNER", parcels, 60) as sender:
            assert all(sender.send(parcel).status == 0 for parcel in parcels)
        study_uid = str(images[0].StudyInstanceUID)
        with self.database.write() as tx:  # it is quiet once all of it is there, however long that took
            mine = sa.update(study).where(study.c.study_uid == study_uid)
            tx.execute(mine.values(last_image=study.c.last_image - 600))
        return study_uid

    def state(self, study_uid: str) -> list[str]:
        """The states of a study's jobs."""
        with self.database.read() as tx:
            return [row["state"] for row in overview.jobs(tx) if row["study_uid"] == study_uid]

    def attempts(self, study_uid: str, kind: str) -> list[tuple[str, str]]:
        """Machine and outcome of each attempt at a study's jobs of a kind."""
        with self.database.read() as tx:
            ids = [row["id"] for row in overview.jobs(tx) if (row["study_uid"], row["kind"]) == (study_uid, kind)]
            rows = [one for job_id in ids for one in overview.attempts(tx, job_id)]
        return [(row["worker"].split(":")[0], row["outcome"]) for row in rows]

    def done(self, study_uid: str, seconds: float = 120) -> None:
        """Wait until all of a study is with the PACS."""

        def whole() -> bool:
            states = self.state(study_uid)
            return len(states) == 3 and set(states) == {"done"}

        try:
            wait_until(f"{study_uid[-12:]} is done", whole, seconds, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- A\n{self.a.log[-4000:]}\n--- B\n{self.b.log[-4000:]}") from None
        sent = [ds for ds in self.pacs.objects if ds.StudyInstanceUID == study_uid]
        assert sorted(ds.Modality for ds in sent) == ["SEG", "SR", "SR"]
        assert {self.pacs.calls[ds.SOPInstanceUID] for ds in sent} == {1}

    def on_duty(self) -> str:
        """The machine whose schedule process acts."""
        with self.database.read() as tx:
            return duties.holder(tx, "schedule").split("/")[0]

    def listed(self) -> dict[tuple[str, str], str]:
        """What `planimeter status` on A says of the processes: machine and process -> state."""
        rows = json.loads(self.a.planimeter("status", "--json").stdout)["machines"]
        return {(row["machine"], row["process"]): row["state"] for row in rows}


@pytest.fixture
def department(postgres: Postgres, tmp_path: Path) -> Iterator[Department]:
    """Two machines that are not started yet."""
    home = tmp_path / "shared"
    (home / "models").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    mini_bundle.make(home / "models", "thresholds", before=mini_bundle.halts(repr(str(begun)), go_on))
    url = postgres.new_database()
    config = tmp_path / "planimeter.toml"
    with Network() as network, FakePacs(address=network.address) as pacs:
        config.write_text(CONFIG.format(url=url, address=network.address, port=pacs.port))
        a, b = (Machine(network, name, home, config) for name in ("ward", "gpu"))
        database = open_database(url)
        schema.require(database)
        try:
            yield Department(a, b, database, pacs, home, tmp_path)
        finally:
            for machine in (a, b):
                machine.stop()
            database.dispose()


def test_one_receives_the_other_segments_and_when_that_dies_the_first_takes_over(
    department: Department, tmp_path: Path
) -> None:
    a, b = department.a, department.b
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    go_on.touch()
    b.start()
    wait_until("the second machine is on duty", lambda: department.on_duty() == "gpu")
    a.start()

    def of_ward() -> set[str]:
        return {process for machine, process in department.listed() if machine == "ward"}

    wait_until("the first machine is heard of", lambda: of_ward() == {"receive", "work-1", "schedule"}, every=0.5)
    assert "begin nothing" in a.planimeter("machines", "drain").stdout
    first = department.send(a, "first")
    department.done(first)
    # a busy machine may lose a lease on its way, and takes the job again
    assert {machine for machine, _ in department.attempts(first, "segment")} == {"gpu"}
    assert of_ward() == {"receive", "work-1", "schedule"}
    wanted = {
        ("gpu", "schedule"): "on duty",
        ("ward", "schedule"): "standing by",
        ("ward", "work-1"): "drained",
        ("gpu", "work-1"): "alive",
    }
    wait_until("each does what it is to do", lambda: wanted.items() <= department.listed().items(), every=0.5)
    assert a.planimeter("machines", "drain", "--wait", "30").stdout == "ward has no job\n"
    go_on.unlink()
    begun.unlink()
    second = department.send(a, "second")
    wait_until("the second machine is at work", begun.exists, 60)
    b.kill()
    go_on.touch()
    a.planimeter("machines", "resume", "ward")
    department.done(second)
    attempts = department.attempts(second, "segment")
    assert ("gpu", "lost") in attempts
    assert attempts[-1] == ("ward", "done")
    wait_until("the first machine is on duty", lambda: department.on_duty() == "ward", 30)
    third = department.send(a, "third")
    department.done(third)
    assert a.planimeter("health", "--here", "receive", "work", "schedule").stdout == "ready\n"
    attempts = department.attempts(third, "segment")
    assert {machine for machine, _ in attempts} == {"ward"}
    assert attempts[-1] == ("ward", "done")


@pytest.mark.slow
def test_each_may_be_stopped_and_started_while_the_other_works(department: Department, tmp_path: Path) -> None:
    a, b = department.a, department.b
    (tmp_path / "go on").touch()
    a.start()
    b.start()
    for number, (stays, goes) in enumerate([(b, a), (a, b), (b, a)]):
        studies = [department.send(machine, f"{number}-{machine.name}") for machine in (a, b)]
        assert goes.stop() == 0
        studies.append(department.send(stays, f"{number}-alone"))
        for study_uid in studies:
            department.done(study_uid)
        with department.database.read() as tx:
            assert {row["machine"] for row in processes.listing(tx)} == {stays.name}
        wait_until("the one that stays is on duty", lambda: department.on_duty() == stays.name, 30)  # noqa: B023
        goes.start()


# ------------------------------------------------------------- who acts


def test_one_acts_and_another_one_takes_over_when_it_ends_or_dies(
    postgres: Postgres, migrated_on_postgres: str
) -> None:
    database = open_database(postgres.new_database(migrated_on_postgres))
    acted: list[str] = []
    with Duty(database, "schedule", "b/schedule") as b:
        with Duty(database, "schedule", "a/schedule") as a:
            assert (a.held, b.held) == (False, True)
            for one, name in ((a, "a"), (b, "b")):
                one.act(acted.append, name)
            assert acted == ["b"]
            with database.write() as tx:  # as if b were gone for longer than its lease
                tx.execute(sa.text("UPDATE duty SET lease_until = 0"))
                assert duties.take(tx, "schedule", "a/schedule", 60)
            wait_until("b learns that it has lost it", lambda: not b.held and not b.was_ours)
        wait_until("a has given it back", lambda: b.held)
    with database.read() as tx:
        assert duties.holder(tx, "schedule") == ""
    database.dispose()


def test_a_lease_is_prolonged_by_its_holder_and_taken_over_when_it_ran_out(database: Database) -> None:
    def take(holder: str, seconds: float = 60) -> bool:
        with database.write() as tx:
            return duties.take(tx, "schedule", holder, seconds)

    assert take("a")
    assert not take("b")
    assert take("a", -1)
    with database.read() as tx:
        assert duties.holder(tx, "schedule") == "", "it has run out"
    assert take("b")
    assert not take("a")
    with database.write() as tx:
        duties.give_up(tx, "schedule", "a")
        assert duties.holder(tx, "schedule") == "b"
        duties.give_up(tx, "schedule", "b")
        assert duties.holder(tx, "schedule") == ""


def test_a_worker_that_is_drained_begins_nothing(node: Node) -> None:
    take_in(node, small_series())
    with Beating(node.database, "work-1") as beating:
        worker = Worker(node, "w", process=beating.name)
        schedule.settle(node)
        machine = beating.name.split("/")[0]
        machines.drain(node.database, machine, "ada", drained=True)
        kinds = (JobKind.CHOOSE,)
        assert worker._next("work", kinds) is None
        assert [one.state for one in machines.listing(node.database)] == ["drained"]
        machines.drain(node.database, machine, "ada", drained=False)
        assert worker._next("work", kinds) is not None
    with pytest.raises(Refused, match="no-such-machine"):
        machines.drain(node.database, machine, "ada", drained=True)


def test_a_machine_that_does_not_come_back_is_forgotten(database: Database) -> None:
    with database.write() as tx:
        processes.begin(tx, "pod-1/work-1", "work", "pod-1", "1.0")
        processes.begin(tx, "pod-2/work-1", "work", "pod-2", "1.0")
        tx.execute(sa.update(process).where(process.c.machine == "pod-1").values(beat=Clock() - 300))
    assert [(one.machine, one.state) for one in machines.listing(database)] == [("pod-1", "silent"), ("pod-2", "alive")]
    assert machines.forget(database, "pod-1", "ada") == "pod-1 is forgotten: 1 processes"
    with pytest.raises(Refused, match="no-such-machine"):
        machines.forget(database, "pod-2", "ada")
    assert [one.machine for one in machines.listing(database)] == ["pod-2"]


def test_health_of_one_machine_is_not_that_of_all(database: Database, tmp_path: Path) -> None:
    with database.write() as tx:
        for role in ("receive", "work", "schedule"):
            processes.begin(tx, f"ward/{role}", role, "ward", "1.0")
    assert health.reasons(database, tmp_path, 0) == []
    assert health.reasons(database, tmp_path, 0, roles=("work",), machine="ward") == []
    assert [one.code for one in health.reasons(database, tmp_path, 0, roles=("work",), machine="gpu")] == ["no-work"]


# ------------------------------------------------------- who may run where


def test_a_second_node_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    place.take(tmp_path, "ward", ["receive", "work"])
    place.take(tmp_path, "gpu", ["receive", "work"])
    with pytest.raises(Refused, match="already-running"):
        place.take(tmp_path, "ward", ["work"])
    program = (
        "from pathlib import Path; from node import place; import sys; place.take(Path(sys.argv[1]), 'x', ['web'])"
    )
    subprocess.run([sys.executable, "-P", "-c", program, tmp_path], check=True)
    place.take(tmp_path, "x", ["web"])  # the process that had it is gone


def test_a_second_run_says_so_and_changes_nothing(tmp_path: Path, migrated: Path) -> None:
    place.take(tmp_path, socket.gethostname(), ["schedule"])
    done = planimeter("schedule", "--home", tmp_path, check=False, PLANIMETER_MACHINE=socket.gethostname())
    assert done.returncode == 1
    assert "already" in done.stderr


def test_sqlite_is_for_one_machine(tmp_path: Path, migrated: Path) -> None:
    shutil.copyfile(migrated, tmp_path / "planimeter.db")
    database = open_database(f"sqlite+pysqlite:///{tmp_path / 'planimeter.db'}")
    place.require_alone(database, "ward")
    with database.write() as tx:
        processes.begin(tx, "gpu/work-1", "work", "gpu", "1.0")
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.2):
            with database.write() as tx:
                processes.beat(tx, "gpu/work-1", "work", "gpu", "1.0")

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(Refused, match="other-machine"):
            place.require_alone(database, "ward")
    finally:
        ended.set()
        beating.join()
    with database.write() as tx:  # it was heard of, and died: nobody waits for longer than it takes to see that
        tx.execute(sa.update(process).values(beat=Clock() - place.HEARD_SECONDS + 1))
    place.require_alone(database, "ward")
    database.dispose()


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv rw shared:5 - tmpfs tmpfs rw
41 22 0:50 / /srv/plani\\040meter rw,relatime shared:9 - nfs4 filer:/export rw,vers=4.2
42 22 0:51 / /srv/plani\\040meter/local rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/plani meter", "nfs4"),
        ("/srv/plani meter/home", "nfs4"),
        ("/srv/plani meter/local/home", "xfs"),
        ("/srv/plani meters", "tmpfs"),
        ("/var/lib", "ext4"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_longest_mount(folder: str, kind: str) -> None:
    assert place.file_system(Path(folder), MOUNTS) == kind
    assert place.file_system(Path(folder), "") == ""


def test_sqlite_on_a_network_file_system_is_refused_and_postgresql_is_not(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="sqlite-shared"):
        place.require_safe(tmp_path, sqlite=True, kind="nfs4")
    place.require_safe(tmp_path, sqlite=False, kind="nfs4")
    place.require_safe(tmp_path, sqlite=True)
    assert place.remote(tmp_path) == ""


def test_what_a_machine_was_told_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ward", "gpu"):
        monkeypatch.setenv("PLANIMETER_MACHINE", name)
        remember(tmp_path, Path(f"/etc/{name}.toml"), None)
    for name, config in (("ward", "ward"), ("gpu", "gpu"), ("laptop", "gpu")):
        monkeypatch.setenv("PLANIMETER_MACHINE", name)
        assert recall(tmp_path)["config"] == f"/etc/{config}.toml"


def test_the_networks_of_each_machine_are_listed_while_it_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ward", "gpu"):
        monkeypatch.setenv("PLANIMETER_MACHINE", name)
        warm.write(warm.folder(tmp_path), [])
        file = warm.folder(tmp_path) / warm.FILE
        said = json.loads(file.read_text())
        file.write_text(json.dumps(said | {"networks": [{"network": f"of {name}"}]}))
    assert [one["machine"] for one in warm.read(tmp_path)] == ["gpu"]
    assert [one["machine"] for one in warm.read(tmp_path, {"ward"})] == ["gpu", "ward"]


def test_a_process_ends_when_its_database_becomes_another_versions(database: Database) -> None:
    told = threading.Event()
    with Beating(database, "work-1", beat_seconds=0.05, outdated=told.set), database.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    # the row is written when the `with` ends; a process that runs on hears of it at its next beat
    with Beating(database, "work-2", beat_seconds=0.05, outdated=told.set):
        wait_until("it was told", told.is_set)
