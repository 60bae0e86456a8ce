"""Workflows: what each step of a record came to."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, String, Text, UniqueConstraint

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "steps",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("seq", BigInteger, nullable=False),
        Column("path", Text, nullable=False),
        Column("kind", String(10), nullable=False),
        Column("state", String(10), nullable=False),
        Column("sent", LargeBinary),
        Column("answer", LargeBinary),
        Column("error", Text),
        Column("due", Float),
        Column("at", Float, nullable=False),
        UniqueConstraint("seq", "path", name="steps_once"),
    )
