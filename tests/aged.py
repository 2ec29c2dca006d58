"""A node that has worked for years, as rows: studies by the hundred thousand that are done, made by the database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.tables import job

#: rows of n.i = 1 .. :count, as a WITH clause that both databases know
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
#: of jobs per study: choose, segment, deliver
JOBS = 3
IMAGES = 3
#: seconds between two studies
EVERY = 60.0
#: the images of what is older were removed, as a node is told to
KEPT_SECONDS = 30 * 86_400.0
STAGES = """'{"volume": 1.25, "network": 20.5}'"""

#: each study: three images of a series, an input set, a segmentation and a report that were delivered, their jobs
TABLES = {
    "patient": "(id, issuer, patient_id) SELECT i, '', 'PAT' || i FROM n",
    "study": """(id, study_uid, accession, patient_id, state, generation, chosen, arrived, last_image, closed,
        closed_because, purged)
        SELECT i, '1.2.826.0.1.' || i || '.7', 'ACC' || i, i, 'closed', 1, 1, :start + i * :every, :start + i * :every,
        :start + i * :every + 60, 'no image for 60 s', CASE WHEN :start + i * :every < :purged THEN :purged END
        FROM n""",
    "series": """(id, study_id, series_uid, modality, kind, last_image)
        SELECT i, i, '1.2.826.0.1.' || i || '.8', 'CT', 'image', :start + i * :every FROM n""",
    "instance": """(sop_uid, revision, series_id, study_id, patient_id, birth_date, sop_class, kind, transfer_syntax,
        digest, path, size, calling_ae, address, arrived, purged)
        SELECT '1.2.826.0.1.' || i || '.8.' || k, 1, i, i, i, '', '1.2.840.10008.5.1.4.1.1.2', 'image',
        '1.2.840.10008.1.2.1', i || '-' || k, 'store/' || i || '/' || k, 524288, 'CT_' || (i % 7), '10.20.30.11',
        :start + i * :every, CASE WHEN :start + i * :every < :purged THEN :purged END
        FROM n CROSS JOIN (SELECT 1 AS k UNION ALL SELECT 2 UNION ALL SELECT 3) AS images""",
    "input_set": """(id, study_id, network, slot, members_hash, because, created)
        SELECT i, i, 'ct_lungs', '', 'hash' || i, 'route chest', :start + i * :every + 61 FROM n""",
    "dispatch": """(input_set_id, route, mode, destination) SELECT i, 'chest', 'live', 'pacs' FROM n""",
    "job": """(id, kind, subject, due, state, priority, source, run_after, attempts, max_attempts, fencing_token, again,
        first_claimed, study_id, input_set_id, model_version_id, created, ended)
        SELECT (i - 1) * 3 + k, kind, CASE k WHEN 1 THEN '1.2.826.0.1.' || i || '.7' WHEN 2 THEN 'ct_lungs/' || i
        ELSE 'pacs/' || i END, '', 'done', priority, 'CT_' || (i % 7), :start + i * :every + 60, 1, 3, 1, FALSE,
        :start + i * :every + 61, i, CASE k WHEN 1 THEN NULL ELSE i END, CASE k WHEN 2 THEN 1 END,
        :start + i * :every + 60, :start + i * :every + 90
        FROM n CROSS JOIN (SELECT 1 AS k, 'choose' AS kind, 1 AS priority UNION ALL SELECT 2, 'segment', 10
        UNION ALL SELECT 3, 'deliver', -10) AS kinds""",
    "attempt": f"""(id, job_id, fencing_token, worker, started, ended, outcome, seconds, tallied)
        SELECT (i - 1) * 3 + k, (i - 1) * 3 + k, 1, 'gpu:17:abc', :start + i * :every + 61, :start + i * :every + 90,
        'done', {STAGES}, TRUE
        FROM n CROSS JOIN (SELECT 1 AS k UNION ALL SELECT 2 UNION ALL SELECT 3) AS kinds""",
    "result": """(id, input_set_id, model_version_id, kind, options, sop_uid, sop_class, series_uid, sha256, path, size,
        content_time, run, revision, state, created)
        SELECT (i - 1) * 2 + k, i, 1, kind, '', '2.25.' || i || k, '1.2.840.10008.5.1.4.1.1.66.4', '2.25.' || i,
        'sha' || i, 'results/' || i || '/' || k, 40000, :start + i * :every + 85, 'run' || i, 1, 'ready',
        :start + i * :every + 85 FROM n CROSS JOIN (SELECT 1 AS k, 'SEG' AS kind UNION ALL SELECT 2, 'SR') AS kinds""",
    "delivery": """(result_id, destination, state, attempts, created, delivered)
        SELECT (i - 1) * 2 + k, 'pacs', 'delivered', 1, :start + i * :every + 85, :start + i * :every + 90
        FROM n CROSS JOIN (SELECT 1 AS k UNION ALL SELECT 2) AS kinds""",
}


def fill(tx: Connection, studies: int, now: float) -> None:
    """So many studies that are done, the last of them a minute ago; the tables were empty.

    Args:
        now: seconds since 1970.
    """
    tx.execute(
        sa.text(
            "INSERT INTO model_version (id, network, version, weights_sha256, card_sha256, device_uid, created)"
            " VALUES (1, 'ct_lungs', '1.0', 'w', 'c', '2.25.1', :now)"
        ),
        {"now": now},
    )
    given = {"count": studies, "start": now - EVERY * (studies + 1), "every": EVERY, "purged": now - KEPT_SECONDS}
    for table, rows in TABLES.items():
        columns, select = rows.split(")", 1)
        text = f"INSERT INTO {table} {columns}) {NUMBERS}{select}"
        if tx.dialect.name == "postgresql":
            text = text.replace(STAGES, f"CAST({STAGES} AS json)")
        used = {name: value for name, value in given.items() if f":{name}" in text}
        tx.execute(sa.text(text), used)
    if tx.dialect.name == "postgresql":
        for table in TABLES:
            if table not in ("dispatch",):
                tx.execute(
                    sa.text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
                )
        tx.execute(sa.text("SELECT setval(pg_get_serial_sequence('model_version', 'id'), 1)"))


def analyse(tx: Connection) -> None:
    """As autovacuum does it (PostgreSQL); SQLite goes by its indexes alone, as in a node."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("ANALYZE"))


def some_open(tx: Connection, now: float, count: int = 20) -> None:
    """Beside what is done: studies whose jobs wait, run, are dead, or whose results are still to be sent.

    Args:
        now: seconds since 1970.
    """
    first = int(tx.execute(sa.text("SELECT count(*) FROM study")).scalar_one()) - count
    given = {"now": now, "first": first, "last": first + count}
    of = "study_id > :first AND study_id <= :last"
    again = "state = 'waiting', ended = NULL, run_after = :now - 5, attempts = 0, first_claimed = NULL"
    unsent = "state = 'waiting', delivered = NULL"
    lost = "state = 'running', ended = NULL, lease_until = :now - 5, worker = 'gone:1:x'"
    for what in (
        f"UPDATE job SET {again} WHERE kind = 'segment' AND {of} AND study_id % 4 > 1",
        f"UPDATE job SET {lost} WHERE kind = 'segment' AND {of} AND study_id % 4 = 1",
        f"UPDATE job SET state = 'dead' WHERE kind = 'segment' AND {of} AND study_id % 4 = 0",
        f"UPDATE job SET state = 'waiting', run_after = :now + 60 WHERE kind = 'deliver' AND {of}",
        f"UPDATE delivery SET {unsent} WHERE result_id > 2 * :first AND result_id <= 2 * :last",
        "UPDATE study SET state = 'open', last_image = :now WHERE id > :first AND id <= :last AND id % 10 = 0",
        "UPDATE study SET state = 'open', last_image = :now - 600 WHERE id > :first AND id <= :last AND id % 10 = 1",
    ):
        tx.execute(sa.text(what), {name: value for name, value in given.items() if f":{name}" in what})


def some_waiting(tx: Connection, count: int, now: float) -> None:
    """So many jobs more that wait for a worker and may be claimed, none of them about a study."""
    first = int(tx.execute(sa.text("SELECT max(id) FROM job")).scalar_one())
    rows = [
        dict(
            id=first + n + 1, kind="segment", subject=f"waiting/{n}", state="waiting", priority=10, source=f"CT_{n % 7}"
        )
        | dict(run_after=now - 60, max_attempts=3, created=now - 60)
        for n in range(count)
    ]
    tx.execute(sa.insert(job), rows)
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT setval(pg_get_serial_sequence('job', 'id'), (SELECT max(id) FROM job))"))
