"""What a node of years asks about goes by what is there, and not by all there ever was."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return dict(sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def upgrade() -> None:
    op.create_index(
        "ix_delivery_delivered", "delivery", ["destination", "delivered"], **_where("delivered IS NOT NULL")
    )
    op.create_index("ix_instance_kept", "instance", ["study_id", "arrived"], **_where("purged IS NULL"))
