"""What a person decides about results: released, discarded, withdrawn. The objects of one run go together."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import deliveries
from .database import Clock
from .results import REJECTION
from .tables import delivery, input_set, result, study, verdict


@dataclass(frozen=True)
class RunOfResults:
    """The objects that were made together.

    Attributes:
        named: the result that the person named.
        ids: of all of them.
        held: destinations for which they wait for a person.
    """

    named: RowMapping
    ids: tuple[int, ...]
    held: tuple[str, ...]


def find(tx: Connection, name: str) -> RunOfResults | None:
    """The run of the result with this id or SOP Instance UID, or None."""
    key = result.c.id == int(name) if name.isdigit() and len(name) < 16 else result.c.sop_uid == name
    named = (
        tx.execute(
            sa.select(result, input_set.c.study_id, study.c.study_uid)
            .join(input_set, input_set.c.id == result.c.input_set_id)
            .join(study, study.c.id == input_set.c.study_id)
            .where(key, result.c.kind != REJECTION)
        )
        .mappings()
        .one_or_none()
    )
    if named is None:
        return None
    together = sa.and_(
        result.c.input_set_id == named["input_set_id"],
        result.c.run == named["run"],
        result.c.revision == named["revision"],
        result.c.kind != REJECTION,
    )
    ids = tuple(tx.execute(sa.select(result.c.id).where(together)).scalars())
    return RunOfResults(named, ids, _destinations(tx, ids, delivery.c.state == "held"))


def have(tx: Connection, run: RunOfResults) -> tuple[str, ...]:
    """The destinations that have any of them.

    To be asked behind what writes a decision: that waits for whoever writes a receipt at the same moment.
    """
    return _destinations(tx, run.ids, delivery.c.delivered.is_not(None))


def may_have(tx: Connection, run: RunOfResults) -> tuple[str, ...]:
    """The destinations that were sent some of them and gave no answer, and have none that is known of."""
    silent = _destinations(tx, run.ids, sa.and_(delivery.c.delivered.is_(None), delivery.c.unanswered > 0))
    return tuple(one for one in silent if one not in have(tx, run))


def may_take(tx: Connection, run: RunOfResults) -> tuple[str, ...]:
    """The destinations that may be taking them at this moment: they have not answered, and the job that sends runs."""
    sending = deliveries.sending(tx, run.named["input_set_id"])
    return tuple(one for one in _destinations(tx, run.ids, delivery.c.delivered.is_(None)) if one in sending)


def _destinations(tx: Connection, ids: tuple[int, ...], which: sa.ColumnElement[bool]) -> tuple[str, ...]:
    rows = tx.execute(sa.select(delivery.c.destination).where(delivery.c.result_id.in_(ids), which))
    return tuple(sorted(set(rows.scalars())))


def note(tx: Connection, run: RunOfResults, what: str, who: str, why: str) -> None:
    """Write down who decided what."""
    tx.execute(sa.insert(verdict).values(result_id=run.named["id"], what=what, at=Clock(), who=who, why=why))


def release(tx: Connection, run: RunOfResults) -> None:
    """What was held for a person may go."""
    _deliveries(tx, run, ["held"], "waiting", None)


def discard(tx: Connection, run: RunOfResults) -> None:
    """What was not sent is never sent."""
    _results(tx, run, "discarded")
    _deliveries(tx, run, ["held", "waiting", "dead"], "discarded", "a person discarded it")


def withdraw(tx: Connection, run: RunOfResults, why: str) -> None:
    """Nothing of it counts any more, wherever it is."""
    _results(tx, run, "withdrawn")
    states = ["held", "waiting", "dead", "delivered", "committed", "superseded"]
    _deliveries(tx, run, states, "withdrawn", f"withdrawn: {why}")


def _results(tx: Connection, run: RunOfResults, state: str) -> None:
    """To be written before their deliveries: whoever is about to send one holds its result until the delivery is there,
    and newer results take the place of these in that order."""
    tx.execute(sa.update(result).where(result.c.id.in_(run.ids)).values(state=state))


def _deliveries(tx: Connection, run: RunOfResults, states: list[str], state: str, reason: str | None) -> None:
    mine = sa.and_(delivery.c.result_id.in_(run.ids), delivery.c.state.in_(states))
    tx.execute(sa.update(delivery).where(mine).values(state=state, reason=reason))
