"""What one object costs rows, and what becomes of one that comes again where its file was harmed."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, ImplicitVRLittleEndian, SegmentationStorage

from db.arrivals import Kind, Seen
from db.database import Database
from db.tables import instance, job, label, patient, study
from node.errors import Refused
from node.inbound.header import LONGEST_TEXT, TEXTS
from node.inbound.inbox import Source
from tests.kept import SMALL, House
from tests.synthetic import as_files, small_series

CT = Source("CT1", "10.0.0.1")


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path / "home")


def take(house: House, ds: Dataset, source: Source = CT, **given: Any) -> Seen:
    (file,) = as_files([ds], house.home / "made")
    spooled = file.rename(house.archive.new_spool_file())
    return house.inbox.take(spooled, ds.file_meta.TransferSyntaxUID, source, **given)


# ------------------------------------------------------------------- texts


def noise(length: int) -> str:
    """Text that no database can compress."""
    return secrets.token_hex(length)[:length]


@pytest.mark.filterwarnings("ignore:.*maximum length")
def test_texts_of_many_times_what_the_standard_allows_are_kept_on_both_databases(house: House) -> None:
    (image, *_) = small_series(SMALL)
    for keyword in TEXTS:
        setattr(image, keyword, noise(LONGEST_TEXT))
    assert take(house, image) is Seen.NEW
    (mine,) = house.rows(patient)
    assert (mine["patient_id"], mine["issuer"]) == (image.PatientID, image.IssuerOfPatientID)
    assert house.rows(study)[0]["accession"] == image.AccessionNumber


@pytest.mark.filterwarnings("ignore:.*maximum length")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *((keyword, noise(LONGEST_TEXT + 2)) for keyword in TEXTS),
        ("PatientID", "\N{GREEK SMALL LETTER OMEGA}" * (LONGEST_TEXT // 2 + 1)),
    ],
    ids=[*TEXTS, "PatientID in UTF-8"],
)
def test_a_text_that_no_index_takes_is_refused_and_not_blamed_on_the_database(
    house: House, keyword: str, value: str
) -> None:
    (image, other, *_) = small_series(SMALL)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    setattr(image, keyword, value)
    with pytest.raises(Refused, match=f"{keyword} has more than 1024 bytes") as refused:
        take(house, image)
    assert refused.value.code == "malformed"
    assert not list(house.archive.spool.iterdir())
    assert take(house, other) is Seen.NEW
    assert len(house.rows(instance)) == 1


# ------------------------------------------------- of which equipment it says


def with_device(vr: str, value: Any) -> Dataset:
    item = Dataset()
    item.add_new("DeviceUID", vr, value)
    return item


#: how ContributingEquipmentSequence is encoded, and its value
EQUIPMENT: dict[str, tuple[str, Any]] = {
    "a text": ("LO", "somebody"),
    "a number": ("US", 7),
    "bytes": ("OB", b"somebody"),
    "a device with NUL": ("SQ", [with_device("LO", "1.2\0.3")]),
    "a device that is a number": ("SQ", [with_device("US", 7)]),
    "two devices in one": ("SQ", [with_device("UI", ["1.2", "1.3"])]),
    "a sequence of devices": ("SQ", [with_device("SQ", [Dataset()])]),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("said", EQUIPMENT)
def test_what_says_strangely_who_made_it_is_not_ours_and_is_kept(house: House, said: str) -> None:
    (report, *_) = small_series(SMALL)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.add_new("ContributingEquipmentSequence", *EQUIPMENT[said])
    assert take(house, report) is Seen.NEW
    assert [row["kind"] for row in house.rows(instance)] == [Kind.OTHER]


# ------------------------------------------------------------- harmed files


def rotten(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)


def unreadable(file: Path) -> None:
    """Whoever reads this is told of an input/output error, as at a bad sector."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


HARMS: dict[str, Callable[[Path], Any]] = {
    "gone": Path.unlink,
    "empty": lambda file: os.truncate(file, 0),
    "cut in its meta information": lambda file: os.truncate(file, 140),
    "cut in its data": lambda file: os.truncate(file, file.stat().st_size - 7),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "of zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "of one other bit": rotten,
    "unreadable": unreadable,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_is_made_good_by_whoever_sends_the_object_again(
    house: House, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    (image, other, *_) = small_series(SMALL)
    assert [take(house, image), take(house, other)] == [Seen.NEW] * 2
    before, _ = house.rows(instance)
    HARMS[harm](house.archive.at(before["path"]))
    assert take(house, image) is Seen.SAME
    assert "takes its place" in caplog.text
    after, untouched = house.rows(instance)
    assert (after["digest"], after["revision"]) == (before["digest"], 1)
    assert dcmread(house.archive.at(after["path"])).PixelData == image.PixelData
    assert house.files("store") == {after["path"], untouched["path"]}
    assert not list(house.archive.spool.iterdir())
    caplog.clear()
    assert take(house, image) is Seen.SAME
    assert house.rows(instance)[0]["path"] == after["path"]
    assert not caplog.text


def of_another_program(ds: Dataset) -> Dataset:
    """The same object, with other file meta information: of a newer version, or by another way in."""
    ds.file_meta.ImplementationVersionName = "ANOTHER_VERSION"
    return ds


def test_what_is_known_of_a_file_is_known_of_the_one_that_came_back(house: House) -> None:
    (image, other, *_) = small_series(SMALL)
    assert [take(house, image), take(house, other)] == [Seen.NEW] * 2
    first, second = house.rows(instance)
    with house.database.write() as tx:  # the job that chooses has looked at one of them
        tx.execute(sa.update(instance).where(instance.c.id == first["id"]).values(sha256="5a" * 32))
    for row, ds in ((first, image), (second, other)):
        house.archive.at(row["path"]).unlink()
        assert take(house, of_another_program(ds)) is Seen.SAME
    for row, before, known in zip(house.rows(instance), (first, second), (True, False), strict=True):
        data = house.archive.at(row["path"]).read_bytes()
        assert row["size"] == len(data) > before["size"]
        assert row["sha256"] == (hashlib.sha256(data).hexdigest() if known else None)


def test_an_error_that_may_pass_harms_no_file(house: House) -> None:
    (image, *_) = small_series(SMALL)
    assert take(house, image) is Seen.NEW
    (row,) = house.rows(instance)
    file = house.archive.at(row["path"])
    kept = file.rename(house.home / "kept")
    file.symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        take(house, image)
    kept.rename(file)
    assert take(house, image) is Seen.SAME
    assert house.rows(instance)[0]["path"] == row["path"]


# ------------------------------------------------------------------ labels


def an_outline() -> Dataset:
    (outline, *_) = small_series(SMALL)
    outline.SOPClassUID = outline.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    return outline


def test_a_label_whose_file_came_back_is_that_label_still(house: House) -> None:
    outline, reader = an_outline(), replace(CT, teaches=True)
    assert take(house, outline, reader) is Seen.NEW
    (before,) = house.rows(label)
    with house.database.write() as tx:
        tx.execute(sa.update(label).values(state="rejected", code="label-rejected"))
    house.archive.at(before["source_path"]).unlink()
    for _ in range(2):
        assert take(house, of_another_program(outline), reader) is Seen.SAME
        (after,) = house.rows(label)
        assert (after["state"], after["source_sha256"]) == ("rejected", before["source_sha256"])
        assert after["source_path"] == house.rows(instance)[0]["path"] != before["source_path"]
    assert len(house.rows(job)) == 1


class Watch:
    """Files of the store that this process opens while it is in a transaction."""

    def __init__(self, database: Database) -> None:
        self.opened, self.is_in, self.is_on = list[str](), False, True
        for event, is_in in (("begin", True), ("commit", False), ("rollback", False)):
            sa.event.listen(database.engine, event, partial(self._note, is_in))
        sys.addaudithook(self._hear)  # there is no way to take it away again

    def _note(self, is_in: bool, _connection: Any) -> None:
        self.is_in = is_in

    def _hear(self, event: str, told: tuple[Any, ...]) -> None:
        if self.is_on and self.is_in and event == "open" and "/store/" in str(told[0]):
            self.opened.append(str(told[0]))


def test_a_label_is_read_before_the_transaction_for_which_others_wait(house: House) -> None:
    outline, reader = an_outline(), replace(CT, teaches=True)
    watch = Watch(house.database)
    try:
        assert take(house, outline, reader) is Seen.NEW
        (row,) = house.rows(label)
        file = house.archive.at(house.rows(instance)[0]["path"])
        assert row["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert take(house, outline, reader) is Seen.SAME
        assert house.rows(label) == [row]
    finally:
        watch.is_on = False
    assert not watch.opened
