"""The audit trail's spool: messages that the collector is still to be told, in order; gone when it has taken them.

A message is a row, written with what it tells of where that is a transaction, so it is there or not as that is: after
kill -9, on a full disk, and with many processes that write. Events of the record (`events`) are taken over by their
number. Without a collector there is no row of `audit_trail`, and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import events
from .database import Clock, Row, clock, insert
from .tables import audit_keeper as keeper
from .tables import audit_message as message
from .tables import audit_trail as trail
from .tables import event, patient, process, study

#: events of the record that are taken over at a time
AT_ONCE = 200
#: a machine of which no process is known for so long does not come back by this name
GONE_SECONDS = 86_400.0
#: what the messages are called that tell of an event of the record
RECORD = "record"

_ready = sa.and_(message.c.open_by.is_(None), message.c.unsendable.is_(None))


@dataclass(frozen=True)
class Backlog:
    """How far the collector is behind.

    Attributes:
        oldest_seconds: since what the first message tells of that waits.
        open: messages on something that still goes on.
        lost: what could not be written down, since the collector is configured; `lost_seconds` since the last of that.
        failing_seconds: since when the collector takes nothing; None: it does, as far as is known.
    """

    waiting: int
    oldest_seconds: float
    open: int
    unsendable: int
    sent: int
    lost: int
    lost_seconds: float | None
    failing_seconds: float | None
    reason: str


def switch(tx: Connection, *, on: bool) -> bool:
    """Keep a trail from now on, or keep none; whether that is news. What waits is kept in any case."""
    if on == is_on(tx):
        return False
    if not on:
        tx.execute(sa.delete(trail))
        return True
    head = events.head(tx)
    tx.execute(sa.insert(trail).values(id=1, events_until=head.number if head else 0))
    return True


def keep(tx: Connection, machine: str, *, told: bool) -> bool:
    """A machine begins: whether a trail is kept from now on that was not before.

    One that has no collector does not end the trail of another one that has, whichever began last.

    Args:
        told: its configuration names a collector.
    """
    if told:
        new = insert(tx, keeper).values(machine=machine)
        tx.execute(new.on_conflict_do_update(index_elements=["machine"], set_={"gone": None}))
    else:
        tx.execute(sa.delete(keeper).where(keeper.c.machine == machine))
    wanted = bool(keepers(tx))
    return switch(tx, on=wanted) and wanted


def keepers(tx: Connection) -> Sequence[str]:
    """The machines that have a collector, as far as is known."""
    return tx.execute(sa.select(keeper.c.machine).order_by(keeper.c.machine)).scalars().all()


def forget(tx: Connection, machine: str) -> bool:
    """A machine does not come back: where it was the last one that had a collector, no trail is kept any more.

    Returns:
        Whether it had one.
    """
    had = machine in keepers(tx)
    if had:
        keep(tx, machine, told=False)
    return had


def forget_gone(tx: Connection) -> Sequence[str]:
    """The same for machines of which no process is known for a day, as that was seen here; their names.

    Pods and containers that are made anew have new names: nobody would ever end the trail by the old ones.
    """
    known = sa.exists().where(process.c.machine == keeper.c.machine)
    tx.execute(sa.update(keeper).where(known, keeper.c.gone.is_not(None)).values(gone=None))
    tx.execute(sa.update(keeper).where(~known, keeper.c.gone.is_(None)).values(gone=Clock()))
    long_gone = sa.select(keeper.c.machine).where(keeper.c.gone < Clock() - GONE_SECONDS)
    names = tx.execute(long_gone.order_by(keeper.c.machine)).scalars().all()
    for name in names:
        forget(tx, name)
    return names


def is_on(tx: Connection) -> bool:
    """Whether there is a collector."""
    return tx.execute(sa.select(trail.c.id)).first() is not None


def put(tx: Connection, what: str, facts: Mapping[str, Any], open_by: str | None = None) -> int | None:
    """One more message, in the transaction of what it tells of; its id, or None where no trail is kept.

    Args:
        facts: plain values of JSON.
        open_by: the process in which it still goes on; `end` is its end.
    """
    if not is_on(tx):
        return None
    row = dict(at=Clock(), what=what, facts=_plain(facts), open_by=open_by)
    return int(tx.execute(sa.insert(message).values(row).returning(message.c.id)).scalar_one())


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what PostgreSQL has not in JSON as text: NUL, and halves of letters."""
    said = json.dumps(dict(facts), ensure_ascii=False, allow_nan=False).replace("\\u0000", "\\ufffd")
    return dict(json.loads(said.encode("utf-8", "replace")))


def end(tx: Connection, message_id: int, facts: Mapping[str, Any]) -> bool:
    """It is over: these are its facts, and it may be sent; False where somebody ended it already."""
    mine = sa.and_(message.c.id == message_id, message.c.open_by.is_not(None))
    return bool(tx.execute(sa.update(message).where(mine).values(facts=_plain(facts), open_by=None)).rowcount)


def end_left(tx: Connection, open_by: str) -> int:
    """What a process left open that is not there any more: nobody will say how it ended; how many there were."""
    return _end_all(tx, message.c.open_by == open_by)


def end_gone(tx: Connection, silent_seconds: float) -> int:
    """The same of all processes that were not heard of for so long: no other one may ever have their names."""
    here = sa.and_(process.c.name == message.c.open_by, process.c.beat >= Clock() - silent_seconds)
    old = message.c.at < Clock() - silent_seconds  # whoever has just begun has not been heard of yet
    return _end_all(tx, sa.and_(message.c.open_by.is_not(None), old, ~sa.exists().where(here)))


def _end_all(tx: Connection, which: sa.ColumnElement[bool]) -> int:
    left = tx.execute(sa.select(message.c.id, message.c.facts).where(which)).all()
    for row in left:
        end(tx, row.id, {**row.facts, "cut": True})
    return len(left)


def about(tx: Connection, study_uid: str) -> dict[str, str]:
    """What a message says of a study: its UID, accession number, PatientID and issuer, as far as they are known."""
    query = (
        sa.select(study.c.accession, patient.c.patient_id, patient.c.issuer)
        .join(patient, patient.c.id == study.c.patient_id)
        .where(study.c.study_uid == study_uid)
    )
    row = tx.execute(query).mappings().one_or_none()
    return {"study_uid": study_uid} | ({name: str(value) for name, value in row.items()} if row else {})


def study_uids(tx: Connection, study_ids: Collection[int]) -> list[str]:
    """Of rows."""
    query = sa.select(study.c.study_uid).where(study.c.id.in_(list(study_ids))).order_by(study.c.id)
    return list(tx.execute(query).scalars())


def lose(tx: Connection, count: int) -> None:
    """So many messages could not be written down."""
    tx.execute(sa.update(trail).values(lost=trail.c.lost + count, lost_last=Clock()))


# ------------------------------------------------------------------ sending


def any_due(tx: Connection) -> bool:
    """Whether there is anything to send or to take over."""
    waiting = sa.exists().where(_ready)
    fresh = sa.exists().where(event.c.number > trail.c.events_until)
    return tx.execute(sa.select(trail.c.id).where(sa.or_(waiting, fresh))).first() is not None


def hold(tx: Connection, holder: str, seconds: float) -> bool:
    """Be the one that sends, for so long; False: another one is."""
    free = sa.or_(trail.c.holder.is_(None), trail.c.holder == holder, trail.c.held_until < Clock())
    held = sa.update(trail).where(free).values(holder=holder, held_until=Clock() + seconds)
    return bool(tx.execute(held).rowcount)


def let_go(tx: Connection, holder: str) -> None:
    """Another one may send."""
    tx.execute(sa.update(trail).where(trail.c.holder == holder).values(holder=None, held_until=None))


def take_over(tx: Connection, wanted: Callable[[str], bool]) -> None:
    """Make messages of events of the record, each once; by whoever holds the trail.

    Args:
        wanted: whether the collector is told of what is called so.
    """
    until = tx.execute(sa.select(trail.c.events_until)).scalar_one()
    query = sa.select(event).where(event.c.number > until).order_by(event.c.number).limit(AT_ONCE)
    for row in tx.execute(query).mappings().all():
        until = row["number"]
        if wanted(row["what"]):
            facts = {name: row[name] for name in ("number", "who", "what", "subject")}
            facts["details"] = json.loads(row["details"])
            tx.execute(sa.insert(message).values(at=row["at"], what=RECORD, facts=_plain(facts)))
    tx.execute(sa.update(trail).values(events_until=until))


def waiting(tx: Connection, limit: int) -> Sequence[Row]:
    """The next ones, in the order in which they were written down."""
    query = sa.select(message).where(_ready).order_by(message.c.id).limit(limit)
    return tx.execute(query).mappings().all()


def sent(tx: Connection, holder: str, ids: Collection[int]) -> bool:
    """The collector has them: they go; False, and nothing goes, where another process sends by now."""
    done = sa.update(trail).where(trail.c.holder == holder)
    same = dict(sent=trail.c.sent + len(ids), last_sent=Clock(), failing_since=None, reason=None)
    if not tx.execute(done.values(same)).rowcount:
        return False
    tx.execute(sa.delete(message).where(message.c.id.in_(list(ids))))
    return True


def set_aside(tx: Connection, message_id: int, why: str) -> None:
    """A message that cannot be written: the others go on."""
    tx.execute(sa.update(message).where(message.c.id == message_id).values(unsendable=why))


def failing(tx: Connection, reason: str) -> None:
    """The collector takes nothing."""
    since = sa.func.coalesce(trail.c.failing_since, Clock())
    tx.execute(sa.update(trail).values(failing_since=since, reason=reason))


def backlog(tx: Connection) -> Backlog | None:
    """How far the collector is behind; None where no trail is kept."""
    row = tx.execute(sa.select(trail)).mappings().one_or_none()
    if row is None:
        return None
    counts = sa.select(
        sa.func.count().filter(_ready).label("waiting"),
        sa.func.min(message.c.at).filter(_ready).label("oldest"),
        sa.func.count().filter(message.c.open_by.is_not(None)).label("open"),
        sa.func.count().filter(message.c.unsendable.is_not(None)).label("unsendable"),
    )
    found, now = tx.execute(counts).one(), clock(tx)

    def since(at: float | None) -> float | None:
        return None if at is None else max(0.0, now - at)

    return Backlog(
        waiting=int(found.waiting),
        oldest_seconds=since(found.oldest) or 0.0,
        open=int(found.open),
        unsendable=int(found.unsendable),
        sent=int(row["sent"]),
        lost=int(row["lost"]),
        lost_seconds=since(row["lost_last"]),
        failing_seconds=since(row["failing_since"]),
        reason=row["reason"] or "",
    )
