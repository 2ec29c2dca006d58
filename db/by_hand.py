"""What a person asks of one study, whatever the routes say: a network to read it, a result to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, clock, insert
from .tables import asked_network, delivery, input_set, result, sent_by_hand

#: of a delivery that may be sent because a person says so
SENDABLE = ("superseded", "dead", "discarded")


def ask_network(tx: Connection, study_id: int, network: str, destinations: Iterable[str], who: str) -> None:
    """A network is to read a study whenever it is chosen from.

    Args:
        destinations: where its results go; none: they are kept.
    """
    for destination in list(destinations) or [""]:
        row = dict(study_id=study_id, network=network, destination=destination, at=Clock(), who=who)
        tx.execute(insert(tx, asked_network).values(row).on_conflict_do_nothing())


def asked_networks(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What was asked for, oldest first."""
    mine = sa.select(asked_network).where(asked_network.c.study_id == study_id).order_by(asked_network.c.id)
    return tx.execute(mine).mappings().all()


def send(tx: Connection, result_ids: Sequence[int], destination: str, who: str) -> list[str]:
    """Let results wait for a destination; the states of those that were there already and stay as they are."""
    kept, at = [], clock(tx)
    for result_id in result_ids:
        mine = sa.and_(delivery.c.result_id == result_id, delivery.c.destination == destination)
        state = tx.execute(sa.select(delivery.c.state).where(mine)).scalar()
        if state is not None and state not in SENDABLE:
            kept.append(state)
            continue
        row = dict(result_id=result_id, destination=destination, state="waiting", reason=f"sent by {who}")
        tx.execute(
            insert(tx, delivery)
            .values(**row, created=Clock())
            .on_conflict_do_update(index_elements=["result_id", "destination"], set_=row)
        )
        tx.execute(sa.insert(sent_by_hand).values(result_id=result_id, destination=destination, at=at, who=who))
    return kept


def sent(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What of a study was sent by hand, oldest first: when, by whom, where to."""
    query = (
        sa.select(sent_by_hand, result.c.input_set_id, result.c.kind, result.c.options)
        .join(result, result.c.id == sent_by_hand.c.result_id)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == study_id)
        .order_by(sent_by_hand.c.id)
    )
    return tx.execute(query).mappings().all()
