"""What one object costs rows, and what becomes of one that comes again where its file was harmed."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from db.arrivals import Seen
from db.database import Database
from db.tables import instance, patient, study
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
