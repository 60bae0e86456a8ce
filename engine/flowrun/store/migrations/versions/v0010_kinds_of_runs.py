"""What a run was for: a pass behind a stream, a full comparison, a repair."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("runs", Column("kind", String(10)))
