"""The machines of a node, and which process has which duty; patients by their numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "duty",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duty")),
    )
    op.add_column("process", sa.Column("machine", sa.Text(), server_default="", nullable=False))
    op.add_column("process", sa.Column("version", sa.Text(), server_default="", nullable=False))
    op.add_column("process", sa.Column("drained", sa.Double(), nullable=True))
    op.create_index("ix_patient_number", "patient", ["patient_id"])
