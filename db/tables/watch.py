"""What is watched of the networks: how studies looked, looks for drift, reviews, what a person looked at, trials."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Id, Time, id_column, metadata, one_of, reference


def _of_input_set(*, unique: bool) -> sa.Column[int]:
    """What goes when its input set goes."""
    there = sa.ForeignKey("input_set.id", ondelete="CASCADE")
    return sa.Column("input_set_id", Id, there, nullable=False, unique=unique, index=not unique)


# What the images of an input set looked like when a network read them: spacings, kernel, scanner, values.
appearance = sa.Table(
    "appearance",
    metadata,
    id_column(),
    _of_input_set(unique=True),
    # per channel: numbers, words, and how many of its voxels of a thousand lie in each bin of values
    sa.Column("channels", sa.JSON, nullable=False),
    sa.Column("created", Time, nullable=False),
)

# Append-only: each time that what a network reads was compared with its reference.
drift_look = sa.Table(
    "drift_look",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    # the week that had ended, as ISO 8601 writes it: 2026-W47
    sa.Column("week", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    # what was read from this time on, and before that one
    sa.Column("since", Time, nullable=False),
    sa.Column("until", Time, nullable=False),
    # what it was compared with, and how many persons both had
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("reference_persons", sa.Integer, nullable=False),
    sa.Column("persons", sa.Integer, nullable=False),
    # every test: what, statistic, p, the bound for p, and whether it says drift
    sa.Column("findings", sa.JSON, nullable=False),
    # a network is looked at once a week: more looks find more by chance
    sa.UniqueConstraint("network", "week"),
)

# A person has to look at a network: drift opens it, and nothing but a person closes it.
review = sa.Table(
    "review",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    reference("drift_look_id", "drift_look", nullable=True),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("opened", Time, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("closed", Time),
    sa.Column("who", sa.Text),
    sa.Column("why", sa.Text),
    # whether what is read from the closing on is the new reference
    sa.Column("renews", sa.Boolean, nullable=False, server_default=sa.false()),
    one_of("state", "open", "closed"),
    # one open review per network
    sa.Index(
        "uq_review_open",
        "network",
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    ),
)

# Append-only: somebody looked at a result of the work list, and what came of that.
inspection = sa.Table(
    "inspection",
    metadata,
    id_column(),
    _of_input_set(unique=False),
    # of the result: what was computed, by its hash
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    one_of("said", "agreed", "corrected"),
)

# A study that a person brought to try a network on; written before its first image is.
trial = sa.Table(
    "trial",
    metadata,
    id_column(),
    # of our making: the images came with another one
    sa.Column("study_uid", sa.Text, nullable=False, unique=True),
    # the one that they came with; empty before the first image
    sa.Column("source_uid", sa.Text, nullable=False, server_default=""),
    sa.Column("network", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("began", Time, nullable=False),
    # what became of the files, when all were looked at; empty before
    sa.Column("outcome", sa.Text, nullable=False, server_default=""),
)
