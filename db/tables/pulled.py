"""What is asked of a PACS: which studies it has that never came, and priors that were fetched for comparison."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Id, Time, id_column, metadata

# When a PACS was last asked for all studies of a day, and how many it has.
reconciliation = sa.Table(
    "reconciliation",
    metadata,
    id_column(),
    sa.Column("peer", sa.Text, nullable=False),
    # of the studies: 2026-01-31
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("studies", sa.Integer, nullable=False),
    # answers that did not prove to be what was asked
    sa.Column("left_out", sa.Integer, nullable=False),
    # it has more than it was asked for at once
    sa.Column("more", sa.Boolean, nullable=False),
    sa.UniqueConstraint("peer", "day"),
)

# A study that a PACS has and that was not here, or not all of it, when that PACS was asked; no patient data.
lacking_study = sa.Table(
    "lacking_study",
    metadata,
    id_column(),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("study_uid", sa.Text, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("modalities", sa.Text, nullable=False),
    # that the PACS has; empty where it does not count
    sa.Column("images", sa.Integer),
    sa.Column("found", Time, nullable=False),
    sa.UniqueConstraint("peer", "study_uid"),
)

# A study for which an earlier one of its patient is fetched to be compared with, once.
prior_fetch = sa.Table(
    "prior_fetch",
    metadata,
    sa.Column("study_id", Id, sa.ForeignKey("study.id"), primary_key=True, autoincrement=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("asked", Time, nullable=False),
    # the one that was found; empty before, and where there is none
    sa.Column("prior_uid", sa.Text, nullable=False, server_default=""),
)
