"""Results: what was computed, once, and which older result it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import input_sets, not_done
from .database import Clock
from .tables import delivery, input_set, model_version, result, study

#: kind of a note that tells a destination not to use older results; nothing takes its place
REJECTION = "KOS"


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """A result whose file is in the archive."""

    kind: str
    options: str
    sop_uid: str
    sop_class: str
    series_uid: str
    sha256: str
    path: str
    size: int
    content_time: float
    run: str = ""
    revision: int = 1


def by_uid(tx: Connection, sop_uid: str) -> RowMapping | None:
    """The result with this SOP Instance UID, or None."""
    return tx.execute(sa.select(result).where(result.c.sop_uid == sop_uid)).mappings().one_or_none()


def line(tx: Connection, input_set_id: int) -> Sequence[RowMapping]:
    """All results of an input set and of those whose place it took, the newest revision first.

    `rejected` says whether a destination was told not to use one of the same run any more.
    """
    noted = sa.select(delivery.c.id).where(delivery.c.result_id == result.c.id, delivery.c.rejected_by.is_not(None))
    return (
        tx.execute(
            sa.select(result, noted.exists().label("rejected"))
            .where(result.c.input_set_id.in_(input_sets.line(input_set_id)), result.c.kind != REJECTION)
            .order_by(result.c.revision.desc(), result.c.id)
        )
        .mappings()
        .all()
    )


def of_run(tx: Connection, result_id: int, kind: str, options: str) -> int | None:
    """The result of another form that was made together with this one, and stands; None where there is none."""
    one, other = result.alias("one"), result.alias("other")
    same = sa.and_(
        other.c.input_set_id == one.c.input_set_id, other.c.run == one.c.run, other.c.revision == one.c.revision
    )
    found = sa.select(other.c.id).join_from(one, other, same).where(one.c.id == result_id)
    return tx.execute(
        found.where(other.c.kind == kind, other.c.options == options, other.c.state == "ready")
    ).scalar_one_or_none()


def segmentation(tx: Connection, input_set_id: int) -> RowMapping | None:
    """The newest binary segmentation of an input set that stands, with its file; None where there is none."""
    stands = sa.and_(result.c.input_set_id == input_set_id, result.c.state == "ready", result.c.path.is_not(None))
    which = sa.and_(stands, result.c.kind == "SEG", result.c.options == "BINARY")
    return tx.execute(sa.select(result).where(which).order_by(result.c.id.desc()).limit(1)).mappings().one_or_none()


def last_segmentation(tx: Connection, input_set_id: int) -> RowMapping | None:
    """The binary segmentation of an input set that stands, else the newest one, whatever became of it."""
    which = sa.and_(result.c.input_set_id == input_set_id, result.c.kind == "SEG", result.c.options == "BINARY")
    stands_first = sa.case((result.c.state == "ready", 0), else_=1)
    newest = sa.select(result).where(which).order_by(stands_first, result.c.id.desc())
    return tx.execute(newest.limit(1)).mappings().one_or_none()


def of_ids(tx: Connection, ids: Sequence[int]) -> Sequence[RowMapping]:
    """Results by their ids."""
    return tx.execute(sa.select(result).where(result.c.id.in_(ids)).order_by(result.c.id)).mappings().all()


def standing(tx: Connection, ids: Sequence[int]) -> set[int]:
    """Those that stand and whose bytes are kept; nobody decides otherwise before this transaction ends."""
    stand = sa.and_(result.c.id.in_(ids), result.c.state == "ready", result.c.path.is_not(None))
    held = sa.select(result.c.id).where(stand).order_by(result.c.id).with_for_update(read=True)
    return set(tx.execute(held).scalars())


def has_path(tx: Connection, path: str) -> bool:
    """Whether a file of the archive is a result."""
    return tx.execute(sa.select(result.c.id).where(result.c.path == path)).first() is not None


def is_ours(tx: Connection, sop_uid: str, device_uids: Sequence[str]) -> bool:
    """Whether an object is one of our results: known by its SOP Instance UID, else by a Device UID of our networks."""
    if by_uid(tx, sop_uid) is not None:
        return True
    ours = sa.select(model_version.c.id).where(model_version.c.device_uid.in_(list(device_uids)))
    return bool(device_uids) and tx.execute(ours.limit(1)).first() is not None


def record(
    tx: Connection,
    input_set_id: int,
    model_version_id: int,
    new: Sequence[NewResult],
    *,
    outdated: bool,
    fault: str = "",
) -> list[int]:
    """Write the results of an input set, and let them replace what was there.

    A result whose UID has a row is that row, and stands again if it had been superseded. The standing results of the
    same input set, or of the ones it supersedes, that are not among the new ones are superseded, and what of them was
    still to be sent is not sent any more.

    Args:
        outdated: a newer input set has taken this one's place; then these are superseded from the start.
        fault: what the self-check found; then these are held, and what was there stands.

    Returns:
        The ids, in the order of `new`.
    """
    older = _older(tx, input_set_id, [one.sop_uid for one in new])
    ids = []
    for one in new:
        known = by_uid(tx, one.sop_uid)
        if known is not None:
            ids.append(int(known["id"]))
            if known["path"] is None:  # its bytes went by the years, and are there again
                tx.execute(sa.update(result).where(result.c.id == ids[-1]).values(path=one.path))
            if not outdated and not fault and known["state"] == "superseded":
                tx.execute(sa.update(result).where(result.c.id == ids[-1]).values(state="ready"))
            continue
        replaced = next((row.id for row in older if row.kind == one.kind and row.options == one.options), None)
        ids.append(
            int(
                tx.execute(
                    sa.insert(result)
                    .values(
                        input_set_id=input_set_id,
                        model_version_id=model_version_id,
                        kind=one.kind,
                        options=one.options,
                        sop_uid=one.sop_uid,
                        sop_class=one.sop_class,
                        series_uid=one.series_uid,
                        sha256=one.sha256,
                        path=one.path,
                        size=one.size,
                        content_time=one.content_time,
                        run=one.run,
                        revision=one.revision,
                        state="held" if fault else "superseded" if outdated else "ready",
                        reason=fault or None,
                        supersedes=replaced,
                        created=Clock(),
                    )
                    .returning(result.c.id)
                ).scalar_one()
            )
        )
    if older and not outdated and not fault:
        _supersede(tx, [row.id for row in older])
    return ids


def set_aside(tx: Connection, input_set_id: int) -> None:
    """What stands of an input set is superseded until it is made again; equal results then stand again."""
    mine = sa.and_(result.c.input_set_id == input_set_id, result.c.state == "ready", result.c.kind != REJECTION)
    standing = sa.select(result.c.id).where(mine)
    _supersede(tx, list(tx.execute(standing).scalars()))


def _older(tx: Connection, input_set_id: int, keep: list[str]) -> Sequence[Any]:
    return tx.execute(
        sa.select(result.c.id, result.c.kind, result.c.options)
        .where(
            result.c.input_set_id.in_(input_sets.line(input_set_id)),
            result.c.state.in_(["ready", "held"]),
            result.c.kind != REJECTION,
            result.c.sop_uid.not_in(keep),
        )
        .order_by(result.c.id.desc())
    ).all()


def _supersede(tx: Connection, ids: list[int]) -> None:
    tx.execute(sa.update(result).where(result.c.id.in_(ids)).values(state="superseded"))
    tx.execute(
        sa.update(delivery)
        .where(delivery.c.result_id.in_(ids), delivery.c.state.in_(["waiting", "held"]))
        .values(state="superseded", reason="a newer result took its place before it was sent")
    )


def held(tx: Connection) -> Sequence[RowMapping]:
    """The results that the self-check holds, one of each run, newest first."""
    rows = tx.execute(
        sa.select(result.c.id, result.c.reason, study.c.study_uid, result.c.input_set_id, result.c.run)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(not_done.HELD_RESULT)
    ).mappings()
    # sorted here: for an order by ids SQLite would go through all of them
    newest = sorted(rows, key=lambda row: -row["id"])
    return list({(row["input_set_id"], row["run"]): row for row in newest}.values())
