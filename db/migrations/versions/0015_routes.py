"""Versions of the configuration, deadlines and objects of routes, series that fire alone, what only a PACS has."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "config_version",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("restores", ID, nullable=True),
        sa.CheckConstraint("what IN ('file', 'apply', 'rollback')", name=op.f("ck_config_version_what_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_version")),
    )
    op.add_column("route_decision", sa.Column("config_version", ID, nullable=True))
    op.add_column("dispatch", sa.Column("objects", sa.Text(), nullable=True))
    op.add_column("input_set", sa.Column("deadline", sa.Double(), nullable=True))
    op.add_column("series", sa.Column("last_image", sa.Double(), nullable=True))
    op.add_column("series", sa.Column("fired_quiet", sa.Double(), nullable=True))
    op.add_column("series", sa.Column("announced", sa.Integer(), nullable=True))
    op.add_column("series", sa.Column("pacs_images", sa.Integer(), nullable=True))
    op.add_column("study", sa.Column("chosen", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("study", sa.Column("forced", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE series SET last_image ="
        " (SELECT max(arrived) FROM instance WHERE instance.series_id = series.id AND instance.kind = 'image')"
    )
    op.execute("UPDATE study SET chosen = generation")
    op.create_table(
        "reconciliation",
        sa.Column("id", ID, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("studies", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("more", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation")),
        sa.UniqueConstraint("peer", "day", name=op.f("uq_reconciliation_peer_day")),
    )
    op.create_table(
        "lacking_study",
        sa.Column("id", ID, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("modalities", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=True),
        sa.Column("found", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lacking_study")),
        sa.UniqueConstraint("peer", "study_uid", name=op.f("uq_lacking_study_peer_study_uid")),
    )
    op.create_table(
        "prior_fetch",
        sa.Column("study_id", ID, autoincrement=False, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("asked", sa.Double(), nullable=False),
        sa.Column("prior_uid", sa.Text(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_prior_fetch_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_prior_fetch")),
    )
