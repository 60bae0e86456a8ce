"""Budgets of connections, shared by processes: whose turn it is, what answers told, who has which slots."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, Integer, String, Text

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "budgets",
        Column("connection", String(100), primary_key=True),
        Column("ready_at", Float, nullable=False),
        Column("paused_until", Float, nullable=False),
        Column("paused_by", Text, nullable=False),
        Column("refusals", Integer, nullable=False),
        Column("slow_gap", Float, nullable=False),
        Column("slow_until", Float, nullable=False),
        Column("slow_by", Text, nullable=False),
        Column("counted", Text, nullable=False),
        Column("told", Text, nullable=False),
        Column("told_at", Float, nullable=False),
    )
    op.create_table(
        "slots",
        Column("connection", String(100), primary_key=True),
        Column("holder", String(40), primary_key=True),
        Column("slots", Integer, nullable=False),
        Column("wants", Integer, nullable=False),
        Column("since", Float, nullable=False),
        Column("until", Float, nullable=False),
    )
