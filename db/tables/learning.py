"""What is learnt from: people's outlines, data sets, training runs, their evaluation, and the record of all of it."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

# What may show that two patients are one person, as keyed hashes: none of it can be read back.
patient_trait = sa.Table(
    "patient_trait",
    metadata,
    id_column(),
    reference("patient_id", "patient"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.UniqueConstraint("patient_id", "kind", "value"),
    one_of("kind", "patient_id", "name", "study", "frame_of_reference", "pixels"),
    sa.Index("ix_patient_trait_value", "kind", "value"),
)

# Two patients that may be one person; the smaller id is the first.
suspicion = sa.Table(
    "suspicion",
    metadata,
    id_column(),
    reference("first_id", "patient"),
    reference("second_id", "patient"),
    # the kinds of trait that they share
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("noted", Time, nullable=False),
    sa.Column("decided", Time),
    sa.Column("who", sa.Text),
    # a pair is suspected once
    sa.UniqueConstraint("first_id", "second_id"),
    one_of("state", "open", "same", "different"),
)

# What a person outlined: one row per object and network that it may teach.
label = sa.Table(
    "label",
    metadata,
    id_column(),
    # the SEG or RTSTRUCT as it came, kept for ever
    sa.Column("source_uid", sa.Text, nullable=False),
    # of the file that it first came as
    sa.Column("source_sha256", sa.Text, nullable=False),
    sa.Column("source_path", sa.Text, nullable=False),
    sa.Column("came", sa.Text, nullable=False),
    sa.Column("calling_ae", sa.Text, nullable=False),
    # empty while nobody knows which one
    sa.Column("network", sa.Text, nullable=False),
    reference("patient_id", "patient", nullable=True),
    reference("study_id", "study", nullable=True),
    reference("input_set_id", "input_set", nullable=True),
    reference("draft_id", "result", nullable=True, index=False),
    # per structure: number, name, the label value it became and how that was decided, voxels
    sa.Column("structures", sa.JSON, nullable=False),
    # the label values that were looked for; a class that is not among them is not annotated, not absent
    sa.Column("annotated", sa.JSON, nullable=False),
    # uint8 (slices, rows, columns) on the grid of the first channel, as .npy
    sa.Column("mask_path", sa.Text),
    sa.Column("mask_sha256", sa.Text),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("tool", sa.Text, nullable=False),
    # date and time of its making, as the object says: YYYYMMDDHHMMSS or less
    sa.Column("made", sa.Text, nullable=False),
    # against the draft: per class Dice, surface distance, voxels changed
    sa.Column("comparison", sa.JSON),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("sentence", sa.Text),
    reference("supersedes", "label", nullable=True, index=False),
    sa.Column("created", Time, nullable=False),
    # the same object is one label of a network, however often it comes
    sa.UniqueConstraint("source_uid", "source_sha256", "network"),
    one_of("came", "received", "added"),
    # ready: truth to learn from; accepted: our own result, returned unchanged, which is none
    one_of("state", "waiting", "ready", "accepted", "quarantined", "rejected", "superseded"),
)

# Frozen for ever: which labels a training or a test had.
data_set = sa.Table(
    "data_set",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    # counts from 1 per network and purpose
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    # patients, labels, scanners, spacings; nobody's name
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.UniqueConstraint("network", "purpose", "number"),
    # the same labels are the same data set
    sa.UniqueConstraint("network", "purpose", "sha256"),
    one_of("purpose", "training", "test"),
)

data_set_member = sa.Table(
    "data_set_member",
    metadata,
    id_column(),
    reference("data_set_id", "data_set"),
    reference("label_id", "label"),
    reference("patient_id", "patient", index=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.UniqueConstraint("data_set_id", "label_id"),
    one_of("role", "train", "validation", "test"),
)

training_run = sa.Table(
    "training_run",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    # the version that it starts from
    reference("parent_id", "model_version", nullable=True, index=False),
    reference("data_set_id", "data_set", nullable=True, index=False),
    # the locked patients that it will be judged on, frozen before it began
    reference("test_set_id", "data_set", nullable=True, index=False),
    sa.Column("protocol", sa.JSON, nullable=False),
    sa.Column("protocol_sha256", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    # versions of libraries, device, last losses: what one wants to know afterwards
    sa.Column("facts", sa.JSON, nullable=False),
    reference("candidate_id", "model_version", nullable=True, index=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.Column("ended", Time),
    one_of("state", "waiting", "training", "trained", "evaluated", "failed", "cancelled"),
    # one run of a network at a time
    sa.Index(
        "uq_training_run_open",
        "network",
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'training', 'trained')"),
        postgresql_where=sa.text("state IN ('waiting', 'training', 'trained')"),
    ),
)

# Append-only: every look at the locked patients, and what it showed.
evaluation = sa.Table(
    "evaluation",
    metadata,
    id_column(),
    reference("training_run_id", "training_run"),
    reference("test_set_id", "data_set", index=False),
    reference("champion_id", "model_version", nullable=True, index=False),
    reference("candidate_id", "model_version", index=False),
    # how often these patients were looked at, this time included
    sa.Column("look", sa.Integer, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    # the verdict in words, and every number behind it
    sa.Column("verdict", sa.JSON, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.UniqueConstraint("training_run_id"),
    one_of("outcome", "pass", "fail", "inconclusive"),
)

# What a candidate made of a live study beside the champion; kept, never sent.
shadow = sa.Table(
    "shadow",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    reference("model_version_id", "model_version"),
    reference("champion_id", "model_version", index=False),
    sa.Column("mask_path", sa.Text, nullable=False),
    # per class Dice between both and both volumes
    sa.Column("agreement", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.UniqueConstraint("input_set_id", "model_version_id"),
)

# Append-only, each row hashed with the one before: what was learnt, judged, decided and released, by whom.
event = sa.Table(
    "event",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    # JSON with sorted keys, as it was hashed
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Index("ix_event_subject", "subject"),
)
