"""Data sets: who is in them, what their files say, that they are made again, and that the test bucket stays locked."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from db import input_sets
from db.database import Database, Row
from db.input_sets import Choice, Member
from db.tables import data_set, data_set_member, input_member, input_set, instance, label, patient, series, study
from models.card import Input
from node.errors import Refused, Unavailable
from node.learning import cases, masks, people, sources
from node.learning import data_set as sets
from node.learning.buckets import Key, Shares, bucket
from node.learning.cases import Wanted
from node.learning.data_set import Frozen
from node.learning.groups import groups
from node.learning.people import Traits
from node.operations import people as decisions
from node.study import channels, volume
from node.study.archive import Archive
from node.study.channels import Channels
from node.study.decode import Decoders
from node.study.series import members_hash
from tests.synthetic import as_files, small_series

KEY, SHARES = Key(b"k" * 32), Shares()
NETWORK = "lung"
NO_TRAITS = Traits()
INPUTS = (Input(channel="image", modality=("CT",)),)
SHAPE = (6, 5, 3)
#: what only this patient has, by keyword; none of it may be in a case or a manifest
SECRETS = {
    "PatientBirthDate": "19310203",
    "StudyDate": "20190807",
    "SeriesDate": "20190807",
    "AcquisitionDate": "20190807",
    "ContentDate": "20190807",
    "AccessionNumber": "ACC7788",
    "InstitutionName": "St Mildred Infirmary",
    "StationName": "STATION9",
    "ReferringPhysicianName": "Quill^Peter",
    "DeviceSerialNumber": "SN4455",
    "StudyDescription": "Chest of a poet",
}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def ids_in(wanted: str, many: int) -> list[str]:
    every = (f"PAT-{n}-X" for n in count(1))
    return list(islice((one for one in every if bucket(KEY.pseudonym("", one), SHARES) == wanted), many))


TRAIN, VALIDATION, TEST = (ids_in(name, 4) for name in ("train", "validation", "test"))


@dataclass
class Hospital:
    """A home folder, a database, and patients whose labels came."""

    database: Database
    archive: Archive
    decoders: Decoders
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def home(self) -> Path:
        return self.archive.home

    def images(self, patient_id: str) -> list[Dataset]:
        n = next(self.numbers)
        images = small_series(SHAPE, name=f"Wylde{n}^Oscarina", patient_id=patient_id)
        rng = np.random.default_rng(n)
        for ds in images:
            for keyword, said in SECRETS.items():
                setattr(ds, keyword, said)
            ds.Manufacturer, ds.ManufacturerModelName, ds.PatientSex = "ACME ", "Scan-O-Mat 3", "F"
            ds.PixelData = rng.integers(0, 2000, (ds.Rows, ds.Columns), dtype=np.int16).tobytes()
        return images

    def label(
        self, patient_id: str, found: Traits = NO_TRAITS, *, annotated: Sequence[int] = (1, 2), state: str = "ready"
    ) -> int:
        """A patient's images come and an outline of them; the id of the label."""
        images = self.images(patient_id)
        mask = np.zeros(SHAPE[::-1], np.uint8)
        mask[1, 1:4, 2:5] = annotated[0] if annotated else 1
        kept = masks.keep(self.home, mask)
        with self.database.write() as tx:
            person = tx.execute(sa.select(patient.c.id).where(patient.c.patient_id == patient_id)).scalar()
            if person is None:
                person = _row(tx, patient, issuer="", patient_id=patient_id)
            study_id = _row(
                tx, study, study_uid=images[0].StudyInstanceUID, patient_id=person, state="closed", arrived=0.0
            )
            series_id = _row(
                tx, series, study_id=study_id, series_uid=images[0].SeriesInstanceUID, modality="CT", kind="image"
            )
            members = [self._store(tx, ds, series_id, study_id, person) for ds in images]
            choice = Choice(
                network=NETWORK,
                slot="",
                members=tuple(Member("image", uid) for uid, _ in members),
                members_hash=members_hash([("image", uid, identity, "") for uid, identity in members]),
                because="",
                dispatches=(),
                priority=0,
            )
            chosen, _ = input_sets.record(tx, study_id, choice)
            people.enrol(tx, KEY, SHARES, person, found)
            return _row(
                tx,
                label,
                source_uid=images[0].SOPInstanceUID,
                source_sha256="",
                source_path="",
                came="received",
                calling_ae="",
                network=NETWORK,
                patient_id=person,
                study_id=study_id,
                input_set_id=chosen,
                structures=[],
                annotated=list(annotated),
                mask_path=kept.path,
                mask_sha256=kept.sha256,
                author="Wylde",
                tool="",
                made="20190807",
                state=state,
                created=0.0,
            )

    def _store(self, tx: Any, ds: Dataset, series_id: int, study_id: int, person: int) -> tuple[str, str]:
        (file,) = as_files([ds], self.home / "store" / str(next(self.numbers)))
        digest = sha256(file.read_bytes()).hexdigest()
        uid = str(ds.SOPInstanceUID)
        newest = tx.execute(
            sa.select(sa.func.coalesce(sa.func.max(instance.c.revision), 0)).where(instance.c.sop_uid == uid)
        ).scalar_one()
        values = dict(sop_uid=uid, revision=newest + 1, series_id=series_id, study_id=study_id, patient_id=person)
        values |= dict(birth_date="", sop_class="", kind="image", transfer_syntax="", digest=digest)
        values |= dict(image_identity=digest, path=file.relative_to(self.home).as_posix(), size=1, calling_ae="")
        tx.execute(sa.insert(instance).values(**values, address="", arrived=0.0))
        return uid, digest

    def read(self, members: Sequence[Row]) -> Channels:
        files = [self.archive.at(row["path"]) for row in members]
        return channels.assemble([volume.build(files, self.decoders, INPUTS[0])], INPUTS)

    def plan(self, purpose: str, **more: Any) -> sets.Plan:
        with self.database.read() as tx:
            return sets.plan(tx, NETWORK, purpose, INPUTS, **more)

    def make(self, purpose: str) -> list[Path]:
        return [self.make_one(one) for one in self.plan(purpose).unbuilt(self.home)]

    def make_one(self, one: Wanted) -> Path:
        where = cases.root(self.home, one.bucket)
        return sources.make(self.database, self.archive, KEY, one, INPUTS, self.read, where)

    def freeze(self, purpose: str, **more: Any) -> Frozen:
        self.make(purpose)
        with self.database.write() as tx:
            return sets.freeze(tx, self.home, NETWORK, purpose, INPUTS, **more)

    def rebuild(self, frozen: Frozen, folder: Path) -> tuple[str, ...]:
        return sources.rebuild(self.database, self.archive, KEY, frozen.manifest, INPUTS, self.read, folder)

    def person(self, label_id: int) -> int:
        with self.database.read() as tx:
            return int(tx.execute(sa.select(label.c.patient_id).where(label.c.id == label_id)).scalar_one())


def _row(tx: Any, table: sa.Table, **values: Any) -> int:
    return int(tx.execute(sa.insert(table).values(**values).returning(table.c.id)).scalar_one())


@pytest.fixture
def hospital(database: Database, decoders: Decoders, tmp_path: Path) -> Hospital:
    archive = Archive(tmp_path / "home")
    archive.prepare()
    return Hospital(database, archive, decoders)


def in_set(frozen: Frozen) -> set[int]:
    return {one["label_id"] for one in frozen.manifest["cases"]}


def left_out(frozen: Frozen) -> dict[int, str]:
    return {one["label_id"]: one["reason"] for one in frozen.manifest["left_out"]}


# ----------------------------------------------------------------- freezing


def test_sets_hold_their_buckets_and_say_what_is_in_them(hospital: Hospital) -> None:
    trained = [hospital.label(one) for one in (*TRAIN[:2], VALIDATION[0])]
    twice = hospital.label(TRAIN[0], annotated=[2])
    tested = [hospital.label(one) for one in TEST[:2]]
    with pytest.raises(Unavailable, match="cases-not-made"), hospital.database.write() as tx:
        sets.freeze(tx, hospital.home, NETWORK, "training", INPUTS)
    training, test = hospital.freeze("training"), hospital.freeze("test")
    assert in_set(training) == {*trained, twice}
    assert in_set(test) == set(tested)
    assert (training.number, test.number) == (1, 1)
    said = training.manifest
    assert {role: (len(one["patients"]), one["labels"]) for role, one in said["roles"].items()} == {
        "train": (2, 3),
        "validation": (1, 1),
    }
    assert said["classes"] == {"annotated": {"1": 3, "2": 4}, "present": {"1": 3, "2": 1}}
    assert said["groups"]["scanner"] == {"ACME Scan-O-Mat 3": 4}
    assert said["groups"]["spacing"] == {"2.5 x 5 mm": 4}
    assert said["groups"]["age"] == {"80-89": 4}
    assert sets.patients(test.manifest) == {KEY.pseudonym("", one) for one in TEST[:2]}
    assert not sets.patients(test.manifest) & sets.patients(said)


def test_the_same_labels_are_the_same_set_and_others_are_the_next_number(hospital: Hospital) -> None:
    hospital.label(TRAIN[0])
    first = hospital.freeze("training")
    again = hospital.freeze("training")
    assert (again.data_set_id, again.is_new, first.is_new) == (first.data_set_id, False, True)
    later = hospital.label(TRAIN[1])
    hospital.make("training")

    def frozen(_: int) -> Frozen:
        with hospital.database.write() as tx:
            return sets.freeze(tx, hospital.home, NETWORK, "training", INPUTS)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(frozen, range(3)))
    assert {one.number for one in found} == {2}
    assert len({one.data_set_id for one in found}) == 1
    assert sum(one.is_new for one in found) == 1
    with hospital.database.write() as tx:
        tx.execute(sa.update(label).where(label.c.id == later).values(state="rejected", sentence="not his lung"))
    assert hospital.freeze("training").data_set_id == first.data_set_id
    with hospital.database.write() as tx:
        tx.execute(sa.update(label).where(label.c.id == later).values(state="ready", annotated=[1]))
    assert hospital.freeze("training").number == 3, "other classes were looked for"


def test_what_is_left_out_is_listed_with_its_reason(hospital: Hospital) -> None:
    used = hospital.label(TRAIN[0])
    reasons = {
        hospital.label(TRAIN[1], annotated=[1]): "not annotated with label value 2",
        hospital.label(TRAIN[1], annotated=[]): "no class of the network",
        hospital.label(TRAIN[1], state="accepted"): "returned unchanged",
        hospital.label(TRAIN[1], state="superseded"): "a newer label",
        (replaced := hospital.label(TRAIN[1])): "replaced by newer",
        (lost := hospital.label(TRAIN[2])): "its images are gone",
        hospital.label(TRAIN[3]): "no bucket",
    }
    with hospital.database.write() as tx:
        of_label = sa.select(label.c.input_set_id).where(label.c.id == replaced).scalar_subquery()
        old = tx.execute(sa.select(input_set).where(input_set.c.id == of_label)).mappings().one()
        _row(tx, input_set, **{**old, "id": 9999, "members_hash": "newer", "supersedes": old["id"]})
        nobody = sa.update(patient).where(patient.c.patient_id == TRAIN[3])
        tx.execute(nobody.values(bucket=None, pseudonym=None))
    for one in hospital.plan("training", required=[1, 2]).unbuilt(hospital.home):
        if one.label_id != lost:
            hospital.make_one(one)
    with hospital.database.write() as tx:
        frozen = sets.freeze(
            tx, hospital.home, NETWORK, "training", INPUTS, required=[1, 2], lost={lost: "its images are gone"}
        )
    assert in_set(frozen) == {used}
    assert set(left_out(frozen)) == set(reasons)
    for label_id, words in reasons.items():
        assert words in left_out(frozen)[label_id]


def test_nothing_to_train_on_is_no_set_and_nobody_to_test_on_is_an_empty_one(hospital: Hospital) -> None:
    hospital.label(VALIDATION[0])
    with pytest.raises(Refused, match="empty-data-set"):
        hospital.freeze("training")
    assert hospital.freeze("test").manifest["cases"] == []


# ------------------------------------------------------------------ locked


def test_a_training_is_given_no_folder_of_a_locked_patient(hospital: Hospital, tmp_path: Path) -> None:
    for one in (*TRAIN[:2], VALIDATION[0], TEST[0]):
        hospital.label(one)
    training, test = hospital.freeze("training"), hospital.freeze("test")
    home = hospital.home

    def paths(frozen: Frozen) -> sets.TrainingCases:
        with hospital.database.read() as tx:
            return sets.paths_for_training(tx, home, frozen.data_set_id)

    given = paths(training)
    assert (len(given.train), len(given.validation)) == (2, 1)
    assert {one.parent for one in (*given.train, *given.validation)} == {home / "learning" / "cases"}
    (locked,) = (home / "learning" / "locked").iterdir()
    with hospital.database.read() as tx:
        assert sets.paths_for_evaluation(tx, home, test.data_set_id) == ((locked,), ())
        with pytest.raises(Refused, match="not-a-test-set"):
            sets.paths_for_evaluation(tx, home, training.data_set_id)
    with pytest.raises(Refused, match="locked-patient"):
        paths(test)

    (a_case,) = given.validation
    aside = a_case.rename(tmp_path / "aside")
    with pytest.raises(Unavailable, match="cases-not-made"):
        paths(training)
    a_case.symlink_to(locked)
    with pytest.raises(Refused, match="bad-case"):
        paths(training)
    said = json.loads((locked / "case.json").read_bytes())
    patient_of_case = json.loads((aside / "case.json").read_bytes())["patient"]
    (locked / "case.json").write_text(json.dumps(said | {"patient": patient_of_case}))
    with pytest.raises(Refused, match="does not lie where"):
        paths(training)
    a_case.unlink()
    aside.rename(a_case)
    assert paths(training) == given

    everyone = hospital.database
    for planted in (
        sa.update(data_set_member).where(data_set_member.c.role == "validation").values(role="test"),
        sa.update(patient).where(patient.c.patient_id == TRAIN[0]).values(bucket="test"),
        sa.update(data_set).where(data_set.c.id == training.data_set_id).values(purpose="test", number=99),
    ):
        with everyone.engine.connect() as connection, connection.begin() as doomed:
            connection.execute(planted)
            with pytest.raises(Refused, match="locked-patient"):
                sets.paths_for_training(connection, home, training.data_set_id)
            doomed.rollback()


def test_suspects_across_buckets_are_in_no_new_set_until_somebody_decides(hospital: Hospital) -> None:
    shared = Traits(study_uids=frozenset({"1.2.826.0.1.3680043.8.498.4"}))
    train, alone = hospital.label(TRAIN[0], shared), hospital.label(TRAIN[1])
    before = hospital.freeze("training")
    assert in_set(before) == {train, alone}
    tested = hospital.label(TEST[0], shared)
    training, test = hospital.freeze("training"), hospital.freeze("test")
    assert (in_set(training), in_set(test)) == ({alone}, set())
    assert "may be the same person" in left_out(training)[train]
    assert "may be the same person" in left_out(test)[tested]
    names = [f"p{hospital.person(one)}" for one in (train, tested)]
    decisions.apart(hospital.database, names[0], names[1], "ann")
    assert hospital.freeze("training").data_set_id == before.data_set_id
    assert in_set(hospital.freeze("test")) == {tested}


def test_a_locked_patient_who_turns_out_to_be_a_trained_one_is_not_tested_on(hospital: Hospital) -> None:
    tested, other = hospital.label(TEST[0]), hospital.label(TEST[1])
    test = hospital.freeze("test")
    trained = hospital.label(TRAIN[0])
    hospital.freeze("training")
    names = [f"p{hospital.person(one)}" for one in (tested, trained)]
    said = decisions.merge(hospital.database, hospital.home, names[0], names[1], "ann")
    assert f"test data sets {NETWORK} 1" in said
    with hospital.database.read() as tx:
        folders, gone = sets.paths_for_evaluation(tx, hospital.home, test.data_set_id)
    assert [cases.read(one).patient for one in folders] == [KEY.pseudonym("", TEST[1])]
    assert len(gone) == 1
    assert names[0] in gone[0]
    assert [one.name for one in (hospital.home / "learning" / "locked").iterdir()] == [one.name for one in folders]
    assert in_set(hospital.freeze("test")) == {other}
    training = hospital.freeze("training")
    assert in_set(training) == {tested, trained}
    assert len(sets.patients(training.manifest)) == 1
    with hospital.database.read() as tx:
        assert len(sets.paths_for_training(tx, hospital.home, training.data_set_id).train) == 2


# ------------------------------------------------------------ files and again


def test_nothing_in_a_case_or_a_manifest_names_anybody(hospital: Hospital) -> None:
    for one in (TRAIN[0], TEST[0]):
        hospital.label(one)
    frozen = [hospital.freeze("training"), hospital.freeze("test")]
    files = [file for file in (hospital.home / "learning").rglob("*") if file.is_file()]
    assert len(files) == 2 * 4
    said = [file.read_bytes() + file.name.encode() for file in files]
    said += [json.dumps(one.manifest).encode() for one in frozen]
    with hospital.database.read() as tx:
        uids = [
            *tx.execute(sa.select(input_member.c.sop_uid)).scalars(),
            *tx.execute(sa.select(study.c.study_uid)).scalars(),
        ]
    words = [*SECRETS.values(), "Wylde", "Oscarina", "PAT-", "Mildred", "1931", "2019", "1.2.826", *uids]
    assert not [(word, where) for where, text in enumerate(said) for word in words if word.lower() in _plain(text)]
    for file in (hospital.home / "learning").rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600)


def _plain(text: bytes) -> str:
    """Also what is written as UTF-16 or in upper case; without hashes, which have every number of four digits."""
    return re.sub(r"[0-9a-f]{32,}", "", text.replace(b"\0", b"").decode("latin-1").lower())


def test_a_set_is_made_again_bit_by_bit_or_it_is_said_what_is_gone(hospital: Hospital, tmp_path: Path) -> None:
    labels = [hospital.label(one) for one in (*TRAIN[:3], VALIDATION[0])]
    frozen = hospital.freeze("training")
    assert hospital.rebuild(frozen, tmp_path / "again") == ()
    for one in frozen.manifest["cases"]:
        there, here = (
            root / one["case"] for root in (tmp_path / "again/learning/cases", hospital.home / "learning/cases")
        )
        names = sorted(file.name for file in here.iterdir())
        assert names == ["case.json", "channel_0.npy", "facts.json", "label.npy"]
        assert all((there / name).read_bytes() == (here / name).read_bytes() for name in names)
    by_label = {one["label_id"]: one for one in frozen.manifest["cases"]}
    first, second, third, fourth = (by_label[one] for one in labels)
    with hospital.database.write() as tx:
        rows = {n: input_sets.members(tx, one["input_set_id"]) for n, one in enumerate((first, second, third))}
        newer = {**rows[1][0], "id": 9999, "revision": 2, "image_identity": "other", "digest": "o", "path": "store/o"}
        tx.execute(sa.insert(instance).values({column.name: newer[column.name] for column in instance.c}))
        hospital.archive.at("store/o").write_bytes(b"")
    gone = rows[0][1]
    hospital.archive.at(gone["path"]).unlink()
    hospital.archive.at(fourth["mask_path"]).write_bytes(b"other")  # the masks are equal: one file
    said = hospital.rebuild(frozen, tmp_path / "later")
    found = {
        one["case"]: sentence for one in (first, second, third, fourth) for sentence in said if one["case"] in sentence
    }
    assert f"image {gone['sop_uid']}" in found[first["case"]]
    assert "came again, and are others" in found[second["case"]]
    assert "not the one that was kept" in found[third["case"]]
    assert len(said) == 4


def test_bytes_that_come_out_otherwise_are_found(hospital: Hospital, tmp_path: Path) -> None:
    hospital.label(TRAIN[0])
    frozen = hospital.freeze("training")

    def read(members: Sequence[Row]) -> Channels:
        built = hospital.read(members)
        built.arrays[0].array[0, 0, 0] += 1
        return built

    other = sources.rebuild(hospital.database, hospital.archive, KEY, frozen.manifest, INPUTS, read, tmp_path / "a")
    assert ["other bytes" in one for one in other] == [True]
    suv = (INPUTS[0].model_copy(update={"fill": 1.0}),)
    other = sources.rebuild(hospital.database, hospital.archive, KEY, frozen.manifest, suv, read, tmp_path / "b")
    assert ["reads its channels otherwise" in one for one in other] == [True]


# -------------------------------------------------------- cases by themselves


def built_of(images: Sequence[Dataset], folder: Path, decoders: Decoders) -> Channels:
    return channels.assemble([volume.build(as_files(images, folder), decoders, INPUTS[0])], INPUTS)


A_CASE = Wanted(
    network=NETWORK,
    label_id=1,
    input_set_id=1,
    patient="ab" * 16,
    person=1,
    bucket="train",
    members_hash="m",
    mask_path="",
    mask_sha256="s",
    annotated=(2, 1),
    reading="r",
)


def mask() -> NDArray[np.uint8]:
    made = np.zeros(SHAPE[::-1], np.uint8)
    made[1, 2:4, 1:3] = 2
    return made


def test_a_case_reads_back_as_it_was_written(decoders: Decoders, tmp_path: Path) -> None:
    built = built_of(small_series(SHAPE), tmp_path / "dicom", decoders)
    folder = cases.materialise(A_CASE, built, mask(), KEY, tmp_path / "cases", INPUTS)
    case = cases.read(folder)
    assert (case.name, case.patient, case.annotated) == (A_CASE.name, A_CASE.patient, (1, 2))
    assert np.array_equal(case.label, mask())
    assert case.channels[0].dtype == np.float32
    assert np.array_equal(case.channels[0], built.arrays[0].array)
    assert np.array_equal(case.affine, built.first.geometry.affine)
    assert set(json.loads((folder / "case.json").read_bytes())) == {
        *("case", "patient", "affine", "channels", "annotated", "groups"),
    }
    assert cases.content(folder)["voxels"] == {"2": 4}
    before = folder.stat().st_mtime_ns
    assert cases.materialise(A_CASE, built, mask() * 0, KEY, tmp_path / "cases", INPUTS) == folder
    assert folder.stat().st_mtime_ns == before, "the same label is the same folder"
    built.close()


@pytest.mark.parametrize(
    "other",
    [
        {"network": "liver"},
        {"patient": "cd" * 16},
        {"members_hash": "n"},
        {"mask_sha256": "t"},
        {"annotated": (1,)},
        {"reading": "q"},
    ],
)
def test_what_decides_the_bytes_decides_the_name(other: dict[str, Any]) -> None:
    assert replace(A_CASE, **other).name != A_CASE.name
    assert replace(A_CASE, annotated=(1, 2), label_id=7, input_set_id=7, person=7, bucket="test").name == A_CASE.name


def test_a_mask_that_nothing_refers_to_goes_unless_it_was_kept_just_now(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    used, unused, kept_again = (masks.keep(tmp_path, np.full((1, 2, 2), n, np.uint8)).path for n in range(3))
    for path in (used, unused, kept_again):
        os.utime(tmp_path / path, (1.0, 1.0))
    assert masks.keep(tmp_path, np.full((1, 2, 2), 2, np.uint8)).path == kept_again
    assert masks.sweep(tmp_path, {used}, time.time() - 60) == 1
    assert [(tmp_path / path).exists() for path in (used, unused, kept_again)] == [True, False, True]
    assert not list((tmp_path / "spool").iterdir())


def test_two_that_make_a_case_at_once_make_one_and_leftovers_are_swept(decoders: Decoders, tmp_path: Path) -> None:
    built = built_of(small_series(SHAPE), tmp_path / "dicom", decoders)
    root = cases.root(tmp_path, "train")
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: cases.materialise(A_CASE, built, mask(), KEY, root, INPUTS), range(4)))
    assert [one.name for one in root.iterdir()] == [A_CASE.name]
    assert made == {root / A_CASE.name}
    (root / ".making-killed").mkdir()
    (root / ".making-killed" / "label.npy").write_bytes(b"half")
    assert cases.sweep(tmp_path, time.time() + 1) == 1
    assert cases.discard(tmp_path, "train", {"cd" * 16}) == 0
    assert cases.discard(tmp_path, "train", {A_CASE.patient}) == 1
    assert list(root.iterdir()) == []
    built.close()


def test_masks_of_another_grid_and_images_with_names_burned_in_are_refused(decoders: Decoders, tmp_path: Path) -> None:
    images = small_series(SHAPE)
    built = built_of(images, tmp_path / "dicom", decoders)
    for wrong in (mask()[:2], mask().transpose(0, 2, 1), mask().astype(np.int16)):
        with pytest.raises(Refused, match="label-grid"):
            cases.materialise(A_CASE, built, wrong, KEY, tmp_path / "cases", INPUTS)  # type: ignore[arg-type]
    built.close()
    for ds in images:
        ds.BurnedInAnnotation = "YES"
    built = built_of(images, tmp_path / "burned", decoders)
    with pytest.raises(Refused, match="burned-in-annotation"):
        cases.materialise(A_CASE, built, mask(), KEY, tmp_path / "cases", INPUTS)
    assert not list((tmp_path / "cases").glob("*"))
    built.close()


@pytest.mark.parametrize(
    ("said", "kind", "group"),
    [
        ({"PatientAge": "067Y"}, "age", "60-69"),
        ({"PatientAge": "018M"}, "age", "0-9"),
        ({"PatientAge": "101Y"}, "age", "90 and older"),
        ({"PatientBirthDate": "19600310", "StudyDate": "20200309"}, "age", "50-59"),
        ({"PatientBirthDate": "19600310", "StudyDate": "20200310"}, "age", "60-69"),
        ({"PatientBirthDate": "20210310", "StudyDate": "20200310"}, "age", "unknown"),
        ({"PatientBirthDate": "", "StudyDate": "20200310"}, "age", "unknown"),
        ({"PatientBirthDate": "unknown"}, "age", "unknown"),
        ({"PatientSex": "M"}, "sex", "M"),
        ({"PatientSex": ""}, "sex", "unknown"),
        ({"Manufacturer": " GE  MEDICAL", "ManufacturerModelName": "LX "}, "scanner", "GE MEDICAL LX"),
        ({"Manufacturer": "", "ManufacturerModelName": ""}, "scanner", "unknown"),
        ({"InstitutionName": ""}, "site", "unknown"),
        ({"InstitutionName": "St Mildred"}, "site", KEY.site("ST. MILDRED")),
        ({"PixelSpacing": [0.7, 0.9]}, "spacing", "1 x 5 mm"),
        ({"PixelSpacing": [0.1, 0.1]}, "spacing", "0.5 x 5 mm"),
    ],
)
def test_subgroups_are_coarse(said: dict[str, Any], kind: str, group: str, decoders: Decoders, tmp_path: Path) -> None:
    images = small_series(SHAPE)
    for ds in images:
        for keyword, text in said.items():
            setattr(ds, keyword, text)
    built = volume.build(as_files(images, tmp_path), decoders)
    assert groups(built, KEY)[kind] == group
    built.close()
