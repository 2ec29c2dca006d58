"""Images whose bytes were removed by policy, and files that are to go."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("purged", sa.Double(), nullable=True))
    op.add_column("study", sa.Column("purged", sa.Double(), nullable=True))
    op.create_table(
        "doomed_file",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_doomed_file")),
    )
