"""Lanes with leases, the newest version of each key, history, circuits; the journal keeps bodies and receipts."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, String, Text, UniqueConstraint, text

revision = "0002"
down_revision = "0001"

SERIAL = BigInteger().with_variant(Integer, "sqlite")
OPEN = text("state IN ('received', 'sent', 'in_doubt')")


def upgrade() -> None:
    op.create_table(
        "heads",
        Column("flow", String(100), primary_key=True),
        Column("key", Text, primary_key=True),
        Column("version", Text),
        Column("fingerprint", String(64), nullable=False),
        Column("at", Float, nullable=False),
    )
    op.execute(
        "INSERT INTO heads (flow, key, version, fingerprint, at) "
        "SELECT flow, key, version, fingerprint, received_at FROM records r WHERE seq = "
        "(SELECT max(seq) FROM records n WHERE n.flow = r.flow AND n.key = r.key AND n.state <> 'superseded')"
    )
    op.create_table(
        "lanes",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("lane", Text, nullable=False),
        Column("due", Float),
        Column("fence", Integer, nullable=False),
        Column("worker", String(64)),
        UniqueConstraint("flow", "lane", name="lanes_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("lanes_due", "lanes", ["flow", "due"])
    op.execute(
        "INSERT INTO lanes (flow, lane, due, fence) SELECT flow, lane, max(due), 0 FROM records "
        "WHERE state IN ('received', 'sent', 'in_doubt') GROUP BY flow, lane"
    )
    _journal()
    op.create_table(
        "history",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("seq", BigInteger, nullable=False),
        Column("at", Float, nullable=False),
        Column("event", String(12), nullable=False),
        Column("detail", Text, nullable=False),
        Column("who", Text),
    )
    op.create_index("history_by_seq", "history", ["seq", "id"])
    op.create_table(
        "circuits",
        Column("connection", String(100), primary_key=True),
        Column("state", String(10), nullable=False),
        Column("failures", Integer, nullable=False),
        Column("until", Float),
        Column("reason", Text, nullable=False),
        Column("since", Float, nullable=False),
    )
    op.drop_index("records_by_state", "records")
    op.drop_index("records_by_lane", "records")
    for name in ("due", "fingerprint", "intent"):
        op.drop_column("records", name)
    op.create_index("records_by_run", "records", ["run"])
    for name, columns, which in (
        ("records_open", ["flow", "lane", "seq"], OPEN),
        ("records_unsent", ["flow", "key", "seq"], text("state IN ('received', 'dead')")),
        ("records_flagged", ["flow", "seq"], text("flag IS NOT NULL")),
    ):
        op.create_index(name, "records", columns, sqlite_where=which, postgresql_where=which)


def _journal() -> None:
    """The journal takes in bodies and receipts, which stood in records and in a table of their own."""
    if op.get_bind().dialect.name == "postgresql":  # there the names of two constraints clash, and here they cannot go
        op.drop_constraint("journal_once", "journal")
    op.create_table(
        "journal_new",
        Column("id", SERIAL, primary_key=True, autoincrement=True),
        Column("flow", String(100), nullable=False),
        Column("intent", Text, nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("state", String(10), nullable=False),
        Column("fingerprint", String(64), nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("target_id", Text),
        Column("created", Integer),
        Column("how", String(12)),
        Column("response", LargeBinary),
        Column("at", Float, nullable=False),
        UniqueConstraint("flow", "intent", name="journal_once"),
        Index("journal_by_seq", "seq"),
        Index("journal_by_target", "flow", "target_id"),
    )
    op.execute(
        "INSERT INTO journal_new (flow, intent, seq, state, fingerprint, body, target_id, created, how, response, at) "
        "SELECT j.flow, j.intent, j.seq, j.state, j.fingerprint, coalesce(r.body, r.payload), j.target_id, p.created, "
        "p.how, p.response, j.at FROM journal j JOIN records r ON r.seq = j.seq LEFT JOIN receipts p "
        "ON j.state = 'done' AND p.id = (SELECT max(id) FROM receipts x WHERE x.seq = j.seq)"
    )
    op.drop_table("receipts")
    op.drop_table("journal")
    op.rename_table("journal_new", "journal")
