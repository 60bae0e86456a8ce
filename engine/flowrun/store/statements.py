"""The statements of the hot path. Each is for a whole batch: one round trip, however many rows.

The same text runs on both databases. A list goes in as one value, and a word in braces unfolds it:

- ``{ids}``, ``{names}``: ``seq {ids}`` says that seq is in the list of whole numbers ``:ids``; ``{names}`` of texts
- ``{of}`` … ``{end}``: in what a query gives, which is asked once, before
- ``{rows}``: the table ``new`` of the rows in ``:rows``, with the columns that the statement declares and ``n``, the
  place of a row in the list
- ``{open}``, ``{ended}``, ``{may_go}``: the state of a record that delivers, or not; a record ``r`` that may be tried
- ``{locked}``, ``{skip_locked}``: row locks, which SQLite, whose transactions are alone, lacks

States stand in letters: SQLite uses a partial index only where a query repeats the index's condition.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, CursorResult, TextClause, text

from flowrun.store.rows import COLUMNS
from flowrun.values import encode_json

MOST_BYTES = 16 << 20  # of payloads, bodies and answers in one value; PostgreSQL takes 256 MB
_TYPES = {"int": "bigint", "float": "double precision", "text": "text", "bytes": "bytes"}


class Statement:
    """Run with ``run(tx, name=value, …)``; a value that is a list goes in as JSON."""

    def __init__(self, body: str, /, **columns: str) -> None:
        """columns: of ``{rows}`` in their order, each int, float, text or bytes (JSON in UTF-8)."""
        self._body, self.columns = body, columns
        self.on: dict[str, TextClause] = {
            "sqlite": text(_words(body, _ON_SQLITE | {"rows": _rows_on_sqlite(columns)})),
            "postgresql": text(_words(body, _ON_POSTGRES | {"rows": _rows_on_postgres(columns)})),
        }

    def but(self, words: str, instead: str) -> Statement:
        """The same with other words."""
        assert words in self._body
        return Statement(self._body.replace(words, instead), **self.columns)

    def run(self, tx: Connection, **values: Any) -> CursorResult[*tuple[Any, ...]]:
        dialect = tx.dialect.name
        for name, value in values.items():
            if isinstance(value, list):
                listed = encode_json(value).decode()
                if "\\u0000" in listed:
                    listed = encode_json(_printable(value)).decode()
                values[name] = f"{{{listed[1:-1]}}}" if name == "ids" and dialect == "postgresql" else listed
        return tx.execute(self.on[dialect], values)

    def run_many(self, tx: Connection, rows: list[list[Any]], **values: Any) -> None:
        """The same for rows of any size: in as many parts as they need."""
        large = [n for n, kind in enumerate(self.columns.values()) if kind == "bytes"]
        part: list[list[Any]] = []
        room = MOST_BYTES
        for row in rows:
            room -= sum(len(row[n] or "") for n in large)
            if room < 0 and part:
                self.run(tx, rows=part, **values)
                part, room = [], MOST_BYTES - sum(len(row[n] or "") for n in large)
            part.append(row)
        if part:
            self.run(tx, rows=part, **values)


def _printable(values: list[Any]) -> list[Any]:
    """Without the character U+0000, which PostgreSQL refuses and at which SQLite ends a text. (In the JSON of payloads
    and bodies it is escaped, and stays.)"""
    if values and isinstance(values[0], list):
        return [_printable(row) for row in values]
    return [one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in values]


def _words(body: str, words: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], body)


_BOTH = {
    "record": ", ".join(f"r.{name}" for name in COLUMNS),
    "open": "state IN ('received', 'sent', 'in_doubt')",
    "ended": "state IN ('confirmed', 'skipped', 'superseded', 'discarded', 'dead')",
    # A later record waits behind a dead letter of its key, unless versions decide.
    "may_go": """r.state IN ('received', 'sent', 'in_doubt') AND (r.version IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM records AS o WHERE o.flow = r.flow AND o.key = r.key AND o.seq < r.seq
        AND o.state IN ('received', 'dead') AND o.state = 'dead'
    ))""",
}
_ON_SQLITE = _BOTH | {
    "ids": "IN (SELECT value FROM json_each(:ids))",
    "names": "IN (SELECT value FROM json_each(:names))",
    "of": "IN (",
    "end": ")",
    "locked": "",
    "skip_locked": "",
}
_ON_POSTGRES = _BOTH | {
    # An array of its own, whose length the planner sees; of a set made by a function it guesses the size.
    "ids": "= ANY (CAST(:ids AS bigint[]))",
    "names": "= ANY (ARRAY(SELECT json_array_elements_text(CAST(:names AS json))))",
    "of": "= ANY (ARRAY(",
    "end": "))",
    "locked": "FOR UPDATE",
    "skip_locked": "FOR UPDATE SKIP LOCKED",
}


def _rows_on_sqlite(columns: dict[str, str]) -> str:
    each = [f"json_extract(value, '$[{n}]')" for n in range(len(columns))]
    typed = [
        f"CAST({one} AS BLOB)" if kind == "bytes" else one for one, kind in zip(each, columns.values(), strict=True)
    ]
    named = ", ".join(f"{one} AS {name}" for one, name in zip(typed, columns, strict=True))
    return f"(SELECT key AS n, {named} FROM json_each(:rows)) AS new"  # noqa: S608 - of the texts below


def _rows_on_postgres(columns: dict[str, str]) -> str:
    typed = [
        f"convert_to(one ->> {n}, 'UTF8')" if kind == "bytes" else f"CAST(one ->> {n} AS {_TYPES[kind]})"
        for n, kind in enumerate(columns.values())
    ]
    named = ", ".join(f"{one} AS {name}" for one, name in zip(typed, columns, strict=True))
    unfolded = "jsonb_array_elements(CAST(:rows AS jsonb)) WITH ORDINALITY AS each(one, n)"
    return f"(SELECT n, {named} FROM {unfolded}) AS new"  # noqa: S608 - of the texts below


# -- intake ------------------------------------------------------------------------------------------------------------

OPEN_LANES = Statement(
    # A lane that is there is locked, so that no worker closes it before its new record is seen; a parked one is looked
    # at again. Sorted, so that two intakes lock in one order.
    """
    INSERT INTO lanes (flow, lane, due, fence)
    SELECT :flow, new.lane, :now, 0 FROM {rows} WHERE true ORDER BY new.n
    ON CONFLICT (flow, lane) DO UPDATE SET due = coalesce(lanes.due, excluded.due)
    """,
    lane="text",
)
HEADS = Statement(
    "SELECT key, version, fingerprint FROM heads WHERE flow = :flow AND key {names} ORDER BY key {locked}"
)
ADD = Statement(
    # In the order of the list: ``seq`` is the order of acceptance.
    """
    INSERT INTO records
        (flow, key, version, lane, state, attempts, payload, reason, edited, run, received_at, changed_at)
    SELECT :flow, new.key, new.version, new.lane, new.state, 0, new.payload, new.reason, 0, CAST(:run AS integer), :now,
        :now
    FROM {rows} WHERE true ORDER BY new.n
    """,
    key="text", version="text", lane="text", payload="bytes", state="text", reason="text",
)  # fmt: skip
MOVE_HEADS = Statement(
    """
    INSERT INTO heads (flow, key, version, fingerprint, at)
    SELECT :flow, new.key, new.version, new.fingerprint, :now FROM {rows} WHERE true ORDER BY new.n
    ON CONFLICT (flow, key)
    DO UPDATE SET version = excluded.version, fingerprint = excluded.fingerprint, at = excluded.at
    """,
    key="text", version="text", fingerprint="text",
)  # fmt: skip

EVENTS = Statement(
    """
    INSERT INTO events (connection, event_id, name, object, record, due, tries, at)
    SELECT new.connection, new.event_id, new.name, new.object, new.record,
        CASE WHEN new.record IS NULL THEN NULL ELSE :now + 0.0 END, 0, :now
    FROM {rows} WHERE true ORDER BY new.n ON CONFLICT (connection, event_id) DO NOTHING RETURNING connection, event_id
    """,
    connection="text", event_id="text", name="text", object="text", record="bytes",
)  # fmt: skip
CLAIM_EVENTS = Statement(
    """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM events WHERE due IS NOT NULL AND due <= :now
            AND connection NOT IN (SELECT name FROM pauses WHERE kind = 'connection')
        ORDER BY due, id LIMIT :limit {skip_locked}
    )
    UPDATE events SET due = :ends WHERE id IN (SELECT id FROM chosen)
    RETURNING id, connection, event_id, name, object, record, tries, at
    """
)

# -- claims ------------------------------------------------------------------------------------------------------------

CLAIM = Statement(
    # Chosen once (materialized): a subquery that is evaluated again would lock more than its limit.
    """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM lanes WHERE flow = :flow AND due <= :now ORDER BY due, id LIMIT :limit {skip_locked}
    )
    UPDATE lanes SET due = :ends, fence = fence + 1, worker = :worker
    WHERE id IN (SELECT id FROM chosen) RETURNING id, lane, fence
    """
)

CLAIM_ONLY = CLAIM.but("due <= :now", "due <= :now AND lane {names}")
CLAIM_FREE, CLAIM_FREE_ONLY = (one.but("due <= :now", "due <= :now AND worker IS NULL") for one in (CLAIM, CLAIM_ONLY))
FIRSTS = Statement(
    # The oldest record of each lane, found by the index of open records lane by lane.
    """
    SELECT {record} FROM records AS r WHERE r.seq {of}
        SELECT (SELECT r.seq FROM records AS r WHERE r.flow = l.flow AND r.lane = l.lane AND {may_go}
                ORDER BY r.seq LIMIT 1)
        FROM lanes AS l WHERE l.id {ids}
    {end} ORDER BY r.seq
    """
)
OF_LANE = Statement(
    """
    SELECT {record} FROM records AS r WHERE r.flow = :flow AND r.lane = :lane AND {may_go} ORDER BY r.seq LIMIT :depth
    """
)
HELD = Statement(
    # Locked, so that nobody claims them before the commit, and a record that comes meanwhile is seen when they close.
    "SELECT id, fence FROM lanes WHERE id {ids} ORDER BY id {locked}"
)
RENEW = Statement("UPDATE lanes SET due = :ends WHERE id {ids}")
CLOSE = Statement(
    # By the first open record of each lane, or PostgreSQL may go through all that are open, of every lane.
    """
    DELETE FROM lanes WHERE id {ids} AND (
        SELECT r.seq FROM records AS r WHERE r.flow = lanes.flow AND r.lane = lanes.lane AND r.{open}
        ORDER BY r.seq LIMIT 1
    ) IS NULL
    """
)
GIVE_BACK = Statement("UPDATE lanes SET due = :due, worker = NULL WHERE id {ids}")
POSTPONE = Statement(
    "UPDATE lanes SET due = :now + new.wait, worker = NULL FROM {rows} WHERE lanes.id = new.id", id="int", wait="float"
)

# -- intents and outcomes ----------------------------------------------------------------------------------------------

SENT = Statement(
    # Only what is still open: a newer version may have overtaken it since the claim. (Told by what it is not, so that
    # PostgreSQL takes the records by their numbers and not by the index of what is open.)
    """
    UPDATE records SET state = 'sent', attempts = attempts + 1, flow_hash = :flow_hash, changed_at = :now
    WHERE seq {ids} AND NOT {ended} RETURNING seq
    """
)
INTEND = Statement(
    """
    INSERT INTO journal (flow, intent, seq, state, fingerprint, body, at)
    SELECT :flow, new.intent, new.seq, 'in_doubt', new.fingerprint, new.body, :now FROM {rows} WHERE true ORDER BY new.n
    """,
    intent="text", seq="int", fingerprint="text", body="bytes",
)  # fmt: skip
RECEIVE = Statement(
    # The flow stands in each row, or SQLite would go through all of the flow's entries.
    """
    UPDATE journal SET state = 'done', target_id = new.target_id, created = new.created, how = new.how,
        response = new.response, at = :now
    FROM {rows} WHERE journal.flow = new.flow AND journal.intent = new.intent
    """,
    flow="text", intent="text", target_id="text", created="int", how="text", response="bytes",
)  # fmt: skip
CONFIRM = Statement("UPDATE records SET state = 'confirmed', changed_at = :now WHERE seq {ids} AND NOT {ended}")
END = Statement(
    """
    UPDATE records SET state = new.state, reason = new.reason, attempts = new.attempts, queue = new.queue,
        flag = new.flag, error_class = new.error_class, error_field = new.error_field,
        error_message = new.error_message, error_help = new.error_help, error_place = new.error_place,
        body = new.body, flow_hash = new.flow_hash, changed_at = :now
    FROM {rows}
    WHERE records.seq = new.seq AND records.state IN ('received', 'sent', 'in_doubt', 'dead')
    """,
    seq="int", state="text", reason="text", attempts="int", queue="text", flag="text", error_class="text",
    error_field="text", error_message="text", error_help="text", error_place="text", body="bytes", flow_hash="text",
)  # fmt: skip
UNSENT_OF = Statement(
    """
    SELECT seq, key, lane FROM records
    WHERE flow = :flow AND key {names} AND version IS NOT NULL AND state IN ('received', 'dead')
    """
)
KNOWN = Statement(
    "SELECT intent, seq, state, fingerprint, target_id, how, at FROM journal WHERE flow = :flow AND intent {names}"
)

DUE_FLOWS = Statement(
    # By the index, flow by flow: an outage leaves many lanes that are due later.
    """
    SELECT new.flow, (
        SELECT count(*) FROM (
            SELECT id FROM lanes WHERE lanes.flow = new.flow AND lanes.due <= :now LIMIT :most
        ) AS ready
    ), (SELECT min(lanes.due) FROM lanes WHERE lanes.flow = new.flow AND lanes.due > :now)
    FROM {rows}
    """,
    flow="text",
)

# -- what is asked once a claim ----------------------------------------------------------------------------------------

CIRCUIT = Statement("SELECT state, failures, reason, since, until FROM circuits WHERE connection = :connection")
TROUBLES = Statement(
    """
    SELECT id FROM alerts WHERE state = 'open' AND connection = :connection AND flow = :flow AND kind {names}
    AND settled_at IS NULL {skip_locked}
    """
)
