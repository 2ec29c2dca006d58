"""The serial number of this node: made once with its database, and part of every object that it makes."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import insert
from .tables import node_identity


def serial(tx: Connection, fresh: str) -> str:
    """The serial number; `fresh` becomes it where there is none yet."""
    tx.execute(insert(tx, node_identity).values(id=1, serial=fresh).on_conflict_do_nothing())
    return str(tx.execute(sa.select(node_identity.c.serial)).scalar_one())
