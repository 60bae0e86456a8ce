"""The tables, alike on SQLite and PostgreSQL. Times are seconds since 1970 in UTC by the database's clock; payloads,
bodies and answers are JSON in bytes.

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
    literal_column,
    text,
)
from sqlalchemy.sql import ColumnElement

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")

OPEN = ("received", "sent", "in_doubt")
"""States that deliver; ``dead`` is open too, but waits for a person."""
FINAL = ("confirmed", "skipped", "superseded", "discarded")

_IS_OPEN = text("state IN ('received', 'sent', 'in_doubt')")
_IS_UNSENT = text("state IN ('received', 'dead')")
_IS_FLAGGED = text("flag IS NOT NULL")
_FAILED = text("error_class IS NOT NULL")
_ARRIVED = text("target_id IS NOT NULL")
_IS_DUE = text("due IS NOT NULL")

records = Table(
    "records",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text),
    Column("lane", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("payload", LargeBinary, nullable=False),
    Column("body", LargeBinary),  # what the flow made of a record that was never sent; the journal has what was
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
    Index("records_by_run", "run", postgresql_using="brin"),  # a run's records lie together; this costs nearly nothing
    # Partial, since what is done is a thousand times what waits.
    Index("records_open", "flow", "lane", "seq", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    Index("records_unsent", "flow", "key", "seq", sqlite_where=_IS_UNSENT, postgresql_where=_IS_UNSENT),
    Index("records_flagged", "flow", "seq", sqlite_where=_IS_FLAGGED, postgresql_where=_IS_FLAGGED),
    Index("records_by_class", "flow", "error_class", sqlite_where=_FAILED, postgresql_where=_FAILED),
    sqlite_autoincrement=True,
)

heads = Table(  # the newest accepted version of each key; what arrives again or late is told by it
    "heads",
    metadata,
    Column("flow", String(100), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("version", Text),
    Column("fingerprint", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

lanes = Table(  # one row per ordering key with open records
    "lanes",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("lane", Text, nullable=False),
    Column("due", Float),  # when its oldest record may be tried; while it is held, when the lease ends; None: parked
    Column("fence", Integer, nullable=False),  # counts the claims, so that a late worker is known as late
    Column("worker", String(64)),
    UniqueConstraint("flow", "lane", name="lanes_once"),
    Index("lanes_due", "flow", "due"),
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

journal = Table(  # what was about to be sent, and the receipt once it is known to have arrived
    "journal",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("flow", String(100), nullable=False),
    Column("intent", Text, nullable=False),  # the idempotency key
    Column("seq", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),  # in_doubt, done
    Column("fingerprint", String(64), nullable=False),  # of the body
    Column("body", LargeBinary, nullable=False),
    Column("target_id", Text),
    Column("created", Integer),
    Column("how", String(12)),  # sent, found, finished; asked: in vain, while in doubt
    Column("response", LargeBinary),
    Column("at", Float, nullable=False),
    UniqueConstraint("flow", "intent", name="journal_once"),
    Index("journal_by_seq", "seq"),
    # Partial, so that an intent costs one entry less.
    Index("journal_by_target", "flow", "target_id", sqlite_where=_ARRIVED, postgresql_where=_ARRIVED),
)

history = Table(  # what a record lived through beside the usual: retries, questions, corrections, replays
    "history",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("seq", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("event", String(12), nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("who", Text),  # a person, where one did it
    Index("history_by_seq", "seq", "id"),
)

steps = Table(  # of workflows: what a step of a record came to, or what it waits for
    "steps",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("seq", BigInteger, nullable=False),  # the record
    Column("path", Text, nullable=False),  # the step's id, under those of the steps around it
    Column("kind", String(10), nullable=False),  # read, write, choose …
    Column("state", String(10), nullable=False),  # done, skipped, failed, waiting
    Column("sent", LargeBinary),  # the body of a step that wrote
    Column("answer", LargeBinary),  # what steps.ID is in expressions
    Column("error", Text),  # JSON: why it failed for good
    Column("due", Float),  # when waiting ends
    Column("at", Float, nullable=False),
    UniqueConstraint("seq", "path", name="steps_once"),
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

sent = Table(  # only_changes: what the target is known to hold
    "sent",
    metadata,
    Column("flow", String(100), primary_key=True),
    Column("object", Text, primary_key=True),  # the match fields' values
    Column("fingerprint", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

circuits = Table(  # connections that are not to be called now
    "circuits",
    metadata,
    Column("connection", String(100), primary_key=True),
    Column("state", String(10), nullable=False),  # failing, open, paused
    Column("failures", Integer, nullable=False),  # in a row
    Column("until", Float),  # when one record may try it; None: when a person says so
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
)

budgets = Table(  # how much may be asked of a connection; flowrun.pacing.booking.State
    "budgets",
    metadata,
    Column("connection", String(100), primary_key=True),
    Column("ready_at", Float, nullable=False),  # the next free moment of the pace
    Column("paused_until", Float, nullable=False),
    Column("paused_by", Text, nullable=False),
    Column("refusals", Integer, nullable=False),  # 429 in a row
    Column("slow_gap", Float, nullable=False),  # seconds between two requests, learned
    Column("slow_until", Float, nullable=False),
    Column("slow_by", Text, nullable=False),
    Column("counted", Text, nullable=False),  # JSON: seconds of a window → [part, requests]
    Column("told", Text, nullable=False),  # JSON: limit → [remaining, limit, begins anew at]
    Column("told_at", Float, nullable=False),
)

slots = Table(  # requests at once, by process
    "slots",
    metadata,
    Column("connection", String(100), primary_key=True),
    Column("holder", String(40), primary_key=True),  # a process
    Column("slots", Integer, nullable=False),
    Column("wants", Integer, nullable=False),  # it waits for so many
    Column("since", Float, nullable=False),  # when it got, or began to want, its first
    Column("until", Float, nullable=False),  # a process that died has them no longer
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
    Column("kind", String(10)),  # run, poll, schedule, reconcile, first, full, repair
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

events = Table(  # what arrived at the door: its sender's id is remembered, a thin one waits to be read back
    "events",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("connection", String(100), nullable=False),
    Column("event_id", Text),  # the sender's; None: it gave none
    Column("name", String(100), nullable=False),
    Column("object", Text, nullable=False),
    Column("record", LargeBinary),  # of a thin event until it is read back
    Column("due", Float),  # when it may be read back; while a worker does, when its lease ends; None: nothing to do
    Column("tries", Integer, nullable=False),
    Column("error", Text),  # of the last try, or why it was given up
    Column("at", Float, nullable=False),
    UniqueConstraint("connection", "event_id", name="events_once"),
    Index("events_due", "due", sqlite_where=_IS_DUE, postgresql_where=_IS_DUE),
    Index("events_by_time", "at"),
    sqlite_autoincrement=True,
)

schedules = Table(  # what a service does by the clock, and which process is at it
    "schedules",
    metadata,
    Column("flow", String(100), primary_key=True),
    Column("kind", String(10), primary_key=True),  # poll, schedule, reconcile
    Column("spec", Text, nullable=False),  # as the flow says it; another one is reckoned anew
    Column("due", Float, nullable=False),
    Column("worker", String(64)),
    Column("held_until", Float),
    Column("started_at", Float),  # of the last pass
    Column("ended_at", Float),
    Column("error", Text),  # of the last pass
)

pauses = Table(  # what a person has stopped, until a person lets it go on
    "pauses",
    metadata,
    Column("kind", String(10), primary_key=True),  # flow, connection
    Column("name", String(100), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("since", Float, nullable=False),
)

access_tokens = Table(  # who may ask the admin API
    "access_tokens",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("role", String(10), nullable=False),  # viewer, operator, admin
    Column("hash", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("used_at", Float),
    Column("revoked_at", Float),
    UniqueConstraint("hash", name="access_tokens_once"),
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

seal_keys = Table(  # the keys that payloads may be encrypted with here, by id: without them the store is not opened
    "seal_keys",
    metadata,
    Column("key_id", String(12), primary_key=True),
    Column("since", Float, nullable=False),
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


def among(state: ColumnElement[str], *names: str) -> ColumnElement[bool]:
    """``state IN (…)`` in letters: SQLite uses a partial index only where the query repeats its condition literally,
    and a list of bound values cannot be run for many rows at once."""
    return state.in_([literal_column(f"'{name}'") for name in names])


def is_open(state: ColumnElement[str]) -> ColumnElement[bool]:
    return among(state, *OPEN)


def is_unsent(state: ColumnElement[str], only: str) -> ColumnElement[bool]:
    """``only``: received or dead."""
    return among(state, "received", "dead") & (state == literal_column(f"'{only}'"))
