"""Exports that people ask for on the pages, and the machines that have a collector of audit messages."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "asked_export",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("results", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_asked_export_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asked_export")),
    )
    op.create_index(op.f("ix_asked_export_study_id"), "asked_export", ["study_id"])
    op.create_table(
        "audit_keeper",
        sa.Column("machine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("machine", name=op.f("pk_audit_keeper")),
    )
