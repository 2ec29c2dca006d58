"""What keeps the house in order: files that are to go."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, metadata

# A file or folder below the home folder that no row needs any more: written with the rows that gave it up, and taken
# away again when it is gone from the disk. So a crash leaves nothing behind that nobody knows of.
doomed_file = sa.Table(
    "doomed_file",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("since", Time, nullable=False),
)
