"""The first tables."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, String, Text, UniqueConstraint

revision = "0001"
down_revision = None

SERIAL = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "records",
        Column("seq", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("key", Text, nullable=False),
        Column("version", Text),
        Column("fingerprint", String(64), nullable=False),
        Column("lane", Text, nullable=False),
        Column("state", String(12), nullable=False),
        Column("due", Float, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("body", LargeBinary),
        Column("intent", Text),
        Column("reason", Text),
        Column("queue", String(100)),
        Column("error_class", String(20)),
        Column("error_field", Text),
        Column("error_message", Text),
        Column("error_help", Text),
        Column("error_place", Text),
        Column("flag", String(20)),
        Column("edited", Integer, nullable=False),
        Column("flow_hash", String(16)),
        Column("run", Integer),
        Column("received_at", Float, nullable=False),
        Column("changed_at", Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("records_by_key", "records", ["flow", "key", "seq"])
    op.create_index("records_by_lane", "records", ["flow", "lane", "seq"])
    op.create_index("records_by_state", "records", ["flow", "state", "due"])
    op.create_table(
        "cursors",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("value", Text, nullable=False),
        Column("run", Integer),
        Column("at", Float, nullable=False),
    )
    op.create_index("cursors_by_flow", "cursors", ["flow", "id"])
    op.create_table(
        "journal",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("intent", Text, nullable=False),
        Column("state", String(10), nullable=False),
        Column("seq", Integer, nullable=False),
        Column("fingerprint", String(64), nullable=False),
        Column("target_id", Text),
        Column("at", Float, nullable=False),
        UniqueConstraint("flow", "intent", name="journal_once"),
    )
    op.create_table(
        "receipts",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("seq", Integer, nullable=False),
        Column("target_id", Text, nullable=False),
        Column("created", Integer, nullable=False),
        Column("how", String(12), nullable=False),
        Column("response", LargeBinary),
        Column("at", Float, nullable=False),
    )
    op.create_index("receipts_by_seq", "receipts", ["seq"])
    op.create_table(
        "xref",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("name", String(100), nullable=False),
        Column("source_id", Text, nullable=False),
        Column("target_id", Text, nullable=False),
        Column("at", Float, nullable=False),
        UniqueConstraint("name", "source_id", name="xref_once"),
    )
    op.create_index("xref_by_target", "xref", ["name", "target_id"])
    op.create_table(
        "sent",
        Column("flow", String(100), primary_key=True),
        Column("object", Text, primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("at", Float, nullable=False),
    )
    op.create_table(
        "runs",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("environment", String(100)),
        Column("flow_hash", String(16)),
        Column("started_at", Float, nullable=False),
        Column("ended_at", Float),
        Column("counts", Text),
    )
    op.create_table(
        "alerts",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("channel", String(100), nullable=False),
        Column("flow", String(100), nullable=False),
        Column("error_class", String(20), nullable=False),
        Column("message", Text, nullable=False),
        Column("count", Integer, nullable=False),
        Column("first_at", Float, nullable=False),
        Column("last_at", Float, nullable=False),
        UniqueConstraint("channel", "flow", "error_class", name="alerts_once"),
    )
    op.create_table(
        "audit",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("at", Float, nullable=False),
        Column("who", Text, nullable=False),
        Column("action", String(40), nullable=False),
        Column("detail", Text, nullable=False),
    )
