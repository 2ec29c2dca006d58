"""What a file said of the configuration, where only a part of that became the version."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("config_version", sa.Column("read", sa.Text(), nullable=True))
