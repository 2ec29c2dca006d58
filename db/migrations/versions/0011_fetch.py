"""One study is fetched at a time, and what a PACS says of how many images a study has."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    running = sa.text("kind = 'fetch' AND state = 'running'")
    op.create_index("uq_job_fetching", "job", ["kind"], unique=True, sqlite_where=running, postgresql_where=running)
    op.add_column("study", sa.Column("pacs_images", sa.Integer(), nullable=True))
    op.add_column("study", sa.Column("pacs_name", sa.Text(), nullable=True))
    op.add_column("study", sa.Column("pacs_asked", sa.Double(), nullable=True))
    op.add_column("study", sa.Column("pacs_since", sa.Double(), nullable=True))
