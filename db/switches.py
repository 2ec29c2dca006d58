"""Networks that a person has switched off: no study is read by them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, insert
from .job_states import OPEN
from .tables import input_set, job, network_off


def switch_off(tx: Connection, network: str, who: str) -> None:
    """Let a network read nothing."""
    tx.execute(insert(tx, network_off).values(network=network, since=Clock(), who=who).on_conflict_do_nothing())


def switch_on(tx: Connection, network: str) -> None:
    """Let it read again."""
    tx.execute(sa.delete(network_off).where(network_off.c.network == network))


def switched_off(tx: Connection) -> set[str]:
    """The networks that are off."""
    return set(tx.execute(sa.select(network_off.c.network)).scalars())


def switched_off_by(tx: Connection, who: str) -> set[str]:
    """Those that are off, and that `who` has switched off."""
    return set(tx.execute(sa.select(network_off.c.network).where(network_off.c.who == who)).scalars())


def open_jobs(tx: Connection, network: str) -> int:
    """How many jobs with a network's input sets are not done."""
    query = sa.select(sa.func.count()).select_from(job).join(input_set, input_set.c.id == job.c.input_set_id)
    return int(tx.execute(query.where(input_set.c.network == network, job.c.state.in_(OPEN))).scalar_one())
