"""Asking a real PACS and retrieving from it in every way that there is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from node.errors import NodeError, Refused
from node.pull import search
from node.pull.pacs import Pacs
from tests.conftest import find_program, lacking
from tests.orthanc import Orthanc
from tests.pulling import PATIENT, Here, dicomweb, dimse, look, opened, study

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
UID = study(1)[0].StudyInstanceUID


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    program = find_program("Orthanc", "apt-get install orthanc")
    if not PLUGIN.is_file():
        lacking("the DICOMweb plugin of Orthanc", "apt-get install orthanc-dicomweb")
    with Orthanc(program, Plugins=[str(PLUGIN)], DicomWeb={"Enable": True}, DicomAlwaysAllowGet=True) as server:
        squeezed = study(2)
        squeezed[0].compress(RLELossless, generate_instance_uid=False)
        for ds in [*study(1), *squeezed, *study(3, PatientID="Ä3", SpecificCharacterSet="ISO_IR 100")]:
            data = BytesIO()
            ds.save_as(data, enforce_file_format=True)
            server.take(data.getvalue())
        yield server


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(tempfile, "tempdir", None)  # who receives sets it for the whole process
    with opened(tmp_path, migrated) as made:
        yield made


def ways(orthanc: Orthanc) -> list[Pacs]:
    return [dimse(orthanc, "move"), dimse(orthanc, "get"), dicomweb(f"{orthanc.url}/dicom-web")]


@pytest.mark.parametrize("way", [0, 1, 2], ids=["move", "get", "wado"])
def test_orthanc_is_asked_and_gives_what_it_has(orthanc: Orthanc, here: Here, way: int) -> None:
    pacs = ways(orthanc)[way]
    orthanc.know("PLANIMETER", here.receive())
    (one,) = look(pacs, accession="A2").studies
    assert (one.images, one.modalities, one.study_date, one.patient_id) == (3, ("CT",), "20260102", "P1")
    assert here.fetch(pacs, one.study_uid, expected=3) == "3 objects are here, 3 of them new"
    there = {dcmread(BytesIO(file)).SOPInstanceUID: file for file in orthanc.files()}
    kept = [dcmread(file) for file in (here.archive.home / "store").rglob("*.dcm")]
    assert len(kept) == 3
    for ds in kept:
        original = dcmread(BytesIO(there[ds.SOPInstanceUID]))
        assert ds.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert ds == original
    assert here.fetch(pacs, one.study_uid, expected=3) == "3 objects are here, 0 of them new"


@pytest.mark.parametrize("way", [0, 2], ids=["find", "qido"])
def test_orthanc_is_searched_by_patient_days_and_modality(orthanc: Orthanc, way: int) -> None:
    pacs = ways(orthanc)[way]
    assert [one.accession for one in look(pacs, patient_id="P1").studies] == ["A2", "A1"]
    days: dict[str, Any] = {"since": date(2026, 1, 2), "until": date(2026, 1, 3)}
    assert [one.accession for one in look(pacs, **days, modality="CT").studies] == ["A3", "A2"]
    assert not look(pacs, **days, modality="MR").studies
    assert not look(pacs, accession="A9").studies
    if way == 0:  # its plug-in takes the letters of a URL for those of its default character set
        assert [one.accession for one in look(pacs, patient_id="Ä3").studies] == ["A3"]
    with search.asking(pacs, "PLANIMETER", PATIENT) as finder:
        (now,) = look(pacs, accession="A2").studies
        assert [one.accession for one in search.priors(finder, now, 3)] == ["A1"]
        assert [one.images for one in search.series(finder, UID)] == [3]
        assert search.images(finder, UID) == 3


def test_what_orthanc_does_not_have_is_said(orthanc: Orthanc, here: Here) -> None:
    orthanc.know("PLANIMETER", here.receive())
    for pacs in ways(orthanc):
        with search.asking(pacs, "PLANIMETER", PATIENT) as finder, pytest.raises(Refused, match="not-at-pacs"):
            search.images(finder, "1.2.3.4")
        with pytest.raises(NodeError):
            here.fetch(pacs, "1.2.3.4")


def test_an_orthanc_that_does_not_know_us_is_told_of(orthanc: Orthanc, here: Here) -> None:
    orthanc.know("SOMEBODY", 1)
    with pytest.raises(NodeError, match=r"register.*AE title PLANIMETER"):
        here.fetch(dimse(orthanc, "move"), UID)
