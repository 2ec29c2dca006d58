"""What comes in and what is chosen from it: patients, studies, instances, networks, input sets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "caller",
        sa.Column("id", ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("ae_title", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caller")),
        sa.UniqueConstraint("address", "ae_title", "code", name=op.f("uq_caller_address_ae_title_code")),
    )
    op.create_table(
        "model_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("card_sha256", sa.Text(), nullable=False),
        sa.Column("device_uid", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("parent", ID),
        sa.ForeignKeyConstraint(["parent"], ["model_version.id"], name=op.f("fk_model_version_parent")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint(
            "network", "weights_sha256", "card_sha256", name=op.f("uq_model_version_network_weights_sha256_card_sha256")
        ),
    )
    op.create_index(op.f("ix_model_version_parent"), "model_version", ["parent"])
    op.create_table(
        "node_identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_identity")),
    )
    op.create_table(
        "outage",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("retry_after", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_outage")),
    )
    op.create_table(
        "patient",
        sa.Column("id", ID, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("alias_of", ID),
        sa.ForeignKeyConstraint(["alias_of"], ["patient.id"], name=op.f("fk_patient_alias_of")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient")),
        sa.UniqueConstraint("issuer", "patient_id", name=op.f("uq_patient_issuer_patient_id")),
    )
    op.create_index(op.f("ix_patient_alias_of"), "patient", ["alias_of"])
    op.create_table(
        "pause",
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.CheckConstraint("activity IN ('receive', 'work', 'send')", name=op.f("ck_pause_activity_known")),
        sa.PrimaryKeyConstraint("activity", name=op.f("pk_pause")),
    )
    op.create_table(
        "release",
        sa.Column("id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("model_version_id", ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_version.id"], name=op.f("fk_release_model_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
    )
    op.create_index(op.f("ix_release_model_version_id"), "release", ["model_version_id"])
    op.create_index("ix_release_newest", "release", ["network", "id"])
    op.create_table(
        "study",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("arrived", sa.Double(), nullable=False),
        sa.Column("last_image", sa.Double()),
        sa.Column("closed", sa.Double()),
        sa.Column("closed_because", sa.Text()),
        sa.Column("held_because", sa.Text()),
        sa.CheckConstraint("state IN ('none', 'open', 'closed', 'held')", name=op.f("ck_study_state_known")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_study_patient_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("study_uid", name=op.f("uq_study_study_uid")),
    )
    op.create_index(op.f("ix_study_patient_id"), "study", ["patient_id"])
    op.create_index("ix_study_settling", "study", ["state", "last_image"])
    op.create_table(
        "input_set",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("members_hash", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("supersedes", ID),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_input_set_study_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["input_set.id"], name=op.f("fk_input_set_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_input_set")),
        sa.UniqueConstraint(
            "study_id", "network", "slot", "members_hash", name=op.f("uq_input_set_study_id_network_slot_members_hash")
        ),
    )
    op.create_index(op.f("ix_input_set_study_id"), "input_set", ["study_id"])
    op.create_index(op.f("ix_input_set_supersedes"), "input_set", ["supersedes"])
    op.create_table(
        "refusal",
        sa.Column("id", ID, nullable=False),
        sa.Column("of", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("study_id", ID),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("of IN ('instance', 'study', 'input_set', 'label')", name=op.f("ck_refusal_of_known")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_refusal_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal")),
    )
    op.create_index(op.f("ix_refusal_study_id"), "refusal", ["study_id"])
    op.create_table(
        "series",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('image', 'ours', 'label', 'other')", name=op.f("ck_series_kind_known")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_series_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("study_id", "series_uid", name=op.f("uq_series_study_id_series_uid")),
    )
    op.create_index(op.f("ix_series_study_id"), "series", ["study_id"])
    op.create_table(
        "dispatch",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.CheckConstraint("mode IN ('live', 'silent')", name=op.f("ck_dispatch_mode_known")),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_dispatch_input_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispatch")),
        sa.UniqueConstraint(
            "input_set_id", "route", "destination", name=op.f("uq_dispatch_input_set_id_route_destination")
        ),
    )
    op.create_index(op.f("ix_dispatch_input_set_id"), "dispatch", ["input_set_id"])
    op.create_table(
        "input_member",
        sa.Column("id", ID, nullable=False),
        sa.Column("input_set_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["input_set_id"], ["input_set.id"], name=op.f("fk_input_member_input_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_input_member")),
        sa.UniqueConstraint("input_set_id", "position", name=op.f("uq_input_member_input_set_id_position")),
    )
    op.create_index(op.f("ix_input_member_input_set_id"), "input_member", ["input_set_id"])
    op.create_table(
        "instance",
        sa.Column("id", ID, nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=False),
        sa.Column("sop_class", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text()),
        sa.Column("image_identity", sa.Text()),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("arrived", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('image', 'ours', 'label', 'other')", name=op.f("ck_instance_kind_known")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_instance_patient_id")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_instance_series_id")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_instance_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("path", name=op.f("uq_instance_path")),
        sa.UniqueConstraint("sop_uid", "digest", name=op.f("uq_instance_sop_uid_digest")),
        sa.UniqueConstraint("sop_uid", "revision", name=op.f("uq_instance_sop_uid_revision")),
    )
    op.create_index(op.f("ix_instance_series_id"), "instance", ["series_id"])
    op.create_index(op.f("ix_instance_study_id"), "instance", ["study_id"])
    op.create_table(
        "series_fact",
        sa.Column("id", ID, nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("keyword", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_series_fact_series_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_fact")),
        sa.UniqueConstraint("series_id", "keyword", "value", name=op.f("uq_series_fact_series_id_keyword_value")),
    )
    op.create_index(op.f("ix_series_fact_series_id"), "series_fact", ["series_id"])
