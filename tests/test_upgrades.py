"""A database that an older Planimeter left, with jobs in every state, is upgraded, and the node goes on with each."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import load
from db import asked_exports, deliveries, jobs, labels, processes, schema, studies
from db.database import Database, DatabaseError
from db.job_states import JobKind
from db.tables import asked_export, delivery, instance, job, label, result
from node import schedule
from node.app import open_node
from node.beating import Beating
from node.clock_steps import ClockSteps
from node.duty import Duty
from node.operations import control
from node.operations import upgrade as upgrading
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.kept import House
from tests.synthetic import small_series
from tests.test_schema import as_of
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

#: the first schema with everything that a study needs until it is delivered, and the newest before this one
OLD = ("0004", "0017")
STATES = ("done", "waiting", "running", "lost", "dead", "refused", "cancelled")


def columns(tx: Any, table: str) -> set[str]:
    """Those that a table of the old schema has."""
    return {column["name"] for column in sa.inspect(tx).get_columns(table)}


def carried_over(database: Database, revision: str) -> None:
    """The rows as they are, in the schema of an older Planimeter: what that did not know is left out."""
    with database.read() as tx:
        meta = sa.MetaData()
        meta.reflect(tx)
        rows = {
            table.name: [dict(row) for row in tx.execute(sa.select(table)).mappings()] for table in meta.sorted_tables
        }
    as_of(database, revision)
    with database.write() as tx:
        meta = sa.MetaData()
        meta.reflect(tx)
        for table in meta.sorted_tables:
            if table.name == "alembic_version":
                continue
            known = columns(tx, table.name)
            kept = [{name: value for name, value in row.items() if name in known} for row in rows.get(table.name, [])]
            if kept:
                tx.execute(sa.insert(table), kept)
                if "id" in known and tx.dialect.name == "postgresql":
                    sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                    tx.execute(sa.text(f"SELECT setval({sequence}, max(id)) FROM {table.name}"))


def settings_of(home: Path, database: Database, pacs: FakePacs) -> Any:
    destination = {"host": "127.0.0.1", "port": pacs.port}
    return load(
        None,
        {
            "node": {"home": home},
            "database": {"url": database.engine.url.render_as_string(hide_password=False)},
            "receive": {"quiet_seconds": 0, "reserve_gb": 0},
            "send": {"first_retry_seconds": 0.01, "unreachable_retry_seconds": 0.01},
            "route": [{"name": "all", "networks": ["ct_lungs"], "destinations": ["pacs"]}],
            "peer": [{"name": "pacs", "ae_title": pacs.ae_title, "destination": destination}],
        },
    )


@pytest.mark.parametrize("revision", OLD)
def test_jobs_in_every_state_go_on_after_an_upgrade(
    revision: str, database: Database, tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    go_on(revision, database, tmp_path / "home", pacs, threshold_hosts)


def go_on(revision: str, database: Database, home: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    """Jobs in every state, carried over to the schema of an older Planimeter, upgraded from there, and worked off."""
    settings = settings_of(home, database, pacs)
    node = open_node(settings, threshold_hosts.address)
    uids = {}
    for number, state in enumerate(STATES):
        images = small_series(patient_id=f"P{number}")
        take_in(node, images)
        uids[state] = str(images[0].StudyInstanceUID)
        # of what is done already the results are still to be sent
        work_off(node, JobKind.CHOOSE, *([JobKind.SEGMENT] if state == "done" else []))
    arriving = small_series(patient_id="ARRIVING")
    take_in(node, arriving)
    with database.write() as tx:
        segment = sa.text(
            "SELECT job.id FROM job JOIN study ON study.id = job.study_id"
            " WHERE study.study_uid = :uid AND job.kind = 'segment'"
        )
        ids = {state: tx.execute(segment, {"uid": uid}).scalar_one() for state, uid in uids.items()}
        for state, job_id in ids.items():
            values = {
                "running": "state = 'running', lease_until = 4e9, worker = 'gone:1:x', attempts = 1, fencing_token = 1",
                "lost": "state = 'running', lease_until = 1, worker = 'gone:2:x', attempts = 1, fencing_token = 1",
                "dead": "state = 'dead', attempts = 3, code = 'host-died', ended = 5",
                "refused": "state = 'refused', code = 'too-few-slices', ended = 5",
                "cancelled": "state = 'cancelled', code = 'cancelled', reason = 'by ada', ended = 5",
            }.get(state)
            if values:
                tx.execute(sa.text(f"UPDATE job SET {values} WHERE id = :id AND state <> 'done'"), {"id": job_id})
    node.close()
    carried_over(database, revision)
    with pytest.raises(DatabaseError, match="older Planimeter"):
        schema.require(database)
    url = database.engine.url.render_as_string(hide_password=False)
    said = upgrading.upgrade(home, url, backed_up=True)
    assert f"it was at {revision}" in said
    assert schema.current(database) == schema.newest()
    node = open_node(settings, threshold_hosts.address)
    with database.write() as tx:  # the worker of before is gone, and its lease has run out by now
        tx.execute(sa.text("UPDATE job SET lease_until = 1 WHERE state = 'running'"))
    with Duty(node.database, "schedule", "here") as duty:
        schedule.rescue(node, duty, ClockSteps())
    work_off(node)

    def state_of(which: str) -> str:
        with database.read() as tx:
            found = tx.execute(sa.text("SELECT state FROM job WHERE id = :id"), {"id": ids[which]})
            return str(found.scalar_one())

    assert {which: state_of(which) for which in STATES} == {
        **dict.fromkeys(("waiting", "running", "lost", "done"), "done"),
        **{which: which for which in ("dead", "refused", "cancelled")},
    }
    control.retry(database, ids["dead"])
    work_off(node)
    assert state_of("dead") == "done"
    sent = {str(ds.StudyInstanceUID) for ds in pacs.objects}
    whole = {uids[which] for which in ("waiting", "running", "lost", "dead", "done")}
    assert sent == whole | {str(arriving[0].StudyInstanceUID)}
    assert set(pacs.calls.values()) == {1}, "nothing was sent twice"
    node.close()


def test_a_node_that_runs_while_its_database_is_upgraded_ends(database: Database) -> None:
    """The order of an upgrade was not kept: a process of the old version does no harm to the new rows."""
    ended = threading.Event()
    with Beating(database, "work-1", beat_seconds=0.05, outdated=ended.set):
        with database.write() as tx:
            assert [row["version"] for row in processes.listing(tx)] != [""]
            tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        wait_until("it was told to end", ended.is_set)
    with pytest.raises(DatabaseError, match="newer Planimeter"):
        schema.require(database)


def test_what_an_older_planimeter_left_to_wait_for_ever_ends_with_its_reason(
    database: Database, tmp_path: Path
) -> None:
    """The workers of their jobs had died until no attempt was left, and nobody said so of the export and the label."""
    house = House(database, tmp_path / "home")
    uid = house.study()
    with database.write() as tx:
        row = studies.find(tx, uid)
        assert row is not None
        dead, made, lost = (asked_exports.ask(tx, row["id"], "ada", [], results=False) for _ in range(3))
        paths = tx.execute(sa.select(instance.c.path).order_by(instance.c.id).limit(2)).scalars().all()
        for path, sha256 in zip(paths, ("da" * 32, "1b" * 32), strict=True):
            labels.arrived(tx, path, sha256, "received", "CALLER", 3)
        gone = sa.update(job).values(state="dead", reason="the worker died", ended=5.0).returning(job.c.id)
        job_id = tx.execute(gone.where(job.c.subject == str(dead))).scalar_one()
        reading = tx.execute(gone.where(job.c.subject == "da" * 32)).scalar_one()
        tx.execute(sa.delete(job).where(job.c.subject == str(lost)))
    carried_over(database, "0024")
    upgrading.upgrade(tmp_path, database.engine.url.render_as_string(hide_password=False), backed_up=True)
    exports = {one["id"]: one for one in house.rows(asked_export)}
    assert exports[made]["ended"] is None
    assert [(exports[one]["ended"] is not None, exports[one]["code"]) for one in (dead, lost)] == [
        (True, "export-failed"),
        (True, "export-failed"),
    ]
    assert exports[dead]["sentence"] == (
        f"it could not be made: the worker died; ask for it once more, or `planimeter retry {job_id}` makes this one"
    )
    assert exports[lost]["sentence"] == "it could not be made; ask for it once more"
    assert [(one["state"], one["code"], one["sentence"]) for one in house.rows(label)] == [
        ("quarantined", "label-failed", f"the worker died; `planimeter retry {reading}` tries again"),
        ("waiting", None, labels.JUST_CAME),
    ]
    control.retry(database, job_id)
    assert {one["id"]: one["ended"] for one in house.rows(asked_export)}[dead] is None


def test_after_an_upgrade_it_is_known_what_was_sent_and_never_answered(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path / "home")
    said = (
        (None, "the destination aborted or did not answer in time", 1),
        (None, "PACS at 10.0.0.1:104 cannot be reached, or ended the association", 1),
        (None, "vna cannot be reached: the connection broke (RemoteDisconnected)", 1),
        (None, None, 1),
        (None, "pacs does not accept Segmentation Storage", 0),
        (None, "the association had ended before this object", 0),
        (None, "HTTP 415: this kind of object is not supported", 0),
        (0xC000, "0xC000 cannot understand", 0),
    )
    while len(house.rows(delivery)) < len(said) + 1:
        house.done(pacs="dead")
    *tried, never = (row["id"] for row in house.rows(delivery)[: len(said) + 1])
    with database.write() as tx:
        for one, (status, reason, _) in zip(tried, said, strict=True):
            values = dict(attempts=3, status=status, reason=reason)
            tx.execute(sa.update(delivery).values(values).where(delivery.c.id == one))
    carried_over(database, "0024")
    upgrading.upgrade(tmp_path, database.engine.url.render_as_string(hide_password=False), backed_up=True)
    unanswered = {row["id"]: row["unanswered"] for row in house.rows(delivery)}
    assert [unanswered[one] for one in (*tried, never)] == [*(perhaps for _, _, perhaps in said), 0]


def test_after_an_upgrade_the_rejection_notes_go_that_were_written_and_never_sent(
    database: Database, tmp_path: Path
) -> None:
    house = House(database, tmp_path / "home")
    uid = house.done(pacs="delivered")
    older = house.rows(result)[0]["input_set_id"]
    note = house.result(older, "KOS", "113037", pacs="superseded", vna="delivered")
    for destination in ("pacs", "vna"):
        about = dict(subject=deliveries.subject(destination, older), input_set_id=older)
        house.job(uid, JobKind.DELIVER, "done", **about)
    carried_over(database, "0024")
    upgrading.upgrade(tmp_path, database.engine.url.render_as_string(hide_password=False), backed_up=True)
    with database.write() as tx:
        claim = jobs.claim(tx, [JobKind.DELIVER], "w", 60)
        assert claim is not None and claim.subject == f"pacs/{older}"
        assert [row["result_id"] for row in deliveries.waiting(tx, older, "pacs")] == [note]
        assert jobs.claim(tx, [JobKind.DELIVER], "w", 60) is None
