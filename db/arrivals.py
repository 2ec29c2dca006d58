"""What arrives: one row per instance and content, and the study, series and patient it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import instance, patient, series, study


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


def stored_path(tx: Connection, sop_uid: str, digest: str) -> str | None:
    """Where the instance with this digest lies, or None."""
    found = sa.select(instance.c.path).where(instance.c.sop_uid == sop_uid, instance.c.digest == digest)
    return tx.execute(found).scalar()


def has_path(tx: Connection, path: str) -> bool:
    """Whether a file of the archive has its row."""
    return tx.execute(sa.select(instance.c.id).where(instance.c.path == path)).first() is not None


def record(tx: Connection, arrival: Arrival) -> Seen:
    """Write an arrival and everything it changes, in one transaction.

    A new image opens its study for (another) quiet period. A revision whose PatientID, issuer or birth date is another
    than before holds the study for a person (promise 7). Anything but an image changes no study's state (promise 6).
    """
    patient_row = _patient(tx, arrival)
    study_row = _study(tx, arrival, patient_row)
    series_row = _series(tx, arrival, study_row)
    before = tx.execute(
        sa.select(instance.c.digest, instance.c.patient_id, instance.c.birth_date, instance.c.revision)
        .where(instance.c.sop_uid == arrival.sop_uid)
        .order_by(instance.c.revision.desc())
    ).all()
    if any(row.digest == arrival.digest for row in before):
        return Seen.SAME
    tx.execute(
        sa.insert(instance).values(
            sop_uid=arrival.sop_uid,
            revision=before[0].revision + 1 if before else 1,
            series_id=series_row,
            study_id=study_row,
            patient_id=patient_row,
            birth_date=arrival.birth_date,
            sop_class=arrival.sop_class,
            kind=arrival.kind,
            transfer_syntax=arrival.transfer_syntax,
            digest=arrival.digest,
            path=arrival.path,
            size=arrival.size,
            calling_ae=arrival.calling_ae,
            address=arrival.address,
            arrived=Clock(),
        )
    )
    if arrival.kind is Kind.IMAGE:
        changed = before and (before[0].patient_id != patient_row or before[0].birth_date != arrival.birth_date)
        _image_came(tx, study_row, arrival.accession, "an image came again under another patient" if changed else None)
    return Seen.REVISION if before else Seen.NEW


def _image_came(tx: Connection, study_id: int, accession: str, held_because: str | None) -> None:
    stays = study.c.state == "held"
    values: dict[str, object] = dict(last_image=Clock(), state=sa.case((stays, "held"), else_="open"))
    if accession:
        values |= dict(accession=sa.case((study.c.accession == "", accession), else_=study.c.accession))
    if held_because:
        values |= dict(state="held", held_because=held_because)
    tx.execute(sa.update(study).where(study.c.id == study_id).values(**values))


def _patient(tx: Connection, arrival: Arrival) -> int:
    key = dict(issuer=arrival.issuer, patient_id=arrival.patient_id.strip())
    return _row(tx, patient, key, {})


def _study(tx: Connection, arrival: Arrival, patient_id: int) -> int:
    fresh = dict(patient_id=patient_id, state="none", arrived=Clock())
    return _row(tx, study, dict(study_uid=arrival.study_uid), fresh)


def _series(tx: Connection, arrival: Arrival, study_id: int) -> int:
    key = dict(study_id=study_id, series_uid=arrival.series_uid)
    return _row(tx, series, key, dict(modality=arrival.modality, kind=arrival.kind))


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
