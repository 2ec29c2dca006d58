"""When a study counts as complete: by silence, and by what a PACS says of how many images it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .arrivals import Kind
from .database import Clock
from .tables import instance, result, series, study

#: after an image, and between two questions about one study
ASK_AFTER_SECONDS, ASK_EVERY_SECONDS = 3.0, 10.0
#: for so long the PACS has to have said the same: it may still be receiving itself
SURE_SECONDS = 9.0
#: an answer that is older says nothing any more
STALE_SECONDS = 120.0
ASKED_AT_ONCE = 20

_here = (
    sa.select(sa.func.count(sa.distinct(instance.c.sop_uid)))
    .where(instance.c.study_id == study.c.id, instance.c.kind == Kind.IMAGE)
    .correlate(study)
    .scalar_subquery()
)


def columns() -> list[Any]:
    """What `because` reads of a study."""
    said_no_more = study.c.pacs_asked < Clock() - STALE_SECONDS
    return [
        study.c.pacs_images,
        study.c.pacs_name,
        _here.label("here"),
        said_no_more.label("stale"),
        _sure().label("sure"),
    ]


def _sure() -> sa.ColumnElement[bool]:
    """Exactly the images that the PACS has are here, it was asked after the last one, and has said so for a while.

    One that has fewer is behind us, and its count will grow.
    """
    return sa.and_(
        study.c.pacs_images > 0,
        study.c.pacs_images == _here,
        study.c.pacs_asked >= study.c.last_image,
        study.c.pacs_since <= study.c.pacs_asked - SURE_SECONDS,
        study.c.pacs_asked >= Clock() - STALE_SECONDS,
    )


def due(quiet_seconds: float, wait_seconds: Mapping[str, float]) -> sa.ColumnElement[bool]:
    """Which open studies are complete.

    Args:
        quiet_seconds: without an image.
        wait_seconds: PACS -> how long after its last image a quiet study waits for what that PACS has.
    """
    longest: Any = sa.literal(0.0)
    if wait_seconds:
        longest = sa.case(*((study.c.pacs_name == name, seconds) for name, seconds in wait_seconds.items()), else_=0.0)
    quiet = sa.and_(
        study.c.last_image <= Clock() - quiet_seconds,
        sa.or_(
            study.c.pacs_images.is_(None),
            study.c.pacs_asked < Clock() - STALE_SECONDS,
            study.c.last_image <= Clock() - longest,
            study.c.pacs_images <= _here,
        ),
    )
    return sa.and_(study.c.state == "open", sa.or_(quiet, _sure()) if wait_seconds else quiet)


def because(row: Any, quiet_seconds: float) -> str:
    """Why a study was closed."""
    quiet = f"no image for {quiet_seconds:g} s"
    if row.sure:
        return f"all {row.pacs_images} images that {row.pacs_name} has are here"
    if row.pacs_images is None:
        return quiet
    if row.stale:
        return f"{quiet}; {row.pacs_name} does not say any more how many there are"
    if row.here >= row.pacs_images:
        return f"{quiet}; all {row.pacs_images} images that {row.pacs_name} has are here"
    return f"{quiet}; {row.here} of the {row.pacs_images} images that {row.pacs_name} has came in time"


def to_ask(tx: Connection) -> Sequence[RowMapping]:
    """Open studies of which it is to be asked now how many images they have, with the last sender's AE title."""
    last = sa.select(instance.c.calling_ae).where(instance.c.study_id == study.c.id, instance.c.kind == Kind.IMAGE)
    sender = last.order_by(instance.c.id.desc()).limit(1).correlate(study).scalar_subquery()
    asked = sa.or_(study.c.pacs_asked.is_(None), study.c.pacs_asked <= Clock() - ASK_EVERY_SECONDS)
    arriving = sa.and_(study.c.state == "open", study.c.last_image <= Clock() - ASK_AFTER_SECONDS, asked)
    found = sa.select(study.c.id, study.c.study_uid, sender.label("calling_ae")).where(arriving)
    in_turn = found.order_by(sa.func.coalesce(study.c.pacs_asked, 0.0), study.c.id).limit(ASKED_AT_ONCE)
    return tx.execute(in_turn).mappings().all()


def ours(tx: Connection, series_uids: Sequence[str]) -> set[str]:
    """Those series that hold results of this node."""
    found = sa.select(result.c.series_uid).where(result.c.series_uid.in_(series_uids)).distinct()
    return set(tx.execute(found).scalars())


def note(
    tx: Connection, study_id: int, pacs: str, images: int | None, of_series: Mapping[str, int] | None = None
) -> None:
    """Keep what a PACS said, or that it said nothing (None).

    Args:
        of_series: series UID -> how many images it has of it.
    """
    for series_uid, count in (of_series or {}).items():
        mine = sa.and_(series.c.study_id == study_id, series.c.series_uid == series_uid)
        tx.execute(sa.update(series).where(mine).values(pacs_images=count))
    same = sa.and_(study.c.pacs_images == images, study.c.pacs_name == pacs) if images is not None else sa.false()
    tx.execute(
        sa.update(study)
        .where(study.c.id == study_id)
        .values(
            pacs_images=images,
            pacs_name=pacs,
            pacs_asked=Clock(),
            pacs_since=sa.case((same, study.c.pacs_since), else_=Clock()),
        )
    )
