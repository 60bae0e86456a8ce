"""Erasure on request: what a record held of a person is overwritten; that the record was, and how it ended, stays, so
that sums still hold and the same record coming again is still known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, String, Table, cast, exc, func, insert, or_, select, update

from flowrun.errors import StoreError
from flowrun.store import schema as t
from flowrun.store.cover import Cover
from flowrun.store.database import Database
from flowrun.store.rows import DETAIL, Row, row_of
from flowrun.store.sealing import PLACES, closed_rows, value_of
from flowrun.store.steps import step_of
from flowrun.values import decode_json, encode_json

FORGOTTEN = {"forgotten": True}
_BODY = encode_json(FORGOTTEN)
_KEPT = ("receipt", "how", "at", "class", "field", "found")  # of a history entry: said by systems, not of a person
_SHORTEST = 4  # characters of a value that is looked for in other texts; a shorter one is in everything
_WORD = "(forgotten)"
_PART = 500


def holding(database: Database, words: str) -> list[Row]:
    """Records of all flows that hold a text: as they came, as they were mapped, in what was sent or answered."""
    r, j, s = t.records.c, t.journal.c, t.steps.c
    like = _like(words)
    held = [cast(column, String).like(like, escape="\\") for column in (r.key, r.error_message)]
    found: dict[int, Row] = {}
    with database.transaction() as tx:
        inside = select(t.records).where(
            or_(*held, _holds(tx, r.payload, like), _holds(tx, r.body, like), r.seq.in_(
                select(j.seq).where(or_(_holds(tx, j.body, like), _holds(tx, j.response, like)))
            ), r.seq.in_(select(s.seq).where(or_(_holds(tx, s.sent, like), _holds(tx, s.answer, like)))))
        ).order_by(r.seq)  # fmt: skip
        for one in tx.execute(inside).mappings():
            found[one["seq"]] = row_of(one, database.cover)
        hidden = sorted(_hidden(tx, database.cover, words) - set(found))
        for start in range(0, len(hidden), _PART):
            query = select(t.records).where(r.seq.in_(hidden[start : start + _PART]))
            found.update((one["seq"], row_of(one, database.cover)) for one in tx.execute(query).mappings())
    return sorted(found.values(), key=lambda row: row.seq)


def _hidden(tx: Connection, cover: Cover, words: str) -> set[int]:
    """Records with the text in what is encrypted, which the database cannot look into: all of it is opened."""
    sought = words.casefold()
    found: set[int] = set()
    for table in (t.records, t.journal, t.steps):
        for place, row in closed_rows(tx, table):
            if any(sought in (value_of(place, row, name, cover) or "").casefold() for name in place.columns):
                found.add(row["seq"])
    return found


def forget(database: Database, rows: Sequence[Row], *, reason: str, who: str) -> None:
    """Overwrite them in one transaction, audited without what is erased. They must have ended. Raises StoreError.

    Afterwards the file or the tables are swept, so that nothing is left in free pages.
    """
    seqs = [row.seq for row in rows]
    with database.transaction() as tx:
        if not database.shared:
            tx.exec_driver_sql("PRAGMA secure_delete=ON")
        values = sorted(_values(tx, rows, database.cover), key=len, reverse=True)
        for start in range(0, len(seqs), _PART):
            _overwrite(tx, seqs[start : start + _PART], database.cover)
        flows = {row.flow for row in rows}
        _clean(tx, t.alerts, ("message", "examples"), values, t.alerts.c.flow.in_(flows), database.cover)
        _clean(tx, t.alert_notices, ("facts", "error"), values, None, database.cover)
        detail = f"{len(rows)} records of {', '.join(sorted(flows))}: {reason}"
        tx.execute(insert(t.audit).values(at=database.time(tx), who=who, action="state forget", detail=detail))
    sweep(database)


def sweep(database: Database) -> None:
    """Leave nothing of what was deleted in the database's free space. Raises StoreError when others keep it from us."""
    try:
        if database.shared:
            with database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                    "VACUUM records, journal, history, steps, alerts, alert_notices, audit"
                )
            return
        raw = database.engine.raw_connection()
        try:
            raw.execute("VACUUM")
            busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            raw.close()
    except (sqlite3.OperationalError, exc.OperationalError):
        busy = True
    if busy:
        raise StoreError(
            "what was deleted may still stand in the database's free space: others work on it",
            help="flowrun state prune --compact when they have ended",
        )


def _overwrite(tx: Connection, seqs: Sequence[int], cover: Cover) -> None:
    r, j, h = t.records.c, t.journal.c, t.history.c
    tx.execute(update(t.records).where(r.seq.in_(seqs)).values(payload=_BODY))
    tx.execute(update(t.records).where(r.seq.in_(seqs), r.body.is_not(None)).values(body=_BODY))
    said = or_(r.error_message.is_not(None), r.error_help.is_not(None))
    tx.execute(update(t.records).where(r.seq.in_(seqs), said).values(error_message=_WORD, error_help=None))
    tx.execute(update(t.journal).where(j.seq.in_(seqs)).values(body=_BODY, response=None))
    s = t.steps.c
    tx.execute(update(t.steps).where(s.seq.in_(seqs), s.sent.is_not(None)).values(sent=_BODY))
    tx.execute(update(t.steps).where(s.seq.in_(seqs)).values(answer=None, error=None))
    for id_, detail, *where in tx.execute(select(h.id, h.detail, h.seq, h.event, h.at).where(h.seq.in_(seqs))).all():
        said = decode_json(cover.open_text(detail, DETAIL, *where))
        kept = {name: value for name, value in said.items() if name in _KEPT}
        bare = cover.close(encode_json({**kept, **FORGOTTEN}).decode(), DETAIL, *where)
        tx.execute(update(t.history).where(h.id == id_).values(detail=bare))


def _values(tx: Connection, rows: Sequence[Row], cover: Cover) -> set[str]:
    """The texts that stood in the records, to be found in what quotes them; not their keys, by which they are known."""
    keys = {row.key for row in rows}
    found: set[str] = set()
    for row in rows:
        found |= set(_texts((row.payload, row.body)))
    for start in range(0, len(rows), _PART):
        seqs = [row.seq for row in rows[start : start + _PART]]
        for one in tx.execute(select(t.steps).where(t.steps.c.seq.in_(seqs))).mappings():
            step = step_of(one, cover)
            found |= set(_texts((step.sent, step.answer)))
    found = {text for text in found if len(text) >= _SHORTEST and text not in keys}
    return found | {encode_json(text).decode()[1:-1] for text in found}  # as they stand inside of JSON


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _clean(
    tx: Connection, table: Table, columns: Iterable[str], values: Sequence[str], where: Any, cover: Cover
) -> None:
    place = next(one for one in PLACES if one.table is table)
    query = select(table)
    for row in tx.execute(query if where is None else query.where(where)).mappings().all():
        changed = {}
        for name in columns:
            closed = name in place.columns
            bare = text = value_of(place, row, name, cover) if closed else row[name]
            for value in values:
                if bare and value in bare:
                    bare = bare.replace(value, _WORD)
            if bare is not None and bare != text:
                changed[name] = cover.close(bare, *place.columns[name](row)) if closed else bare
        if changed:
            tx.execute(update(table).where(table.c.id == row["id"]).values(**changed))


def _like(words: str) -> str:
    for mark in ("\\", "%", "_"):
        words = words.replace(mark, f"\\{mark}")
    return f"%{words}%"


def _holds(tx: Connection, column: Any, like: str) -> Any:
    """Whether a column of JSON bytes holds a text; bytes are no text to either database until they are told."""
    if tx.dialect.name == "sqlite":
        return cast(column, String).like(like, escape="\\")
    return func.convert_from(column, "UTF8").like(like, escape="\\")
