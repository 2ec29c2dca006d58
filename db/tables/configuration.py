"""What a site decided of its routes and peers, version by version."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Id, Time, metadata, one_of

# Append-only: the newest row is live. A version is never changed; to roll back is to add its text again.
config_version = sa.Table(
    "config_version",
    metadata,
    # one more than the newest: of two who write at the same moment, one is told
    sa.Column("id", Id, primary_key=True, autoincrement=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    # file: the one that the node was started with was another than before; the others are decisions
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    # what is taken anew without a restart, as it was written
    sa.Column("text", sa.Text, nullable=False),
    # of a file: all that it said, where that is not the text; what else is in there was applied before, and stays
    sa.Column("read", sa.Text),
    # of a rollback: the version whose text it is
    sa.Column("restores", Id),
    one_of("what", "file", "apply", "rollback"),
)
