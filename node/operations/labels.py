"""What came back from people, for people: listed, mapped, rejected, added from files.

A person's decision is written into the record of events, without what names a patient.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from rich.console import Console
from rich.progress import Progress

from db import events, labels
from db.database import Database, Row

from ..audit.transfer import Transfer, unheard
from ..errors import Refused
from ..inbound.inbox import LOCAL, Inbox, Source
from ..inbound.kinds import LABELS
from ..learning import people
from ..networks import Networks
from .submit import files_below, shown, take_file
from .terminal import SHOWN, new_table, output, plain, print_older

STYLES = {"ready": "green", "accepted": "cyan", "waiting": "yellow", "quarantined": "bold red", "rejected": "dim"}
COLUMNS = ("id", "state", "network", "structures", "Dice", "changed", "author", "made", "study uid", "reason")
ADDED = Source("SUBMIT", LOCAL, teaches=True)

# --------------------------------------------------------------------- list


def listing(database: Database, state: str | None = None) -> list[dict[str, Any]]:
    """Every label, newest first. The keys are kept from version to version; nothing names a patient."""
    with database.read() as tx:
        rows = labels.listing(tx, state)
        kept_out = people.quarantines(tx)
    return [_shown(row, kept_out.get(row["person"])) for row in rows]


def find(database: Database, label_id: int) -> dict[str, Any]:
    """One label, as `listing` has it.

    Raises:
        Refused: `no-such-label`.
    """
    found = next((one for one in listing(database) if one["id"] == label_id), None)
    if found is None:
        raise _no_label(label_id)
    return found


def _no_label(label_id: int) -> Refused:
    return Refused("no-such-label", f"there is no label {label_id}; `planimeter labels list` has them")


def _shown(row: Row, kept_out: str | None) -> dict[str, Any]:
    comparison = row["comparison"] or {}
    reason = f"{row['code']}: {row['sentence']}" if row["code"] else row["sentence"]
    if row["state"] == "ready" and kept_out:
        reason = f"patient-suspected: {kept_out}"
    return {
        "id": row["id"],
        "state": row["state"],
        "network": row["network"] or None,
        "study_uid": row["study_uid"],
        "bucket": row["bucket"],
        "sop_uid": row["source_uid"],
        "came": row["came"],
        "from": row["calling_ae"],
        "at": datetime.fromtimestamp(row["created"]).astimezone().isoformat(timespec="seconds"),
        "author": row["author"],
        "tool": row["tool"],
        "made": row["made"],
        "draft": row["draft_id"],
        "supersedes": row["supersedes"],
        "annotated": row["annotated"],
        "structures": row["structures"],
        "changes": comparison.get("classes", []),
        "voxels_changed": comparison.get("voxels_changed"),
        "notes": comparison.get("notes", []),
        "reason": reason,
    }


def print_tables(found: list[dict[str, Any]]) -> None:
    """For people: the newest, each with what became of its structures."""
    console = output()
    if not found:
        console.print("[dim]labels: none[/]")
        return
    counted = Counter(one["state"] for one in found)
    said = ", ".join(f"{number} {state}" for state, number in sorted(counted.items()))
    table = new_table(f"labels ({said})", COLUMNS)
    for one in found[:SHOWN]:
        table.add_row(*map(plain, _cells(one)), style=STYLES.get(one["state"]))
    console.print(table)
    print_older(console, len(found))


def _cells(one: dict[str, Any]) -> tuple[object, ...]:
    dices = [change["dice"] for change in one["changes"] if change["dice"] is not None]
    structures = ", ".join(
        f"{each['name']} -> {each['value'] if each['value'] is not None else '?'}" for each in one["structures"]
    )
    dice = f"{sum(dices) / len(dices):.3f}" if dices else ""
    return (
        one["id"],
        one["state"],
        one["network"],
        structures,
        dice,
        one["voxels_changed"],
        one["author"],
        one["made"],
        one["study_uid"],
        one["reason"],
    )


# ------------------------------------------------------------------- decide


def map_structures(
    database: Database, networks: Networks, label_id: int, pairs: Sequence[str], who: str, attempts: int
) -> str:
    """A person says which structures of a label are which class; the label is read again.

    Args:
        pairs: "NAME=VALUE", or "#NUMBER=VALUE" where two have one name; value 0 leaves a structure out.

    Raises:
        Refused: `no-such-label`, `label-rejected`, `label-not-read`, `no-such-structure`, `no-such-class`.
    """
    with database.read() as tx:
        row = _find(tx, label_id)
    if row["state"] == "rejected":
        raise Refused("label-rejected", f"label {label_id} was rejected: {row['sentence']}")
    if not row["network"] or not row["structures"]:
        raise Refused("label-not-read", f"label {label_id} has no structures yet: {row['sentence']}")
    _, bundle = networks.known(row["network"])
    classes = {segment.value: segment.label for segment in bundle.card.segment}
    if not pairs:
        raise Refused("no-such-structure", "no structure was said to be anything")
    said = [_pair(pair, row["structures"], classes) for pair in pairs]
    with database.write() as tx:
        row = _find(tx, label_id)
        structures = [dict(one) for one in row["structures"]]
        for number, value in said:
            for one in structures:
                if one.get("number") == number:
                    one["given"] = value
        labels.note_mapping(tx, label_id, structures)
        details = {"label": label_id, "mapping": {f"#{n}": value for n, value in said}}
        events.append(tx, who, "label-mapped", row["network"], details)
        labels.ask(tx, row["source_sha256"], attempts)
    names = ", ".join(f"#{number} is {classes.get(value, 'left out')}" for number, value in said)
    return f"label {label_id}: {names}; it is read again, and `planimeter labels list` shows what becomes of it"


def _pair(pair: str, structures: Sequence[dict[str, Any]], classes: dict[int, str]) -> tuple[int, int]:
    """NAME=VALUE as the number of a structure and a label value."""
    name, equals, text = pair.rpartition("=")
    if not equals or not text.strip().isdecimal():
        raise Refused("no-such-class", f"{pair!r} is not NAME=VALUE, as in GTV_Mass=1")
    value = int(text)
    if value and value not in classes:
        known = ", ".join(f"{number} = {label}" for number, label in classes.items())
        raise Refused("no-such-class", f"{value} is none of the network's classes: {known}, or 0 to leave it out")
    numbered = [one for one in structures if "number" in one]
    found = [one["number"] for one in numbered if name.strip() in (one["name"].strip(), f"#{one['number']}")]
    if len(found) != 1:
        have = ", ".join(f"{one['name']!r} (#{one['number']})" for one in numbered)
        raise Refused("no-such-structure", f"{len(found) or 'no'} structures are called {name!r}; the label has {have}")
    return int(found[0]), value


def reject(database: Database, label_id: int, who: str, why: str, attempts: int = 3) -> str:
    """Nothing is learnt from a label; the one whose place it took is ready again.

    Raises:
        Refused: `no-such-label`, `label-rejected`, `no-reason`.
    """
    if not why.strip():
        raise Refused("no-reason", "a rejection needs a reason: --reason TEXT")
    with database.write() as tx:
        row = _find(tx, label_id)
        if row["state"] == "rejected":
            raise Refused("label-rejected", f"label {label_id} was rejected before: {row['sentence']}")
        labels.set_state(tx, label_id, "rejected", "label-rejected", f"rejected by {who}: {why.strip()}")
        details = {"label": label_id, "was": row["state"], "why": why.strip()}
        events.append(tx, who, "label-rejected", row["network"] or "no network", details)
        others = labels.line_up(tx, row["network"], row["input_set_id"]) if row["input_set_id"] else []
        for other in others:  # they may have been completed from it
            labels.ask(tx, other["source_sha256"], attempts)
    back = f"; label {others[-1]['id']} of the same images counts" if others else ""
    return f"label {label_id} is rejected, and nothing is learnt from it{back}"


def _find(tx: Any, label_id: int) -> Row:
    row = labels.find(tx, label_id)
    if row is None:
        raise _no_label(label_id)
    return row


# ---------------------------------------------------------------------- add


def add(inbox: Inbox, paths: Sequence[Path], transfer: Transfer | None = None) -> int:
    """Take in images and outlines in any order, with a progress bar; the exit status.

    Images go the way of every study; outlines wait until a network has read theirs.

    Args:
        transfer: for the audit trail; it is ended here.
    """
    for path in paths:
        if not path.exists():
            raise Refused("no-such-file", f"{path}: there is no such file or folder")
    files = [file for path in paths for file in files_below(path)]
    counts: Counter[str] = Counter()
    refused: list[tuple[Path, Refused]] = []
    console, transfer = Console(stderr=True), transfer or unheard()
    with Progress(console=console, transient=not console.is_terminal) as progress:
        ordered = sorted((_is_outline(file), file) for file in files)  # images first: fewer outlines have to wait
        for is_outline, file in progress.track(ordered, description="taking in"):
            what = "outlines" if is_outline else "images"
            try:
                counts[f"{what} {take_file(inbox, file, ADDED, transfer)}"] += 1
            except Refused as refusal:
                refused.append((file, refusal))
                inbox.refuse(ADDED, shown(file.name), refusal)
                transfer.failed += 1
    transfer.end()
    said = ", ".join(f"{count} {seen}" for seen, count in sorted(counts.items())) or "nothing taken in"
    sys.stdout.write(f"{said}; {len(refused)} refused; `planimeter labels list` shows what becomes of the outlines\n")
    for file, why in refused[:SHOWN]:
        sys.stdout.write(f"  {shown(file)}: {why.sentence}\n")
    return 0 if counts and not refused else 1


def _is_outline(file: Path) -> bool:
    try:
        return read_file_meta_info(file).get("MediaStorageSOPClassUID") in LABELS
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError):
        return False
