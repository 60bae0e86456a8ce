"""Tokens of the admin API."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, String, Text, UniqueConstraint

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "access_tokens",
        Column("name", String(100), primary_key=True),
        Column("role", String(10), nullable=False),
        Column("hash", String(64), nullable=False),
        Column("created_at", Float, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("used_at", Float),
        Column("revoked_at", Float),
        UniqueConstraint("hash", name="access_tokens_once"),
    )
