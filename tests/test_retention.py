"""What goes by policy, what never does, and that a kill at any point leaves neither an orphan nor a hole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, time
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.settings import Settings, SettingsError, load
from db import asked_exports, doomed, events, fetches, labels
from db.database import Clock, Database, open_database, sqlite_url
from db.job_states import JobKind
from db.retention import BUSY, COMING, EXPORTED, HELD, TAUGHT, UNCOMMITTED, UNDELIVERED
from db.tables import attempt, data_set, data_set_member, delivery, doomed_file, instance, job, result, study
from node import failpoints, schedule
from node.app import Node
from node.errors import Refused, Unavailable
from node.operations import control, purge, retention
from node.operations.at_rest import undisturbed
from node.operations.retention import Policy, What
from node.operations.status import overview
from node.operations.sweep import sweep_home
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.kept import House
from tests.running import planimeter
from tests.synthetic import small_series

MONTH = Policy(originals_days=30)


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path / "home")


def remove(house: House, policy: Policy = MONTH) -> purge.Purged:
    return purge.purge(house.archive, house.database, policy, "tester")


def test_images_go_when_they_are_old_enough_and_the_rows_and_results_stay(house: House) -> None:
    old, young = house.done(days=40, pacs="delivered"), house.done(days=20, pacs="delivered")
    done = remove(house)
    assert (done.files, done.studies) == ({What.ORIGINALS: 3}, 1)
    assert (house.images_on_disk(old), house.images_on_disk(young)) == (0, 3)
    assert house.row(old)["purged"] is not None
    assert house.row(young)["purged"] is None
    assert len(house.files("store")) == 3
    assert len(house.files("results")) == 4
    assert len(house.rows(instance)) == 6
    assert house.rows(doomed_file) == []
    with house.database.read() as tx:
        (event,) = events.listing(tx)
        assert events.verify(tx) is None
    assert (event["who"], event["what"]) == ("tester", "purged")
    assert str(remove(house)) == "nothing was old enough to go"


def test_without_a_policy_nothing_ever_goes(house: House) -> None:
    house.done(days=4000, pacs="delivered")
    policy = Policy()
    assert not policy.removes_anything
    assert remove(house, policy).studies == 0
    assert Settings().retention.originals_days == 0


@pytest.mark.parametrize(
    ("state", "because"), [("waiting", UNDELIVERED), ("held", UNDELIVERED), ("dead", UNDELIVERED), ("delivered", None)]
)
def test_nothing_goes_of_which_a_result_is_still_to_be_delivered(house: House, state: str, because: str | None) -> None:
    house.done(days=40, pacs=state)
    planned = retention.plan(house.database, MONTH)
    assert planned.kept == ({because: 1} if because else {})
    assert remove(house).studies == (0 if because else 1)


@pytest.mark.parametrize("state", ["committed", "withdrawn", "discarded", "superseded"])
def test_where_a_destination_is_asked_for_commitment_it_has_to_have_said_so(house: House, state: str) -> None:
    policy = Policy(originals_days=30, committing=frozenset({"pacs"}))
    house.done(days=40, pacs="delivered")
    there = house.done(days=40, pacs=state)
    assert retention.plan(house.database, policy).kept == {UNCOMMITTED: 1}
    remove(house, policy)
    assert [one["study_uid"] for one in house.rows(study, study.c.purged.is_not(None))] == [there]


def test_images_may_go_as_soon_as_everything_was_taken_over(house: House) -> None:
    policy = Policy(originals_when_committed=True, committing=frozenset({"pacs", "vna"}))
    gone = house.done(pacs="committed", vna="committed")
    house.done(pacs="committed", vna="delivered")
    house.done()
    remove(house, policy)
    assert [one["study_uid"] for one in house.rows(study, study.c.purged.is_not(None))] == [gone]


def test_what_a_person_or_a_job_still_needs_stays(house: House) -> None:
    kept = {
        "open": house.done(days=40),
        "held study": house.done(days=40),
        "held result": house.study(days=40),
        "waiting": house.done(days=40),
        "dead": house.done(days=40),
        "by its input set": house.study(days=40),
    }
    with house.database.write() as tx:
        for name, state in (("open", "open"), ("held study", "held")):
            tx.execute(sa.update(study).where(study.c.study_uid == kept[name]).values(state=state))
    house.result(house.input_set(kept["held result"]), state="held")
    house.job(kept["waiting"], JobKind.CHOOSE, "waiting")
    house.job(kept["dead"], JobKind.SEGMENT, "dead")
    one = house.input_set(kept["by its input set"])
    fetched = house.study(days=40)
    with house.database.write() as tx:
        values = dict(kind=JobKind.SHADOW, subject="7", state="waiting", priority=1, run_after=Clock(), max_attempts=1)
        tx.execute(sa.insert(job).values(**values, input_set_id=one, created=Clock()))
        fetches.ask(tx, "pacs", fetched, 3, 0)
    planned = retention.plan(house.database, MONTH)
    assert planned.going == ()
    assert {why: planned.kept[why] for why in (COMING, BUSY, HELD)} == {COMING: 2, BUSY: 3, HELD: 1}
    assert sum(planned.kept.values()) == 7
    assert remove(house).studies == 0


def test_a_study_of_which_an_export_waits_stays_also_on_a_full_disk_until_it_is_made(house: House) -> None:
    wanted, other = house.done(days=40), house.done(days=40)
    with house.database.write() as tx:
        number = asked_exports.ask(tx, house.row(wanted)["id"], "ann", [], results=True)
    assert retention.plan(house.database, MONTH).kept == {EXPORTED: 1}
    assert remove(house, Policy(originals_days=300, when_full=True, refuse_bytes=1 << 60)).studies == 1
    assert (house.images_on_disk(wanted), house.images_on_disk(other)) == (3, 0)
    with house.database.write() as tx:
        asked_exports.end(tx, number, path=None, size=None, code=None, sentence="made")
    assert remove(house).studies == 1


def test_a_study_whose_label_waits_to_be_read_again_stays_until_it_is(house: House) -> None:
    uid, images = house.done(days=40), house.done(days=40)
    house.label(uid, "accepted", input_set_id=house.input_set(images), source_sha256="of the object")
    with house.database.write() as tx:
        labels.ask(tx, "of the object", 3)
    assert retention.plan(house.database, MONTH).kept == {BUSY: 2}
    with house.database.write() as tx:
        tx.execute(sa.update(job).values(state="done"))
    assert retention.plan(house.database, MONTH).kept == {}


@pytest.mark.parametrize("state", ["ready", "waiting", "quarantined", "superseded"])
def test_what_a_label_needs_stays(house: House, state: str) -> None:
    house.label(house.done(days=400), state)
    assert retention.plan(house.database, MONTH).kept == {TAUGHT: 1}


def test_what_a_frozen_data_set_or_a_locked_patient_needs_stays_whatever_became_of_the_label(house: House) -> None:
    uid = house.done(days=400)
    one = house.label(uid, "rejected")
    with house.database.write() as tx:
        values = dict(network="ct_lungs", purpose="test", number=1, sha256="s", manifest={"cases": []})
        made = tx.execute(sa.insert(data_set).values(**values, created=Clock()).returning(data_set.c.id)).scalar_one()
        member = dict(data_set_id=made, label_id=one, patient_id=house.row(uid)["patient_id"], role="test")
        tx.execute(sa.insert(data_set_member).values(member))
    policy = Policy(originals_days=30, labels_days=30)
    assert retention.plan(house.database, policy).kept == {TAUGHT: 1}
    assert remove(house, policy).studies == 0


def test_labels_from_which_nothing_is_learnt_go_by_their_own_days(house: House) -> None:
    uid = house.study(days=400)
    house.label(uid, "rejected")
    assert remove(house).files == {What.ORIGINALS: 2}
    assert house.images_on_disk(uid) == 1
    assert remove(house, Policy(labels_days=30)).studies == 0  # the label itself came today
    with house.database.write() as tx:
        tx.execute(sa.text("UPDATE label SET created = created - 3456000"))
    assert remove(house, Policy(labels_days=30)).files == {What.LABELS: 1}


def test_results_go_after_their_images_and_reports_and_rows_stay(house: House) -> None:
    policy = Policy(originals_days=30, results_days=60)
    house.done(days=50, pacs="delivered")
    old = house.done(days=70, pacs="delivered")
    done = remove(house, policy)
    assert done.files == {What.ORIGINALS: 6}  # its images had to go first
    done = remove(house, policy)
    assert done.files == {What.RESULTS: 1}
    rows = house.rows(result)
    assert [row["kind"] for row in rows if row["path"] is None] == ["SEG"]
    assert [row["state"] for row in rows] == ["ready"] * 4
    assert house.images_on_disk(old) == 0
    assert len(house.files("results")) == 3


def test_older_revisions_go_and_the_newest_stays(house: House) -> None:
    images = small_series((6, 5, 3))
    uid = house.study(images, days=40)
    images[0].PatientName = "Other^Name"
    house.study(images, days=40)
    assert house.images_on_disk(uid) == 4
    assert remove(house, Policy(revisions_days=30)).files == {What.REVISIONS: 1}
    gone = house.rows(instance, instance.c.purged.is_not(None))
    assert [(row["sop_uid"], row["revision"]) for row in gone] == [(images[0].SOPInstanceUID, 1)]
    assert house.row(uid)["purged"] is None


def test_history_goes_and_jobs_stay(house: House) -> None:
    uid = house.done()
    one = house.job(uid, JobKind.SEGMENT, "done")
    with house.database.write() as tx:
        tx.execute(sa.update(job).values(ended=Clock() - 100 * 86_400))
        row = dict(job_id=one, fencing_token=1, worker="w", started=Clock(), outcome="done")
        tx.execute(sa.insert(attempt).values(row))
    assert remove(house, Policy(history_days=30)).rows == {"attempt": 1}
    assert len(house.rows(job)) == 1


def test_what_comes_again_is_kept_again_and_is_what_the_study_is_read_from(house: House) -> None:
    images = small_series((6, 5, 3))
    uid = house.study(images, days=40)
    before = {row["path"] for row in house.rows(instance)}
    remove(house)
    with house.database.read() as tx:
        assert fetches.here(tx, uid) == 0
    assert set(house.take_in(images[:2])) == {"same"}
    assert house.images_on_disk(uid) == 2
    assert house.row(uid)["purged"] is not None
    house.take_in(images[2:])
    assert house.row(uid)["purged"] is None
    assert not before & {row["path"] for row in house.rows(instance)}
    assert len(house.rows(instance)) == 3
    assert house.row(uid)["state"] == "closed"
    assert remove(house).studies == 0  # kept for as long again


def test_an_image_that_comes_again_before_its_old_file_is_unlinked_is_not_lost(house: House) -> None:
    images = small_series((6, 5, 3))
    uid = house.study(images, days=40)
    (one,) = retention.plan(house.database, MONTH).going
    assert purge._give_up(house.database, MONTH, one, "tests")[0] == 3  # and here it was killed
    assert len(house.files("store")) == 3
    house.take_in(images)
    purge.finish(house.archive, house.database)
    assert house.images_on_disk(uid) == 3
    assert len(house.files("store")) == 3


def test_what_was_planned_does_not_go_when_something_came_meanwhile(house: House) -> None:
    uid = house.study(days=40)
    (one,) = retention.plan(house.database, MONTH).going
    house.job(uid, JobKind.CHOOSE, "waiting")
    assert purge._give_up(house.database, MONTH, one, "tests") == (0, 0)
    with house.database.write() as tx:
        tx.execute(sa.update(job).values(state="done"))
        tx.execute(sa.update(instance).where(instance.c.revision == 1).values(arrived=Clock()))
    assert purge._give_up(house.database, MONTH, one, "tests") == (0, 0)
    assert house.images_on_disk(uid) == 3


@pytest.mark.parametrize("name", failpoints.REMOVING_NAMES)
def test_a_purge_that_is_killed_leaves_no_orphan_and_no_hole(migrated: Path, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "planimeter.db").write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(home / "planimeter.db"))
    house = House(database, home)
    gone, kept = house.done(days=40), house.done(days=40, pacs="waiting")
    config = tmp_path / "planimeter.toml"
    config.write_text("[retention]\noriginals_days = 30\n")
    command = [sys.executable, "-P", "-m", "node.cli", "purge", "--home", str(home), "--config", str(config)]
    died = subprocess.run(command, env=os.environ | {"PLANIMETER_FAILPOINT": name}, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert house.row(gone)["purged"] is not None
    assert house.images_on_disk(gone) > 0
    with database.read() as tx:
        assert len(doomed.listing(tx)) == 3
    sweep_home(house.archive, database, house.inbox, settled_seconds=0)
    assert (house.images_on_disk(gone), house.images_on_disk(kept)) == (0, 3)
    assert house.rows(doomed_file) == []
    paths = {row["path"] for row in house.rows(instance, instance.c.purged.is_(None))}
    assert house.files("store") == paths
    database.dispose()


def test_a_purge_waits_while_a_backup_reads(house: House) -> None:
    house.done(days=40)
    with undisturbed(house.home, reading=True), undisturbed(house.home, reading=True), pytest.raises(Unavailable):
        remove(house)
    assert remove(house).studies == 1


def test_below_the_mark_what_would_go_some_day_goes_at_once_the_oldest_first(house: House) -> None:
    old, young = house.done(days=3), house.done(days=2)
    kept = house.done(days=5, pacs="waiting")
    never = Policy(originals_days=30, when_full=True, refuse_bytes=0)
    assert remove(house, never).studies == 0
    assert remove(house, Policy(originals_days=30, refuse_bytes=1 << 60)).studies == 0
    order = [one.study_uid for one in retention.plan(house.database, never, full=True).going]
    assert order == [old, young]
    assert remove(house, Policy(originals_days=30, when_full=True, refuse_bytes=1 << 60)).studies == 2
    assert house.images_on_disk(kept) == 3


def test_the_settings_say_it_and_what_cannot_be_is_refused() -> None:
    made = load(None, {"retention": {"originals_days": 30, "window": "22:00-04:00"}})
    assert made.retention.wait_seconds(time(21)) == 3600
    with pytest.raises(SettingsError, match="only after its images"):
        load(None, {"retention": {"results_days": 30}})
    with pytest.raises(SettingsError, match="refuse_gb is less than reserve_gb"):
        load(None, {"receive": {"refuse_gb": 1}})
    assert load(None, {"receive": {"reserve_gb": 3}}).receive.refuse_bytes == 6_000_000_000


# ------------------------------------------------------------- through a node


def with_policy(node: Node, **values: object) -> None:
    object.__setattr__(node, "retention", Policy(**values))  # type: ignore[arg-type]


def test_the_job_of_the_night_removes_and_the_study_shows_it_and_reprocess_is_refused(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    uid = images[0].StudyInstanceUID
    with node.database.write() as tx:
        tx.execute(sa.update(instance).values(arrived=Clock() - 40 * 86_400))
        tx.execute(sa.update(study).values(closed=Clock() - 40 * 86_400))
    with_policy(node, originals_days=30, wait_seconds=lambda now: 0.0 if now.hour < 6 else 60.0)
    at = partial(datetime, 2026, 1, 5, tzinfo=datetime.now().astimezone().tzinfo)
    schedule.ask_for_purge(node, at(12))
    assert jobs_of(node, JobKind.PURGE) == []
    for _ in range(2):
        schedule.ask_for_purge(node, at(3))
    work_off(node)
    (done,) = jobs_of(node, JobKind.PURGE)
    assert done["state"] == "done"
    assert "8 files of originals" in done["reason"]
    shown = only_study(node)
    assert shown["state"] == "purged"
    assert shown["reason"].startswith("done; its images are not kept any more since ")
    for action in (control.reprocess, control.close):
        with pytest.raises(Refused, match="images-purged"):
            action(node.database, uid, "tester", 3)
    extra = small_series((24, 20, 9))[8]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(extra, keyword, getattr(images[0], keyword))
    take_in(node, [extra])
    work_off(node)
    (refused,) = jobs_of(node, JobKind.CHOOSE)
    assert (refused["state"], refused["reason"].split(":")[0]) == ("refused", "images-purged")
    take_in(node, images)  # the PACS sends them again
    said = control.reprocess(node.database, uid, "tester", 3)
    assert "chosen from again" in said
    work_off(node)
    assert only_study(node)["state"] == "done"


def test_where_the_clock_was_set_ahead_nothing_goes_in_the_same_night(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with_policy(node, originals_days=30, history_days=30)
    take_in(node, small_series())
    work_off(node)
    schedule.ask_for_purge(node, datetime(2026, 1, 5, 3).astimezone())
    work_off(node)
    with node.database.write() as tx:  # by three years
        for column in (instance.c.arrived, study.c.closed, job.c.ended):
            tx.execute(sa.update(column.table).values({column: column - 3 * 365 * 86_400}))
    for night in (6, 7):  # the second one comes in the same hour
        schedule.ask_for_purge(node, datetime(2026, 1, night, 3).astimezone())
        work_off(node)
        reason = jobs_of(node, JobKind.PURGE)[-1]["reason"]
        said = "nothing goes for its age before tomorrow: the last purge of another night was 1095 days ago"
        assert reason.startswith(said)
        assert reason in caplog.text
        assert only_study(node)["state"] == "done"
    with_policy(node, originals_days=30, when_full=True, refuse_bytes=1 << 60)  # without room it goes all the same
    schedule.look_at_the_disk(node)
    work_off(node)
    assert only_study(node)["state"] == "purged"


def test_a_node_that_was_off_for_long_removes_what_is_old_a_night_later(node: Node) -> None:
    with_policy(node, originals_days=30)
    take_in(node, small_series())
    work_off(node)
    schedule.ask_for_purge(node, datetime(2026, 1, 4, 3).astimezone())
    work_off(node)
    with node.database.write() as tx:
        for column in (instance.c.arrived, study.c.closed, job.c.ended):
            tx.execute(sa.update(column.table).values({column: column - 40 * 86_400}))
    for night, becomes in ((5, "done"), (6, "purged")):
        schedule.ask_for_purge(node, datetime(2026, 1, night, 3).astimezone())
        work_off(node)
        assert only_study(node)["state"] == becomes
        with node.database.write() as tx:
            tx.execute(sa.update(job).values(ended=job.c.ended - 86_400))


def test_a_result_whose_bytes_went_is_made_again_as_the_very_same(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    with node.database.write() as tx:
        before = {row.sop_uid: row for row in tx.execute(sa.select(result))}
        tx.execute(sa.update(result).where(result.c.kind == "SEG").values(path=None))
    sent = len(overview(node.database)["deliveries"])
    control.reprocess(node.database, images[0].StudyInstanceUID, "tester", 3)
    work_off(node)
    with node.database.read() as tx:
        after = {row.sop_uid: row for row in tx.execute(sa.select(result))}
        states = set(tx.execute(sa.select(delivery.c.state)).scalars())
    assert {uid: row.sha256 for uid, row in after.items()} == {uid: row.sha256 for uid, row in before.items()}
    assert all(row.path and node.archive.at(row.path).exists() for row in after.values())
    assert (len(overview(node.database)["deliveries"]), states) == (sent, {"delivered"})


def test_low_space_asks_for_a_purge_at_once(node: Node) -> None:
    with_policy(node, originals_days=30, when_full=True, refuse_bytes=0)
    schedule.look_at_the_disk(node)
    assert jobs_of(node, JobKind.PURGE) == []
    with_policy(node, originals_days=30, when_full=True, refuse_bytes=1 << 60)
    for _ in range(2):
        schedule.look_at_the_disk(node)
    assert len(jobs_of(node, JobKind.PURGE)) == 1
    work_off(node)
    assert jobs_of(node, JobKind.PURGE)[0]["state"] == "done"


def test_low_space_does_not_wait_for_the_purge_of_the_night(node: Node) -> None:
    with_policy(node, originals_days=30, when_full=True, refuse_bytes=1 << 60)
    schedule.look_at_the_disk(node)
    work_off(node)
    schedule.ask_for_purge(node)
    schedule.look_at_the_disk(node)
    with node.database.read() as tx:
        purges = tx.execute(sa.select(job.c.state, job.c.priority).where(job.c.kind == "purge").order_by(job.c.id))
        assert [tuple(one) for one in purges] == [("done", schedule.FULL_PRIORITY), ("waiting", schedule.FULL_PRIORITY)]


def test_the_command_tells_what_would_go(tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = planimeter("purge", "--dry-run", "--home", home)
    assert "keeps everything for ever" in said.stdout
