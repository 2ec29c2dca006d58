"""What a PACS answers to QIDO-RS and C-FIND, as studies and series (PS3.18 F.2, PS3.4 C.6.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode

from node.pull.answer import data_set, listed
from node.pull.query import StudyFound, Wish, series_of, study_of
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

BINARY = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
WISH = Wish(since=date(2026, 1, 1), until=date(2026, 12, 31))


def data_sets(form: int, data: bytes) -> list[Dataset]:
    """As they come of JSON, or of pynetdicom, which gives what it cannot decode to nobody."""
    if form < len(BINARY):
        syntax = BINARY[form]
        try:
            return [decode(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)]
        except Exception:  # noqa: BLE001 - pynetdicom's own edge
            return []
    try:
        matches = listed(data)
    except ValueError:
        return []
    return [one for match in matches if (one := data_set(match)) is not None]


def check(read: Reader, data: bytes) -> bool:
    """The first byte says in which form the others come."""
    found = False
    for ds in data_sets(data[0] % 3 if data else 0, data[1:]):
        study, series = read(ds), series_of(ds)
        if study is not None:
            found = True
            assert 1 <= len(study.study_uid) <= 64 and not set(study.study_uid) - set("0123456789.")
            assert all(isinstance(one, str) for one in (study.patient_id, study.study_date, *study.modalities))
            assert "\ufffd" not in study.patient_id, "an identifier that was damaged"
            assert study.images is None or study.images >= 0
            WISH.is_met_by(study)
        assert series is None or series.images is None or series.images >= 0
    return found


def careless(ds: Dataset) -> StudyFound | None:
    """Takes for a number of images what is none."""
    found = study_of(ds)
    return found and replace(found, images=-1)


def seeds() -> Iterable[bytes]:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "1.2.3", "1.2.3.4", "P1"
    ds.StudyDate, ds.Modality, ds.ModalitiesInStudy, ds.StudyDescription = "20260301", "CT", ["CT", "PT"], "Thorax"
    ds.NumberOfStudyRelatedInstances, ds.NumberOfSeriesRelatedInstances = 3, 2
    for number, syntax in enumerate(BINARY):
        yield bytes((number,)) + (encode(ds, syntax.is_implicit_VR, syntax.is_little_endian) or b"")
    one: Any = ds.to_json_dict()
    yield b"\2" + json.dumps([one]).encode()
    yield b"\2" + json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}]).encode()
    yield b"\2" + b'[{"0020000D": {"vr": "SQ", "Value": ' * 5


TARGET = Target(
    read=study_of,
    check=check,
    seeds=seeds,
    faults={"makes up a number": careless},
    words=[
        *words.ELEMENTS,
        *words.LENGTHS,
        b'"Value": [',
        b'"vr": "',
        b"1e999",
        b"[[[[[[[[[[[[",
        b"InlineBinary",
        b"null",
    ],
)
