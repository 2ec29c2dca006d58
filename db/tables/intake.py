"""What came in: patients, studies, series, instances, and what was refused at the door."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

patient = sa.Table(
    "patient",
    metadata,
    id_column(),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("patient_id", sa.Text, nullable=False),
    reference("alias_of", "patient", nullable=True),
    # which part of what is learnt the person belongs to, for ever; of an alias, that of the patient it stands for
    sa.Column("bucket", sa.Text),
    # the keyed hash that decided the bucket, and names the person in data sets
    sa.Column("pseudonym", sa.Text),
    # one row per identity as the issuer gives it
    sa.UniqueConstraint("issuer", "patient_id"),
    # people search by the number alone
    sa.Index("ix_patient_number", "patient_id"),
    one_of("bucket", "train", "validation", "test"),
)

study = sa.Table(
    "study",
    metadata,
    id_column(),
    sa.Column("study_uid", sa.Text, nullable=False, unique=True),
    # of the first image that has one: people search by it
    sa.Column("accession", sa.Text, nullable=False, server_default="", index=True),
    reference("patient_id", "patient"),
    # none: no image has come yet; open: images are coming; closed: chosen from; held: a person must look
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    # the generation that was last chosen from as a whole, and the one that a person closed: it waits for no series
    sa.Column("chosen", sa.Integer, nullable=False, server_default="0"),
    sa.Column("forced", sa.Integer),
    sa.Column("arrived", Time, nullable=False),
    sa.Column("last_image", Time),
    sa.Column("closed", Time),
    sa.Column("closed_because", sa.Text),
    sa.Column("held_because", sa.Text),
    # how many images a PACS has of it, which one, when it was asked last, and since when it has said so
    sa.Column("pacs_images", sa.Integer),
    sa.Column("pacs_name", sa.Text),
    sa.Column("pacs_asked", Time),
    sa.Column("pacs_since", Time),
    # since when images of it are not kept any more
    sa.Column("purged", Time),
    one_of("state", "none", "open", "closed", "held"),
    sa.Index("ix_study_settling", "state", "last_image"),
)

series = sa.Table(
    "series",
    metadata,
    id_column(),
    reference("study_id", "study"),
    sa.Column("series_uid", sa.Text, nullable=False),
    sa.Column("modality", sa.Text, nullable=False),
    # what its first instance was; a series that mixes kinds is judged instance by instance
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("last_image", Time),
    # the longest quiet period after which its routes were asked for it alone; empty since its last image
    sa.Column("fired_quiet", sa.Double),
    # how many images it has: as its own headers say, and as a PACS does
    sa.Column("announced", sa.Integer),
    sa.Column("pacs_images", sa.Integer),
    sa.UniqueConstraint("study_id", "series_uid"),
    one_of("kind", "image", "ours", "label", "other"),
)

# The header facts that rules read, per value, with the number of instances that have it; written by the choose job.
series_fact = sa.Table(
    "series_fact",
    metadata,
    id_column(),
    reference("series_id", "series"),
    sa.Column("keyword", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.UniqueConstraint("series_id", "keyword", "value"),
)

instance = sa.Table(
    "instance",
    metadata,
    id_column(),
    sa.Column("sop_uid", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    reference("series_id", "series"),
    reference("study_id", "study", index=False),
    reference("patient_id", "patient", index=False),
    sa.Column("birth_date", sa.Text, nullable=False),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("transfer_syntax", sa.Text, nullable=False),
    # xxh3-128 of transfer syntax and data set, made while receiving; equal digests were compared byte by byte
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text),
    # equal for two revisions whose geometry and pixels are equal; decided by the choose job
    sa.Column("image_identity", sa.Text),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("calling_ae", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("arrived", Time, nullable=False),
    # when its file was given up; the row stays, and gets a new file when the same bytes come again
    sa.Column("purged", Time),
    # the same bytes are one row, whoever sends them and however often
    sa.UniqueConstraint("sop_uid", "digest"),
    sa.UniqueConstraint("sop_uid", "revision"),
    one_of("kind", "image", "ours", "label", "other"),
    # how many images a study has is counted without looking at a row
    sa.Index("ix_instance_of_study", "study_id", "kind", "revision"),
    # what may go is looked for among what is there
    sa.Index(
        "ix_instance_kept",
        "study_id",
        "arrived",
        sqlite_where=sa.text("purged IS NULL"),
        postgresql_where=sa.text("purged IS NULL"),
    ),
)

# A call or an object that was refused at the door, counted per address, AE title and reason.
caller = sa.Table(
    "caller",
    metadata,
    id_column(),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("ae_title", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("last", Time, nullable=False),
    sa.UniqueConstraint("address", "ae_title", "code"),
)

refusal = sa.Table(
    "refusal",
    metadata,
    id_column(),
    sa.Column("of", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    reference("study_id", "study", nullable=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    one_of("of", "instance", "study", "input_set", "label"),
)
