"""Results: what was computed, once, and which older result it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock
from .tables import delivery, input_set, model_version, result, study


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


def by_uid(tx: Connection, sop_uid: str) -> RowMapping | None:
    """The result with this SOP Instance UID, or None."""
    return tx.execute(sa.select(result).where(result.c.sop_uid == sop_uid)).mappings().one_or_none()


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
    tx: Connection, input_set_id: int, model_version_id: int, new: Sequence[NewResult], *, outdated: bool
) -> list[int]:
    """Write the results of an input set, and let them replace what was there.

    A result whose UID has a row is that row, and stands again if it had been superseded. The standing results of the
    same input set, or of the ones it supersedes, that are not among the new ones are superseded, and what of them was
    still to be sent is not sent any more.

    Args:
        outdated: a newer input set has taken this one's place; then these are superseded from the start.

    Returns:
        The ids, in the order of `new`.
    """
    older = _older(tx, input_set_id, [one.sop_uid for one in new])
    ids = []
    for one in new:
        known = by_uid(tx, one.sop_uid)
        if known is not None:
            ids.append(int(known["id"]))
            if not outdated and known["state"] == "superseded":
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
                        state="superseded" if outdated else "ready",
                        supersedes=replaced,
                        created=Clock(),
                    )
                    .returning(result.c.id)
                ).scalar_one()
            )
        )
    if not outdated and older:
        _supersede(tx, [row.id for row in older])
    return ids


def set_aside(tx: Connection, input_set_id: int) -> None:
    """What stands of an input set is superseded until it is made again; equal results then stand again."""
    standing = sa.select(result.c.id).where(result.c.input_set_id == input_set_id, result.c.state == "ready")
    _supersede(tx, list(tx.execute(standing).scalars()))


def _older(tx: Connection, input_set_id: int, keep: list[str]) -> Sequence[Any]:
    lineage = sa.select(input_set.c.id, input_set.c.supersedes).where(input_set.c.id == input_set_id)
    chain = lineage.cte("chain", recursive=True)
    chain = chain.union_all(
        sa.select(input_set.c.id, input_set.c.supersedes).join(chain, input_set.c.id == chain.c.supersedes)
    )
    return tx.execute(
        sa.select(result.c.id, result.c.kind, result.c.options)
        .where(
            result.c.input_set_id.in_(sa.select(chain.c.id)),
            result.c.state.in_(["ready", "held"]),
            result.c.sop_uid.not_in(keep),
        )
        .order_by(result.c.id.desc())
    ).all()


def _supersede(tx: Connection, ids: list[int]) -> None:
    tx.execute(sa.update(result).where(result.c.id.in_(ids)).values(state="superseded"))
    tx.execute(
        sa.update(delivery)
        .where(delivery.c.result_id.in_(ids), delivery.c.state == "waiting")
        .values(state="superseded", reason="a newer result took its place before it was sent")
    )


def of_study(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """The results of a study, oldest first, with their networks."""
    return (
        tx.execute(
            sa.select(result, input_set.c.network, model_version.c.version, study.c.study_uid)
            .join(input_set, input_set.c.id == result.c.input_set_id)
            .join(study, study.c.id == input_set.c.study_id)
            .join(model_version, model_version.c.id == result.c.model_version_id)
            .where(input_set.c.study_id == study_id)
            .order_by(result.c.id)
        )
        .mappings()
        .all()
    )
