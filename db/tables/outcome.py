"""What came of it: results, and where they went."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

result = sa.Table(
    "result",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    reference("model_version_id", "model_version", index=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    # a UID that has a row is that result, never a second one
    sa.Column("sop_uid", sa.Text, nullable=False, unique=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),
    # content date and time: those of the first attempt, kept after the file is purged
    sa.Column("content_time", Time, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    reference("supersedes", "result", nullable=True),
    sa.Column("created", Time, nullable=False),
    one_of("state", "ready", "held", "superseded", "withdrawn"),
)

delivery = sa.Table(
    "delivery",
    metadata,
    id_column(),
    reference("result_id", "result"),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text),
    sa.Column("created", Time, nullable=False),
    sa.Column("delivered", Time),
    sa.Column("committed", Time),
    sa.Column("transaction_uid", sa.Text),
    # each object goes to each destination once
    sa.UniqueConstraint("result_id", "destination"),
    one_of("state", "waiting", "delivered", "dead", "superseded"),
)

# A destination that cannot be reached: its deliveries wait, and use up no attempts.
outage = sa.Table(
    "outage",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("since", Time, nullable=False),
    sa.Column("retry_after", Time, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
