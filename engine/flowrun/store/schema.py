"""The tables. Times are seconds since 1970 in UTC; payloads, bodies and answers are JSON in bytes.

``migrations/`` makes these tables; a test holds both equal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")

records = Table(
    "records",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text),
    Column("fingerprint", String(64), nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("due", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("payload", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Column("intent", Text),  # the idempotency key under which it was or will be sent
    Column("reason", Text),  # why skipped, superseded, discarded or waiting
    Column("queue", String(100)),
    Column("error_class", String(20)),
    Column("error_field", Text),
    Column("error_message", Text),
    Column("error_help", Text),
    Column("error_place", Text),
    Column("flag", String(20)),
    Column("edited", Integer, nullable=False, default=0),
    Column("flow_hash", String(16)),
    Column("run", Integer),
    Column("received_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Index("records_by_key", "flow", "key", "seq"),
    Index("records_by_lane", "flow", "lane", "seq"),
    Index("records_by_state", "flow", "state", "due"),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("value", Text, nullable=False),
    Column("run", Integer),
    Column("at", Float, nullable=False),
    Index("cursors_by_flow", "flow", "id"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("intent", Text, nullable=False),
    Column("state", String(10), nullable=False),  # in_doubt, done
    Column("seq", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),  # of the body that was sent
    Column("target_id", Text),
    Column("at", Float, nullable=False),
    UniqueConstraint("flow", "intent", name="journal_once"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("seq", Integer, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("created", Integer, nullable=False),
    Column("how", String(12), nullable=False),  # sent, found, known, unchanged
    Column("response", LargeBinary),
    Column("at", Float, nullable=False),
    Index("receipts_by_seq", "seq"),
)

xref = Table(
    "xref",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("name", String(100), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("name", "source_id", name="xref_once"),
    Index("xref_by_target", "name", "target_id"),
)

sent = Table(
    "sent",
    metadata,
    Column("flow", String(100), primary_key=True),
    Column("object", Text, primary_key=True),  # the match fields' values
    Column("fingerprint", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("environment", String(100)),
    Column("flow_hash", String(16)),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("counts", Text),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("channel", String(100), nullable=False),
    Column("flow", String(100), nullable=False),
    Column("error_class", String(20), nullable=False),
    Column("message", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    UniqueConstraint("channel", "flow", "error_class", name="alerts_once"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(40), nullable=False),
    Column("detail", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("connection", String(100), primary_key=True),
    Column("version", Integer, nullable=False),  # of the token; 0: none was stored yet
    Column("scheme", String(40)),
    Column("sealed", LargeBinary),  # the token, encrypted and bound to the connection
    Column("key_id", String(12)),  # of the key that sealed it
    Column("expires_at", Float),  # these by the database's clock
    Column("refresh_expires_at", Float),
    Column("renewed_at", Float),
    Column("holder", String(32)),  # who renews it now
    Column("held_until", Float),
    Column("refused_at", Float),  # the last answer was a definite no
    Column("refused_kind", String(12)),
    Column("refused_words", Text),
    Column("refused_mark", String(32)),  # of the settings that were refused
    Column("refusals", Integer, nullable=False),
)

OPEN = ("received", "sent", "in_doubt")
"""States that deliver; ``dead`` is open too, but waits for a person."""
FINAL = ("confirmed", "skipped", "superseded", "discarded")
