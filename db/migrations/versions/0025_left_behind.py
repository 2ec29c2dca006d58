"""What older versions left to wait for ever ends: exports and labels whose jobs died with their workers."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

ITS_EXPORT = "job.kind = 'export' AND job.subject = CAST(asked_export.id AS TEXT)"
ITS_LABEL = "job.kind = 'label' AND job.subject = label.source_sha256"
IS_OPEN = "job.state IN ('waiting', 'running')"


def upgrade() -> None:
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
