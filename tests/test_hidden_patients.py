"""Test patients who come back under another identity, to be trained on: they are kept out, and listed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from db import data_sets, labels, training_runs
from db.job_states import JobKind
from node.learning.buckets import Shares, bucket
from node.operations import people, retrain
from tests.driving import jobs_of, work_off
from tests.harmed import KEY, NETWORK, SHARES, Patient, Ward, boxes, install, names, patient, thresholds, ward
from tests.test_planted_harms import BOXES

HELD = "may be the same person"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Ward]:
    install(tmp_path / "home", thresholds())
    with ward(tmp_path / "home", tmp_path, BOXES, max_epochs=1) as opened:
        yield opened


def renamed(one: Patient, **elements: str) -> Patient:
    for ds in one.images:
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
    return Patient(one.images[0].PatientID, one.images, one.truth)


def elsewhere(name: str) -> str:
    """An issuer by whom a PatientID is one to be trained on."""
    train, validation, test = SHARES
    shares = Shares(train=train, validation=validation, test=test)
    every = (f"Clinic {number}" for number in count())
    return next(one for one in every if bucket(KEY.pseudonym(one, name), shares) == "train")


def learnt_from(here: Ward) -> tuple[set[str], set[str], list[str]]:
    """Pseudonyms that a training and a test would have now, by training; and why labels are left out."""
    retrain.ask(here.node.database, here.node.networks, NETWORK, 3, "somebody")
    work_off(here.node, JobKind.TRAIN)
    with here.node.database.read() as tx:
        run = training_runs.listing(tx, NETWORK)[0]
        assert run["state"] == "trained", jobs_of(here.node)
        training, test = (data_sets.find(tx, run[which]) for which in ("data_set_id", "test_set_id"))
    assert training is not None and test is not None
    said = [one["reason"] for one in training["manifest"]["left_out"]]
    given = here.order(run)["train"]
    assert [Path(one).name for one in given] == [one["case"] for one in training["manifest"]["cases"]]
    return *({one["patient"] for one in row["manifest"]["cases"]} for row in (training, test)), said


def pairs(here: Ward) -> dict[str, dict[str, Any]]:
    """What `planimeter patients list` says of suspicions, by the PatientID that came later."""
    found = people.listing(here.node.database, KEY)["suspicions"]
    return {one["patient_ids"].split(" / ")[1]: one for one in found}


def test_test_patients_under_another_identity_are_not_trained_on(here: Ward) -> None:
    locked = [patient(number, name, boxes(number)) for number, name in enumerate(names({"test": 5}))]
    honest = [patient(number, name, boxes(number)) for number, name in enumerate(names({"train": 2}), 20)]
    ids = names({"train": 2}, since=500)
    # other spelling; other issuer; other PatientID and same name, birth date and sex; other everything and same pixels
    spelt = patient(30, f"{locked[0].name.lstrip('0').lower()[:-1]}-k", boxes(30))
    issued = renamed(patient(31, locked[1].name, boxes(31)), IssuerOfPatientID=elsewhere(locked[1].name))
    issued = renamed(issued, PatientName="Other^Name")
    named = renamed(patient(2, ids[0], boxes(32)), PatientName=f"{locked[2].name.lower()}^TEST")
    pixels = patient(33, ids[1], boxes(3))
    hidden = [spelt, issued, named, pixels]
    here.admit([*locked, *honest])
    here.correct([*here.known])
    here.admit(hidden)
    here.teach([one.corrected(BOXES) for one in hidden])

    def known_as(*found: Patient) -> set[str]:
        return {KEY.pseudonym("", one.name) for one in found}

    training, test, left_out = learnt_from(here)
    assert training == known_as(*honest)
    assert test == known_as(locked[0], locked[4])  # both spellings are one; of the others nobody is sure
    assert len([one for one in left_out if HELD in one]) == 3

    listed = pairs(here)
    assert {name: (one["because"], one["state"], one["buckets"]) for name, one in listed.items()} == {
        spelt.name: ("same PatientID", "used", "test / test"),
        issued.name: ("same PatientID", "held", "test / train"),
        named.name: ("same name, birth date and sex", "held", "test / train"),
        pixels.name: ("same images", "held", "test / train"),
    }

    # it was the suspicion that kept them out
    decided = listed[named.name]
    people.apart(here.node.database, decided["first"], decided["second"], "somebody")
    decided = listed[pixels.name]
    people.merge(here.node.database, here.node.archive.home, decided["first"], decided["second"], "somebody")
    work_off(here.node)
    training, test, left_out = learnt_from(here)
    assert training == known_as(*honest, named)
    assert test == known_as(locked[0], locked[2], locked[3], locked[4])
    assert len([one for one in left_out if HELD in one]) == 1


def test_a_correction_that_names_another_patient_is_quarantined(here: Ward) -> None:
    """Somebody else's labels, filed with a patient who is learnt from."""
    one, other = (patient(number, name, boxes(number)) for number, name in enumerate(names({"train": 2})))
    here.admit([one, other])
    wrong = one.corrected(BOXES)
    wrong.PatientID, wrong.PatientName = other.name, other.images[0].PatientName
    here.teach([wrong])
    with here.node.database.read() as tx:
        (kept,) = labels.listing(tx)
    assert (kept["state"], kept["code"]) == ("quarantined", "label-other-patient"), kept["sentence"]
