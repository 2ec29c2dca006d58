"""Test patients who come back under another identity, to be trained on: they are kept out, and listed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from db import data_sets, labels, training_runs
from db.job_states import JobKind
from node.learning import data_set
from node.learning.buckets import TEST, Shares, bucket
from node.learning.plan import TRAINING
from node.operations import people, retrain
from tests.driving import jobs_of, work_off
from tests.harmed import BOXES, KEY, NETWORK, SHARES, Patient, Ward, boxes, install, names, patient, thresholds, ward
from tests.threshold_host import ThresholdHosts

HELD = "may be the same person"


@pytest.fixture
def here(tmp_path: Path, threshold_hosts: ThresholdHosts) -> Iterator[Ward]:
    """A node whose drafts cost nothing; it trains as ever."""
    install(tmp_path / "home", thresholds())
    with ward(tmp_path / "home", BOXES, threshold_hosts.address, max_epochs=1) as opened:
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


def planned(here: Ward, purpose: str) -> tuple[set[str], list[str]]:
    """Pseudonyms that a data set would have now, and why labels are left out."""
    _, bundle = here.node.networks.live(NETWORK)
    with here.node.database.read() as tx:
        plan = data_set.plan(tx, NETWORK, purpose, bundle.card.input)
    return {one.patient for one in plan.wanted}, [one.reason for one in plan.left_out]


def trained_on(here: Ward) -> tuple[set[str], set[str], list[str]]:
    """Train; pseudonyms in the data sets for training and for the test, and why labels are left out of the first."""
    retrain.ask(here.node.database, here.node.networks, NETWORK, 3, "somebody")
    work_off(here.node, JobKind.TRAIN)
    with here.node.database.read() as tx:
        run = training_runs.listing(tx, NETWORK)[0]
        training, test = (data_sets.find(tx, run[which]) for which in ("data_set_id", "test_set_id"))
    assert run["state"] == "trained", jobs_of(here.node)
    assert training is not None and test is not None
    cases = {Path(one).name for one in here.order(run)["train"]}  # all that the training process knows
    assert cases == {one["case"] for one in training["manifest"]["cases"]}
    learnt, tested = ({one["patient"] for one in row["manifest"]["cases"]} for row in (training, test))
    return learnt, tested, [one["reason"] for one in training["manifest"]["left_out"]]


def pairs(here: Ward) -> dict[str, dict[str, Any]]:
    """What `planimeter patients list` says of suspicions, by the PatientID that came later."""
    found = people.listing(here.node.database, KEY)["suspicions"]
    return {one["patient_ids"].split(" / ")[1]: one for one in found}


@pytest.mark.slow
def test_test_patients_under_another_identity_are_not_trained_on(here: Ward) -> None:
    locked = [patient(number, name, boxes(number)) for number, name in enumerate(names({"test": 4}))]
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

    learnt, tested, left_out = trained_on(here)
    assert learnt == known_as(*honest)
    assert tested == known_as(locked[0])  # both spellings are one; of the others nobody is sure
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
    learnt, left_out = planned(here, TRAINING)
    assert learnt == known_as(*honest, named)
    assert len([one for one in left_out if HELD in one]) == 1
    assert planned(here, TEST)[0] == known_as(locked[0], locked[2], locked[3])


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
