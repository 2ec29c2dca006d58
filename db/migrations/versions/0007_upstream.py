"""Which results of other networks an input set reads."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "input_upstream",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("upstream_id", ID, nullable=False),
        sa.Column("result_id", ID, nullable=True),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_input_upstream_input_set_id")),
        sa.ForeignKeyConstraint(["upstream_id"], ["input_set.id"], name=op.f("fk_input_upstream_upstream_id")),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_input_upstream_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_input_upstream")),
        sa.UniqueConstraint("input_set_id", "channel", name=op.f("uq_input_upstream_input_set_id_channel")),
    )
    op.create_index(op.f("ix_input_upstream_input_set_id"), "input_upstream", ["input_set_id"])
    op.create_index(op.f("ix_input_upstream_upstream_id"), "input_upstream", ["upstream_id"])
