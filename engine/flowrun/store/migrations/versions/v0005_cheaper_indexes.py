"""Indexes that cost less with each record: by run, and by the number that the target gave."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index("records_by_run", "records")
    op.create_index("records_by_run", "records", ["run"], postgresql_using="brin")
    arrived = text("target_id IS NOT NULL")
    op.drop_index("journal_by_target", "journal")
    op.create_index(
        "journal_by_target", "journal", ["flow", "target_id"], sqlite_where=arrived, postgresql_where=arrived
    )
