"""Our de-identification beside dicom-anonymizer's and dicognito's, on the objects of the pydicom wheel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from dicognito.anonymizer import Anonymizer
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.deidentify import leaving
from node.deidentify.identifiers import Identifiers
from node.deidentify.instance import Profile, deidentified, written
from node.deidentify.keys import Keys
from node.deidentify.options import USUAL, Option
from node.deidentify.proof import Proof
from node.errors import Refused

BASIC = Profile(frozenset(), Keys(b"k" * 32))
FILES = Path(pydicom.data.__file__).parent / "test_files"


@cache
def corpus() -> tuple[tuple[str, bytes], ...]:
    found = []
    for file in sorted(FILES.rglob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = dcmread(file)
            except InvalidDicomError:
                continue
        # a report leaves only with its content cleaned, which the basic profile does not do
        if "SOPClassUID" in ds and "TransferSyntaxUID" in ds.file_meta and "ContentSequence" not in ds:
            found.append((file.name, file.read_bytes()))
    return tuple(found)


def ours(data: bytes) -> tuple[Dataset, Identifiers]:
    found = Identifiers()
    found.gather(dcmread(BytesIO(data)), BASIC.options)
    return dcmread(BytesIO(written(deidentified(dcmread(BytesIO(data)), BASIC, BASIC.person("x", found))))), found


def values(ds: Dataset, path: str = "") -> Iterator[tuple[str, Any]]:
    for element in ds:
        where = f"{path}{element.keyword or element.tag}"
        if element.VR == "SQ":
            for n, item in enumerate(element.value):
                yield from values(item, f"{where}[{n}].")
        elif element.value not in (None, "", b""):
            yield where, element.value


#: the table lets their UIDs be mapped (X/Z/U*), and we do, so that objects hang together; it empties them
REFERENCES = ("SourceImageSequence", "ReferencedImageSequence")


def test_what_dicom_anonymizer_takes_away_is_not_in_ours_either() -> None:
    """Every value that it changed of an object is not in ours under the same attribute."""
    kept = []
    compared = 0
    for name, data in corpus():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = dict(values(dcmread(BytesIO(data))))
            theirs_ds = dcmread(BytesIO(data))
            try:
                anonymize_dataset(theirs_ds)
                mine = dict(values(ours(data)[0]))
            except (Refused, ValueError, NotImplementedError, TypeError, KeyError, AttributeError):
                continue  # it does not know the VR of a value that it would replace
            theirs = dict(values(theirs_ds))
        compared += 1
        for where, value in before.items():
            changed = theirs.get(where) != value and not where.startswith(REFERENCES)
            if changed and mine.get(where) == value:
                kept.append(f"{name} {where}")
    assert compared > 40
    assert kept == []


def test_the_proof_finds_what_dicognito_leaves_and_nothing_in_ours() -> None:
    """It keeps descriptions and private elements as they are: our proof tells the two apart."""
    left: list[str] = []
    compared = 0
    for name, data in corpus():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = ours(data)
                theirs = dcmread(BytesIO(data))
                Anonymizer(seed="x").anonymize(theirs)
                stream = BytesIO()
                theirs.save_as(stream)
            except (Refused, ValueError, NotImplementedError, TypeError, KeyError, AttributeError):
                continue
            compared += 1
            mine = BytesIO()
            found[0].save_as(mine)
            assert Proof(found[1]).leaks(mine.getvalue()) == [], name
            left += [f"{name}: {leak.kind}" for leak in Proof(found[1]).leaks(stream.getvalue())]
    assert compared > 40
    assert left  # a name in a private element or in a description of at least one


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyInstanceUID"])
def test_all_three_take_the_same_identity_away(keyword: str) -> None:
    data = (FILES / "CT_small.dcm").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = dcmread(BytesIO(data)), dcmread(BytesIO(data))
        anonymize_dataset(one)
        Anonymizer(seed="x").anonymize(two)
        said = {str(ds.get(keyword)) for ds in (one, two, ours(data)[0])}
    assert str(dcmread(BytesIO(data)).get(keyword)) not in said


def test_real_studies_leave_proven(dicom_data: Path) -> None:
    """Of several makers and kinds: the identifiers of each patient are searched for in all of the patient's objects."""
    left, refused = 0, set[str]()
    how = Profile(USUAL | {Option.MODIFIED_DATES}, Keys(b"k" * 32))
    for folder in ("seg/dcmqi_ct3slice", "seg/dcmqi_sr_example", "rtstruct/rtutils_phantom", "xray/fodicom_cr"):
        files = [file for file in sorted((dicom_data / folder).rglob("*")) if file.is_file()]
        found = Identifiers()
        objects = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for file in files:
                try:
                    found.gather(dcmread(file), how.options)
                except InvalidDicomError:
                    continue
                objects.append(file)
            person, proof = how.person(folder, found), Proof(found)
            for file in objects:
                try:
                    ds = dcmread(file)
                    leaving.require(ds, how.options, with_burned_in=False)
                    data = written(deidentified(ds, how, person))
                except Refused as reason:
                    refused.add(reason.code)
                    continue
                assert proof.leaks(data) == [], file.name
                left += 1
    assert left > 15
    assert refused <= {"no-class", "may-be-burned-in", "unwritable-object"}
