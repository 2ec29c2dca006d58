"""Which labels of a network a data set would have now, and why the others are not in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import data_sets, labels
from db.database import Row
from models.card import Input

from . import cases
from .buckets import TEST, TRAIN, VALIDATION
from .cases import Wanted
from .people import quarantines

TRAINING = "training"
ROLES = {TRAINING: (TRAIN, VALIDATION), TEST: (TEST,)}
#: states of labels that were never meant to teach
NO_TRUTH = {
    "waiting": "it waits",
    "accepted": "it is our own result, returned unchanged",
    "rejected": "a person rejected it",
    "superseded": "a newer label of the same images took its place",
    "quarantined": "it is quarantined",
}


@dataclass(frozen=True)
class LeftOut:
    """A label that is not in a data set, and why."""

    label_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a data set would be now.

    Attributes:
        purpose: "training" or "test".
        wanted: its labels.
        left_out: the other labels of the network; those of the other purpose's buckets are not named.
    """

    network: str
    purpose: str
    wanted: tuple[Wanted, ...]
    left_out: tuple[LeftOut, ...]

    def unbuilt(self, home: Path) -> tuple[Wanted, ...]:
        """Those whose case folder is still to be made (`sources.make`)."""
        return tuple(one for one in self.wanted if not (cases.root(home, one.bucket) / one.name).is_dir())


def plan(tx: Any, network: str, purpose: str, inputs: Sequence[Input], *, required: Collection[int] = ()) -> Plan:
    """Which labels a data set would have.

    Args:
        purpose: "training" or "test".
        inputs: of the network's card.
        required: label values that every case must have been annotated with; none where the loss copes without.
    """
    usable = {row["id"] for row in labels.usable(tx, network)}
    kept_out = quarantines(tx)
    trained_on = data_sets.trained_on(tx) if purpose == TEST else set()
    reading = cases.reading(inputs)
    wanted, left_out = [], []
    for row in data_sets.labels(tx, network):
        if row["bucket"] is not None and row["bucket"] not in ROLES[purpose]:
            continue
        if reason := _why_not(row, usable, kept_out, trained_on, set(required)):
            left_out.append(LeftOut(row["id"], reason))
        else:
            wanted.append(_wanted(row, reading))
    return Plan(network=network, purpose=purpose, wanted=tuple(wanted), left_out=tuple(left_out))


def _why_not(
    row: Row, usable: Collection[int], kept_out: Mapping[int, str], trained_on: Collection[int], required: set[int]
) -> str:
    """Why a label is not used; empty where it is."""
    if row["state"] != "ready":
        told = row["state"] in ("waiting", "rejected", "quarantined") and row["sentence"]
        return f"{NO_TRUTH[row['state']]}: {row['sentence']}" if told else NO_TRUTH[row["state"]]
    if row["bucket"] is None:
        return "its patient has no bucket"
    if row["id"] not in usable:
        return "its images were replaced by newer ones"
    if row["person"] in kept_out:
        return kept_out[row["person"]]
    if row["person"] in trained_on:
        return f"a network was trained on patient p{row['person']}"
    if not row["annotated"]:
        return "no class of the network was looked for in it"
    if lacking := sorted(required - set(row["annotated"])):
        return f"it was not annotated with label value{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"
    return ""


def _wanted(row: Row, reading: str) -> Wanted:
    return Wanted(
        network=row["network"],
        label_id=row["id"],
        input_set_id=row["input_set_id"],
        patient=row["pseudonym"],
        person=row["person"],
        bucket=row["bucket"],
        members_hash=row["members_hash"],
        mask_path=row["mask_path"],
        mask_sha256=row["mask_sha256"],
        annotated=tuple(sorted(row["annotated"])),
        reading=reading,
    )
