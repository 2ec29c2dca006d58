"""What people ask of one study by hand, and what is known of each destination."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, reference

# A network that is to read a study although no route may offer it: it is asked for whenever the study is chosen from.
asked_network = sa.Table(
    "asked_network",
    metadata,
    id_column(),
    reference("study_id", "study", index=False),
    sa.Column("network", sa.Text, nullable=False),
    # where its results go; empty: they are kept, and go nowhere
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.UniqueConstraint("study_id", "network", "destination"),
)

# Append-only: results that a person has sent somewhere, whatever the routes say.
sent_by_hand = sa.Table(
    "sent_by_hand",
    metadata,
    id_column(),
    reference("result_id", "result"),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
)

# A study that is to leave de-identified, as a file that whoever asked fetches from the pages.
asked_export = sa.Table(
    "asked_export",
    metadata,
    id_column(),
    reference("study_id", "study"),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    # of PS3.15 E.3, with blanks between them
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("results", sa.Boolean, nullable=False),
    sa.Column("ended", Time),
    # of the file below the home folder; empty before it is made, and when it is not kept any more
    sa.Column("path", sa.Text),
    sa.Column("size", sa.BigInteger),
    # why nothing leaves; or, without a code, what left and what stayed
    sa.Column("code", sa.Text),
    sa.Column("sentence", sa.Text),
)

# What is known of a destination, beside its outage: when it answered last, what went wrong last, whether it is paused.
destination = sa.Table(
    "destination",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_contact", Time),
    sa.Column("last_error_at", Time),
    sa.Column("last_error", sa.Text),
    sa.Column("paused_since", Time),
    sa.Column("paused_by", sa.Text),
)
