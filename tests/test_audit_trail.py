"""The audit trail: written down with what it tells of, and sent in order, to whom it should be, until it is taken."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from config.settings import Settings, SettingsError, load
from db import audit_trail, events, processes, studies
from db.accounts import Role
from db.database import Clock, Database, DatabaseUnreachable, open_database, sqlite_url
from db.tables import audit_message, process
from node.app import Node
from node.audit.codes import What
from node.audit.forward import Forwarder, try_once
from node.audit.messages import Us
from node.audit.syslog import Collector
from node.audit.trail import Trail
from node.audit.transfer import Transfer
from node.audit.xml import Source
from node.errors import Unavailable
from node.inbound.ledger import Ledger
from node.inbound.peers import Doorkeeper
from node.operations import erase, metrics, resend, send
from node.operations.alarms.findings import World, look
from node.operations.alarms.kinds import Kind
from node.operations.alarms.rules import AlarmPolicy
from node.operations.doctor.examination import examine
from node.operations.status import overview
from node.operations.sweep import sweep_home
from node.outbound import find
from node.outbound.target import Target
from node.receiver import Receiver
from tests.audit_schema import faults
from tests.certificates import self_signed
from tests.conftest import find_program
from tests.doors import door
from tests.driving import take_in, work_off
from tests.fake_collector import FakeCollector, parts
from tests.fake_pacs import FakePacs
from tests.pages import serving
from tests.ports import free_port
from tests.running import PLANIMETER, begun, planimeter
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

US = Us("PLANIMETER", "gpu1", Source("PLANIMETER"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The collector's certificate and key."""
    shown = self_signed(tmp_path_factory.mktemp("collector"), "collector")
    return shown.certificate, shown.key


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The node's certificate and key."""
    shown = self_signed(tmp_path_factory.mktemp("node"), "node")
    return shown.certificate, shown.key


def to(server: FakeCollector, **changes: Any) -> Collector:
    return Collector(**({"host": "127.0.0.1", "port": server.port, "timeout_seconds": 60.0} | changes))


def forwarder(database: Database, collector: Collector) -> Forwarder:
    return Forwarder(database, collector, US, Random(1))


def keep(database: Database) -> None:
    with database.write() as tx:
        audit_trail.switch(tx, on=True)


def note(database: Database, *whos: str) -> None:
    for who in whos:
        Trail(database).note(What.STARTED, who=who)


def waiting(database: Database) -> list[Any]:
    with database.read() as tx:
        return list(audit_trail.waiting(tx, 1000))


def behind(database: Database) -> audit_trail.Backlog:
    with database.read() as tx:
        found = audit_trail.backlog(tx)
    assert found is not None
    return found


def whos(server: FakeCollector) -> list[str]:
    """Who started the application, in the order in which the collector was told."""
    return [root.findall("ActiveParticipant")[1].get("UserID", "") for root in server.xml]


def more_than(server: FakeCollector, count: int) -> bool:
    return len(server.messages) > count


# ---------------------------------------------------------------- the spool


def test_without_a_collector_nothing_is_written(database: Database) -> None:
    note(database, "root")
    with database.read() as tx:
        assert tx.execute(sa.select(audit_message)).all() == []
        assert audit_trail.backlog(tx) is None
    keep(database)
    note(database, "root")
    assert len(waiting(database)) == 1


def test_a_message_is_there_or_not_as_what_it_tells_of(database: Database) -> None:
    keep(database)
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        audit_trail.put(tx, What.STARTED, {"who": "a"})
        raise ZeroDivisionError
    assert waiting(database) == []


def test_text_that_a_database_does_not_like_is_kept(database: Database) -> None:
    keep(database)
    note(database, "a\0b\ud800c\\u0000")
    (row,) = waiting(database)
    assert row["facts"]["who"].startswith("a\ufffdb?c")


def test_one_process_sends_and_another_one_takes_it_on(database: Database) -> None:
    keep(database)
    note(database, "a", "b")
    ids = [row["id"] for row in waiting(database)]
    with database.write() as tx:
        assert audit_trail.hold(tx, "one", 60)
        assert not audit_trail.hold(tx, "two", 60)
    with database.write() as tx:
        assert not audit_trail.sent(tx, "two", ids)
    assert len(waiting(database)) == 2
    with database.write() as tx:
        assert audit_trail.hold(tx, "one", -1)  # it was not heard of since
        assert audit_trail.hold(tx, "two", 60)
        assert not audit_trail.sent(tx, "one", ids)
        assert audit_trail.sent(tx, "two", ids[:1])
    assert [row["facts"]["who"] for row in waiting(database)] == ["b"]
    assert behind(database).sent == 1


def test_events_of_the_record_are_taken_over_once_and_from_the_beginning_of_the_trail(database: Database) -> None:
    with database.write() as tx:
        events.append(tx, "anna", "sign-in", "pages")
    keep(database)
    with database.write() as tx:
        events.append(tx, "anna", "sign-out", "pages", {"from": "::1"})
        events.append(tx, "anna", "label-mapped", "ct_lungs")
    for _ in range(2):
        with database.write() as tx:
            audit_trail.take_over(tx, lambda what: what != "label-mapped")
    (row,) = waiting(database)
    assert (row["what"], row["facts"]["what"], row["facts"]["details"]) == ("record", "sign-out", {"from": "::1"})


def test_a_trail_that_is_switched_off_and_on_again_tells_nothing_of_between(database: Database) -> None:
    keep(database)
    with database.write() as tx:
        assert audit_trail.switch(tx, on=False)
        events.append(tx, "anna", "sign-in", "pages")
        assert audit_trail.switch(tx, on=True)
        assert not audit_trail.switch(tx, on=True)
        audit_trail.take_over(tx, lambda _what: True)
    assert waiting(database) == []


def test_what_cannot_be_written_down_is_counted_and_stops_nobody(tmp_path: Path, migrated: Path) -> None:
    """The disk is full, or the database is locked: as SQLite says it."""
    file = tmp_path / "rows.db"
    file.write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(file))
    keep(database)
    trail = Trail(database)
    with database.read() as tx:
        pages = tx.execute(sa.text("PRAGMA page_count")).scalar_one()
    full = open_database(sqlite_url(file))
    full.dispose()  # every connection from now on has no room

    @sa.event.listens_for(full.engine, "connect")
    def _no_room(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    trail.database = full
    for number in range(3):
        trail.note(What.STARTED, who=f"{number}" * 200_000)
    assert waiting(database) == []
    trail.database = database
    trail.note(What.STARTED, who="after")
    assert behind(database).lost == 3
    assert [row["facts"]["who"] for row in waiting(database)] == ["after"]
    with database.read() as tx:
        found = look(tx, AlarmPolicy(process_seconds=0.0), World(free_bytes=10**12, at=0.0))
    assert [one.kind for one in found] == [Kind.AUDIT_LOST]
    full.dispose()
    database.dispose()


# -------------------------------------------------------------- the sending


def test_messages_come_in_order_over_tls(database: Database, ours: tuple[Path, Path]) -> None:
    keep(database)
    note(database, *(f"{number}" for number in range(45)))
    with FakeCollector(ours) as server:
        sending = forwarder(database, to(server, ca_file=ours[0]))
        while waiting(database):
            sending.step()
        sending.close()
        wait_until("all are there", lambda: len(server.messages) == 45)
        assert whos(server) == [f"{number}" for number in range(45)]
        assert server.connections == 1
    assert all(parts(one)[0] == b"85" for one in server.messages)
    assert [faults(root) for root in server.xml] == [[]] * 45
    assert (behind(database).waiting, behind(database).sent) == (0, 45)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_without_tls_where_that_is_wanted(database: Database, transport: str) -> None:
    keep(database)
    note(database, "a", "b")
    with FakeCollector(datagrams=transport == "udp") as server:
        sending = forwarder(database, to(server, transport=transport))
        sending.step()
        wait_until("both are there", lambda: len(server.messages) == 2)
        sending.close()
        assert whos(server) == ["a", "b"]


def test_nothing_is_lost_while_the_collector_is_down_and_people_hear_of_it(
    database: Database, ours: tuple[Path, Path]
) -> None:
    keep(database)
    with FakeCollector(ours) as server:
        sending = forwarder(database, to(server, ca_file=ours[0]))
        note(database, "a")
        sending.step()
        wait_until("it is there", lambda: server.messages)
        server.stop()
        note(database, "b", "c")
        pauses = [sending.step() for _ in range(3)]
        assert pauses == sorted(pauses)
        assert pauses[-1] > pauses[0] > 0
        state = behind(database)
        assert (state.waiting, state.failing_seconds is not None) == (2, True)
        assert "does not take messages" in state.reason
        with database.read() as tx:
            policy = AlarmPolicy(process_seconds=0.0, audit_seconds=1e-9)
            (finding,) = look(tx, policy, World(free_bytes=10**12, at=0.0))
        assert (finding.kind, finding.count) == (Kind.AUDIT_STUCK, 2)
        with FakeCollector(ours, port=server.port) as again:
            sending.step()
            wait_until("the rest is there", lambda: len(again.messages) == 2)
            assert whos(again) == ["b", "c"]
            sending.close()
    assert behind(database).failing_seconds is None


def test_a_collector_that_ends_the_connection_gets_the_rest_on_the_next(
    database: Database, ours: tuple[Path, Path]
) -> None:
    keep(database)
    with FakeCollector(ours) as server:
        server.drop_after = 3
        sending = forwarder(database, to(server, ca_file=ours[0]))
        for number in range(9):
            note(database, f"{number}")
            wait_until("it is sent", lambda: sending.step() and not waiting(database))
        sending.close()
        assert list(dict.fromkeys(whos(server))) == [f"{number}" for number in range(9)]
        assert server.connections >= 3


def test_a_collector_that_reads_nothing_is_not_believed(embedded: Database) -> None:
    """Its machine takes what fits into its buffers; the rest waits here."""
    keep(embedded)
    with FakeCollector() as server:
        server.silent = True
        sending = forwarder(embedded, to(server, transport="tcp", timeout_seconds=0.3))
        note(embedded, *(f"{number}" + "x" * 30_000 for number in range(20)))
        assert sending.step() > 0
        assert (behind(embedded).waiting, behind(embedded).sent) == (20, 0)  # though our own buffers took all of it
        assert "did not answer in time" in behind(embedded).reason
        sending.close()


def test_a_collector_that_is_not_the_one_gets_nothing(
    embedded: Database, ours: tuple[Path, Path], client: tuple[Path, Path]
) -> None:
    keep(embedded)
    note(embedded, "a")
    with FakeCollector(ours) as server:
        sending = forwarder(embedded, to(server, ca_file=client[0]))
        assert sending.step() > 0
        assert "certificate is not trusted" in behind(embedded).reason
        assert not server.messages
        assert len(waiting(embedded)) == 1
        sending.close()


def test_a_collector_that_wants_our_certificate_gets_it_or_nothing(
    embedded: Database, ours: tuple[Path, Path], client: tuple[Path, Path]
) -> None:
    """With TLS 1.3 it says only after the handshake that it wanted another one."""
    keep(embedded)
    note(embedded, "a")
    with FakeCollector(ours, clients=client[0]) as server:
        for wrong in ({}, {"certificate": ours[0], "key": ours[1]}):
            sending = forwarder(embedded, to(server, ca_file=ours[0], **wrong))
            assert sending.step() > 0
            assert "certificate" in behind(embedded).reason
            assert len(waiting(embedded)) == 1
            sending.close()
        right = forwarder(embedded, to(server, ca_file=ours[0], certificate=client[0], key=client[1]))
        right.step()
        wait_until("it is there", lambda: whos(server) == ["a"])
        right.close()
    assert not waiting(embedded)


def test_a_row_that_says_nothing_holds_up_no_other_one(embedded: Database) -> None:
    keep(embedded)
    with embedded.write() as tx:
        audit_trail.put(tx, "transfer-in", {"nothing": 1})
    note(embedded, "a")
    with FakeCollector() as server:
        sending = forwarder(embedded, to(server, transport="tcp"))
        sending.step()
        wait_until("the other one is there", lambda: whos(server) == ["a"])
        sending.close()
    assert (behind(embedded).waiting, behind(embedded).unsendable) == (0, 1)


@pytest.mark.parametrize("place", ["sent-before-row", "anywhere"])
def test_a_forwarder_that_is_killed_loses_nothing(
    tmp_path: Path, migrated: Path, ours: tuple[Path, Path], place: str
) -> None:
    """What was sent and not yet marked comes twice, and nothing else does."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "planimeter.db").write_bytes(migrated.read_bytes())
    config = tmp_path / "node.toml"
    database = open_database(sqlite_url(home / "planimeter.db"))
    keep(database)
    note(database, *(f"{number}" for number in range(30)))
    with FakeCollector(ours) as server:
        config.write_text(f'[audit]\nhost = "127.0.0.1"\nport = {server.port}\nca_file = "{ours[0]}"\n')
        environ = {"PLANIMETER_FAILPOINT": f"audit-sent-before-row:{tmp_path / 'once'}"} if place != "anywhere" else {}
        command = [*PLANIMETER, "schedule", "--home", str(home), "--config", str(config)]
        for _ in range(2):
            before = len(server.messages)
            with begun(command, env=os.environ | environ, stderr=subprocess.DEVNULL) as process:
                wait_until("it sends", partial(more_than, server, before))
                if place == "anywhere" or (tmp_path / "once").exists():
                    wait_until("or is done", lambda: process.poll() is not None or not waiting(database))
            with database.write() as tx:  # nobody waits here until the dead one's hold runs out
                audit_trail.let_go(tx, str(tx.execute(sa.text("SELECT holder FROM audit_trail")).scalar_one()))
            if not waiting(database):
                break
        sending = forwarder(database, to(server, ca_file=ours[0]))
        wait_until("all are sent", lambda: sending.step() and not waiting(database))
        sending.close()
        wait_until("all are there", lambda: "29" in whos(server))
        came = [one for one in whos(server) if one.isdigit()]
    assert list(dict.fromkeys(came)) == [f"{number}" for number in range(30)]
    assert len(came) <= 30 + 2 * 20
    database.dispose()


def test_a_test_message_and_check_say_whether_the_collector_takes_it(tmp_path: Path, ours: tuple[Path, Path]) -> None:
    with FakeCollector(ours) as server:
        config = tmp_path / "node.toml"
        config.write_text(f'[audit]\nhost = "127.0.0.1"\nport = {server.port}\nca_file = "{ours[0]}"\n')
        options = ("--home", tmp_path / "home", "--config", config)
        said = planimeter("audit", "test", *options).stdout
        assert "took a test message" in said
        wait_until("it is there", lambda: server.codes() == ["110113/110134"])
        server.stop()
        refused = planimeter("audit", "test", *options, check=False)
        assert refused.returncode == 1
        assert "does not take messages" in refused.stderr
        with pytest.raises(Unavailable, match=r"certificate|refused|reset"):
            try_once(to(server, ca_file=ours[0]), US)


RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="64k" DefaultNetstreamDriver="gtls"
       DefaultNetstreamDriverCAFile="{cert}" DefaultNetstreamDriverCertFile="{cert}"
       DefaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="parts" type="string"
         string="%pri%|%protocol-version%|%app-name%|%msgid%|%structured-data%|%msg%\\n")
action(type="omfile" file="{folder}/taken" template="parts")
"""


def test_rsyslog_reads_what_we_send(embedded: Database, ours: tuple[Path, Path], tmp_path: Path) -> None:
    """Somebody else's collector, with somebody else's TLS."""
    program = find_program("rsyslogd", "apt-get install rsyslog rsyslog-gnutls")
    port, config = free_port(), tmp_path / "rsyslog.conf"
    config.write_text(RSYSLOG.format(folder=tmp_path, cert=ours[0], key=ours[1], port=port))
    keep(embedded)
    note(embedded, *(f"{number}" for number in range(25)))
    command = [program, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with begun(command, stderr=subprocess.DEVNULL):
        sending = forwarder(embedded, Collector(host="127.0.0.1", port=port, ca_file=ours[0]))
        try:
            wait_until("all are sent", lambda: sending.step() >= 0 and not waiting(embedded))
            file = tmp_path / "taken"
            wait_until("all are written", lambda: file.exists() and len(file.read_text().splitlines()) == 25)
        finally:
            sending.close()
    for number, one in enumerate(file.read_text(encoding="utf-8-sig").splitlines()):
        priority, version, name, kind, data, xml = one.split("|", 5)
        assert (priority, version, name, kind, data) == ("85", "1", "Planimeter", "DICOM+RFC3881", "-")
        root = ET.fromstring(xml.lstrip("\ufeff").strip())
        assert faults(root) == []
        assert root.findall("ActiveParticipant")[1].get("UserID") == f"{number}"


# --------------------------------------------------------- what is told of


@pytest.fixture
def embedded(tmp_path: Path, migrated: Path) -> Iterator[Database]:
    """SQLite alone, where the database's kind does not matter."""
    (tmp_path / "embedded.db").write_bytes(migrated.read_bytes())
    opened = open_database(sqlite_url(tmp_path / "embedded.db"))
    yield opened
    opened.dispose()


@pytest.fixture
def receiver(node: Node) -> Iterator[int]:
    """Of a node that keeps a trail; its port."""
    keep(node.database)
    started = Receiver(door(), Doorkeeper(()), node.inbox, node.database, trail=node.trail)
    yield started.start()
    started.stop()


def told(node: Node) -> list[tuple[str, dict[str, Any]]]:
    return [(row["what"], row["facts"]) for row in waiting(node.database)]


def test_an_association_is_one_message_per_study(receiver: int, node: Node, tmp_path: Path) -> None:
    first, second = small_series(), small_series()
    for ds in first:
        ds.PatientID, ds.AccessionNumber = "P-1", "A-1"
    (tmp_path / "sent").mkdir()
    as_files([*first, *second], tmp_path / "sent")
    for _ in range(2):
        send.send(tmp_path / "sent", Target("node", "PLANIMETER", "127.0.0.1", receiver), "CT_1")
    found = wait_until("all are told of", lambda: [*told(node)] if len(told(node)) == 4 else [])
    facts = {one["study_uid"]: one for _, one in found}
    assert {what for what, _ in found} == {What.TRANSFER_IN}
    of = facts[str(first[0].StudyInstanceUID)]
    assert (of["patient_id"], of["accession"], of["ae"], of["address"]) == ("P-1", "A-1", "CT_1", "127.0.0.1")
    assert of["classes"] == {str(first[0].SOPClassUID): len(first)}
    with node.database.read() as tx:
        assert audit_trail.backlog(tx).open == 0  # type: ignore[union-attr]


def under_way(database: Database, trail: Trail, ds: Dataset) -> Transfer:
    """An association of which one image has been stored."""
    transfer = Transfer(trail, "CT_1", "10.0.0.1", open_by="here/receive")
    with database.write() as tx:
        transfer.opens(tx, str(ds.StudyInstanceUID))
    transfer.took(str(ds.StudyInstanceUID), str(ds.SOPClassUID))
    return transfer


def test_an_association_that_dies_with_its_receiver_is_told_of(node: Node) -> None:
    keep(node.database)
    ds = small_series()[0]
    under_way(node.database, node.trail, ds)
    assert told(node) == []  # and the process is killed
    node.trail.end_left("here/receive")
    ((what, facts),) = told(node)
    assert (what, facts["study_uid"], facts["cut"]) == (What.TRANSFER_IN, ds.StudyInstanceUID, True)


def test_an_association_of_a_machine_that_does_not_come_back_is_told_of(node: Node) -> None:
    """A pod that is made anew has another name: it ends nothing of the one before it."""
    keep(node.database)
    ds = small_series()[0]
    with node.database.write() as tx:
        for name, ago in (("gone/receive", 2000), ("here/receive", 5)):
            processes.begin(tx, name, "receive")
            tx.execute(sa.update(process).where(process.c.name == name).values(beat=Clock() - ago))
        for name in ("gone/receive", "here/receive", "never-heard-of/receive"):
            Transfer(node.trail, name, open_by=name).opens(tx, str(ds.StudyInstanceUID))
        tx.execute(sa.update(audit_message).values(at=Clock() - 1000))
        Transfer(node.trail, "fresh", open_by="fresh/receive").opens(tx, str(ds.StudyInstanceUID))
    sweep_home(node.archive, node.database, node.inbox)
    assert [(facts["ae"], facts["cut"]) for _, facts in told(node)] == [
        ("gone/receive", True),
        ("never-heard-of/receive", True),
    ]


class Shaky:
    """A database that can be away."""

    def __init__(self, database: Database) -> None:
        self.database, self.away = database, False

    def read(self) -> Any:
        return self.database.read()

    def write(self) -> Any:
        if self.away:
            raise DatabaseUnreachable("it is away")
        return self.database.write()


def test_an_end_that_could_not_be_written_is_written_later(node: Node) -> None:
    keep(node.database)
    ds, database = small_series()[0], Shaky(node.database)
    trail = Trail(database)  # type: ignore[arg-type]
    transfer = under_way(node.database, trail, ds)
    database.away = True
    transfer.end()
    trail.catch_up()
    assert told(node) == []
    database.away = False
    trail.catch_up()
    ((what, facts),) = told(node)
    assert (what, facts["classes"]) == (What.TRANSFER_IN, {str(ds.SOPClassUID): 1})
    trail.catch_up()
    assert len(told(node)) == 1


def test_an_end_that_comes_after_the_message_went_is_a_message_of_its_own(node: Node) -> None:
    keep(node.database)
    ds = small_series()[0]
    transfer = under_way(node.database, node.trail, ds)
    node.trail.end_left("here/receive")
    transfer.end()
    assert ["cut" in facts for _, facts in told(node)] == [True, False]


def test_what_was_not_committed_is_nobody_elses_message(node: Node) -> None:
    """SQLite gives the number of a row that was taken back once more."""
    keep(node.database)
    ds = small_series()[0]
    study_uid, sop_class = str(ds.StudyInstanceUID), str(ds.SOPClassUID)
    first, second = (Transfer(node.trail, ae, open_by="here/receive") for ae in ("CT_1", "CT_2"))
    with suppress(ZeroDivisionError), node.database.write() as tx:
        first.opens(tx, study_uid)
        raise ZeroDivisionError
    with node.database.write() as tx:
        second.opens(tx, study_uid)
    second.took(study_uid, sop_class)
    first.begins()  # an image that is here already
    first.took(study_uid, sop_class, new=False)
    first.end()
    second.end()
    assert sorted(facts["ae"] for _, facts in told(node)) == ["CT_1", "CT_2"]


def test_the_last_knocks_are_told_of_too(embedded: Database) -> None:
    keep(embedded)
    ledger = Ledger(embedded)
    for times in (1, 500):
        for _ in range(times):
            ledger.count("10.9.9.9", "EVIL", "certificate-untrusted", "no")
        ledger.flush()
    assert [row["facts"]["times"] for row in waiting(embedded)] == [1]
    ledger.flush(last=True)
    assert [row["facts"]["times"] for row in waiting(embedded)] == [1, 500]


def test_a_caller_that_knocks_all_day_is_one_alert_a_minute(embedded: Database) -> None:
    keep(embedded)
    ledger = Ledger(embedded)
    for _ in range(3):
        for code in ("unknown-caller", "unknown-caller", "paused"):
            ledger.count("10.9.9.9", "EVIL", code, "no")
        ledger.flush()
    (row,) = waiting(embedded)
    assert row["facts"] == {"address": "10.9.9.9", "ae": "EVIL", "code": "unknown-caller", "times": 2}


def test_results_that_go_out_are_told_of_before_and_after(node: Node, pacs: FakePacs) -> None:
    keep(node.database)
    take_in(node, small_series())
    work_off(node)
    found = dict(told(node))
    assert found[What.SENDING]["destination"] == "pacs"
    assert sum(found[What.TRANSFER_OUT]["classes"].values()) == len(pacs.objects) > 0
    assert found[What.TRANSFER_OUT]["failed"] == 0


def test_images_that_are_sent_again_are_told_of_before_and_after(node: Node, pacs: FakePacs) -> None:
    """`planimeter resend --originals`, and what is not taken is a failure."""
    images = small_series()
    take_in(node, images)
    keep(node.database)
    with node.database.read() as tx:
        found = studies.find(tx, images[0].StudyInstanceUID)
    assert found is not None
    pacs.statuses = [0xC000]
    to = (node.targets["pacs"], [found["id"]], "PLANIMETER", 10)
    assert resend.send_originals(node.database, node.archive, node.trail, *to) == 1
    (before, sending), (after, sent) = told(node)
    assert (before, after) == (What.SENDING, What.TRANSFER_OUT)
    assert (sending["destination"], sending["study_uid"]) == ("pacs", images[0].StudyInstanceUID)
    sop_class = str(images[0].SOPClassUID)
    assert sending["classes"] == {sop_class: len(images)}
    assert (sent["classes"], sent["failed"]) == ({sop_class: len(images) - 1}, 1)


def test_every_question_of_c_find_is_told_of(node: Node) -> None:
    """Of the commitment step's that looks for objects, and of the doctor's."""
    keep(node.database)
    wanted = [find.Wanted("1.2.3", "1.2.3.4", f"1.2.3.4.{n}") for n in range(2)]
    with finding() as port:
        target = Target("pacs", "PACS", "127.0.0.1", port)
        for _ in range(2):  # the same question again is no news
            assert find.found(target, "PLANIMETER", wanted, 10, node.trail) == set()
        asked = told(node)
        examine(target, "PLANIMETER", 10, None, date(2026, 1, 2), node.trail)
    assert [what for what, _ in asked] == [What.QUERY] * 2
    identifiers = [dcmread_identifier(facts["query"]) for _, facts in told(node)]
    assert [ds.SOPInstanceUID for ds in identifiers[:2]] == [one.sop_uid for one in wanted]
    assert [ds.QueryRetrieveLevel for ds in identifiers[2:]] == ["STUDY", "IMAGE"]
    assert identifiers[2].StudyDate == "20260102"
    assert {(facts["peer"], facts["ae"], facts["address"]) for _, facts in asked} == {("pacs", "PACS", "127.0.0.1")}


def test_the_doctor_of_the_command_line_tells_the_trail_of_its_node(tmp_path: Path, ours: tuple[Path, Path]) -> None:
    file, home = tmp_path / "planimeter.toml", tmp_path / "home"
    file.write_text(
        f'[node]\nhome = "{home}"\n[audit]\nhost = "127.0.0.1"\nport = 6514\nca_file = "{ours[0]}"\n', encoding="utf-8"
    )
    with finding() as port:
        asked = ("doctor", f"PACS@127.0.0.1:{port}", "--json", "--config", file)
        planimeter(*asked, check=False)  # where there is no node yet, nobody is told, and none is made
        assert not home.exists()
        planimeter("status", "--config", file)
        keep(database := open_database(sqlite_url(home / "planimeter.db")))
        planimeter(*asked, check=False)
    assert [row["what"] for row in waiting(database)] == [What.QUERY] * 2
    database.dispose()


@contextmanager
def finding() -> Iterator[int]:
    """The port of a PACS that answers every question, and has nothing."""
    ae = AE(ae_title="PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, lambda _: iter(()))])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def dcmread_identifier(query: str) -> Dataset:
    return decode(BytesIO(base64.b64decode(query)), True, True)


def test_a_machine_without_a_collector_does_not_end_the_trail_of_the_others(database: Database) -> None:
    def kept() -> bool:
        with database.read() as tx:
            return audit_trail.is_on(tx)

    def begins(machine: str, told: bool) -> bool:
        with database.write() as tx:
            return audit_trail.keep(tx, machine, told=told)

    assert not begins("cpu1", False)
    assert not kept()
    assert begins("gpu1", True)
    assert not begins("gpu1", True)
    assert not begins("gpu2", True)
    note(database, "a")
    assert not begins("cpu1", False)
    assert kept()
    begins("gpu1", False)
    assert kept()
    with database.write() as tx:
        audit_trail.forget(tx, "cpu1")
    assert kept()
    with database.write() as tx:
        audit_trail.forget(tx, "gpu2")  # the last one that had a collector does not come back
    assert not kept()
    assert len(waiting(database)) == 1


def test_an_erased_patient_is_a_deleted_study(node: Node) -> None:
    images = small_series()
    for ds in images:
        ds.PatientID = "P-9"
    take_in(node, images)
    keep(node.database)
    erase.erase(node.archive, node.database, "P-9", None, "asked to", "anna", node.learning.key)
    ((what, facts),) = told(node)
    assert what == What.DELETED
    assert (facts["study_uid"], facts["patient_id"], facts["who"]) == (images[0].StudyInstanceUID, "P-9", "anna")


def test_a_study_on_a_page_is_told_of_once_in_a_while(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    keep(node.database)
    with serving(node) as site, site.client(Role.VIEWER) as client:
        for _ in range(2):
            assert client.get(f"/studies/{images[0].StudyInstanceUID}").status_code == 200
    shown = [facts for what, facts in told(node) if what == What.SHOWN]
    assert len(shown) == 1
    assert shown[0]["study_uid"] == images[0].StudyInstanceUID


def test_what_waits_is_seen_in_the_status_the_metrics_and_on_the_page(node: Node) -> None:
    assert overview(node.database)["audit"] == []
    keep(node.database)
    note(node.database, "a", "b")
    with node.database.write() as tx:
        audit_trail.failing(tx, "the audit collector siem:6514 (TLS) does not take messages: it did not answer in time")
    (state,) = overview(node.database)["audit"]
    assert (state["waiting"], state["lost"]) == (2, 0)
    seen = metrics.exposition(metrics.snapshot(node.database, node.archive.home, "1", []))
    assert b"planimeter_audit_waiting 2.0" in seen
    assert b"planimeter_audit_lost_total 0.0" in seen
    with serving(node) as site, site.client(Role.APPROVER) as client:
        page = client.get("/audit").text
    assert "2 wait" in page
    assert "does not take messages" in page


# ------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"host": "10.0.0.1", "transport": "tcp"}, "insecure = true"),
        ({"host": "siem", "transport": "udp"}, "insecure = true"),
        ({"host": "siem", "certificate": "a.pem"}, "belong together"),
        ({"host": "127.0.0.1", "transport": "tcp", "ca_file": "a.pem"}, "tls"),
    ],
)
def test_a_collector_that_would_be_told_in_the_clear_is_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(None, {"audit": section})


def test_the_clear_is_allowed_to_this_machine_and_where_it_is_said_aloud() -> None:
    for section in (
        {"host": "127.0.0.1", "transport": "tcp"},
        {"host": "localhost", "transport": "udp"},
        {"host": "10.0.0.1", "transport": "tcp", "insecure": True},
        {"transport": "tcp"},
    ):
        assert isinstance(load(None, {"audit": section}), Settings)


def test_a_thread_that_sends_ends_when_it_is_told_to(embedded: Database) -> None:
    keep(embedded)
    with FakeCollector() as server:
        stopping = threading.Event()
        sending = forwarder(embedded, to(server, transport="tcp"))
        thread = threading.Thread(target=sending.run, args=(stopping,))
        thread.start()
        note(embedded, "a")
        wait_until("it is there", lambda: whos(server) == ["a"])
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()
    with embedded.write() as tx:
        assert audit_trail.hold(tx, "another", 1)
