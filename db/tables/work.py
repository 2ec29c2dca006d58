"""What is to be done: input sets, networks, jobs, and what a person has paused."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

input_set = sa.Table(
    "input_set",
    metadata,
    id_column(),
    reference("study_id", "study"),
    sa.Column("network", sa.Text, nullable=False),
    # which of the network's readings of the study this is: the first channel's series, or empty for `take = "best"`
    sa.Column("slot", sa.Text, nullable=False),
    sa.Column("members_hash", sa.Text, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("created", Time, nullable=False),
    reference("supersedes", "input_set", nullable=True),
    # equal images are one input set, however often the study is chosen from
    sa.UniqueConstraint("study_id", "network", "slot", "members_hash"),
)

input_member = sa.Table(
    "input_member",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("sop_uid", sa.Text, nullable=False),
    # of a multi-frame image: "1-40,80"; empty where all of it is read
    sa.Column("frames", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("input_set_id", "position"),
)

# A channel of a chained network: what another network found in other images of the study, or in the same.
input_upstream = sa.Table(
    "input_upstream",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    sa.Column("channel", sa.Text, nullable=False),
    reference("upstream_id", "input_set"),
    # the segmentation that was read last; empty before the first run
    reference("result_id", "result", nullable=True, index=False),
    sa.UniqueConstraint("input_set_id", "channel"),
)

# Which route sent an input set where: the decision as it was when the study was chosen from.
dispatch = sa.Table(
    "dispatch",
    metadata,
    id_column(),
    reference("input_set_id", "input_set"),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.UniqueConstraint("input_set_id", "route", "destination"),
    one_of("mode", "live", "silent"),
)

# What every route said of a series, and by which values, each time its study was chosen from.
route_decision = sa.Table(
    "route_decision",
    metadata,
    id_column(),
    reference("series_id", "series", index=False),
    # of the study
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("decided", Time, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
    sa.UniqueConstraint("series_id", "generation"),
)

model_version = sa.Table(
    "model_version",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("weights_sha256", sa.Text, nullable=False),
    sa.Column("card_sha256", sa.Text, nullable=False),
    sa.Column("device_uid", sa.Text, nullable=False),
    sa.Column("created", Time, nullable=False),
    reference("parent", "model_version", nullable=True),
    # where its bundle lies below the home folder; empty: in the folder of its name, where an administrator put it
    sa.Column("folder", sa.Text, nullable=False, server_default=""),
    # installed: by an administrator; candidate: trained; then what the gate and a person said of it
    sa.Column("state", sa.Text, nullable=False, server_default="installed"),
    sa.UniqueConstraint("network", "weights_sha256", "card_sha256"),
    one_of("state", "installed", "candidate", "rejected", "eligible", "shadow", "approved"),
)

# Append-only: the newest row of a network says which version is live.
release = sa.Table(
    "release",
    metadata,
    id_column(),
    sa.Column("network", sa.Text, nullable=False),
    reference("model_version_id", "model_version"),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    # seen: what lay in the folder; the others are decisions
    sa.Column("what", sa.Text, nullable=False, server_default="seen"),
    one_of("what", "seen", "promote", "rollback"),
    sa.Index("ix_release_newest", "network", "id"),
)

job = sa.Table(
    "job",
    metadata,
    id_column(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    # when a periodic job falls due; empty for a job that an event asks for
    sa.Column("due", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False),
    # the smaller number is claimed first
    sa.Column("priority", sa.Integer, nullable=False),
    # who sent its study (AE title); empty where there is none
    sa.Column("source", sa.Text, nullable=False, server_default=""),
    sa.Column("run_after", Time, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("lease_until", Time),
    sa.Column("worker", sa.Text),
    # grows with every claim; only the holder of the newest may change the job
    sa.Column("fencing_token", sa.BigInteger, nullable=False, server_default="0"),
    # asked for again while it ran: it waits once more when it ends
    sa.Column("again", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("first_claimed", Time),
    reference("model_version_id", "model_version", nullable=True, index=False),
    reference("depends_on", "job", nullable=True),
    reference("study_id", "study", nullable=True),
    reference("input_set_id", "input_set", nullable=True),
    sa.Column("code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("created", Time, nullable=False),
    sa.Column("ended", Time),
    # of a network that runs: how many windows are done, and of how many; 0 where nobody knows
    sa.Column("windows_done", sa.Integer),
    sa.Column("windows_of", sa.Integer),
    # two schedulers that ask for the same job make one; an event's job is opened again, never doubled
    sa.UniqueConstraint("kind", "subject", "due"),
    one_of("state", "waiting", "running", "done", "refused", "dead", "cancelled"),
    # at most one open job of a kind per subject
    sa.Index(
        "uq_job_open",
        "kind",
        "subject",
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
    ),
    # one study is fetched at a time: the PACS has other callers, and so have the networks
    sa.Index(
        "uq_job_fetching",
        "kind",
        unique=True,
        sqlite_where=sa.text("kind = 'fetch' AND state = 'running'"),
        postgresql_where=sa.text("kind = 'fetch' AND state = 'running'"),
    ),
    # the claim reads this one, which stays as small as the queue
    sa.Index(
        "ix_job_claimable",
        "priority",
        "run_after",
        "id",
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    ),
    # what the queue of the pages shows: the jobs that are not done, by study
    sa.Index(
        "ix_job_undone",
        "study_id",
        sqlite_where=sa.text("state <> 'done'"),
        postgresql_where=sa.text("state <> 'done'"),
    ),
    sa.Index(
        "ix_job_leased",
        "lease_until",
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    ),
)

# When a job of a source was last claimed: the id of that attempt.
source_turn = sa.Table(
    "source_turn",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),
)

attempt = sa.Table(
    "attempt",
    metadata,
    id_column(),
    reference("job_id", "job"),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("started", Time, nullable=False),
    sa.Column("ended", Time),
    sa.Column("outcome", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("sentence", sa.Text),
    sa.Column("seconds", sa.JSON),
    sa.Column("peak_memory_mb", sa.JSON),
    sa.UniqueConstraint("job_id", "fencing_token"),
    one_of("outcome", "done", "refused", "failed", "unavailable", "lost", "released"),
)

# One row: which node this is; the serial number in its objects.
node_identity = sa.Table(
    "node_identity",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True),
    sa.Column("serial", sa.Text, nullable=False),
)

# Networks that read nothing, because a person said so.
network_off = sa.Table(
    "network_off",
    metadata,
    sa.Column("network", sa.Text, primary_key=True),
    sa.Column("since", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
)

# What a person has paused.
pause = sa.Table(
    "pause",
    metadata,
    sa.Column("activity", sa.Text, primary_key=True),
    sa.Column("since", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    one_of("activity", "receive", "work", "send", "learn"),
)
