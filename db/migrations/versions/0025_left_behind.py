"""What destinations may have without having said so; and what older versions left behind.

Rejection notes on results whose place newer images had taken were written, and never sent. Jobs of exports and labels
died with their workers, and nobody said so of the export and the label.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

ITS_EXPORT = "job.kind = 'export' AND job.subject = CAST(asked_export.id AS TEXT)"
ITS_LABEL = "job.kind = 'label' AND job.subject = label.source_sha256"
IS_OPEN = "job.state IN ('waiting', 'running')"
#: what was said of an object without a status that was not sent, or not stored. Of any other, a destination may have
#: it: that no answer came may have been said, and then that the destination was away
NOT_THERE = (
    "reason LIKE '%does not accept %' OR reason LIKE '%had ended before this object'"
    " OR reason LIKE 'the object was not sent: %' OR reason LIKE 'not stored, %'"
    " OR reason LIKE 'HTTP 4%' OR reason LIKE 'HTTP 507: %'"
)


def upgrade() -> None:
    op.add_column("delivery", sa.Column("unanswered", sa.Integer(), nullable=False, server_default="0"))
    silent = f"delivered IS NULL AND status IS NULL AND attempts > 0 AND (reason IS NULL OR NOT ({NOT_THERE}))"
    op.execute(f"UPDATE delivery SET unanswered = 1 WHERE {silent}")  # noqa: S608 - of constants
    _send_notes()
    _end_what_waits_for_ever()


def _send_notes() -> None:
    op.execute(
        """
        UPDATE delivery SET state = 'waiting', reason = NULL
        WHERE state = 'superseded' AND result_id IN (SELECT id FROM result WHERE kind = 'KOS')
        """
    )
    op.execute(
        """
        UPDATE job
        SET state = 'waiting', attempts = 0, first_claimed = NULL, ended = NULL, code = NULL, reason = NULL
        WHERE kind = 'deliver' AND state NOT IN ('waiting', 'running') AND subject IN (
            SELECT delivery.destination || '/' || CAST(result.input_set_id AS TEXT)
            FROM delivery JOIN result ON result.id = delivery.result_id
            WHERE delivery.state = 'waiting' AND result.kind = 'KOS'
        )
        """
    )


def _end_what_waits_for_ever() -> None:
    op.execute(
        f"""
        UPDATE asked_export
        SET ended = coalesce((SELECT max(job.ended) FROM job WHERE {ITS_EXPORT}), asked_export.at),
            code = 'export-failed',
            sentence = coalesce(
                (SELECT 'it could not be made: ' || job.reason || '; ask for it once more, or `planimeter retry '
                     || job.id || '` makes this one' FROM job WHERE {ITS_EXPORT}),
                'it could not be made; ask for it once more'
            )
        WHERE ended IS NULL AND NOT EXISTS (SELECT 1 FROM job WHERE {ITS_EXPORT} AND {IS_OPEN})
        """  # noqa: S608 - of constants
    )
    op.execute(
        f"""
        UPDATE label
        SET state = 'quarantined',
            code = 'label-failed',
            sentence = (
                SELECT coalesce(job.reason, 'it could not be read') || '; `planimeter retry ' || job.id
                    || '` tries again' FROM job WHERE {ITS_LABEL}
            )
        WHERE state = 'waiting' AND EXISTS (SELECT 1 FROM job WHERE {ITS_LABEL} AND job.state = 'dead')
        """  # noqa: S608 - of constants
    )
