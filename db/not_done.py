"""What is not done, as partial indexes know it: they stay as small as that, however much was ever done.

A database uses such an index only where the question has the index's own words in it and not a parameter, and SQLite
only where no other index seems to fit: the kind of a job is asked as an expression, since the index that begins with it
holds all jobs there ever were.
"""

from __future__ import annotations

import sqlalchemy as sa

from .tables import job

KIND = job.c.kind + ""
WAITING = sa.text("job.state = 'waiting'")
RUNNING = sa.text("job.state = 'running'")
OPEN = sa.text("job.state IN ('waiting', 'running')")
DEAD = sa.text("job.state = 'dead'")
_other = job.alias("other")
_running = sa.text("other.kind = 'fetch' AND other.state = 'running'")
#: whether a study is being fetched
FETCHING = sa.select(sa.literal(1)).select_from(_other).where(_running).exists()
UNDONE_DELIVERY = sa.text("delivery.state IN ('waiting', 'held', 'dead')")
APART_RESULT = sa.text("result.state IN ('held', 'withdrawn', 'discarded')")
#: a person has to look at it; those that a person put away are in the same index
HELD_RESULT = sa.text("result.state IN ('held', 'withdrawn', 'discarded') AND result.state = 'held'")
