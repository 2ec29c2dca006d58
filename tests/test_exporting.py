"""Exports: what leaves names nobody, hangs together, is in the record, and is there whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, generate_uid

from db import asked_exports, audit_trail, events
from db.database import Database, open_database, sqlite_url
from db.tables import asked_export, instance, study
from node.audit.codes import What
from node.deidentify.instance import Profile
from node.deidentify.keys import Keys
from node.deidentify.options import USUAL, Option
from node.errors import Refused
from node.learning.buckets import Key
from node.operations import erase as erasing
from node.operations import purge
from node.operations.exporting import asked, choice
from node.operations.exporting import studies as exporting
from node.operations.exporting.folder import MAKING, Made, made, sweep
from tests.kept import SMALL, House
from tests.peers_tools import dciodvfy
from tests.returned import segmentation
from tests.running import PLANIMETER, planimeter
from tests.synthetic import small_series

KEY, KEYS = Key(b"k" * 32), Keys(b"e" * 32)
ROOT = "1.2.826.0.1.3680043.8.498.4713."
NAME, PATIENT = "Quillfeather^Oscarina", "QX-0815"
SECRETS = {
    "AccessionNumber": "ACC7788",
    "InstitutionName": "St Mildred Infirmary",
    "ReferringPhysicianName": "Volemouse^Peter",
    "StationName": "STATION9",
    "DeviceSerialNumber": "SN4455-9",
    "StudyDescription": "CT Thorax of Quillfeather",
    "SeriesDescription": "Lung 5mm for Dr. Volemouse",
    "PatientBirthDate": "19310203",
}
WORDS = [b"quillfeather", b"oscarina", b"qx-0815", b"acc7788", b"mildred", b"volemouse", b"sn4455", b"19310203"]


def images(patient_id: str = PATIENT, name: str = NAME, **more: Any) -> list[Dataset]:
    made = small_series(SMALL, name=name, patient_id=patient_id)
    uids = {word: generate_uid(ROOT) for word in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    for ds in made:
        for keyword, value in {**SECRETS, **uids, **more}.items():
            setattr(ds, keyword, value)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(ROOT)
        ds.private_block(0x0029, "ACME", create=True).add_new(0x10, "OB", b"\0Quillfeather\0\0")
    return made


def seg_of(sources: Sequence[Dataset]) -> Dataset:
    mask = np.zeros(SMALL[::-1], np.uint8)
    mask[1, 1:3, 1:4] = 1
    made = segmentation(sources, mask)
    made.ContentCreatorName, made.SOPInstanceUID = "Volemouse^Peter", generate_uid(ROOT)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(kind: str, **more: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = [code("121071", "DCM", "Finding")]
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def report_of(source: Dataset) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(ROOT)
    for word in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        setattr(ds, word, source.get(word))
    ds.SeriesInstanceUID, ds.Modality, ds.ValueType = generate_uid(ROOT), "SR", "CONTAINER"
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    number = Dataset()
    number.NumericValue, number.MeasurementUnitsCodeSequence = "12.5", [code("ml", "UCUM", "ml")]
    ds.ContentSequence = [
        content("TEXT", TextValue="Nodule of Oscarina Quillfeather, left lung"),
        content("PNAME", PersonName="Volemouse^Peter"),
        content("DATE", Date="20200229"),
        content("UIDREF", UID=source.StudyInstanceUID),
        content("NUM", MeasuredValueSequence=[number]),
        content("CONTAINER", ContentSequence=[content("IMAGE", ReferencedSOPSequence=[image])]),
    ]
    return ds


def as_bytes(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


class Given:
    """A study of images with a SEG that came back and a report that we made."""

    def __init__(self, house: House) -> None:
        self.house, self.images = house, images()
        self.uid = house.study(self.images)
        self.seg, self.report = seg_of(self.images), report_of(self.images[0])
        house.take_in([self.seg])
        house.result(house.input_set(self.uid), "SR", "TID1500", data=as_bytes(self.report))

    def export(self, to: Path, *options: Option, uids: Sequence[str] = (), **more: Any) -> Made:
        profile = Profile(USUAL | set(options), KEYS)
        wish = exporting.Wish(study_uids=uids or [self.uid], profile=profile, **more)
        return exporting.export(self.house.database, self.house.home, KEY, wish, to, "somebody")


@pytest.fixture
def given(database: Database, tmp_path: Path) -> Given:
    return Given(House(database, tmp_path / "home"))


def objects(folder: Path) -> dict[str, list[Dataset]]:
    found: dict[str, list[Dataset]] = {}
    for file in sorted(folder.rglob("*.dcm")):
        ds = dcmread(file)
        found.setdefault(str(ds.Modality), []).append(ds)
    return found


def test_nothing_that_leaves_names_anybody_in_any_byte(given: Given, tmp_path: Path) -> None:
    made = given.export(tmp_path / "out")
    assert (len(made.files), made.refused) == (5, {})
    for file in (tmp_path / "out").rglob("*"):
        said = str(file.relative_to(tmp_path)).lower().encode() + (file.read_bytes() if file.is_file() else b"").lower()
        assert [word for word in WORDS if word in said] == [], file.name
        assert ROOT.encode() not in said


def test_what_belongs_together_still_does(given: Given, tmp_path: Path) -> None:
    given.export(tmp_path / "out")
    found = objects(tmp_path / "out")
    by_uid = {ds.SOPInstanceUID: ds for ds in found["CT"]}
    assert set(by_uid) == {KEYS.uid(ds.SOPInstanceUID) for ds in given.images}
    (seg,), (report,) = found["SEG"], found["SR"]
    read = hd.seg.Segmentation.from_dataset(seg)
    assert {uid for _, _, uid in read.get_source_image_uids()} <= set(by_uid)
    mask = read.get_pixels_by_source_instance([ds.SOPInstanceUID for ds in given.images and by_uid.values()])
    assert mask.sum() == 6
    assert seg.FrameOfReferenceUID == found["CT"][0].FrameOfReferenceUID
    assert {ds.StudyInstanceUID for ds in [*found["CT"], seg, report]} == {KEYS.uid(given.uid)}
    assert {ds.PatientID for ds in [*found["CT"], seg, report]} == {KEYS.pseudonym(KEY.pseudonym("", PATIENT))}
    (image,) = report.ContentSequence[5].ContentSequence[0].ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == KEYS.uid(given.images[0].SOPInstanceUID)
    said = [item.get("TextValue") or item.get("PersonName") or item.get("UID") for item in report.ContentSequence[:4]]
    assert said == ["Nodule of left lung", "REMOVED", None, KEYS.uid(given.uid)]
    assert report.ContentSequence[4].MeasuredValueSequence[0].NumericValue == 12.5
    for old, new in zip(given.images, sorted(found["CT"], key=lambda ds: int(ds.InstanceNumber)), strict=True):
        assert (new.pixel_array == old.pixel_array).all()
        assert new.ImagePositionPatient == old.ImagePositionPatient
        assert (new.StudyDescription, new.SeriesDescription) == ("CT Thorax of", "Lung 5mm for")


def test_the_same_key_gives_the_same_objects_and_another_one_others(given: Given, tmp_path: Path) -> None:
    first, again = given.export(tmp_path / "a"), given.export(tmp_path / "b")
    assert [one["file"] for one in first.files] == [one["file"] for one in again.files]
    for one in first.files:
        assert (tmp_path / "a" / one["file"]).read_bytes() == (tmp_path / "b" / one["file"]).read_bytes()
    wish = exporting.Wish(study_uids=[given.uid], profile=Profile(USUAL, Keys(b"x" * 32)))
    other = exporting.export(given.house.database, given.house.home, KEY, wish, tmp_path / "c", "somebody")
    assert not {one["file"] for one in first.files} & {one["file"] for one in other.files}


def test_dates_that_are_moved_keep_their_distance_across_studies(given: Given, tmp_path: Path) -> None:
    later = given.house.study(images(StudyDate="20200311", AcquisitionDate="20200311"))
    earlier = given.house.study(images(StudyDate="20200229", AcquisitionDate="20200229"))
    given.export(tmp_path / "out", Option.MODIFIED_DATES, uids=[earlier, later])
    dates = {str(ds.StudyInstanceUID): ds.StudyDate for ds in objects(tmp_path / "out")["CT"]}
    days = {uid: np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}") for uid, day in dates.items()}
    assert days[KEYS.uid(later)] - days[KEYS.uid(earlier)] == np.timedelta64(11, "D")
    assert "20200229" not in dates.values()


def test_the_objects_are_as_valid_as_they_were(given: Given, tmp_path: Path) -> None:
    given.export(tmp_path / "out")
    before = {as_bytes(ds)[:0] + ds.Modality.encode(): ds for ds in (given.images[0], given.seg)}
    for ds in before.values():
        (old := tmp_path / f"{ds.Modality}.dcm").write_bytes(as_bytes(ds))
        new = next(
            file
            for file in (tmp_path / "out").rglob("*.dcm")
            if dcmread(file).SOPInstanceUID == KEYS.uid(ds.SOPInstanceUID)
        )
        errors = [line for line in dciodvfy(new) if line.startswith("Error")]
        assert set(errors) <= {line for line in dciodvfy(old) if line.startswith("Error")}


def test_the_manifest_and_the_record_say_what_left_and_name_nobody(given: Given, tmp_path: Path) -> None:
    screenshot = images()[0]
    screenshot.StudyInstanceUID, screenshot.BurnedInAnnotation = given.uid, "YES"
    given.house.take_in([screenshot])
    with given.house.database.write() as tx:
        tx.execute(sa.update(study).values(state="closed"))
    made = given.export(tmp_path / "out")
    assert made.refused == {"burned-in-annotation": 1}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["export"] == made.name
    assert len(manifest["files"]) == 5
    (kept,) = manifest["refused"]
    assert (kept["uid"], kept["code"]) == (KEYS.uid(screenshot.SOPInstanceUID), "burned-in-annotation")
    with (tmp_path / "out" / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["Modality"] for row in rows} == {"CT", "SEG", "SR"}
    with given.house.database.read() as tx:
        (row,) = events.listing(tx)
        assert events.verify(tx) is None
    details = json.loads(row["details"])
    assert (row["what"], row["who"], row["subject"]) == ("exported", "somebody", "studies")
    assert details["patients"] == [KEY.pseudonym("", PATIENT)]
    assert (details["export"], details["files"], details["refused"]) == (made.name, 5, {"burned-in-annotation": 1})
    assert not any(word in row["details"].lower().encode() for word in WORDS)


def test_who_is_erased_is_said_to_be_in_the_export(given: Given, tmp_path: Path) -> None:
    other = given.house.study(images("OTHER-1", "Bywater^Tom"))
    made = given.export(tmp_path / "out")
    given.export(tmp_path / "others", uids=[other])
    found = erasing.look(given.house.archive, given.house.database, PATIENT, None, KEY)
    assert len(found.exports) == 1
    assert made.name in found.exports[0]
    with given.house.database.read() as tx:
        assert len(events.listing(tx)) == 2
    erasing.erase(given.house.archive, given.house.database, PATIENT, None, "asked for", "somebody", KEY)
    with given.house.database.read() as tx:
        assert made.name in events.listing(tx)[0]["details"]


def test_what_cannot_be_exported_is_said_and_leaves_nothing(given: Given, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    held, coming = (given.house.study(images(f"OTHER-{n}", f"Bywater{n}^Tom")) for n in range(2))
    with given.house.database.write() as tx:
        tx.execute(sa.update(study).where(study.c.study_uid == held).values(state="held", held_because="two patients"))
        tx.execute(sa.update(study).where(study.c.study_uid == coming).values(state="open"))
    for uids, to, said in (
        (["1.2.3"], "out", "no-such-study"),
        ([held], "out", "study-held"),
        ([coming], "out", "study-not-settled"),
        ([given.uid], "there", "export-exists"),
    ):
        with pytest.raises(Refused) as refused:
            given.export(tmp_path / to, uids=uids)
        assert refused.value.code == said
    assert not [*tmp_path.glob("out*"), *tmp_path.glob(f"{MAKING}*")]
    assert list((tmp_path / "there").iterdir()) == []
    with given.house.database.read() as tx:
        assert events.listing(tx) == []


def test_an_object_with_an_identifier_that_nothing_takes_away_stays(given: Given, tmp_path: Path) -> None:
    """A name in the pixels' own bytes: no table knows of it, the proof does."""
    planted = images()[0]
    data = bytearray(planted.PixelData.ljust(60, b"\0"))
    data[10:22] = b"Quillfeather"
    planted.PixelData = bytes(data)
    planted.StudyInstanceUID = given.uid
    given.house.take_in([planted])
    with given.house.database.write() as tx:
        tx.execute(sa.update(study).values(state="closed"))
    made = given.export(tmp_path / "out")
    assert made.refused == {"identifier-left": 1}
    (kept,) = made.kept
    assert kept.sentence == "an original identifier is still in it: PatientName in the file"
    assert not any(b"Quillfeather" in file.read_bytes() for file in (tmp_path / "out").rglob("*.dcm"))


def test_results_and_networks_are_chosen(given: Given, tmp_path: Path) -> None:
    assert len(given.export(tmp_path / "a", results=False).files) == 4
    assert len(given.export(tmp_path / "b", networks=["other"]).files) == 4
    assert len(given.export(tmp_path / "c", networks=["ct_lungs"]).files) == 5


# --------------------------------------------------------- the command line


@pytest.fixture
def at_home(tmp_path: Path) -> Given:
    home = tmp_path / "home"
    planimeter("status", "--home", home)
    return Given(House(open_database(sqlite_url(home / "planimeter.db")), home))


def test_the_command_exports_and_says_what_stayed(at_home: Given, tmp_path: Path) -> None:
    home, out = at_home.house.home, tmp_path / "out"
    done = planimeter("export", at_home.uid, "--to", out, "--home", home, "--option", "retain-modified-dates")
    assert done.stdout.startswith("5 files of 1 patients")
    assert (out.stat().st_mode & 0o777) == 0o700
    by = (
        "--since",
        "2020-01-01",
        "--query",
        "Modality=CT",
        "--query",
        "AccessionNumber=ACC7788",
        "--read-by",
        "ct_lungs",
    )
    done = planimeter("export", *by, "--to", tmp_path / "all", "--home", home)
    assert done.stdout.startswith("5 files of 1 patients")
    for arguments, code in (
        (["--since", "2020-01-01", "--modality", "PT"], "no study"),
        (["--query", "AccessionNumber=OTHER"], "no study"),
        (["--query", "PatientName=X"], "--query takes"),
        ([at_home.uid, "--option", "retain-everything"], "is no option"),
        (["--data-set", "ct_lungs"], "no data set yet"),
    ):
        done = planimeter("export", *arguments, "--to", tmp_path / "none", "--home", home, check=False)
        assert (done.returncode, code in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("place", ["export-made", "export-recorded"])
def test_a_process_that_is_killed_leaves_no_half_export_and_none_that_is_not_in_the_record(
    at_home: Given, tmp_path: Path, place: str
) -> None:
    command = [*PLANIMETER, "export", at_home.uid, "--to", str(tmp_path / "out"), "--home", str(at_home.house.home)]
    done = subprocess.run(command, env=os.environ | {"PLANIMETER_FAILPOINT": place}, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.glob(f"{MAKING}*")
    with at_home.house.database.read() as tx:
        assert len(events.listing(tx)) == (place == "export-recorded")
    os.utime(left, (0, 0))
    subprocess.run(command, check=True, capture_output=True)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 5
    assert not left.exists()  # the next one there takes it away
    assert not list(tmp_path.glob(f"{MAKING}*"))


def test_only_what_a_killed_export_left_is_swept(tmp_path: Path) -> None:
    stranger = tmp_path / f"{MAKING}of-somebody"
    young, old = (tmp_path / f"{MAKING}{digit * 16}" for digit in "12")
    for folder in (stranger, young, old):
        folder.mkdir()
        (folder / "x").touch()
    link = tmp_path / f"{MAKING}{'3' * 16}"
    link.symlink_to(stranger, target_is_directory=True)
    for folder in (stranger, old):
        os.utime(folder, (0, 0))
    with made(tmp_path / "out") as export:
        assert not old.exists()
        os.utime(export.root, (0, 0))
        assert sweep(tmp_path) == 0  # a process is busy with it, however long
        assert export.root.is_dir()
    assert {one.name for one in tmp_path.iterdir()} == {stranger.name, young.name, link.name}


@pytest.mark.parametrize(
    ("asked", "which", "found"),
    [
        (["AccessionNumber=ACC7788"], {}, "ab"),
        (["AccessionNumber=ACC7788", "StudyDate=20260301-20260331"], {}, "b"),
        (["StudyDate=-20260228"], {}, "ac"),
        (["StudyDate=20260311"], {}, "b"),
        (["PatientID=OTHER-1"], {}, "c"),
        (["ModalitiesInStudy=CT", "PatientID=QX-0815"], {}, "ab"),
        ([], {"network": "ct_lungs"}, "a"),
        (["IssuerOfPatientID=nobody"], {}, "nothing-to-export"),
        (["AccessionNumber=A", "AccessionNumber=B"], {}, "unknown-query"),
        (["PatientName=X"], {}, "unknown-query"),
        (["StudyDate=March"], {}, "no-such-time"),
    ],
)
def test_studies_are_chosen_as_one_asks_a_pacs(
    database: Database, tmp_path: Path, asked: list[str], which: dict[str, str], found: str
) -> None:
    house = House(database, tmp_path / "home")
    uids = {
        "a": house.study(images(StudyDate="20260101")),
        "b": house.study(images(StudyDate="20260311")),
        "c": house.study(images("OTHER-1", "Bywater^Tom", StudyDate="20260101", AccessionNumber="ACC9")),
    }
    house.input_set(uids["a"])
    if len(found) < 4:
        assert choice.find(database, house.archive, asked, **which) == [uids[one] for one in found]
        return
    with pytest.raises(Refused) as refused:
        choice.find(database, house.archive, asked, **which)
    assert refused.value.code == found


def test_the_audit_trail_is_told_of_each_study_that_leaves(given: Given, tmp_path: Path) -> None:
    """PS3.15 A.5.3.6: an export, 110106."""
    with given.house.database.write() as tx:
        audit_trail.switch(tx, on=True)
    given.export(tmp_path / "out")
    with given.house.database.read() as tx:
        (said,) = [row for row in audit_trail.waiting(tx, 10) if row["what"] == What.EXPORTED]
    assert (said["facts"]["study_uid"], said["facts"]["who"]) == (given.uid, "somebody")


# ------------------------------------------------- asked for on a page, made by a worker


def test_a_study_that_somebody_asks_for_is_made_once_and_kept_for_a_week(given: Given) -> None:
    house = given.house
    options = ["clean-descriptors", "clean-structured-content", "retain-modified-dates"]
    asked.ask(house.database, given.uid, "anna", options, results=True)
    with pytest.raises(Refused) as refused:
        asked.ask(house.database, given.uid, "anna", options, results=True)
    assert refused.value.code == "export-waits"
    done = asked.make(house.database, house.home, KEY, 1)
    with house.database.write() as tx:
        asked_exports.end(tx, 1, **done)
    (row,) = asked.listing(house.database, given.uid)
    file = asked.file_of(house.database, house.home, given.uid, 1)
    assert row["size"] == file.stat().st_size
    assert (file.stat().st_mode & 0o777) == 0o600
    with zipfile.ZipFile(file) as packed:
        names = packed.namelist()
        assert len([name for name in names if name.endswith(".dcm")]) == 5
        for name in names:
            said = name.encode() + packed.read(name).lower()
            assert [word for word in WORDS if word in said] == []
    assert [one.name for one in (house.home / asked.FOLDER).iterdir()] == [file.name]
    with pytest.raises(Refused, match="no such export"):
        asked.file_of(house.database, house.home, "1.2.3", 1)
    asked.sweep(house.archive, house.database, 1e12)
    assert file.is_file()
    with house.database.write() as tx:
        tx.execute(sa.update(asked_export).values(ended=asked_export.c.ended - asked.KEPT_SECONDS - 1))
    (house.home / asked.FOLDER / "7").mkdir()  # what a worker left that was killed
    with made(house.home / asked.FOLDER / "8") as busy:
        os.utime(busy.root, (0, 0))
        asked.sweep(house.archive, house.database, 1e12)
        assert list((house.home / asked.FOLDER).iterdir()) == [busy.root]
    assert list((house.home / asked.FOLDER).iterdir()) == []
    with pytest.raises(Refused, match="not kept"):
        asked.file_of(house.database, house.home, given.uid, 1)


def test_an_export_goes_with_its_patient(given: Given) -> None:
    house = given.house
    for number in (1, 2):
        asked.ask(house.database, given.uid, "anna", [], results=False)
        done = asked.make(house.database, house.home, KEY, number)
        if number == 1:
            with house.database.write() as tx:
                asked_exports.end(tx, number, **done)
    assert len(list((house.home / asked.FOLDER).glob("*.zip"))) == 2
    erasing.erase(house.archive, house.database, PATIENT, None, "asked for", "somebody", KEY)
    with house.database.write() as tx:  # the one that was made meanwhile goes with the next purge
        asked_exports.end(tx, 2, **done)
    purge.finish(house.archive, house.database)
    assert list((house.home / asked.FOLDER).iterdir()) == []
    assert asked.make(house.database, house.home, KEY, 2)["code"] == "no-such-study"


def test_an_export_of_which_nothing_may_leave_says_why(given: Given) -> None:
    house = given.house
    with house.database.write() as tx:
        tx.execute(sa.update(instance).values(purged=1.0))
    asked.ask(house.database, given.uid, "anna", [], results=False)
    done = asked.make(house.database, house.home, KEY, 1)
    assert (done["path"], done["code"]) == (None, "nothing-to-export")
