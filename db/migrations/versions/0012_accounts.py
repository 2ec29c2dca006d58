"""Who may use the pages, who is signed in, how long a sign-in waits after failures; and what the live queue reads."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", Id, autoincrement=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'approver', 'admin')", name=op.f("ck_account_role_known")),
    )
    op.create_table(
        "session",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("account_id", Id, nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("shows_until", sa.Double()),
        sa.Column("flash", sa.Text()),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_session")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_session_account_id")),
    )
    op.create_index(op.f("ix_session_account_id"), "session", ["account_id"])
    op.create_table(
        "sign_in_delay",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last", sa.Double(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("succeeded", sa.Double()),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_delay")),
    )
    op.add_column("study", sa.Column("accession", sa.Text(), nullable=False, server_default=""))
    op.create_index(op.f("ix_study_accession"), "study", ["accession"])
    op.drop_index(op.f("ix_instance_study_id"), table_name="instance")
    op.create_index("ix_instance_of_study", "instance", ["study_id", "kind", "revision"])
    for name, table, column, which in (
        ("ix_job_undone", "job", "study_id", "state <> 'done'"),
        ("ix_result_apart", "result", "input_set_id", "state IN ('held', 'withdrawn', 'discarded')"),
        ("ix_delivery_undone", "delivery", "result_id", "state IN ('waiting', 'held', 'dead')"),
    ):
        where = sa.text(which)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
