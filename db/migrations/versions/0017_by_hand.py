"""What people ask of one study by hand, and what is known of each destination."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "asked_network",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_asked_network_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asked_network")),
        sa.UniqueConstraint(
            "study_id", "network", "destination", name=op.f("uq_asked_network_study_id_network_destination")
        ),
    )
    op.create_table(
        "sent_by_hand",
        sa.Column("id", ID, nullable=False),
        sa.Column("result_id", ID, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_sent_by_hand_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sent_by_hand")),
    )
    op.create_index(op.f("ix_sent_by_hand_result_id"), "sent_by_hand", ["result_id"])
    op.create_table(
        "destination",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_contact", sa.Double(), nullable=True),
        sa.Column("last_error_at", sa.Double(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("paused_since", sa.Double(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destination")),
    )
