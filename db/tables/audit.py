"""What the collector of audit messages is still to be told, and who tells it."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Id, Time, id_column, metadata

# An audit message that waits. It names patients and studies, as the Standard wants it to, and goes when it was sent.
audit_message = sa.Table(
    "audit_message",
    metadata,
    id_column(),
    # when it happened
    sa.Column("at", Time, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    # the process in which it still goes on: it waits for its end
    sa.Column("open_by", sa.Text, index=True),
    # why it cannot be written as a message: it waits for a person, and holds up no other one
    sa.Column("unsendable", sa.Text),
)

# One row where there is a collector: how far it is.
audit_trail = sa.Table(
    "audit_trail",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    # of the record: events up to this number were taken over
    sa.Column("events_until", Id, nullable=False),
    # which process sends, and until when it says that it does
    sa.Column("holder", sa.Text),
    sa.Column("held_until", Time),
    # messages that were sent, and those that could not be written down here
    sa.Column("sent", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lost", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lost_last", Time),
    sa.Column("last_sent", Time),
    # why the collector takes nothing, and since when
    sa.Column("failing_since", Time),
    sa.Column("reason", sa.Text),
    sa.CheckConstraint("id = 1", name="one"),
)

# A machine of this node whose configuration names a collector: while there is one, a trail is kept.
audit_keeper = sa.Table(
    "audit_keeper",
    metadata,
    sa.Column("machine", sa.Text, primary_key=True),
    # since when no process of it is known; NULL: one is, or it has just begun
    sa.Column("gone", Time),
)
