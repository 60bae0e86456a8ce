"""What a person has paused: flows and connections."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, String, Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "pauses",
        Column("kind", String(10), primary_key=True),
        Column("name", String(100), primary_key=True),
        Column("reason", Text, nullable=False),
        Column("who", Text, nullable=False),
        Column("since", Float, nullable=False),
    )
