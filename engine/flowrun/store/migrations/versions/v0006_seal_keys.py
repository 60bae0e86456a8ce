"""The keys that payloads are encrypted with, by id."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, String

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "seal_keys",
        Column("key_id", String(12), primary_key=True),
        Column("since", Float, nullable=False),
    )
