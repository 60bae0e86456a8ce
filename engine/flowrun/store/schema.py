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
    text,
)

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")

_FAILED = text("error_class IS NOT NULL")

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
    Index("records_by_class", "flow", "error_class", sqlite_where=_FAILED, postgresql_where=_FAILED),
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
    Column("channel", Text, nullable=False),  # "": nobody is told, it is only listed
    Column("flow", Text, nullable=False),  # "" for the trouble of a connection
    Column("connection", Text, nullable=False),  # "" for the trouble of records
    Column("kind", String(40), nullable=False),  # an error class, or a trouble of credentials
    Column("closed", _Serial, nullable=False),  # 0: the episode that counts; its id: past
    Column("state", String(10), nullable=False),  # open, resolved
    Column("lasting", Integer, nullable=False),  # 0: nothing is left to do, it is only told
    Column("count", Integer, nullable=False),
    Column("message", Text, nullable=False),  # the last one
    Column("place", Text, nullable=False),
    Column("examples", Text, nullable=False),  # JSON: the first few of [flow, owner, key]
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("opened_at", Float, nullable=False),  # later than first_at when it came back
    Column("settled_at", Float),  # the success that contradicts it
    Column("resolved_at", Float),
    Column("told", Integer, nullable=False),  # 1: the channels believe that it is open
    Column("told_count", Integer, nullable=False),  # the count that was told last
    Column("next_notice_at", Float, nullable=False),
    Column("level", Integer, nullable=False),  # 1: escalated
    Column("ack_count", Integer),
    Column("ack_at", Float),
    Column("ack_by", Text),
    UniqueConstraint("channel", "flow", "connection", "kind", "closed", name="alerts_once"),
    Index("alerts_by_state", "state", "connection"),
)

alert_notices = Table(
    "alert_notices",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("alert", _Serial, nullable=False),
    Column("name", String(16), nullable=False),  # the same however often it is sent
    Column("event", String(10), nullable=False),  # opened, reminder, escalated, resolved
    Column("channel", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON, as they were when it became due
    Column("state", String(10), nullable=False),  # waiting, sent, replaced
    Column("due", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),  # why it is not there yet
    Column("at", Float, nullable=False),
    Column("sent_at", Float),
    Index("alert_notices_by_state", "state", "due"),
    Index("alert_notices_by_alert", "alert"),
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

OPEN = ("received", "sent", "in_doubt")
"""States that deliver; ``dead`` is open too, but waits for a person."""
FINAL = ("confirmed", "skipped", "superseded", "discarded")
