"""Training exports: a folder that MONAI reads, whose files name nobody, with everybody in the bucket of the house."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.data.decathlon_datalist import load_decathlon_datalist

from db import events
from db.database import Database
from models.card import SHIPPED, read
from node.deidentify.keys import Keys
from node.errors import Refused
from node.learning import cases
from node.operations.exporting import data_set as exporting
from node.operations.exporting.folder import Made
from node.study.archive import Archive
from node.study.decode import Decoders
from tests.test_data_sets import KEY, NETWORK, SECRETS, TEST, TRAIN, VALIDATION, Hospital

KEYS, CARD = Keys(b"e" * 32), read(SHIPPED / "ct_lungs").card


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


@pytest.fixture
def hospital(database: Database, decoders: Decoders, tmp_path: Path) -> Hospital:
    archive = Archive(tmp_path / "home")
    archive.prepare()
    made = Hospital(database, archive, decoders)
    for patient_id in (TRAIN[0], TRAIN[0], TRAIN[1], VALIDATION[0], TEST[0]):
        made.label(patient_id)
    made.freeze("training")
    made.freeze("test")
    return made


def export(hospital: Hospital, to: Path, *, number: str = "", with_test: bool = False, keys: Keys = KEYS) -> Made:
    wish = exporting.Wish(network=NETWORK, card=CARD, keys=keys, number=number, with_test=with_test)
    return exporting.export(hospital.database, hospital.home, wish, to, "somebody")


def test_monai_reads_the_folder_and_everybody_is_in_the_bucket_of_the_house(hospital: Hospital, tmp_path: Path) -> None:
    made = export(hospital, tmp_path / "out", with_test=True)
    listed = {
        name: load_decathlon_datalist(str(tmp_path / "out" / "dataset.json"), True, name)
        for name in ("training", "validation", "test")
    }
    assert {name: len(found) for name, found in listed.items()} == {"training": 3, "validation": 1, "test": 1}
    names = {name: {one["patient"] for one in found} for name, found in listed.items()}
    assert names == {
        "training": {KEYS.pseudonym(KEY.pseudonym("", one)) for one in TRAIN[:2]},
        "validation": {KEYS.pseudonym(KEY.pseudonym("", VALIDATION[0]))},
        "test": {KEYS.pseudonym(KEY.pseudonym("", TEST[0]))},
    }
    for found in listed.values():
        for one in found:
            image, label = nibabel.load(one["image"]), nibabel.load(one["label"])
            assert image.shape == label.shape == (6, 5, 3)
            assert np.array_equal(image.affine, label.affine)
            assert np.count_nonzero(np.asanyarray(label.dataobj)) == 9
    assert made.patients == {KEY.pseudonym("", one) for one in (*TRAIN[:2], VALIDATION[0], TEST[0])}


def test_the_images_are_those_that_the_network_is_trained_on(hospital: Hospital, tmp_path: Path) -> None:
    export(hospital, tmp_path / "out")
    exported = sorted(
        np.asanyarray(nibabel.load(file).dataobj).T.tobytes() for file in (tmp_path / "out").rglob("*_0000.nii.gz")
    )
    kept = [cases.read(folder) for folder in cases.root(hospital.home, "train").iterdir()]
    assert exported == sorted(np.ascontiguousarray(one.channels[0]).tobytes() for one in kept)


def test_locked_patients_stay_unless_they_are_asked_for(hospital: Hospital, tmp_path: Path) -> None:
    export(hospital, tmp_path / "out")
    assert "test" not in json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert KEYS.pseudonym(KEY.pseudonym("", TEST[0])) not in str([*(tmp_path / "out").rglob("*")])


def test_no_name_header_or_byte_names_anybody(hospital: Hospital, tmp_path: Path) -> None:
    export(hospital, tmp_path / "out", with_test=True)
    words = [*SECRETS.values(), "Wylde", "Oscarina", *TRAIN[:2], VALIDATION[0], TEST[0]]
    for file in (tmp_path / "out").rglob("*"):
        data = b"" if file.is_dir() else file.read_bytes()
        said = [str(file.relative_to(tmp_path)).encode(), data]
        said += [gzip.decompress(data)] if file.suffix == ".gz" else []
        assert [word for word in words for each in said if word.encode() in each] == [], file


def test_by_what_stayed_exports_with_other_keys_cannot_be_joined(
    hospital: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = sorted(cases.root(hospital.home, "train").iterdir())
    (first / "label.npy").write_bytes(b"spoilt")
    said = {}
    for name, keys in (("one", KEYS), ("two", Keys(b"f" * 32))):
        made = export(hospital, tmp_path / name, keys=keys)
        (kept,) = made.kept
        assert kept.code == "bad-case"
        assert kept.uid in kept.sentence
        assert f"case {first.name} stays here: bad-case; the export calls it {kept.uid}" in caplog.text
        every = [file.read_bytes() for file in (tmp_path / name).glob("*.*")]
        assert any(kept.uid.encode() in data for data in every)
        assert not [one for one in (first, *others) for data in every if one.name.encode() in data]
        said[name] = kept.uid
    assert said["one"] != said["two"]


def test_the_record_names_the_export(hospital: Hospital, tmp_path: Path) -> None:
    made = export(hospital, tmp_path / "out", number="1")
    with hospital.database.read() as tx:
        (row,) = events.listing(tx)
    details = json.loads(row["details"])
    assert (row["what"], row["subject"], details["export"]) == ("exported", NETWORK, made.name)
    assert details["patients"] == sorted(made.patients)
    assert details["data_sets"] == ["training 1"]


def test_a_set_that_is_not_there_and_a_name_in_it_are_refused(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no-such-data-set"):
        export(hospital, tmp_path / "out", number="7")
    # a person's number as the name of a class: no case can hold one, a card may
    first = CARD.segment[0].model_copy(update={"label": f"lung of {TRAIN[0]}"})
    card = CARD.model_copy(update={"segment": (first,)})
    wish = exporting.Wish(network=NETWORK, card=card, keys=KEYS)
    with pytest.raises(Refused, match="identifier-left"):
        exporting.export(hospital.database, hospital.home, wish, tmp_path / "out", "somebody")
    assert not (tmp_path / "out").exists()
