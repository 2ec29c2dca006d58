"""Who sent the study of a job, and when each source was last served."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("source", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "source_turn",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_source_turn")),
    )
