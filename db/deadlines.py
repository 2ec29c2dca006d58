"""By when results are to be delivered, and what will be late or is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .arrivals import Kind
from .database import Clock
from .job_states import OPEN, JobKind
from .tables import input_set, instance, job, series, study
from .trials import no_trial

#: what stands between an input set and its delivery
WORK = (JobKind.SEGMENT, JobKind.DELIVER)


#: of studies that were not chosen from: so many are looked at, those that have waited longest
MOST = 500


@dataclass(frozen=True)
class Due:
    """What is not all delivered: an input set, or a study that was not chosen from.

    Attributes:
        input_set_id, network: None and empty of a study that was not chosen from.
        deadline: seconds since 1970, on the database's clock.
        left_seconds: until then; less than 0: so late it is.
        waits_for: the kind of the job that is open, "choose", "segment" or "deliver"; "images": it has not settled.
    """

    input_set_id: int | None
    study_id: int
    study_uid: str
    network: str
    deadline: float
    left_seconds: float
    waits_for: str


@dataclass(frozen=True)
class Unchosen:
    """A study with images that was not chosen from since the last of them came.

    Attributes:
        sender: calling AE title of an image.
        quiet_seconds: since its last image came.
        waits_for: "images", or "choose".
    """

    study_id: int
    study_uid: str
    modalities: tuple[str, ...]
    sender: str
    last_image: float
    quiet_seconds: float
    waits_for: str


def note(tx: Connection, input_set_id: int, deadline: float | None, *, new: bool) -> None:
    """Keep by when the results of an input set are to be delivered.

    Args:
        deadline: seconds since 1970; None: no route says.
        new: it is worked on from now; else what was promised before stays.
    """
    mine = sa.update(input_set).where(input_set.c.id == input_set_id)
    if deadline is None or new:
        tx.execute(mine.values(deadline=deadline))
    else:
        tx.execute(mine.where(input_set.c.deadline.is_(None)).values(deadline=deadline))


def due(tx: Connection, within_seconds: float) -> Sequence[Due]:
    """What is open and whose deadline has passed, or comes in so many seconds; the most urgent first.

    What a newer input set took the place of is not waited for. A job that is dead waits for a person and is no part of
    the queue.
    """
    newer = input_set.alias("newer")
    left = (input_set.c.deadline - Clock()).label("left_seconds")
    found = (
        sa.select(
            input_set.c.id,
            study.c.id,
            study.c.study_uid,
            input_set.c.network,
            input_set.c.deadline,
            left,
            sa.func.max(job.c.kind).label("waits_for"),
        )
        .join(job, job.c.input_set_id == input_set.c.id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(
            not_done.OPEN,
            not_done.KIND.in_([str(kind) for kind in WORK]),
            input_set.c.deadline <= Clock() + within_seconds,
        )
        .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .group_by(input_set.c.id, study.c.id, study.c.study_uid, input_set.c.network, input_set.c.deadline)
        .order_by(input_set.c.deadline, input_set.c.id)
    )
    return [Due(*row) for row in tx.execute(found)]


def unchosen(tx: Connection) -> list[Unchosen]:
    """The studies that arrive or wait to be chosen from, and have waited longest; no trials."""
    sender = (
        sa.select(instance.c.calling_ae)
        .where(instance.c.study_id == study.c.id, instance.c.kind == Kind.IMAGE)
        .order_by(instance.c.revision)
        .limit(1)
        .correlate(study)
        .scalar_subquery()
    )
    queued = sa.select(job.c.study_id).where(job.c.kind == JobKind.CHOOSE, job.c.state.in_(OPEN), job.c.state != "done")
    query = (
        sa.select(study.c.id, study.c.study_uid, study.c.last_image, study.c.state, sender.label("sender"))
        .add_columns((Clock() - study.c.last_image).label("quiet_seconds"))
        .where(sa.or_(study.c.state == "open", study.c.id.in_(queued)), study.c.last_image.is_not(None), no_trial())
        .order_by(study.c.last_image)
        .limit(MOST)
    )
    rows = tx.execute(query).mappings().all()
    kinds: dict[int, set[str]] = {}
    of = sa.select(series.c.study_id, series.c.modality).where(series.c.study_id.in_([row["id"] for row in rows]))
    for study_id, modality in tx.execute(of.where(series.c.kind == Kind.IMAGE).distinct()):
        kinds.setdefault(study_id, set()).add(modality)
    return [
        Unchosen(
            row["id"],
            row["study_uid"],
            tuple(sorted(kinds.get(row["id"], ()))),
            row["sender"] or "",
            row["last_image"],
            row["quiet_seconds"],
            "images" if row["state"] == "open" else "choose",
        )
        for row in rows
    ]


def soonest(tx: Connection, ids: Sequence[int]) -> dict[int, float]:
    """Of studies, the first deadline of what is not all delivered: seconds since 1970."""
    newer = input_set.alias("newer")
    found = (
        sa.select(input_set.c.study_id, sa.func.min(input_set.c.deadline))
        .join(job, job.c.input_set_id == input_set.c.id)
        .where(input_set.c.study_id.in_(ids), input_set.c.deadline.is_not(None))
        .where(not_done.OPEN, not_done.KIND.in_(WORK), ~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .group_by(input_set.c.study_id)
    )
    return {row[0]: float(row[1]) for row in tx.execute(found)}


def overdue(tx: Connection) -> Sequence[Due]:
    """What should have been delivered by now, and is not; the latest first."""
    return due(tx, 0.0)
