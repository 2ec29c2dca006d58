"""What arrives: one row per instance and content, and the study, series and patient it belongs to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock
from .tables import instance, label, patient, series, study

#: parameters of one statement
AT_ONCE = 500


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


# made once: making a statement takes as long as running it
STORED = sa.select(instance).where(
    instance.c.sop_uid == sa.bindparam("sop_uid"), instance.c.digest == sa.bindparam("digest")
)


def stored(tx: Connection, sop_uid: str, digest: str) -> RowMapping | None:
    """The row of the instance with this digest, or None."""
    return tx.execute(STORED, dict(sop_uid=sop_uid, digest=digest)).mappings().one_or_none()


def came_back(tx: Connection, row: RowMapping, path: str, size: int, sha256: str) -> bool:
    """The bytes of an instance whose file was given up, or lost, came again; False where another was quicker.

    Its study starts nothing by that. What is kept for some days is kept for as long from now on.

    Args:
        row: as it was found.
        path, size, sha256: of the new file, whose file meta information may be another.
    """
    as_found = sa.and_(instance.c.id == row["id"], instance.c.path == row["path"])
    known = sa.case((instance.c.sha256.is_not(None), sha256))
    again = sa.update(instance).where(as_found)
    again = again.values(path=path, size=size, sha256=known, purged=None, arrived=Clock())
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


def named(tx: Connection, paths: Collection[str]) -> set[str]:
    """Which of these files of the archive have their rows."""
    listed = sorted(paths)
    found: set[str] = set()
    for n in range(0, len(listed), AT_ONCE):
        some = sa.select(instance.c.path).where(instance.c.path.in_(listed[n : n + AT_ONCE]))
        found.update(tx.execute(some).scalars())
    return found


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
