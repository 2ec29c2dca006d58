"""Looks for drift, and the reviews that they open. A person closes a review; nothing else follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import events
from .database import Clock, Row, insert
from .tables import drift_look, review

WHO = "planimeter"


def look(tx: Connection, network: str, week: str, **values: Any) -> int | None:
    """Keep a look for drift; None where the network was looked at in this week before.

    Args:
        values: the other columns of `drift_look`.
    """
    new = insert(tx, drift_look).values(network=network, week=week, at=Clock(), **values)
    made = tx.execute(new.on_conflict_do_nothing().returning(drift_look.c.id)).scalar()
    return None if made is None else int(made)


def last_look(tx: Connection, network: str) -> Row | None:
    """The newest look at a network, or None."""
    looks = sa.select(drift_look).where(drift_look.c.network == network)
    return tx.execute(looks.order_by(drift_look.c.id.desc()).limit(1)).mappings().one_or_none()


def looks(tx: Connection, network: str, most: int) -> Sequence[Row]:
    """The newest looks at a network, newest first."""
    query = sa.select(drift_look).where(drift_look.c.network == network).order_by(drift_look.c.id.desc())
    return tx.execute(query.limit(most)).mappings().all()


def open_one(tx: Connection, network: str, because: str, drift_look_id: int | None) -> int | None:
    """Ask a person to look at a network, and record that; None where that was asked already."""
    values = {"network": network, "because": because, "drift_look_id": drift_look_id, "state": "open"}
    new = insert(tx, review).values(**values, opened=Clock()).on_conflict_do_nothing()
    made = tx.execute(new.returning(review.c.id)).scalar()
    if made is None:
        return None
    events.append(tx, WHO, "review opened", network, {"review": int(made), "because": because})
    return int(made)


def close(tx: Connection, review_id: int, who: str, why: str, *, renews: bool) -> bool:
    """A person has looked; False where it was closed before.

    Args:
        renews: what the network reads from now on is its reference from now on.
    """
    mine = sa.and_(review.c.id == review_id, review.c.state == "open")
    values = {"state": "closed", "closed": Clock(), "who": who, "why": why, "renews": renews}
    row = tx.execute(sa.update(review).where(mine).values(**values).returning(review.c.network)).one_or_none()
    if row is None:
        return False
    events.append(tx, who, "review closed", row.network, {"review": review_id, "why": why, "new_reference": renews})
    return True


def find(tx: Connection, review_id: int) -> Row | None:
    """A review by its id, or None."""
    return tx.execute(sa.select(review).where(review.c.id == review_id)).mappings().one_or_none()


def open_reviews(tx: Connection) -> Sequence[Row]:
    """The reviews that wait for a person, oldest first."""
    return tx.execute(sa.select(review).where(review.c.state == "open").order_by(review.c.id)).mappings().all()


def listing(tx: Connection, network: str, most: int) -> Sequence[Row]:
    """The newest reviews of a network, newest first."""
    query = sa.select(review).where(review.c.network == network).order_by(review.c.id.desc()).limit(most)
    return tx.execute(query).mappings().all()


def renewed(tx: Connection, network: str) -> float:
    """Since when the reference of a network is gathered; 0 where it has been from the beginning."""
    said = sa.and_(review.c.network == network, review.c.renews)
    return float(tx.execute(sa.select(sa.func.max(review.c.closed)).where(said)).scalar() or 0.0)
