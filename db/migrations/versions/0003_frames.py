"""Which frames of a multi-frame image an input set reads."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("input_member", sa.Column("frames", sa.Text(), server_default="", nullable=False))
