"""Revisions, measurements, storage commitment, and what people decide about results."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RESULT_STATES = "state IN ('ready', 'held', 'superseded', 'withdrawn', 'discarded')"
DELIVERY_STATES = (
    "state IN ('waiting', 'held', 'delivered', 'committed', 'dead', 'superseded', 'withdrawn', 'discarded')"
)


def upgrade() -> None:
    with op.batch_alter_table("result") as table:
        table.add_column(sa.Column("run", sa.Text(), server_default="", nullable=False))
        table.add_column(sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
        table.add_column(sa.Column("reason", sa.Text()))
        table.drop_constraint(op.f("ck_result_state_known"), type_="check")
        table.create_check_constraint(op.f("ck_result_state_known"), RESULT_STATES)
    op.create_index("ix_result_run", "result", ["input_set_id", "run"])
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("fell_back_from", ID))
        table.add_column(sa.Column("rejected_by", ID))
        table.create_foreign_key(op.f("fk_delivery_fell_back_from"), "result", ["fell_back_from"], ["id"])
        table.create_foreign_key(op.f("fk_delivery_rejected_by"), "result", ["rejected_by"], ["id"])
        table.drop_constraint(op.f("ck_delivery_state_known"), type_="check")
        table.create_check_constraint(op.f("ck_delivery_state_known"), DELIVERY_STATES)
    op.create_table(
        "measurement",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("segments", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_measurement_input_set_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_measurement_model_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurement")),
        sa.UniqueConstraint(
            "input_set_id", "model_version_id", name=op.f("uq_measurement_input_set_id_model_version_id")
        ),
    )
    op.create_index(op.f("ix_measurement_input_set_id"), "measurement", ["input_set_id"])
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked", sa.Double(), nullable=False),
        sa.Column("deadline", sa.Double(), nullable=False),
        sa.Column("answered", sa.Double()),
        sa.CheckConstraint("state IN ('asked', 'answered', 'expired')", name=op.f("ck_commitment_state_known")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_commitment_input_set_id")),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitment")),
    )
    op.create_index(op.f("ix_commitment_input_set_id"), "commitment", ["input_set_id"])
    op.create_table(
        "verdict",
        sa.Column("id", ID, nullable=False),
        sa.Column("result_id", ID, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.CheckConstraint("what IN ('release', 'discard', 'withdraw')", name=op.f("ck_verdict_what_known")),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_verdict_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
    )
    op.create_index(op.f("ix_verdict_result_id"), "verdict", ["result_id"])
