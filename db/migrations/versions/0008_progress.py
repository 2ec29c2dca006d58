"""How far the network of a running job is."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("windows_done", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("windows_of", sa.Integer(), nullable=True))
