"""What a PACS has of a day, and which of its studies never came, or not whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .arrivals import Kind
from .database import Clock
from .tables import instance, lacking_study, reconciliation, study


@dataclass(frozen=True)
class Lacking:
    """A study that a PACS has and that is not here, or not all of it.

    Attributes:
        day: of the study, as 2026-01-31.
        images: that the PACS has; None where it does not count.
        here: images that are here.
    """

    peer: str
    study_uid: str
    day: str
    modalities: str
    images: int | None
    here: int


_here = (
    sa.select(sa.func.count(sa.distinct(instance.c.sop_uid)))
    .join(study, study.c.id == instance.c.study_id)
    .where(study.c.study_uid == lacking_study.c.study_uid, instance.c.kind == Kind.IMAGE)
    .correlate(lacking_study)
    .scalar_subquery()
)


def images_here(tx: Connection, study_uid: str) -> int:
    """How many images of a study are here."""
    found = sa.select(sa.func.count(sa.distinct(instance.c.sop_uid))).join(study, study.c.id == instance.c.study_id)
    return int(tx.execute(found.where(study.c.study_uid == study_uid, instance.c.kind == Kind.IMAGE)).scalar_one())


def note(
    tx: Connection, peer: str, day: str, studies: int, left_out: int, lacking: Sequence[Lacking], *, more: bool
) -> None:
    """Keep what came of asking for a day, in the place of what came of it before.

    Args:
        studies: that the PACS has.
        left_out: answers that did not prove to be what was asked.
        more: the PACS has more than it was asked for at once.
    """
    tx.execute(sa.delete(reconciliation).where(reconciliation.c.peer == peer, reconciliation.c.day == day))
    row = dict(peer=peer, day=day, at=Clock(), studies=studies, left_out=left_out, more=more)
    tx.execute(sa.insert(reconciliation).values(row))
    uids = [one.study_uid for one in lacking]
    old = sa.or_(lacking_study.c.day == day, lacking_study.c.study_uid.in_(uids))
    tx.execute(sa.delete(lacking_study).where(lacking_study.c.peer == peer, old))
    for one in lacking:
        found = dict(peer=peer, study_uid=one.study_uid, day=day, modalities=one.modalities, images=one.images)
        tx.execute(sa.insert(lacking_study).values(found | {"found": Clock()}))


def lacking(tx: Connection) -> Sequence[Lacking]:
    """What was found and has not come since, the latest day first."""
    rows = tx.execute(
        sa.select(
            lacking_study.c.peer,
            lacking_study.c.study_uid,
            lacking_study.c.day,
            lacking_study.c.modalities,
            lacking_study.c.images,
            _here.label("here"),
        ).order_by(lacking_study.c.day.desc(), lacking_study.c.peer, lacking_study.c.id)
    )
    return [found for row in rows if (found := Lacking(*row)).here < (found.images or 1)]


def days(tx: Connection, limit: int) -> Sequence[sa.RowMapping]:
    """When which day of which PACS was gone through, the latest first: peer, day, at, studies, left_out, more."""
    newest = sa.select(reconciliation).order_by(reconciliation.c.day.desc(), reconciliation.c.peer)
    return tx.execute(newest.limit(limit)).mappings().all()
