"""Labels, patients' buckets, data sets, training runs, evaluations, shadows, and the record of events."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "data_set",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("purpose IN ('training', 'test')", name=op.f("ck_data_set_purpose_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_set")),
        sa.UniqueConstraint("network", "purpose", "number", name=op.f("uq_data_set_network_purpose_number")),
        sa.UniqueConstraint("network", "purpose", "sha256", name=op.f("uq_data_set_network_purpose_sha256")),
    )
    op.create_table(
        "event",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_event")),
        sa.UniqueConstraint("sha256", name=op.f("uq_event_sha256")),
    )
    op.create_index("ix_event_subject", "event", ["subject"])
    op.create_table(
        "patient_trait",
        sa.Column("id", ID, nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('patient_id', 'name', 'study', 'frame_of_reference', 'pixels')",
            name=op.f("ck_patient_trait_kind_known"),
        ),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_patient_trait_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_trait")),
        sa.UniqueConstraint("patient_id", "kind", "value", name=op.f("uq_patient_trait_patient_id_kind_value")),
    )
    op.create_index(op.f("ix_patient_trait_patient_id"), "patient_trait", ["patient_id"])
    op.create_index("ix_patient_trait_value", "patient_trait", ["kind", "value"])
    op.create_table(
        "suspicion",
        sa.Column("id", ID, nullable=False),
        sa.Column("first_id", ID, nullable=False),
        sa.Column("second_id", ID, nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("noted", sa.Double(), nullable=False),
        sa.Column("decided", sa.Double()),
        sa.Column("who", sa.Text()),
        sa.CheckConstraint("state IN ('open', 'same', 'different')", name=op.f("ck_suspicion_state_known")),
        sa.ForeignKeyConstraint(["first_id"], ["patient.id"], name=op.f("fk_suspicion_first_id")),
        sa.ForeignKeyConstraint(["second_id"], ["patient.id"], name=op.f("fk_suspicion_second_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suspicion")),
        sa.UniqueConstraint("first_id", "second_id", name=op.f("uq_suspicion_first_id_second_id")),
    )
    op.create_index(op.f("ix_suspicion_first_id"), "suspicion", ["first_id"])
    op.create_index(op.f("ix_suspicion_second_id"), "suspicion", ["second_id"])
    op.create_table(
        "training_run",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("parent_id", ID),
        sa.Column("data_set_id", ID),
        sa.Column("test_set_id", ID),
        sa.Column("protocol", sa.JSON(), nullable=False),
        sa.Column("protocol_sha256", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("candidate_id", ID),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double()),
        sa.CheckConstraint(
            "state IN ('waiting', 'training', 'trained', 'evaluated', 'failed', 'cancelled')",
            name=op.f("ck_training_run_state_known"),
        ),
        sa.ForeignKeyConstraint(["candidate_id"], ["model_version.id"], name=op.f("fk_training_run_candidate_id")),
        sa.ForeignKeyConstraint(["data_set_id"], ["data_set.id"], name=op.f("fk_training_run_data_set_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["model_version.id"], name=op.f("fk_training_run_parent_id")),
        sa.ForeignKeyConstraint(["test_set_id"], ["data_set.id"], name=op.f("fk_training_run_test_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_run")),
    )
    op.create_index(
        "uq_training_run_open",
        "training_run",
        ["network"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'training', 'trained')"),
        postgresql_where=sa.text("state IN ('waiting', 'training', 'trained')"),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", ID, nullable=False),
        sa.Column("training_run_id", ID, nullable=False),
        sa.Column("test_set_id", ID, nullable=False),
        sa.Column("champion_id", ID),
        sa.Column("candidate_id", ID, nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("verdict", sa.JSON(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("outcome IN ('pass', 'fail', 'inconclusive')", name=op.f("ck_evaluation_outcome_known")),
        sa.ForeignKeyConstraint(["candidate_id"], ["model_version.id"], name=op.f("fk_evaluation_candidate_id")),
        sa.ForeignKeyConstraint(["champion_id"], ["model_version.id"], name=op.f("fk_evaluation_champion_id")),
        sa.ForeignKeyConstraint(["test_set_id"], ["data_set.id"], name=op.f("fk_evaluation_test_set_id")),
        sa.ForeignKeyConstraint(["training_run_id"], ["training_run.id"], name=op.f("fk_evaluation_training_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint("training_run_id", name=op.f("uq_evaluation_training_run_id")),
    )
    op.create_index(op.f("ix_evaluation_training_run_id"), "evaluation", ["training_run_id"])
    op.create_table(
        "shadow",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("champion_id", ID, nullable=False),
        sa.Column("mask_path", sa.Text(), nullable=False),
        sa.Column("agreement", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["champion_id"], ["model_version.id"], name=op.f("fk_shadow_champion_id")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_shadow_input_set_id")),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_shadow_model_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow")),
        sa.UniqueConstraint("input_set_id", "model_version_id", name=op.f("uq_shadow_input_set_id_model_version_id")),
    )
    op.create_index(op.f("ix_shadow_input_set_id"), "shadow", ["input_set_id"])
    op.create_index(op.f("ix_shadow_model_version_id"), "shadow", ["model_version_id"])
    op.create_table(
        "label",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_uid", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("source_path", sa.Text(), nullable=False),
        sa.Column("came", sa.Text(), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("patient_id", ID),
        sa.Column("study_id", ID),
        sa.Column("input_set_id", ID),
        sa.Column("draft_id", ID),
        sa.Column("structures", sa.JSON(), nullable=False),
        sa.Column("annotated", sa.JSON(), nullable=False),
        sa.Column("mask_path", sa.Text()),
        sa.Column("mask_sha256", sa.Text()),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("made", sa.Text(), nullable=False),
        sa.Column("comparison", sa.JSON()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("sentence", sa.Text()),
        sa.Column("supersedes", ID),
        sa.Column("created", sa.Double(), nullable=False),
        sa.CheckConstraint("came IN ('received', 'added')", name=op.f("ck_label_came_known")),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'accepted', 'quarantined', 'rejected', 'superseded')",
            name=op.f("ck_label_state_known"),
        ),
        sa.ForeignKeyConstraint(["draft_id"], ["result.id"], name=op.f("fk_label_draft_id")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_label_input_set_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_label_patient_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_label_study_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["label.id"], name=op.f("fk_label_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint(
            "source_uid", "source_sha256", "network", name=op.f("uq_label_source_uid_source_sha256_network")
        ),
    )
    op.create_index(op.f("ix_label_input_set_id"), "label", ["input_set_id"])
    op.create_index(op.f("ix_label_patient_id"), "label", ["patient_id"])
    op.create_index(op.f("ix_label_study_id"), "label", ["study_id"])
    op.create_table(
        "data_set_member",
        sa.Column("id", ID, nullable=False),
        sa.Column("data_set_id", ID, nullable=False),
        sa.Column("label_id", ID, nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('train', 'validation', 'test')", name=op.f("ck_data_set_member_role_known")),
        sa.ForeignKeyConstraint(["data_set_id"], ["data_set.id"], name=op.f("fk_data_set_member_data_set_id")),
        sa.ForeignKeyConstraint(["label_id"], ["label.id"], name=op.f("fk_data_set_member_label_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_data_set_member_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_set_member")),
        sa.UniqueConstraint("data_set_id", "label_id", name=op.f("uq_data_set_member_data_set_id_label_id")),
    )
    op.create_index(op.f("ix_data_set_member_data_set_id"), "data_set_member", ["data_set_id"])
    op.create_index(op.f("ix_data_set_member_label_id"), "data_set_member", ["label_id"])
    with op.batch_alter_table("model_version") as table:
        table.add_column(sa.Column("folder", sa.Text(), server_default="", nullable=False))
        table.add_column(sa.Column("state", sa.Text(), server_default="installed", nullable=False))
        table.create_check_constraint(
            op.f("ck_model_version_state_known"),
            "state IN ('installed', 'candidate', 'rejected', 'eligible', 'shadow', 'approved')",
        )
    with op.batch_alter_table("pause") as table:
        table.drop_constraint(op.f("ck_pause_activity_known"), type_="check")
        table.create_check_constraint(
            op.f("ck_pause_activity_known"), "activity IN ('receive', 'work', 'send', 'learn')"
        )
    with op.batch_alter_table("patient") as table:
        table.add_column(sa.Column("bucket", sa.Text()))
        table.add_column(sa.Column("pseudonym", sa.Text()))
        table.create_check_constraint(op.f("ck_patient_bucket_known"), "bucket IN ('train', 'validation', 'test')")
    with op.batch_alter_table("release") as table:
        table.add_column(sa.Column("what", sa.Text(), server_default="seen", nullable=False))
        table.create_check_constraint(op.f("ck_release_what_known"), "what IN ('seen', 'promote', 'rollback')")
    for name in ("event", "evaluation", "release"):
        _append_only(name)


def _append_only(table: str) -> None:
    """Rows of this table are never changed and never go: the database refuses, whoever asks.

    A later migration that makes such a table anew on SQLite (batch_alter_table) has to make its triggers anew.
    """
    if op.get_bind().dialect.name == "sqlite":
        for what in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
    )
