"""What arrives: one row per instance and content, and the study, series and patient it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import instance, label, patient, series, study


class Kind(StrEnum):
    """What an instance is to us. Only images make work."""

    IMAGE = "image"
    OURS = "ours"
    LABEL = "label"
    OTHER = "other"


class Seen(StrEnum):
    """What the table knew of an instance before it came."""

    NEW = "new"
    SAME = "same"
    """these bytes are here already"""
    REVISION = "revision"
    """the same SOP Instance UID with other bytes"""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """An instance whose file is in the archive; strings as in its data set, decoded."""

    sop_uid: str
    sop_class: str
    study_uid: str
    series_uid: str
    modality: str
    kind: Kind
    transfer_syntax: str
    patient_id: str
    issuer: str
    birth_date: str
    digest: str
    path: str
    size: int
    calling_ae: str
    address: str
    accession: str = ""
    announced: int | None = None
    """how many images its series has, as its header says"""


def stored(tx: Connection, sop_uid: str, digest: str) -> RowMapping | None:
    """The row of the instance with this digest, or None."""
    found = sa.select(instance).where(instance.c.sop_uid == sop_uid, instance.c.digest == digest)
    return tx.execute(found).mappings().one_or_none()


def came_back(tx: Connection, row: RowMapping, path: str) -> bool:
    """The bytes of an instance whose file was given up, or lost, came again; False where another was quicker.

    Its study starts nothing by that. What is kept for some days is kept for as long from now on.

    Args:
        row: as it was found.
        path: of the new file.
    """
    as_found = sa.and_(instance.c.id == row["id"], instance.c.path == row["path"])
    again = sa.update(instance).where(as_found).values(path=path, purged=None, arrived=Clock())
    if not tx.execute(again).rowcount:
        return False
    tx.execute(sa.update(label).where(label.c.source_path == row["path"]).values(source_path=path))
    newer = instance.alias("newer")
    replaced = sa.exists().where(newer.c.sop_uid == instance.c.sop_uid, newer.c.revision > instance.c.revision)
    of_study = sa.and_(instance.c.study_id == row["study_id"], instance.c.kind == Kind.IMAGE)
    still_gone = sa.exists().where(of_study, instance.c.purged.is_not(None), ~replaced)
    mine = sa.and_(study.c.id == row["study_id"], ~still_gone)
    tx.execute(sa.update(study).where(mine).values(purged=None))
    return True


def has_path(tx: Connection, path: str) -> bool:
    """Whether a file of the archive has its row."""
    return tx.execute(sa.select(instance.c.id).where(instance.c.path == path)).first() is not None


def record(tx: Connection, arrivals: Sequence[Arrival]) -> list[Seen]:
    """Write arrivals and everything that they change, in one transaction.

    A new image opens its study for (another) quiet period. A revision whose PatientID, issuer or birth date is another
    than before holds the study for a person (promise 7). Anything but an image changes no study's state (promise 6).

    Returns:
        What was known of each; of equal ones the first is new.
    """
    ids = _ids(tx, arrivals)
    there = _there(tx, arrivals)
    seen, fresh, changes = list[Seen](), list[dict[str, object]](), _Changes()
    for arrival in arrivals:
        mine, before = ids[_whose(arrival)], there[arrival.sop_uid]
        if any(one.digest == arrival.digest for one in before):
            seen.append(Seen.SAME)
            continue
        seen.append(Seen.REVISION if before else Seen.NEW)
        revision = before[0].revision + 1 if before else 1
        fresh.append(_values(arrival, mine, revision))
        if arrival.kind is Kind.IMAGE:
            changed = before and (before[0].patient_id, before[0].birth_date) != (mine.patient, arrival.birth_date)
            changes.note(arrival, mine, another_patient=bool(changed))
        before.insert(0, _Before(arrival.digest, mine.patient, arrival.birth_date, revision))
    if fresh:
        fresh.sort(key=lambda values: (values["sop_uid"], values["revision"]))
        tx.execute(INSERT, fresh)
    changes.write(tx)
    return seen


# Who writes several rows of a table writes them in the order of their keys: two who do so at once on PostgreSQL would
# else wait for one another.


class _Ids(NamedTuple):
    patient: int
    study: int
    series: int


class _Before(NamedTuple):
    """A row of an instance."""

    digest: str
    patient_id: int
    birth_date: str
    revision: int


def _whose(arrival: Arrival) -> tuple[str, str, str, str]:
    return arrival.issuer, arrival.patient_id.strip(), arrival.study_uid, arrival.series_uid


def _known() -> sa.Select[Any]:
    """The ids of a patient, a study and a series; each is empty where there is none."""
    whose = sa.and_(patient.c.issuer == sa.bindparam("issuer"), patient.c.patient_id == sa.bindparam("patient"))
    which = study.c.study_uid == sa.bindparam("study")
    part = sa.and_(which, series.c.series_uid == sa.bindparam("series"))
    return sa.select(
        sa.select(patient.c.id).where(whose).scalar_subquery(),
        sa.select(study.c.id).where(which).scalar_subquery(),
        sa.select(series.c.id).join(study, study.c.id == series.c.study_id).where(part).scalar_subquery(),
    )


KNOWN = _known()
INSERT = sa.insert(instance).values(arrived=Clock())


def _ids(tx: Connection, arrivals: Sequence[Arrival]) -> dict[tuple[str, str, str, str], _Ids]:
    """The rows that arrivals belong to; made where they are not there."""
    found: dict[tuple[str, str, str, str], _Ids] = {}
    lacking: dict[tuple[str, str, str, str], Arrival] = {}
    for one in arrivals:
        if (key := _whose(one)) in found or key in lacking:
            continue
        row = tx.execute(KNOWN, dict(zip(("issuer", "patient", "study", "series"), key, strict=True))).one()
        if None in row:
            lacking[key] = one
        else:
            found[key] = _Ids(*row)
    persons = {whose[:2]: 0 for whose in sorted(lacking)}
    for issuer, patient_id in persons:
        persons[issuer, patient_id] = _row(tx, patient, dict(issuer=issuer, patient_id=patient_id), {})
    studies: dict[str, int] = {}
    for key in sorted(lacking, key=lambda whose: whose[2]):
        new = dict(patient_id=persons[key[:2]], state="none", arrived=Clock())
        studies[key[2]] = studies.get(key[2]) or _row(tx, study, dict(study_uid=key[2]), new)
    for key in sorted(lacking, key=lambda whose: whose[2:]):
        one, of = lacking[key], studies[key[2]]
        new = dict(modality=one.modality, kind=one.kind)
        found[key] = _Ids(persons[key[:2]], of, _row(tx, series, dict(study_id=of, series_uid=key[3]), new))
    return found


def _there(tx: Connection, arrivals: Sequence[Arrival]) -> dict[str, list[_Before]]:
    """The rows of these instances, newest revision first."""
    there: dict[str, list[_Before]] = {one.sop_uid: [] for one in arrivals}
    asked = sa.select(
        instance.c.sop_uid, instance.c.digest, instance.c.patient_id, instance.c.birth_date, instance.c.revision
    ).where(instance.c.sop_uid.in_(list(there)))
    for sop_uid, *row in tx.execute(asked.order_by(instance.c.revision.desc())):
        there[sop_uid].append(_Before(*row))
    return there


def _values(arrival: Arrival, ids: _Ids, revision: int) -> dict[str, object]:
    return dict(
        sop_uid=arrival.sop_uid,
        revision=revision,
        series_id=ids.series,
        study_id=ids.study,
        patient_id=ids.patient,
        birth_date=arrival.birth_date,
        sop_class=arrival.sop_class,
        kind=arrival.kind,
        transfer_syntax=arrival.transfer_syntax,
        digest=arrival.digest,
        path=arrival.path,
        size=arrival.size,
        calling_ae=arrival.calling_ae,
        address=arrival.address,
    )


@dataclass
class _Changes:
    """What new images change of their series and studies: once for each, however many came."""

    announced: dict[int, int] = field(default_factory=dict)
    accessions: dict[int, str] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)

    def note(self, arrival: Arrival, ids: _Ids, *, another_patient: bool) -> None:
        self.announced[ids.series] = max(self.announced.get(ids.series, 0), arrival.announced or 0)
        self.accessions[ids.study] = self.accessions.get(ids.study) or arrival.accession
        if another_patient:
            self.held.add(ids.study)

    def write(self, tx: Connection) -> None:
        for series_id, announced in sorted(self.announced.items()):
            _to_series(tx, series_id, announced or None)
        for study_id, accession in sorted(self.accessions.items()):
            held = "an image came again under another patient" if study_id in self.held else None
            _image_came(tx, study_id, accession, held)


def _image_came(tx: Connection, study_id: int, accession: str, held_because: str | None) -> None:
    stays = study.c.state == "held"
    values: dict[str, object] = dict(last_image=Clock(), state=sa.case((stays, "held"), else_="open"))
    if accession:
        values |= dict(accession=sa.case((study.c.accession == "", accession), else_=study.c.accession))
    if held_because:
        values |= dict(state="held", held_because=held_because)
    tx.execute(sa.update(study).where(study.c.id == study_id).values(**values))


def _to_series(tx: Connection, series_id: int, announced: int | None) -> None:
    """The series is not quiet any more (`firing`)."""
    values: dict[str, object] = dict(last_image=Clock(), fired_quiet=None)
    if announced:
        values["announced"] = sa.case((series.c.announced > announced, series.c.announced), else_=announced)
    tx.execute(sa.update(series).where(series.c.id == series_id).values(**values))


def _row(tx: Connection, table: sa.Table, key: Mapping[str, object], fresh: Mapping[str, object]) -> int:
    """The id of the row with this key; it is made if it is not there, also when two make it at once."""
    same = sa.select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    found = tx.execute(same).scalar()
    if found is None:
        tx.execute(insert(tx, table).values(**key, **fresh).on_conflict_do_nothing())
        found = tx.execute(same).scalar_one()
    return int(found)


def images(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """All revisions of a study's images, oldest revision first, with series and patient."""
    return (
        tx.execute(
            sa.select(
                instance,
                series.c.series_uid,
                series.c.modality,
                patient.c.patient_id.label("patient"),
                patient.c.issuer,
            )
            .join(series, series.c.id == instance.c.series_id)
            .join(patient, patient.c.id == instance.c.patient_id)
            .where(instance.c.study_id == study_id, instance.c.kind == Kind.IMAGE)
            .order_by(instance.c.sop_uid, instance.c.revision)
        )
        .mappings()
        .all()
    )


def note_identity(tx: Connection, instance_id: int, sha256: str, image_identity: str) -> None:
    """Keep what the choose job found out about an instance's bytes and pixels."""
    tx.execute(
        sa.update(instance).where(instance.c.id == instance_id).values(sha256=sha256, image_identity=image_identity)
    )
