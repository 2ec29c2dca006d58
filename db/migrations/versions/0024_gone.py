"""Since when nothing is known of a machine that had a collector of audit messages."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_keeper", sa.Column("gone", sa.Double(), nullable=True))
