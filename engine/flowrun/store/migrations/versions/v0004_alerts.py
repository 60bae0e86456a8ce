"""Alerts as episodes, and the notices about them. The counters of before held nothing that anybody was told."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, String, Text, UniqueConstraint, text

revision = "0004"
down_revision = "0003"

SERIAL = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    failed = text("error_class IS NOT NULL")  # few of the records; asked for by each open alert
    op.create_index(
        "records_by_class", "records", ["flow", "error_class"], sqlite_where=failed, postgresql_where=failed
    )
    op.drop_table("alerts")
    op.create_table(
        "alerts",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("channel", Text, nullable=False),
        Column("flow", Text, nullable=False),
        Column("connection", Text, nullable=False),
        Column("kind", String(40), nullable=False),
        Column("closed", SERIAL, nullable=False),
        Column("state", String(10), nullable=False),
        Column("lasting", Integer, nullable=False),
        Column("count", Integer, nullable=False),
        Column("message", Text, nullable=False),
        Column("place", Text, nullable=False),
        Column("examples", Text, nullable=False),
        Column("first_at", Float, nullable=False),
        Column("last_at", Float, nullable=False),
        Column("opened_at", Float, nullable=False),
        Column("settled_at", Float),
        Column("resolved_at", Float),
        Column("told", Integer, nullable=False),
        Column("told_count", Integer, nullable=False),
        Column("next_notice_at", Float, nullable=False),
        Column("level", Integer, nullable=False),
        Column("ack_count", Integer),
        Column("ack_at", Float),
        Column("ack_by", Text),
        UniqueConstraint("channel", "flow", "connection", "kind", "closed", name="alerts_once"),
    )
    op.create_index("alerts_by_state", "alerts", ["state", "connection"])
    op.create_table(
        "alert_notices",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("alert", SERIAL, nullable=False),
        Column("name", String(16), nullable=False),
        Column("event", String(10), nullable=False),
        Column("channel", Text, nullable=False),
        Column("facts", Text, nullable=False),
        Column("state", String(10), nullable=False),
        Column("due", Float, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("error", Text),
        Column("at", Float, nullable=False),
        Column("sent_at", Float),
    )
    op.create_index("alert_notices_by_state", "alert_notices", ["state", "due"])
    op.create_index("alert_notices_by_alert", "alert_notices", ["alert"])
