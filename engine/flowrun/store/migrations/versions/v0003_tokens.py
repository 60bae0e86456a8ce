"""Tokens of connections, sealed, with the lease of who renews them."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, Integer, LargeBinary, String, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tokens",
        Column("connection", String(100), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("scheme", String(40)),
        Column("sealed", LargeBinary),
        Column("key_id", String(12)),
        Column("expires_at", Float),
        Column("refresh_expires_at", Float),
        Column("renewed_at", Float),
        Column("holder", String(32)),
        Column("held_until", Float),
        Column("refused_at", Float),
        Column("refused_kind", String(12)),
        Column("refused_words", Text),
        Column("refused_mark", String(32)),
        Column("refusals", Integer, nullable=False),
    )
