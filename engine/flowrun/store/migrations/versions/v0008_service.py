"""What a service needs: events that came to its door, and what it does by the clock."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, String, Text, UniqueConstraint, text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    serial = BigInteger().with_variant(Integer, "sqlite")
    due = text("due IS NOT NULL")
    op.create_table(
        "events",
        Column("id", serial, primary_key=True, autoincrement=True),
        Column("connection", String(100), nullable=False),
        Column("event_id", Text),
        Column("name", String(100), nullable=False),
        Column("object", Text, nullable=False),
        Column("record", LargeBinary),
        Column("due", Float),
        Column("tries", Integer, nullable=False),
        Column("error", Text),
        Column("at", Float, nullable=False),
        UniqueConstraint("connection", "event_id", name="events_once"),
        Index("events_due", "due", sqlite_where=due, postgresql_where=due),
        Index("events_by_time", "at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "schedules",
        Column("flow", String(100), primary_key=True),
        Column("kind", String(10), primary_key=True),
        Column("spec", Text, nullable=False),
        Column("due", Float, nullable=False),
        Column("worker", String(64)),
        Column("held_until", Float),
        Column("started_at", Float),
        Column("ended_at", Float),
        Column("error", Text),
    )
