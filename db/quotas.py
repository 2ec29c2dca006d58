"""How much each peer has sent in the last hour, over all receivers of a database: counted in steps of five minutes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import tallies
from .database import clock
from .tables import tally

STEP_SECONDS, STEPS = 300, 12
INSTANCES, BYTES = "quota_instances", "quota_bytes"


def add(tx: Connection, counts: Mapping[str, tuple[int, int]]) -> None:
    """Count instances and bytes by the name of a peer, and forget what is older than an hour."""
    step = int(clock(tx) // STEP_SECONDS)
    found: dict[tuple[str, ...], float] = {}
    for peer, (instances, size) in counts.items():
        found[INSTANCES, peer, str(step)], found[BYTES, peer, str(step)] = instances, size
    tallies.add(tx, found)
    for row in tx.execute(sa.select(tally.c.name, tally.c.labels).where(tally.c.name.in_((INSTANCES, BYTES)))).all():
        if int(json.loads(row.labels)[1]) <= step - STEPS:
            tx.execute(sa.delete(tally).where(tally.c.name == row.name, tally.c.labels == row.labels))


def used(tx: Connection) -> dict[str, tuple[int, int]]:
    """Instances and bytes of the last hour, by the name of a peer."""
    step = int(clock(tx) // STEP_SECONDS)
    found: dict[str, dict[str, int]] = {}
    query = sa.select(tally.c.name, tally.c.labels, tally.c.value).where(tally.c.name.in_((INSTANCES, BYTES)))
    for row in tx.execute(query):
        peer, at = json.loads(row.labels)
        if int(at) > step - STEPS:
            of = found.setdefault(peer, {INSTANCES: 0, BYTES: 0})
            of[row.name] += int(row.value)
    return {peer: (of[INSTANCES], of[BYTES]) for peer, of in found.items()}
