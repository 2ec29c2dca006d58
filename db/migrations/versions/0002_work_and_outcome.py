"""What is done and what comes out: jobs, attempts, results, deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("due", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Double()),
        sa.Column("worker", sa.Text()),
        sa.Column("fencing_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("again", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("first_claimed", sa.Double()),
        sa.Column("model_version_id", ID),
        sa.Column("depends_on", ID),
        sa.Column("study_id", ID),
        sa.Column("input_set_id", ID),
        sa.Column("code", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'refused', 'dead', 'cancelled')", name=op.f("ck_job_state_known")
        ),
        sa.ForeignKeyConstraint(["depends_on"], ["job.id"], name=op.f("fk_job_depends_on")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_job_input_set_id")),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_job_model_version_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_job_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("kind", "subject", "due", name=op.f("uq_job_kind_subject_due")),
    )
    op.create_index(
        "ix_job_claimable",
        "job",
        ["priority", "run_after", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(op.f("ix_job_depends_on"), "job", ["depends_on"])
    op.create_index(op.f("ix_job_input_set_id"), "job", ["input_set_id"])
    op.create_index(
        "ix_job_leased",
        "job",
        ["lease_until"],
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(op.f("ix_job_study_id"), "job", ["study_id"])
    op.create_index(
        "uq_job_open",
        "job",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
    )
    op.create_table(
        "result",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("sop_class", sa.Text(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_time", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("supersedes", ID),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('ready', 'held', 'superseded', 'withdrawn')", name=op.f("ck_result_state_known")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_result_input_set_id")),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_result_model_version_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["result.id"], name=op.f("fk_result_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
        sa.UniqueConstraint("sop_uid", name=op.f("uq_result_sop_uid")),
    )
    op.create_index(op.f("ix_result_input_set_id"), "result", ["input_set_id"])
    op.create_index(op.f("ix_result_supersedes"), "result", ["supersedes"])
    op.create_table(
        "attempt",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.Column("outcome", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("sentence", sa.Text()),
        sa.Column("seconds", sa.JSON()),
        sa.Column("peak_memory_mb", sa.JSON()),
        sa.CheckConstraint(
            "outcome IN ('done', 'refused', 'failed', 'unavailable', 'lost', 'released')",
            name=op.f("ck_attempt_outcome_known"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("job_id", "fencing_token", name=op.f("uq_attempt_job_id_fencing_token")),
    )
    op.create_index(op.f("ix_attempt_job_id"), "attempt", ["job_id"])
    op.create_table(
        "delivery",
        sa.Column("id", ID, nullable=False),
        sa.Column("result_id", ID, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("delivered", sa.Double()),
        sa.Column("committed", sa.Double()),
        sa.Column("transaction_uid", sa.Text()),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'dead', 'superseded')", name=op.f("ck_delivery_state_known")
        ),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_delivery_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("result_id", "destination", name=op.f("uq_delivery_result_id_destination")),
    )
    op.create_index(op.f("ix_delivery_result_id"), "delivery", ["result_id"])
