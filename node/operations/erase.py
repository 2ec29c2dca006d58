"""Erase a patient: every object, result, mask and row; and tell what was learnt from them, and who else has something.

The record keeps a pseudonym and counts, nothing more. Backups that were made before still hold the patient.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from db import arrivals, audit_trail, doomed, erasure, events, exports, link, people, remnants
from db.database import Database, Row
from db.erasure import Rows

from ..audit.codes import What
from ..errors import NodeError, Refused
from ..learning import cases
from ..learning.buckets import TEST, TRAIN, Key
from ..study.archive import Archive
from . import unnamed, verdicts
from .at_rest import undisturbed
from .purge import finish
from .terminal import new_table, output, plain

RECORDED = "patient-erased"
#: a file of the store that is younger may be about to get its row
COMING_SECONDS = 300.0
#: of a training run: they show slices of the patients it was judged on
REPORTS = ("report.html", "report.pdf")
SHOWN = ("study", "instance", "result", "measurement", "label", "delivery", "job")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is of a patient.

    Attributes:
        names: "PatientID (issuer)" of all rows that are this person.
        pseudonym: how the record names the person.
        rows: table -> number.
        holders: destination -> objects that it was given.
        networks: sentences on what was learnt from the patient.
        exports: name, day and subject of each export that the patient is in.
    """

    names: tuple[str, ...]
    pseudonym: str
    rows: dict[str, int]
    files: int
    holders: dict[str, int]
    networks: tuple[str, ...]
    exports: tuple[str, ...]


def look(
    archive: Archive,
    database: Database,
    patient_id: str,
    issuer: str | None,
    key: Key,
    console: Console | None = None,
) -> Found:
    """What would be erased.

    Args:
        console: shows how far it is.

    Raises:
        Refused: `no-such-patient`, `ambiguous-patient`.
    """
    strays = _strays(archive, database, patient_id, issuer, 0.0, console)
    with database.read() as tx:
        persons = _persons(tx, patient_id, issuer)
        found = _found(tx, persons, erasure.follow(tx, [row["id"] for row in persons]), key)
    return replace(found, files=found.files + len(strays))


def _persons(tx: Any, patient_id: str, issuer: str | None) -> Sequence[Row]:
    if not patient_id.strip():
        raise Refused("no-such-patient", "an empty PatientID names nobody")
    persons = erasure.find(tx, patient_id, issuer)
    if not persons:
        raise Refused("no-such-patient", "there is no patient with this PatientID (and issuer)")
    if len({row["alias_of"] or row["id"] for row in persons}) > 1:
        issuers = ", ".join(repr(row["issuer"]) for row in persons if row["patient_id"] == patient_id.strip())
        raise Refused("ambiguous-patient", f"several issuers have this PatientID: {issuers}; say which with --issuer")
    return persons


def _found(tx: Any, persons: Sequence[Row], rows: Rows, key: Key) -> Found:
    ids = [row["id"] for row in persons]
    first = next(row for row in persons if row["alias_of"] is None)
    return Found(
        names=tuple(f"{row['patient_id']} ({row['issuer'] or 'no issuer'})" for row in persons),
        pseudonym=first["pseudonym"] or key.pseudonym(first["issuer"], first["patient_id"]),
        rows={name: len(found) for name, found in rows.items() if found},
        files=len(erasure.paths(tx, rows)),
        holders=erasure.holders(tx, rows),
        networks=_networks(tx, erasure.learnt_from(tx, ids)),
        exports=_exports(tx, {row["pseudonym"] or key.pseudonym(row["issuer"], row["patient_id"]) for row in persons}),
    )


def _exports(tx: Any, pseudonyms: set[str]) -> tuple[str, ...]:
    said = []
    for row in exports.recorded(tx):
        details = json.loads(row["details"])
        if pseudonyms & set(details["patients"]):
            day = datetime.fromtimestamp(row["at"]).astimezone().date().isoformat()
            said.append(f"export {details['export']} of {day} by {row['who']} ({row['subject']})")
    return tuple(said)


def _networks(tx: Any, runs: Sequence[Row]) -> tuple[str, ...]:
    said = []
    trained = {row["candidate_id"] for row in runs if row["role"] == "train" and row["candidate_id"]}
    for row in runs:
        made = f"{row['network']} {row['version']}" if row["version"] else f"no version came of {row['network']}"
        what = {"train": "was trained on", "validation": "was chosen by", "test": "was judged on"}[row["role"]]
        said.append(f"{made} (training {row['id']}) {what} this patient")
    said += [
        f"{row['network']} {row['version']} was trained from such a version" for row in erasure.descendants(tx, trained)
    ]
    return tuple(said)


def withdraw_first(database: Database, patient_id: str, issuer: str | None, who: str, attempts: int) -> str:
    """Tell every destination that has results of the patient not to use them; what is erased could not be named."""
    with database.read() as tx:
        ids = [row["id"] for row in _persons(tx, patient_id, issuer)]
        named = erasure.runs_of_results(tx, erasure.follow(tx, ids))
    for result_id in named:
        verdicts.withdraw(database, str(result_id), who, "the patient is erased", attempts)
    return (
        f"{len(named)} results are withdrawn, and rejection notes go out; when `planimeter status` shows them "
        "delivered, run `planimeter erase` again without --notes"
    )


def erase(
    archive: Archive,
    database: Database,
    patient_id: str,
    issuer: str | None,
    why: str,
    who: str,
    key: Key,
    *,
    coming_seconds: float = COMING_SECONDS,
    console: Console | None = None,
) -> Found:
    """Erase a patient; what there was.

    Args:
        coming_seconds: no file of the store without a row may be younger.
        console: shows how far it is.

    Raises:
        Refused: `no-such-patient`, `ambiguous-patient`, `no-reason`, `reason-names-patient`, `erase-busy`,
            `notes-waiting`.
        Unavailable: `home-in-use`.
        DatabaseError: the rows are gone, and the database's file could not be rewritten.
    """
    _checked(why, patient_id)
    with undisturbed(archive.home):
        strays = _strays(archive, database, patient_id, issuer, coming_seconds, console)
        with database.write() as tx:
            link.take_time(tx)  # it looks through folders of cases
            people.lock(tx)
            persons = _persons(tx, patient_id, issuer)
            rows = erasure.follow(tx, [row["id"] for row in persons])
            found = _found(tx, persons, rows, key)
            _may(tx, persons, rows)
            for study_uid in audit_trail.study_uids(tx, rows.get("study", set())):
                audit_trail.put(tx, What.DELETED, audit_trail.about(tx, study_uid) | {"who": who, "said": "erased"})
            _give_up(tx, archive.home, persons, rows)
            doomed.add(tx, strays - arrivals.named(tx, strays))
            found = replace(found, files=found.files + len(strays))
            details = {"pseudonym": found.pseudonym, "rows": found.rows, "files": found.files, "why": why.strip()}
            details |= {"holders": found.holders, "networks": list(found.networks)}
            details |= {"exports": list(found.exports)}
            events.append(tx, who, RECORDED, "patients", details)
        finish(archive, database)
        remnants.scrub(database)
    return found


def _strays(
    archive: Archive, database: Database, patient_id: str, issuer: str | None, coming: float, console: Console | None
) -> set[str]:
    """What was received of the person and has no row: the next sweep would take it in, and make the person anew."""
    with database.read() as tx:
        persons = {(row["issuer"], row["patient_id"]) for row in _persons(tx, patient_id, issuer)}
    files = list(unnamed.of_persons(archive, database, persons, console))
    if any(time.time() - file.stat().st_mtime < coming for file in files):
        raise Refused("erase-busy", "objects of this patient are coming in now; try again in some minutes")
    return {file.relative_to(archive.home).as_posix() for file in files}


def _checked(why: str, patient_id: str) -> None:
    if not why.strip():
        raise Refused("no-reason", "erasing needs a reason: --reason TEXT")
    if patient_id.strip() and patient_id.strip().casefold() in why.casefold():
        raise Refused("reason-names-patient", "the reason stays in the record for ever: do not name the patient in it")


def _may(tx: Any, persons: Sequence[Row], rows: Rows) -> None:
    busy = [row for row in erasure.learnt_from(tx, [row["id"] for row in persons]) if erasure.is_open(row)]
    if busy:
        said = f"training {busy[0]['id']} of {busy[0]['network']} reads this patient's images now"
        raise Refused("erase-busy", f"{said}; let it end, or cancel it")
    if waiting := erasure.unsent(tx, rows):
        raise Refused("notes-waiting", f"{waiting} rejection notes are still to be sent; see `planimeter status`")


def _give_up(tx: Any, home: Path, persons: Sequence[Row], rows: Rows) -> None:
    """All of it in this transaction; what is on the disk goes after it, whatever happens meanwhile."""
    pseudonyms = {row["pseudonym"] for row in persons if row["pseudonym"]}
    runs = erasure.learnt_from(tx, [row["id"] for row in persons])
    files = erasure.paths(tx, rows)
    names = erasure.leave_data_sets(tx, rows.get("label", set()), pseudonyms)
    erasure.delete(tx, rows)
    files -= erasure.masks_of_others(tx)
    folders = {folder for bucket in (TRAIN, TEST) for folder in _cases(cases.root(home, bucket), names, pseudonyms)}
    for run in runs:
        folder = home / run["folder"]
        folders |= {file for name in names for file in folder.glob(f"evaluation/*/{name}.*")}
        folders |= {folder / name for name in REPORTS}
    doomed.add(tx, files | {path.relative_to(home).as_posix() for path in folders})


def _cases(root: Path, names: Sequence[str], pseudonyms: set[str]) -> set[Path]:
    found = {root / name for name in names if (root / name).is_dir()}
    for folder in root.glob("*/"):
        try:
            if cases.described(folder).patient in pseudonyms:
                found.add(folder)
        except (NodeError, json.JSONDecodeError):
            continue
    return found


# --------------------------------------------------------------------- showing


def print_found(found: Found, *, erased: bool) -> None:
    """For the person who does it: what went, or would go, and what that means."""
    console = output()
    table = new_table("erased" if erased else "would be erased", ("what", "rows"))
    for name in SHOWN:
        if found.rows.get(name):
            table.add_row(name, str(found.rows[name]))
    rest = sum(count for name, count in found.rows.items() if name not in SHOWN)
    table.add_row("others that belong to them", str(rest))
    if not erased:
        console.print(f"this person: {plain(', '.join(found.names))}")
    console.print(table)
    console.print(f"{found.files} files; the record names the person as {found.pseudonym}")
    for destination, count in found.holders.items():
        console.print(
            f"[yellow]{plain(destination)} was given {count} objects of this person:[/] have them deleted there"
        )
    for name in found.exports:
        console.print(f"[yellow]{plain(name)} has this person:[/] ask whoever has it to delete what is of the person")
    for sentence in found.networks:
        console.print(f"[yellow]{plain(sentence)}[/]")
    if found.networks:
        console.print("What a network has learnt is not taken out of it: train it again without, or roll it back.")
    console.print("Backups that were made before still hold this person.")
