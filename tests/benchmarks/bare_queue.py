"""What the engine is held against: an ordered, durable queue in bare SQL, and the engine's own statements without it.

The queue is the least that keeps order per key, knows a record that comes twice, holds a lease and commits an intent
before its call. It has no history, no versions that overtake, no dead letters, no cross-references and no alerts.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flowrun.store import open_store

TABLES = """
CREATE TABLE lanes (id {serial} PRIMARY KEY, lane TEXT NOT NULL UNIQUE, due FLOAT NOT NULL, fence INTEGER NOT NULL);
CREATE INDEX lanes_due ON lanes (due);
CREATE TABLE events (seq {serial} PRIMARY KEY, lane TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
    state TEXT NOT NULL, payload {bytes} NOT NULL, UNIQUE (key, version));
CREATE INDEX events_open ON events (lane, seq) WHERE state IN ('waiting', 'sent');
CREATE TABLE journal (intent TEXT PRIMARY KEY, seq BIGINT NOT NULL, state TEXT NOT NULL, body {bytes} NOT NULL,
    receipt TEXT)
"""
DONE = "UPDATE events SET state = '{state}' WHERE seq {these} AND state IN ('waiting', 'sent')"
CLAIM = """UPDATE lanes SET due = 90, fence = fence + 1 WHERE id IN
    (SELECT id FROM lanes WHERE due <= 1 ORDER BY due, id LIMIT {size} {skip}) RETURNING id, lane"""
CLOSE = """DELETE FROM lanes WHERE id {these} AND NOT EXISTS
    (SELECT 1 FROM events WHERE events.lane = lanes.lane AND state IN ('waiting', 'sent'))"""
PAYLOADS = "SELECT seq, payload FROM events WHERE lane {these} AND state IN ('waiting', 'sent') ORDER BY seq"


class Sqlite:
    these, skip, serial, bytes = "IN (SELECT value FROM json_each(?))", "", "INTEGER", "BLOB"

    def __init__(self, place: Path | str) -> None:
        self.db = sqlite3.connect(place, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self.db.execute(f"PRAGMA {pragma}")

    def begin(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def listed(self, values: list[Any]) -> Any:
        return msgspec.json.encode(values).decode()

    def insert(self, rows: Sequence[tuple[str, str, str, bytes]]) -> None:
        many = self.db.executemany
        many("INSERT INTO lanes (lane, due, fence) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", [row[:1] for row in rows])
        many(
            "INSERT INTO events (lane, key, version, state, payload) VALUES (?, ?, ?, 'waiting', ?) ON CONFLICT DO NOTHING",
            rows,
        )

    def intend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        self.db.executemany(
            "INSERT INTO journal (intent, seq, state, body) VALUES (?, ?, 'in_doubt', ?)",
            [(str(seq), seq, body) for seq, body in rows],
        )

    def receive(self, rows: Sequence[tuple[int, bytes]]) -> None:
        self.db.executemany(
            "UPDATE journal SET state = 'done', receipt = ? WHERE intent = ?",
            [(str(seq), str(seq)) for seq, _ in rows],
        )


class Postgres:
    these, skip, serial, bytes = "= ANY (%b)", "FOR UPDATE SKIP LOCKED", "BIGSERIAL", "BYTEA"

    def __init__(self, place: Path | str) -> None:
        import psycopg

        self.db = psycopg.connect(str(place), autocommit=True)

    def begin(self) -> None:
        self.db.execute("BEGIN")

    def listed(self, values: list[Any]) -> Any:
        return values

    def insert(self, rows: Sequence[tuple[str, str, str, bytes]]) -> None:
        lanes, keys, versions, payloads = (list(column) for column in zip(*rows, strict=True))
        self.db.execute(
            "INSERT INTO lanes (lane, due, fence) SELECT lane, 0, 0 FROM unnest(%b::text[]) AS lane ON CONFLICT DO NOTHING",
            (lanes,),
        )
        self.db.execute(
            "INSERT INTO events (lane, key, version, state, payload) SELECT l, k, v, 'waiting', p "
            "FROM unnest(%b::text[], %b::text[], %b::text[], %b::bytea[]) AS new (l, k, v, p) ON CONFLICT DO NOTHING",
            (lanes, keys, versions, payloads),
        )

    def intend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        seqs, bodies = [seq for seq, _ in rows], [body for _, body in rows]
        self.db.execute(
            "INSERT INTO journal (intent, seq, state, body) SELECT s::text, s, 'in_doubt', b "
            "FROM unnest(%b::bigint[], %b::bytea[]) AS new (s, b)",
            (seqs, bodies),
        )

    def receive(self, rows: Sequence[tuple[int, bytes]]) -> None:
        self.db.execute(
            "UPDATE journal SET state = 'done', receipt = new.id FROM unnest(%b::text[]) AS new (id) WHERE intent = new.id",
            ([str(seq) for seq, _ in rows],),
        )


def queue(place: Path | str, events: Sequence[Any], batch: int) -> float:
    """Seconds from the first insert to the last completion."""
    queue_ = Sqlite(place) if isinstance(place, Path) else Postgres(place)
    run: Callable[..., Any] = queue_.db.execute  # type: ignore[assignment]
    for table in TABLES.format(serial=queue_.serial, bytes=queue_.bytes).split(";"):
        run(table)
    words = {"these": queue_.these, "skip": queue_.skip, "size": batch}
    claim, payloads, close = (one.format(**words) for one in (CLAIM, PAYLOADS, CLOSE))
    sent, done = (DONE.format(**words, state=state) for state in ("sent", "done"))
    rows = [(one["lane"], one["id"], str(one["v"]), msgspec.json.encode(one)) for one in events]
    begun = time.perf_counter()
    for start in range(0, len(rows), batch):
        queue_.begin()
        queue_.insert(rows[start : start + batch])
        run("COMMIT")
    while True:
        queue_.begin()
        lanes = run(claim).fetchall()
        held = run(payloads, (queue_.listed([lane for _, lane in lanes]),)).fetchall()
        run("COMMIT")
        if not lanes:
            break
        seqs = queue_.listed([seq for seq, _ in held])
        queue_.begin()
        queue_.intend(held)
        run(sent, (seqs,))
        run("COMMIT")
        queue_.begin()
        queue_.receive(held)
        run(done, (seqs,))
        run(close, (queue_.listed([id_ for id_, _ in lanes]),))
        run("COMMIT")
    took = time.perf_counter() - begun
    assert run("SELECT count(*) FROM events WHERE state = 'done'").fetchone() == (len(events),)
    queue_.db.close()
    return took


@contextmanager
def recorded() -> Iterator[list[tuple[str, Any]]]:
    """Every statement that is said to a database meanwhile, with its values; COMMIT among them."""
    said: list[tuple[str, Any]] = []

    def execute(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        said.append((statement, values))

    def commit(_connection: Any) -> None:
        said.append(("COMMIT", None))

    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", commit)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", execute)
        event.remove(Engine, "commit", commit)


def repeat(place: Path | str, said: Sequence[tuple[str, Any]]) -> float:
    """Seconds that the driver alone needs for what the engine said, on new tables of the engine."""
    open_store(place).close()
    db: Any
    if isinstance(place, Path):
        db = Sqlite(place).db
    else:
        db = Postgres(place).db
        db.execute("SET plan_cache_mode = force_custom_plan; SET random_page_cost = 1.1")  # as the engine does
        db.autocommit = False
    cursor = db.cursor()
    begun = time.perf_counter()
    for statement, values in said:
        if statement == "COMMIT":
            cursor.execute("COMMIT") if isinstance(place, Path) else db.commit()
            continue
        cursor.execute(statement, values) if values else cursor.execute(statement)
        if cursor.description is not None:
            cursor.fetchall()
    took = time.perf_counter() - begun
    db.close()
    return took
