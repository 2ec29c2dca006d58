"""Chained networks: which input set reads the result of which, and who has to run again when that result changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import input_sets, job_orders, results
from .job_states import JobKind, JobState
from .tables import input_set, input_upstream, job, measurement, result


def note(tx: Connection, input_set_id: int, links: Mapping[str, int]) -> bool:
    """Write what an input set reads; whether that is other than before, and it has to run again.

    Args:
        links: channel -> the input set whose result it reads; empty for most networks.
    """
    before = {row["channel"]: row["upstream_id"] for row in of(tx, input_set_id)}
    if before == dict(links):
        return False
    tx.execute(sa.delete(input_upstream).where(input_upstream.c.input_set_id == input_set_id))
    for channel, upstream_id in links.items():
        tx.execute(
            sa.insert(input_upstream).values(input_set_id=input_set_id, channel=channel, upstream_id=upstream_id)
        )
    return True


def of(tx: Connection, input_set_id: int) -> Sequence[RowMapping]:
    """What an input set reads of other networks: channel, network, upstream_id, result_id."""
    first = sa.select(input_upstream, input_set.c.network).join(
        input_set, input_set.c.id == input_upstream.c.upstream_id
    )
    mine = first.where(input_upstream.c.input_set_id == input_set_id).order_by(input_upstream.c.id)
    return tx.execute(mine).mappings().all()


def job_of(tx: Connection, input_set_id: int) -> RowMapping | None:
    """The job that segments an input set: its state, and why it ended so."""
    mine = sa.and_(job.c.kind == JobKind.SEGMENT, job.c.subject == str(input_set_id), job.c.due == "")
    return tx.execute(sa.select(job.c.state, job.c.reason).where(mine)).mappings().one_or_none()


def newest_state(tx: Connection, input_set_id: int) -> str | None:
    """What became of the newest segmentation of an input set: "ready", "withdrawn", ...; None where there was none."""
    segmentations = sa.and_(result.c.input_set_id == input_set_id, result.c.kind == "SEG")
    newest = sa.select(result.c.state).where(segmentations).order_by(result.c.id.desc()).limit(1)
    return tx.execute(newest).scalar()


def flags(tx: Connection, result_id: int) -> list[str]:
    """What was doubtful of a result, as sentences."""
    same = sa.and_(
        measurement.c.input_set_id == result.c.input_set_id,
        measurement.c.model_version_id == result.c.model_version_id,
    )
    found = tx.execute(sa.select(measurement.c.flags).join(result, same).where(result.c.id == result_id)).scalar()
    return [str(one["sentence"]) for one in found or ()]


def versions_read(tx: Connection, input_set_id: int) -> dict[str, int]:
    """Channel -> the model version whose result was read last."""
    rows = tx.execute(
        sa.select(input_upstream.c.channel, result.c.model_version_id)
        .join(result, result.c.id == input_upstream.c.result_id)
        .where(input_upstream.c.input_set_id == input_set_id)
    )
    return {row.channel: row.model_version_id for row in rows}


def was_read(tx: Connection, input_set_id: int, read: Mapping[str, int]) -> bool:
    """Note which results an input set was made from; False, and nothing is noted, where one stands no more.

    Args:
        read: channel -> the segmentation's row.
    """
    links = {row["channel"]: row["upstream_id"] for row in of(tx, input_set_id)}
    for channel, result_id in read.items():
        now = results.segmentation(tx, links[channel]) if channel in links else None
        if now is None or now["id"] != result_id:
            return False
    for channel, result_id in read.items():
        mine = sa.and_(input_upstream.c.input_set_id == input_set_id, input_upstream.c.channel == channel)
        tx.execute(sa.update(input_upstream).where(mine).values(result_id=result_id))
    return True


def rests_on_sand(tx: Connection, input_set_id: int) -> bool:
    """Whether what was made of an input set was made from a result that stands no more."""
    gone = (
        sa.select(input_upstream.c.id)
        .join(result, result.c.id == input_upstream.c.result_id)
        .where(input_upstream.c.input_set_id == input_set_id, result.c.state != "ready")
    )
    return tx.execute(gone).first() is not None


def dependents(tx: Connection, upstream_id: int) -> Sequence[RowMapping]:
    """The input sets that read the result of this one and whose place no newer one took."""
    newer = input_set.alias("newer")
    found = (
        sa.select(input_upstream.c.input_set_id, input_upstream.c.result_id, input_set.c.study_id)
        .join(input_set, input_set.c.id == input_upstream.c.input_set_id)
        .where(input_upstream.c.upstream_id == upstream_id)
        .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
    )
    return tx.execute(found.order_by(input_upstream.c.id)).mappings().all()


def changed(tx: Connection, upstream_id: int, max_attempts: int) -> None:
    """There is news of an input set's result: whoever waits for it looks now, whoever read another runs again."""
    standing = results.segmentation(tx, upstream_id)
    for row in dependents(tx, upstream_id):
        subject = str(row["input_set_id"])
        if job_orders.hurry(tx, JobKind.SEGMENT, subject):
            continue
        if row["result_id"] == (standing["id"] if standing is not None else None):
            continue
        mine = sa.and_(job.c.kind == JobKind.SEGMENT, job.c.subject == subject)
        priority = tx.execute(sa.select(job.c.priority).where(mine)).scalar()
        if priority is not None:
            input_sets.ask(tx, row["input_set_id"], row["study_id"], max_attempts, priority)


def hurry(tx: Connection, input_set_id: int, priority: int) -> None:
    """A segmentation that waits is due now, and as urgent as the most urgent that wants it."""
    subject = str(input_set_id)
    if job_orders.hurry(tx, JobKind.SEGMENT, subject):
        mine = sa.and_(job.c.kind == JobKind.SEGMENT, job.c.subject == subject, job.c.state == JobState.WAITING)
        tx.execute(sa.update(job).where(mine, job.c.priority > priority).values(priority=priority))
