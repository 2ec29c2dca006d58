"""What the routes said of every series, and by which values."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "route_decision",
        sa.Column("id", ID, nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("decided", sa.Double(), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_route_decision_series_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_decision")),
        sa.UniqueConstraint("series_id", "generation", name=op.f("uq_route_decision_series_id_generation")),
    )
