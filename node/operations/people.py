"""Patients, as far as networks learn from them: who is suspected to be whom, and what a person decides about it.

The list names patients by PatientID, for whoever decides has to know whom it is about; nothing else does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from db import people as rows
from db.database import Database

from ..errors import Refused
from ..learning import cases, people
from ..learning.buckets import TEST, TRAIN, Key
from .terminal import output, print_table

NAME = re.compile(r"p([1-9][0-9]{0,14})", re.ASCII)


def listing(database: Database, key: Key) -> dict[str, list[dict[str, Any]]]:
    """Pairs that nobody decided on, and all patients that have a bucket. The keys are kept from version to version."""
    with database.read() as tx:
        suspicions = rows.suspicions(tx)
        listed = rows.listing(tx)
        kept_out = people.quarantines(tx)
        in_part = rows.compared_in_part(tx, key.name)
    patient_ids = {row["id"]: row["patient_id"] for row in listed}
    return {
        "suspicions": [
            {
                "first": f"p{row['first_id']}",
                "second": f"p{row['second_id']}",
                "because": people.same_words(set(row["because"].split(", "))),
                "patient_ids": " / ".join(patient_ids[row[side]] for side in ("first_id", "second_id")),
                "buckets": " / ".join(row[side] for side in ("first_bucket", "second_bucket")),
                "state": "held" if row["first_person"] in kept_out else "used",
            }
            for row in suspicions
        ],
        "patients": [
            {
                "patient": f"p{row['id']}",
                "patient_id": row["patient_id"],
                "issuer": row["issuer"],
                "same_as": f"p{row['alias_of']}" if row["alias_of"] else None,
                "bucket": row["bucket"],
                "pseudonym": row["pseudonym"],
                "labels": row["labels"],
                "reason": kept_out.get(row["alias_of"] or row["id"]),
            }
            for row in listed
        ],
        "notes": [{"note": _in_part(in_part)}] if in_part else [],
    }


def _in_part(count: int) -> str:
    return (
        f"the key was changed: {count} patients are compared with new ones by PatientID and study alone, until their "
        "images or labels come again"
    )


def print_tables(everything: dict[str, list[dict[str, Any]]]) -> None:
    """For people: what is to be decided first."""
    console = output()
    for one in everything["notes"]:
        console.print(f"[bold yellow]{one['note']}[/]")
    pairs = ("first", "second", "because", "patient_ids", "buckets", "state")
    print_table(console, "suspected to be one person", pairs, everything["suspicions"], {"held": "bold yellow"})
    known = ("patient", "patient_id", "issuer", "same_as", "bucket", "labels", "reason")
    print_table(console, "patients", known, everything["patients"])


def merge(database: Database, home: Path, first: str, second: str, who: str) -> str:
    """Say that two patients are one person.

    Args:
        first, second: as the list names them: p7.
        who: decides so.
    """
    with database.write() as tx:
        merged = people.merge(tx, _number(first), _number(second), who)
    if merged.bucket is not None:
        # what was made of them before lies where it does not belong any more; it is made again where it does
        cases.discard(home, TRAIN if merged.bucket == TEST else TEST, merged.pseudonyms)
    said = f"{first} and {second} are one person, p{merged.patient_row_id}"
    if merged.bucket is not None:
        said += f", in the bucket {merged.bucket}"
    if merged.trained_on and merged.tested_on:
        said += (
            f"; networks were trained on this person, who is in the test data sets {', '.join(merged.tested_on)}: "
            "what was judged on them counts this person wrongly"
        )
    return said


def apart(database: Database, first: str, second: str, who: str) -> str:
    """Say that two patients that are suspected to be one person are two."""
    with database.write() as tx:
        people.apart(tx, _number(first), _number(second), who)
    return f"{first} and {second} are two persons"


def _number(name: str) -> int:
    """A PatientID may be a number too, so the list's names are not."""
    found = NAME.fullmatch(name.strip())
    if found is None:
        raise Refused("no-such-patient", f"{name!r} is no patient; `planimeter patients list` names them: p7")
    return int(found[1])
