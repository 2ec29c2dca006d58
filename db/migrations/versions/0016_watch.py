"""What networks read and how that drifts, reviews, what a person looked at, and trials."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _of_input_set(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_input_set_id")
    return sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "appearance",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("channels", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        _of_input_set("appearance"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appearance")),
        sa.UniqueConstraint("input_set_id", name=op.f("uq_appearance_input_set_id")),
    )
    op.create_table(
        "drift_look",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("week", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reference_persons", sa.Integer(), nullable=False),
        sa.Column("persons", sa.Integer(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_look")),
        sa.UniqueConstraint("network", "week", name=op.f("uq_drift_look_network_week")),
    )
    op.create_table(
        "review",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("drift_look_id", ID, nullable=True),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("opened", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("closed", sa.Double(), nullable=True),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("renews", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_review_state_known")),
        sa.ForeignKeyConstraint(["drift_look_id"], ["drift_look.id"], name=op.f("fk_review_drift_look_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
    )
    op.create_index(op.f("ix_review_drift_look_id"), "review", ["drift_look_id"])
    still_open = sa.text("state = 'open'")
    op.create_index(
        "uq_review_open", "review", ["network"], unique=True, sqlite_where=still_open, postgresql_where=still_open
    )
    op.create_table(
        "inspection",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.CheckConstraint("said IN ('agreed', 'corrected')", name=op.f("ck_inspection_said_known")),
        _of_input_set("inspection"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspection")),
    )
    op.create_index(op.f("ix_inspection_input_set_id"), "inspection", ["input_set_id"])
    op.create_table(
        "trial",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("source_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.UniqueConstraint("study_uid", name=op.f("uq_trial_study_uid")),
    )
