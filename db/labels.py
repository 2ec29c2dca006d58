"""What people outlined: a row per object and network that it may teach, from its arrival on.

An object that came is one row without a network, until it is known which images it means; then that row gets the first
network, and rows are added for further ones. Of the labels of one input set the newest is ready and the older ones are
superseded; what the newest does not annotate it has from the one before (`node.labelling`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import jobs
from .database import Clock, Row, insert
from .job_states import JobKind
from .tables import input_set, instance, label, measurement, patient, study

#: labels come after everything that somebody waits for
PRIORITY = 30
#: states in which a label has a mask on the grid of its images
MASKED = ("ready", "superseded")
JUST_CAME = "it has just come"
#: what every row of an object has in common
OF_THE_OBJECT = ("source_uid", "source_sha256", "source_path", "came", "calling_ae", "created")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of an object for one network; attributes as the columns of the table."""

    network: str
    state: str
    code: str | None = None
    sentence: str | None = None
    patient_id: int | None = None
    study_id: int | None = None
    input_set_id: int | None = None
    draft_id: int | None = None
    structures: list[dict[str, Any]] = field(default_factory=list)
    annotated: list[int] = field(default_factory=list)
    mask_path: str | None = None
    mask_sha256: str | None = None
    author: str = ""
    tool: str = ""
    made: str = ""
    comparison: dict[str, Any] | None = None


# ------------------------------------------------------------------ arrival


def arrived(tx: Connection, path: str, sha256: str, came: str, calling_ae: str, max_attempts: int) -> None:
    """An object came from somebody who may teach: it is a label that waits to be read, and a job to read it.

    The same object again opens its job again while it is not known what it teaches. It goes by the SHA-256 of the file
    that it first came as: one that was lost and came back may have other file meta information.

    Args:
        path: of the instance's file, which names its row.
        sha256: of that file.
        came: "received" or "added".
    """
    one = tx.execute(sa.select(instance).where(instance.c.path == path)).mappings().one()
    known = of_source(tx, sha256) or _of_path(tx, one["sop_uid"], path)
    if not known:
        tx.execute(
            insert(tx, label)
            .values(
                source_uid=one["sop_uid"],
                source_sha256=sha256,
                source_path=path,
                came=came,
                calling_ae=calling_ae,
                network="",
                patient_id=one["patient_id"],
                study_id=one["study_id"],
                structures=[],
                annotated=[],
                author="",
                tool="",
                made="",
                state="waiting",
                sentence=JUST_CAME,
                created=Clock(),
            )
            .on_conflict_do_nothing()
        )
    if not known or any(row["state"] in ("waiting", "quarantined") for row in known):
        ask(tx, known[0]["source_sha256"] if known else sha256, max_attempts)


def ask(tx: Connection, sha256: str, max_attempts: int) -> None:
    """Ask for an object to be read, or read again."""
    jobs.enqueue(tx, JobKind.LABEL, sha256, max_attempts=max_attempts, priority=PRIORITY)


def awaiting(tx: Connection, study_id: int) -> list[tuple[str, int | None, str]]:
    """The objects that may be read otherwise now that something changed about a study.

    Returns:
        (SHA-256, study, PatientID): all that wait for images, whatever their study; of this study those that no network
        had read the images of, and those whose images were replaced.
    """
    newer = input_set.alias("newer")
    replaced = sa.and_(
        label.c.state.in_([*MASKED, "accepted"]), sa.exists().where(newer.c.supersedes == label.c.input_set_id)
    )
    unread = sa.and_(label.c.state == "quarantined", label.c.code == "label-no-network")
    again = sa.and_(label.c.study_id == study_id, sa.or_(replaced, unread))
    query = (
        sa.select(label.c.source_sha256, label.c.study_id, patient.c.patient_id)
        .outerjoin(patient, patient.c.id == label.c.patient_id)
        .where(sa.or_(label.c.state == "waiting", again))
        .distinct()
    )
    return [(row[0], row[1], row[2] or "") for row in tx.execute(query)]


# ------------------------------------------------------------------ reading


def find(tx: Connection, label_id: int) -> Row | None:
    """A label by its id, or None."""
    return tx.execute(sa.select(label).where(label.c.id == label_id)).mappings().one_or_none()


def of_source(tx: Connection, sha256: str) -> Sequence[Row]:
    """The rows of one object, the oldest first."""
    return tx.execute(sa.select(label).where(label.c.source_sha256 == sha256).order_by(label.c.id)).mappings().all()


def _of_path(tx: Connection, sop_uid: str, path: str) -> Sequence[Row]:
    mine = sa.and_(label.c.source_uid == sop_uid, label.c.source_path == path)
    return tx.execute(sa.select(label).where(mine).order_by(label.c.id)).mappings().all()


# ------------------------------------------------------------------ writing


def write(tx: Connection, sha256: str, finding: Finding) -> tuple[int, bool]:
    """Write what became of an object for a network.

    Returns:
        The id of the row; whether other labels of the same images may be others now. A rejected label stays as it is.
    """
    rows = of_source(tx, sha256)
    row = _row_for(rows, finding.network)
    values = asdict(finding)
    if row is None:
        first = rows[0]
        kept = {name: first[name] for name in OF_THE_OBJECT}
        made = tx.execute(sa.insert(label).values(**kept, **values).returning(label.c.id))
        return int(made.scalar_one()), finding.state == "ready"
    if row["state"] == "rejected":
        return int(row["id"]), False
    _keep_given(values["structures"], row["structures"])
    teaches = ("mask_sha256", "annotated", "input_set_id", "made")
    before = row["state"] in MASKED
    changed = before != (finding.state == "ready") or (before and any(row[name] != values[name] for name in teaches))
    tx.execute(sa.update(label).where(label.c.id == row["id"]).values(**values))
    return int(row["id"]), changed


def _row_for(rows: Sequence[Row], network: str) -> Row | None:
    """The row of an object for a network; the one that came first, while it is not known what that teaches."""
    return next((row for row in rows if row["network"] == network), next((r for r in rows if not r["network"]), None))


def _keep_given(structures: list[dict[str, Any]], before: Sequence[dict[str, Any]]) -> None:
    """What a person said while the object was being read is not forgotten; it is read once more."""
    given = {one["number"]: one["given"] for one in before if "given" in one}
    for one in structures:
        if one.get("number") in given:
            one["given"] = given[one["number"]]


def of_images(tx: Connection, network: str, input_set_id: int) -> list[Row]:
    """The labels of one input set that have a mask, by the time of their making, the oldest first."""
    query = sa.select(label).where(
        label.c.network == network, label.c.input_set_id == input_set_id, label.c.state.in_(MASKED)
    )
    return sorted(tx.execute(query).mappings(), key=_age)


def _age(row: Row) -> tuple[str, float, int]:
    """When it was made, as the object says; where it does not, or others were made then too, when it came."""
    return _age_of(row["made"], row["created"], row["id"])


def _age_of(made: str, created: float, label_id: int) -> tuple[str, float, int]:
    return made or datetime.fromtimestamp(created).astimezone().strftime("%Y%m%d%H%M%S"), created, label_id


def before(tx: Connection, network: str, input_set_id: int, sha256: str, made: str) -> Row | None:
    """The label of some images that an object takes the place of, or None.

    Args:
        sha256, made: of the object.
    """
    rows = of_source(tx, sha256)
    mine = _row_for(rows, network)
    age = _age_of(made, rows[0]["created"], mine["id"] if mine is not None else sys.maxsize)
    older = [row for row in of_images(tx, network, input_set_id) if row["source_sha256"] != sha256 and _age(row) < age]
    return older[-1] if older else None


def line_up(tx: Connection, network: str, input_set_id: int) -> list[Row]:
    """The newest label of an input set is ready, and takes the place of the one before; all of them, oldest first."""
    rows = of_images(tx, network, input_set_id)
    for n, row in enumerate(rows):
        values = {
            "state": "ready" if row is rows[-1] else "superseded",
            "supersedes": rows[n - 1]["id"] if n else None,
        }
        tx.execute(sa.update(label).where(label.c.id == row["id"]).values(**values))
    return rows


def note_mapping(tx: Connection, label_id: int, structures: list[dict[str, Any]]) -> None:
    """Keep what a person said which structure is."""
    tx.execute(sa.update(label).where(label.c.id == label_id).values(structures=structures))


def set_state(tx: Connection, label_id: int, state: str, code: str, sentence: str) -> None:
    """A label changes its state by a decision."""
    tx.execute(sa.update(label).where(label.c.id == label_id).values(state=state, code=code, sentence=sentence))


def quarantine_waiting(tx: Connection, sha256: str, code: str, sentence: str) -> None:
    """What is not known of an object will not come to be known by itself."""
    waits = sa.and_(label.c.source_sha256 == sha256, label.c.state == "waiting")
    tx.execute(sa.update(label).where(waits).values(state="quarantined", code=code, sentence=sentence))


# ------------------------------------------------------------------ showing


def usable(tx: Connection, network: str) -> Sequence[Row]:
    """The labels to learn from: ready, on images that were not replaced since, by patient and time.

    Columns: those of the label, with `patient_id` the person's row (aliases followed), `bucket`, `pseudonym`, and
    `study_date` (StudyDate and StudyTime, one behind the other; empty where nothing was measured).
    """
    newer, person = input_set.alias("newer"), patient.alias("person")
    measured = (
        sa.select(sa.func.max(measurement.c.study_date))
        .where(measurement.c.input_set_id == label.c.input_set_id)
        .scalar_subquery()
    )
    columns = [column for column in label.c if column.name != "patient_id"]
    query = (
        sa.select(
            *columns,
            person.c.id.label("patient_id"),
            person.c.bucket,
            person.c.pseudonym,
            sa.func.coalesce(measured, "").label("study_date"),
        )
        .join(patient, patient.c.id == label.c.patient_id)
        .join(person, person.c.id == sa.func.coalesce(patient.c.alias_of, patient.c.id))
        .where(label.c.network == network, label.c.state == "ready")
        .where(~sa.exists().where(newer.c.supersedes == label.c.input_set_id))
        .order_by(person.c.id, label.c.id)
    )
    return tx.execute(query).mappings().all()


def listing(tx: Connection, state: str | None = None) -> Sequence[Row]:
    """Labels, newest first, with their study's UID, their patient's bucket, and the row that stands for the person."""
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)
    query = (
        sa.select(label, study.c.study_uid, patient.c.bucket, person.label("person"))
        .outerjoin(study, study.c.id == label.c.study_id)
        .outerjoin(patient, patient.c.id == label.c.patient_id)
        .order_by(label.c.id.desc())
    )
    return tx.execute(query if state is None else query.where(label.c.state == state)).mappings().all()


def mask_paths(tx: Connection) -> set[str]:
    """The masks of all labels that have one."""
    return set(tx.execute(sa.select(label.c.mask_path).where(label.c.mask_path.is_not(None))).scalars())


def counts(tx: Connection, network: str) -> dict[str, int]:
    """state -> number of labels of a network."""
    query = sa.select(label.c.state, sa.func.count()).where(label.c.network == network).group_by(label.c.state)
    return {state: int(number) for state, number in tx.execute(query)}
