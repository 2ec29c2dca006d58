"""A patient is erased: afterwards neither the home folder nor any table knows the name, the ID or a UID."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import generate_uid

from db import deliveries, events, fetches, refusals
from db.database import Clock, Database, open_database, sqlite_url
from db.job_states import JobKind
from db.tables import (
    attempt,
    caller,
    commitment,
    data_set,
    data_set_member,
    delivery,
    dispatch,
    doomed_file,
    instance,
    job,
    label,
    lacking_study,
    measurement,
    metadata,
    patient,
    patient_trait,
    result,
    route_decision,
    series,
    series_fact,
    shadow,
    study,
    training_run,
    trial,
    verdict,
)
from node.errors import Refused
from node.learning.buckets import Key
from node.operations import erase as erasing
from node.operations.sweep import sweep_home
from tests.kept import SMALL, House
from tests.running import PLANIMETER, planimeter
from tests.synthetic import small_series

KEY = Key(b"k" * 32)
NAME, PATIENT, ALIAS = "PLANTED^WILHELMINA", "PLANTED-0815", "PLANTEDALIAS-4711"
#: below a root that nothing else has
ROOT = "1.2.826.0.1.3680043.8.498.4711."


@dataclass
class Planted:
    """A patient of whom everything is there, and another one."""

    house: House
    study_uid: str
    other_uid: str
    case: str = "c" * 32

    @property
    def words(self) -> list[str]:
        return [NAME.split("^")[0], NAME.split("^")[1], PATIENT, ALIAS, ROOT]

    def left(self) -> list[str]:
        """Where any of it is still to be found."""
        found = []
        for file in self.house.home.rglob("*"):
            if file.is_file() and any(word.encode() in file.read_bytes() for word in self.words):
                found.append(file.relative_to(self.house.home).as_posix())
            if any(word in file.name for word in (*self.words, self.case)):
                found.append(file.name)
        with self.house.database.read() as tx:
            for table in metadata.sorted_tables:
                for row in tx.execute(sa.select(table)).mappings():
                    said = json.dumps([str(value) for value in row.values()]).upper()
                    found += [f"{table.name}: {word}" for word in self.words if word in said]
        return sorted(set(found))


def images_of(patient_id: str, **identity: Any) -> list[Any]:
    images = small_series(SMALL, name=NAME, patient_id=patient_id, **identity)
    study_uid, series_uid = generate_uid(ROOT), generate_uid(ROOT)
    for ds in images:
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study_uid, series_uid, generate_uid(ROOT)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(ROOT)
    return images


@pytest.fixture
def planted(database: Database, tmp_path: Path) -> Planted:
    return plant(House(database, tmp_path / "home"))


def plant(house: House) -> Planted:
    uid = house.study(images_of(PATIENT))
    house.study(images_of(ALIAS))
    other = house.done(pacs="delivered")
    first = house.input_set(uid)
    seg = house.result(first, data=f"DICM {PATIENT} {NAME} {uid}".encode(), pacs="delivered", vna="committed")
    house.result(house.input_set(uid, "lung"), "SR", "TID1411", data=f"{NAME}".encode(), pacs="delivered")
    mask, shared = "labels/aa/mine.npy", "labels/bb/shared.npy"
    for path in (mask, shared, "shadows/cc/mine.npy"):
        (house.home / path).parent.mkdir(parents=True, exist_ok=True)
        (house.home / path).write_bytes(b"\x93NUMPY")
    mine = house.label(uid, "ready", mask_path=mask, author=NAME, input_set_id=first, draft_id=seg)
    more = house.label(uid, "superseded", mask_path=shared, network="lung", supersedes=mine)
    others = house.label(other, "ready", mask_path=shared)
    base, child = house.version(), None
    child = house.version(name="1.0.0+001", parent=base)
    house.version(name="1.0.0+002", parent=child)
    with house.database.write() as tx:
        rows = {row["patient_id"]: row for row in tx.execute(sa.select(patient)).mappings()}
        me = rows[PATIENT]["id"]
        pseudonym = KEY.pseudonym("", PATIENT)
        tx.execute(sa.update(patient).where(patient.c.patient_id == ALIAS).values(alias_of=me))
        tx.execute(sa.update(patient).where(patient.c.id == me).values(pseudonym=pseudonym, bucket="train"))
        study_id = tx.execute(sa.select(study.c.id).where(study.c.study_uid == uid)).scalar_one()
        serie = tx.execute(sa.select(series.c.id).where(series.c.study_id == study_id)).scalar_one()
        tx.execute(sa.insert(series_fact).values(series_id=serie, keyword="PatientName", value=NAME, count=3))
        said = [{"conditions": [{"keyword": "PatientID", "found": {PATIENT: 3}}]}]
        tx.execute(sa.insert(route_decision).values(series_id=serie, generation=1, decided=Clock(), said=said))
        tx.execute(sa.insert(dispatch).values(input_set_id=first, route="r", mode="live", destination="pacs"))
        trait = dict(patient_id=me, kind="name", value=KEY.trait("name", NAME))
        tx.execute(sa.insert(patient_trait).values(trait))
        values = dict(input_set_id=first, model_version_id=base, study_date="20260101", segments=[], flags=[])
        tx.execute(sa.insert(measurement).values(**values, created=Clock()))
        shown = dict(input_set_id=first, model_version_id=child, champion_id=base, mask_path="shadows/cc/mine.npy")
        tx.execute(sa.insert(shadow).values(**shown, agreement={}, seconds=1, created=Clock()))
        asked = dict(transaction_uid=generate_uid(ROOT), destination="vna", input_set_id=first, state="answered")
        tx.execute(sa.insert(commitment).values(**asked, asked=Clock(), deadline=Clock()))
        tx.execute(sa.insert(verdict).values(result_id=seg, what="release", at=Clock(), who="w", why=f"for {NAME}"))
        sop_uid = tx.execute(sa.select(instance.c.sop_uid).where(instance.c.study_id == study_id).limit(1)).scalar_one()
        refusals.record(tx, "study", uid, "no-route", f"{uid} is taken by none", study_id)
        refusals.record(tx, "instance", str(sop_uid), "truncated", "cut")
        fetches.ask(tx, "pacs", uid, 3, 0)
        lacks = dict(peer="pacs", study_uid=uid, day="2026-01-01", modalities="CT", images=3, found=Clock())
        tx.execute(sa.insert(lacking_study).values(**lacks))
        tried = dict(study_uid=generate_uid(ROOT), source_uid=uid, network="lung", who="w", began=Clock())
        tx.execute(sa.insert(trial).values(**tried))
        _learn(tx, me, rows, [mine, more], others, child, pseudonym, mask)
    house.job(uid, JobKind.CHOOSE, "done", reason=f"{uid} of {NAME}")
    deliver = house.job(uid, JobKind.DELIVER, "done", subject=deliveries.subject("pacs", first), input_set_id=first)
    with house.database.write() as tx:
        row = dict(job_id=deliver, fencing_token=1, worker="w", started=Clock(), outcome="done", sentence=uid)
        tx.execute(sa.insert(attempt).values(row))
    _folders(house, pseudonym)
    return Planted(house, uid, other)


def _learn(tx: Any, me: int, rows: Any, mine: list[int], others: int, child: int, pseudonym: str, mask: str) -> None:
    stranger = next(row["id"] for row in rows.values() if row["patient_id"] not in (PATIENT, ALIAS))
    cases = [
        {"case": "c" * 32, "label_id": mine[0], "patient": pseudonym, "bucket": "train", "mask_path": mask},
        {"case": "d" * 32, "label_id": others, "patient": "x", "bucket": "train", "mask_path": "labels/bb/shared.npy"},
    ]
    manifest = {"cases": cases, "left_out": [{"label_id": mine[1], "sentence": "s"}]}
    made = {}
    for purpose in ("training", "test"):
        values = dict(network="ct_lungs", purpose=purpose, number=1, sha256=purpose, manifest=manifest, created=Clock())
        made[purpose] = tx.execute(sa.insert(data_set).values(**values).returning(data_set.c.id)).scalar_one()
    for label_id, who in ((mine[0], me), (others, stranger)):
        tx.execute(
            sa.insert(data_set_member).values(
                data_set_id=made["training"], label_id=label_id, patient_id=who, role="train"
            )
        )
    run = dict(
        network="ct_lungs", data_set_id=made["training"], test_set_id=made["test"], protocol={}, facts={}, seed=1
    )
    run |= dict(protocol_sha256="p", folder="learning/runs/1", state="evaluated", candidate_id=child, who="w")
    tx.execute(sa.insert(training_run).values(**run, created=Clock()))


def _folders(house: House, pseudonym: str) -> None:
    for name, who in (("c" * 32, pseudonym), ("d" * 32, "x")):
        folder = house.home / "learning" / "cases" / name
        folder.mkdir(parents=True)
        said = dict(case=name, patient=who, affine=[], channels=[], annotated=[], groups={})
        (folder / "case.json").write_text(json.dumps(said))
    trials = house.home / "learning" / "runs" / "1" / "evaluation" / "w"
    trials.mkdir(parents=True)
    for name in ("c" * 32, "d" * 32):
        (trials / f"{name}.npz").write_bytes(b"x")
    (house.home / "learning" / "runs" / "1" / "report.html").write_text("slices of patients")


def erase(planted: Planted, **changes: Any) -> erasing.Found:
    values: dict[str, Any] = dict(patient_id=PATIENT, issuer=None, why="a request under article 17", who="tester")
    return erasing.erase(planted.house.archive, planted.house.database, key=KEY, **values | changes)


def look(planted: Planted, patient_id: str, issuer: str | None = None) -> erasing.Found:
    return erasing.look(planted.house.archive, planted.house.database, patient_id, issuer, KEY)


def test_afterwards_nobody_can_tell_that_the_patient_was_here(planted: Planted) -> None:
    house = planted.house
    assert len(planted.left()) > 20  # the search finds what is there
    before = {table.name: len(house.rows(table)) for table in metadata.sorted_tables}
    found = erase(planted)
    assert planted.left() == []
    assert found.names == (f"{PATIENT} (no issuer)", f"{ALIAS} (no issuer)")
    assert found.rows["study"] == 2
    assert found.rows["instance"] == 6
    after = {table.name: len(house.rows(table)) for table in metadata.sorted_tables}
    for name, count in found.rows.items():
        assert after[name] == before[name] - count, name
    assert house.rows(doomed_file) == []
    paths = {row["path"] for row in [*house.rows(instance), *house.rows(result)]}
    assert house.files("store") | house.files("results") == paths


def test_the_record_has_a_pseudonym_and_what_was_learnt_and_who_has_something(planted: Planted) -> None:
    found = erase(planted)
    assert found.holders == {"pacs": 2, "vna": 1}
    assert found.networks == (
        "ct_lungs 1.0.0+001 (training 1) was trained on this patient",
        "ct_lungs 1.0.0+002 was trained from such a version",
    )
    with planted.house.database.read() as tx:
        (row,) = events.listing(tx)
        assert events.verify(tx) is None
    details = json.loads(row["details"])
    assert (row["what"], details["pseudonym"]) == ("patient-erased", KEY.pseudonym("", PATIENT))
    assert details["why"] == "a request under article 17"


def test_others_keep_everything_also_what_they_share(planted: Planted) -> None:
    house = planted.house
    erase(planted)
    assert house.images_on_disk(planted.other_uid) == 3
    assert len(house.rows(label)) == 1
    assert (house.home / "labels/bb/shared.npy").exists()
    assert not (house.home / "labels/aa/mine.npy").exists()
    assert not (house.home / "shadows/cc/mine.npy").exists()
    assert (house.home / "learning/cases" / ("d" * 32)).is_dir()
    manifest = house.rows(data_set)[0]["manifest"]
    assert ([one["case"] for one in manifest["cases"]], manifest["erased"]) == (["d" * 32], 1)
    assert manifest["left_out"] == []
    trials = house.home / "learning/runs/1/evaluation/w"
    assert [file.name for file in trials.iterdir()] == [f"{'d' * 32}.npz"]
    assert not (house.home / "learning/runs/1/report.html").exists()


def test_looking_changes_nothing(planted: Planted) -> None:
    before = planted.left()
    found = look(planted, PATIENT)
    assert found.rows["instance"] == 6
    assert planted.left() == before
    assert look(planted, ALIAS, "").rows == found.rows


MEANT_OTHERWISE: list[tuple[dict[str, Any], str]] = [
    ({"patient_id": "NOBODY"}, "no-such-patient"),
    ({"patient_id": "  "}, "no-such-patient"),
    ({"patient_id": "%"}, "no-such-patient"),
    ({"issuer": "ELSEWHERE"}, "no-such-patient"),
    ({"why": " "}, "no-reason"),
    ({"why": f"of {PATIENT.lower()}"}, "reason-names-patient"),
]


def test_what_was_received_and_never_got_a_row_does_not_come_back(planted: Planted) -> None:
    house = planted.house
    for row in house.rows(instance):
        for day in ("2020-01-01", "2026-01-01"):
            folder = house.home / "store" / day / "aa"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(house.home / row["path"], folder / f"{'a' * 24}{row['id']:08}.dcm")
    (house.home / "store" / "2020-01-01" / "aa" / "broken.dcm").write_bytes(b"nothing")
    with pytest.raises(Refused, match="erase-busy"):
        erase(planted)
    would = look(planted, PATIENT)
    found = erase(planted, coming_seconds=0)
    assert planted.left() == []
    assert found.files == would.files > 2 * 6
    assert len(list((house.home / "store").glob("20??-01-01/aa/*.dcm"))) == 2 * 3 + 1  # those of another patient
    sweep_home(house.archive, house.database, house.inbox, settled_seconds=0)
    assert planted.left() == []
    assert len(house.rows(instance)) == 3


def test_what_is_not_meant_is_not_erased(planted: Planted) -> None:
    before = planted.left()
    for changes, code in MEANT_OTHERWISE:
        with pytest.raises(Refused) as refused:
            erase(planted, **changes)
        assert refused.value.code == code
    assert planted.left() == before


def test_of_two_issuers_one_has_to_be_named(planted: Planted) -> None:
    images = images_of(PATIENT)
    for ds in images:
        ds.IssuerOfPatientID = "OTHER HOSPITAL"
    uid = planted.house.study(images)
    with pytest.raises(Refused, match="'OTHER HOSPITAL'"):
        erase(planted)
    erase(planted, issuer="")
    assert planted.house.images_on_disk(uid) == 3
    erase(planted, issuer="OTHER HOSPITAL")
    assert planted.left() == []


def test_a_training_that_reads_the_patient_now_ends_first(planted: Planted) -> None:
    with planted.house.database.write() as tx:
        tx.execute(sa.update(training_run).values(state="training"))
    with pytest.raises(Refused, match="erase-busy"):
        erase(planted)


def test_destinations_may_be_told_first_and_the_notes_have_to_be_out(planted: Planted) -> None:
    house = planted.house
    said = erasing.withdraw_first(house.database, PATIENT, None, "tester", 3)
    assert said.startswith("2 results are withdrawn")
    assert {row["state"] for row in house.rows(delivery, delivery.c.destination == "vna")} == {"withdrawn"}
    with pytest.raises(Refused, match="notes-waiting: 3 "):  # which no worker has written yet
        erase(planted)
    note = written(planted, pacs="waiting", vna="waiting")
    with pytest.raises(Refused, match="notes-waiting: 2 "):
        erase(planted)
    with house.database.write() as tx:
        sent = sa.update(delivery).where(delivery.c.result_id == note)
        tx.execute(sent.values(state="delivered", delivered=Clock()))
    assert erase(planted).holders == {}
    assert planted.left() == []


def written(planted: Planted, **states: str) -> int:
    """A note on all that was withdrawn, and its state at each destination; its jobs have ended."""
    house = planted.house
    note = house.result(house.rows(result)[-1]["input_set_id"], "KOS", "113037", **states)
    with house.database.write() as tx:
        about = sa.update(delivery).where(delivery.c.state == "withdrawn")
        tx.execute(about.values(rejected_by=note))
        tx.execute(sa.update(job).where(job.c.kind == JobKind.DELIVER).values(state="done"))
    return note


def test_who_did_not_take_the_note_still_has_something_of_the_patient(planted: Planted) -> None:
    erasing.withdraw_first(planted.house.database, PATIENT, None, "tester", 3)
    written(planted, pacs="delivered", vna="dead")
    assert erase(planted).holders == {"vna": 1}


def test_who_may_have_something_of_the_patient_is_told_as_if_it_had_it(planted: Planted) -> None:
    """It was sent, and the destination has never said whether it took it."""
    house = planted.house
    with house.database.write() as tx:
        silent = sa.update(delivery).where(delivery.c.destination == "pacs")
        tx.execute(silent.values(state="dead", delivered=None, unanswered=1))
        tx.execute(sa.delete(delivery).where(delivery.c.destination == "vna"))
    assert look(planted, PATIENT).holders == {"pacs": 2}
    assert erasing.withdraw_first(house.database, PATIENT, None, "tester", 3).startswith("2 results are withdrawn")


def test_killed_in_the_middle_it_is_finished_by_the_next_sweep(migrated: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "planimeter.db").write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(home / "planimeter.db"))
    planted = plant(House(database, home))
    database.dispose()
    command = [*PLANIMETER, "erase", PATIENT, "--reason", "asked for", "--home", str(home)]
    died = subprocess.run(
        command, env=os.environ | {"PLANIMETER_FAILPOINT": "unlinked"}, check=False, capture_output=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert planted.house.rows(doomed_file)
    sweep_home(planted.house.archive, database, planted.house.inbox, settled_seconds=0)
    assert planted.house.rows(doomed_file) == []
    assert planted.left() == []
    assert len(planted.house.rows(instance)) == 3  # nothing was taken in again
    database.dispose()


def test_the_command_tells_before_and_after(migrated: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "planimeter.db").write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(home / "planimeter.db"))
    planted = plant(House(database, home))
    database.dispose()
    would = planimeter("erase", PATIENT, "--dry-run", "--home", home, COLUMNS="200").stdout
    assert "would be erased" in would
    assert "pacs was given 2 objects of this person" in would
    assert "train it again without, or roll it back" in would
    no = planimeter("erase", PATIENT, "--home", home, check=False)
    assert (no.returncode, "needs a reason" in no.stderr) == (1, True)
    done = planimeter("erase", PATIENT, "--reason", "asked for", "--home", home, COLUMNS="200").stdout
    assert PATIENT not in done
    assert "Backups that were made before still hold this person." in done
    assert planted.left() == []
    database.dispose()


def test_the_sweep_forgets_who_was_turned_away_long_ago(database: Database, tmp_path: Path) -> None:
    house = House(database, tmp_path / "home")
    with database.write() as tx:
        for address, days in (("10.0.0.1", 100), ("10.0.0.2", 1)):
            refusals.count_caller(tx, address, "X", "unknown-caller", "who?")
            tx.execute(sa.update(caller).where(caller.c.address == address).values(last=Clock() - days * 86_400.0))
    sweep_home(house.archive, database, house.inbox)
    assert [row["address"] for row in house.rows(caller)] == ["10.0.0.2"]
