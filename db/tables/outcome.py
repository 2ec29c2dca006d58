"""What came of it: measurements, results, where they went, and what people decided about them."""

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
    # the hash of what was computed, whatever it replaces; the objects of one run belong together
    sa.Column("run", sa.Text, nullable=False, server_default=""),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    # held: the self-check found a fault, and says which; it is never sent
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    reference("supersedes", "result", nullable=True),
    sa.Column("created", Time, nullable=False),
    one_of("state", "ready", "held", "superseded", "withdrawn", "discarded"),
    sa.Index("ix_result_run", "input_set_id", "run"),
    # what a person has to look at, or took away: few
    sa.Index(
        "ix_result_apart",
        "input_set_id",
        sqlite_where=sa.text("state IN ('held', 'withdrawn', 'discarded')"),
        postgresql_where=sa.text("state IN ('held', 'withdrawn', 'discarded')"),
    ),
)

# What was measured by one model version of one input set: for comparison with later studies.
measurement = sa.Table(
    "measurement",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    reference("model_version_id", "model_version", index=False),
    # StudyDate and StudyTime of the images: what was before what
    sa.Column("study_date", sa.Text, nullable=False),
    # per segment: label value, volume, axes, and the resolution that a change is judged by
    sa.Column("segments", sa.JSON, nullable=False),
    # quality flags: code, segment, sentence
    sa.Column("flags", sa.JSON, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.UniqueConstraint("input_set_id", "model_version_id"),
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
    # how often it was sent and no answer said whether it was taken: the destination may have it
    sa.Column("unanswered", sa.Integer, nullable=False, server_default="0"),
    sa.Column("committed", Time),
    sa.Column("transaction_uid", sa.Text),
    # the result that this row named before the destination refused its form
    reference("fell_back_from", "result", nullable=True, index=False),
    # the rejection note that told the destination not to use this object any more
    reference("rejected_by", "result", nullable=True, index=False),
    # each object goes to each destination once
    sa.UniqueConstraint("result_id", "destination"),
    # held: flagged, and the destination's results wait for a person; committed: the destination took responsibility
    one_of("state", "waiting", "held", "delivered", "committed", "dead", "superseded", "withdrawn", "discarded"),
    # what is not delivered: few
    sa.Index(
        "ix_delivery_undone",
        "result_id",
        sqlite_where=sa.text("state IN ('waiting', 'held', 'dead')"),
        postgresql_where=sa.text("state IN ('waiting', 'held', 'dead')"),
    ),
    # what a destination took last, and lately
    sa.Index(
        "ix_delivery_delivered",
        "destination",
        "delivered",
        sqlite_where=sa.text("delivered IS NOT NULL"),
        postgresql_where=sa.text("delivered IS NOT NULL"),
    ),
)

# Storage commitment that was asked for (PS3.4 J): the answer may come to any receiver process.
commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("transaction_uid", sa.Text, primary_key=True),
    sa.Column("destination", sa.Text, nullable=False),
    reference("input_set_id", "input_set"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked", Time, nullable=False),
    sa.Column("deadline", Time, nullable=False),
    sa.Column("answered", Time),
    one_of("state", "asked", "answered", "expired"),
)

# Append-only: what a person decided about a result, and why.
verdict = sa.Table(
    "verdict",
    metadata,
    id_column(),
    reference("result_id", "result"),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    one_of("what", "release", "discard", "withdraw"),
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
