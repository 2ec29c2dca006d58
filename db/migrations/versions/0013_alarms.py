"""Incidents and messages about them, processes that are alive, and counts that outlive what was counted."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(text: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(text), "postgresql_where": sa.text(text)}


def upgrade() -> None:
    op.create_table(
        "incident",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("opened", sa.Double(), nullable=True),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("clear_since", sa.Double(), nullable=True),
        sa.Column("closed", sa.Double(), nullable=True),
        sa.Column("acknowledged", sa.Double(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_count", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.Double(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'open', 'closed')", name=op.f("ck_incident_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
    )
    standing = _where("state IN ('pending', 'open')")
    op.create_index("uq_incident_standing", "incident", ["kind", "subject"], unique=True, **standing)
    op.create_table(
        "alarm_message",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("incident_id", ID, nullable=True),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("send_after", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "what IN ('opened', 'grown', 'reminder', 'closed', 'test')", name=op.f("ck_alarm_message_what_known")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'dropped', 'given-up')", name=op.f("ck_alarm_message_state_known")
        ),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_alarm_message_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_message")),
    )
    op.create_index("ix_alarm_message_incident_id", "alarm_message", ["incident_id"])
    op.create_index("ix_alarm_message_due", "alarm_message", ["send_after"], **_where("state = 'waiting'"))
    op.create_table(
        "process",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("beat", sa.Double(), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process")),
    )
    op.create_table(
        "tally",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=op.f("pk_tally")),
    )
    op.add_column("attempt", sa.Column("tallied", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_attempt_untallied", "attempt", ["id"], **_where("NOT tallied AND ended IS NOT NULL"))
    op.create_index("ix_job_dead", "job", ["kind"], **_where("state = 'dead'"))
