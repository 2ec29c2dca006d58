"""What people are told of: incidents, the messages about them, the processes that are alive, and what was counted."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

# Something that is wrong, from when it was first seen until it is over. No name, no number and no UID of a patient.
incident = sa.Table(
    "incident",
    metadata,
    id_column(),
    sa.Column("kind", sa.Text, nullable=False),
    # a destination, a network, a process, an AE title; empty where there is one of its kind
    sa.Column("subject", sa.Text, nullable=False),
    # pending: seen, and not for long enough to tell anybody
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    # of what it is about: jobs, studies, objects
    sa.Column("count", sa.BigInteger, nullable=False),
    # how often it came back before it was over
    sa.Column("times", sa.Integer, nullable=False, server_default="1"),
    sa.Column("since", Time, nullable=False),
    sa.Column("opened", Time),
    sa.Column("seen", Time, nullable=False),
    # since when it is not seen any more
    sa.Column("clear_since", Time),
    sa.Column("closed", Time),
    sa.Column("acknowledged", Time),
    sa.Column("acknowledged_by", sa.Text),
    # as many were known of when it was acknowledged
    sa.Column("acknowledged_count", sa.BigInteger),
    # when people were told of it last
    sa.Column("told", Time),
    one_of("state", "pending", "open", "closed"),
    # one incident of a kind and subject at a time
    sa.Index(
        "uq_incident_standing",
        "kind",
        "subject",
        unique=True,
        sqlite_where=sa.text("state IN ('pending', 'open')"),
        postgresql_where=sa.text("state IN ('pending', 'open')"),
    ),
)

# A message to a recipient; its text is made of the incident when it is sent.
alarm_message = sa.Table(
    "alarm_message",
    metadata,
    id_column(),
    reference("incident_id", "incident", nullable=True),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.Column("send_after", Time, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("sent", Time),
    # why the last attempt came to nothing
    sa.Column("reason", sa.Text),
    one_of("what", "opened", "grown", "reminder", "closed", "test"),
    # dropped: a later one says it all; given-up: nobody took it for a week
    one_of("state", "waiting", "sent", "dropped", "given-up"),
    sa.Index(
        "ix_alarm_message_due",
        "send_after",
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    ),
)

# The processes of all machines, as they say themselves; one that ends as it should takes its row with it.
process = sa.Table(
    "process",
    metadata,
    # machine and role, such as "gpu1/work-1": the next one in its place takes the row over
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("started", Time, nullable=False),
    sa.Column("beat", Time, nullable=False),
    # how often in a row it ended as it should not, before it had lived for a while
    sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("machine", sa.Text, nullable=False, server_default=""),
    # of Planimeter
    sa.Column("version", sa.Text, nullable=False, server_default=""),
    # since when it finishes what it has and begins nothing; it forgets that when it is started again
    sa.Column("drained", Time),
)

# What one process of all machines does at a time: whoever has the lease.
duty = sa.Table(
    "duty",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    # the name of a process
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("since", Time, nullable=False),
    sa.Column("lease_until", Time, nullable=False),
)

# What was counted since the database was made; it only grows, whatever is purged.
tally = sa.Table(
    "tally",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    # a JSON array of text
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
)
