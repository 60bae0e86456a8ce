"""Which values of the store are closed, and all of them brought to what the settings say now: the newest key, or none.

It goes in short transactions beside whoever takes in and delivers. What is done is told by the rows themselves, so that
one that was cut short goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from flowrun.errors import StoreError
from flowrun.store import schema as t
from flowrun.store.alert_rows import FACTS, told_of
from flowrun.store.cover import MARK, Cover
from flowrun.store.database import Database
from flowrun.store.events import event_place
from flowrun.store.rows import ANSWER, BODY, DETAIL, HELP, MESSAGE, PAYLOAD, SENT, STEP_ANSWER, STEP_ERROR, STEP_SENT

PART = 200  # rows of one transaction
PASSES = 8  # through the store; each takes what others wrote or held during the one before
_PAUSE_SECS = 0.25  # before another pass
_BREATH_SECS = 0.005  # between two parts on SQLite, where who waits for the lock gets it only when he looks at a gap


@dataclass(frozen=True, slots=True)
class Place:
    """Columns of one table whose values are closed. id: names a row. where: what a value of a column belongs to."""

    table: Table
    id: str
    columns: Mapping[str, Callable[[Any], tuple[Any, ...]]]
    name: Callable[[Any], str]


def _of_record(column: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda row: (column, row["flow"], row["key"], row["version"], row["received_at"])


def _of_intent(column: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda row: (column, row["flow"], row["intent"])


def _of_step(column: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda row: (column, row["seq"], row["path"])


PLACES = (
    Place(
        t.records, "seq",
        {"payload": _of_record(PAYLOAD), "body": _of_record(BODY), "error_message": _of_record(MESSAGE),
         "error_help": _of_record(HELP)},
        lambda row: f"{row['flow']} {row['key']} #{row['seq']}",
    ),
    Place(
        t.journal, "id", {"body": _of_intent(SENT), "response": _of_intent(ANSWER)},
        lambda row: f"what was sent as {row['flow']} {row['intent']} #{row['seq']}",
    ),
    Place(
        t.events, "id",
        {"record": lambda row: event_place(row["connection"], row["event_id"], row["object"], row["at"])},
        lambda row: f"event {row['connection']} {row['event_id'] or ''} #{row['id']}",
    ),
    Place(
        t.history, "id", {"detail": lambda row: (DETAIL, row["seq"], row["event"], row["at"])},
        lambda row: f"history of #{row['seq']}: {row['event']}",
    ),
    Place(
        t.steps, "id", {"sent": _of_step(STEP_SENT), "answer": _of_step(STEP_ANSWER), "error": _of_step(STEP_ERROR)},
        lambda row: f"step {row['path']} of #{row['seq']}",
    ),
    Place(
        t.alerts, "id",
        {"message": lambda row: told_of(row["channel"], row["flow"], row["connection"], row["kind"])},
        lambda row: f"alert #{row['id']}",
    ),
    Place(
        t.alert_notices, "id", {"facts": lambda row: (FACTS, row["name"], row["channel"])},
        lambda row: f"notice #{row['id']}",
    ),
)  # fmt: skip


def put_over(database: Database, cover: Cover, *, writes: bool = True) -> None:
    """From here on the database's values are closed and opened with ``cover``; its key is noted before it is used.

    writes False: for a database that is only asked. Raises StoreError when the store needs a key that cover lacks.
    """
    with database.transaction() as tx:
        cover.check(used := _noted(tx))
        if writes:
            note(database, tx, cover, used)
    database.cover = cover


def note(database: Database, tx: Connection, cover: Cover, used: Sequence[str] = ()) -> None:
    if cover.encrypts and cover.key_ids[0] not in used:
        adding = database.dialect_insert(t.seal_keys).on_conflict_do_nothing()
        tx.execute(adding, {"key_id": cover.key_ids[0], "since": database.time(tx)})


@dataclass(slots=True)
class Rewritten:
    """rows: brought to what the settings say. left: that others wrote meanwhile in their own way. unopened: names of
    rows that no key opens; they stay as they are."""

    rows: int = 0
    left: int = 0
    unopened: list[str] = field(default_factory=list)


def rewrite(database: Database, who: str, report: Callable[[str, int], None] = lambda _name, _rows: None) -> Rewritten:
    """Close every value with the newest key, or open it when nothing is to be encrypted; audited.

    report: told the table and the rows done after each transaction. Raises StoreError.
    """
    done = Rewritten()
    said = f"key {database.cover.key_ids[0]}" if database.cover.encrypts else "no key"
    with database.transaction() as tx:
        note(database, tx, database.cover)
        _audit(database, tx, who, f"begun: {said}")
    for turn in range(PASSES):
        if turn:
            time.sleep(_PAUSE_SECS)
        done.unopened = []
        before = done.rows
        for place in PLACES:
            for rows, unopened in _through(database, place):
                done.rows += rows
                done.unopened += unopened
                report(place.table.name, done.rows)
        with database.transaction() as tx:
            done.left = sum(_count(tx, place, database.cover) for place in PLACES) - len(done.unopened)
        if done.left <= 0 or (done.rows == before and turn >= PASSES // 2):
            break
    with database.transaction() as tx:
        _retire(tx, database.cover)
        more = f", {len(done.unopened)} do not open" if done.unopened else ""
        _audit(database, tx, who, f"ended: {said}, {done.rows} rows, {done.left} left{more}")
    return done


def _through(database: Database, place: Place) -> Iterator[tuple[int, list[str]]]:
    """Rewrite what is not as it should be, a part after the other."""
    key, after = place.table.c[place.id], -1
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in place.columns}
    change = update(place.table).where(key == bindparam("which")).values(**values)
    while True:
        with database.transaction() as tx:
            if not database.shared:
                tx.exec_driver_sql("PRAGMA secure_delete=ON")  # what stood there is overwritten, not only let go
            query = select(place.table).where(key > after, _is_other(place, database.cover)).order_by(key).limit(PART)
            # Rows that somebody else holds come in the next pass: nobody waits for us, nor we for them.
            found = tx.execute(query.with_for_update(skip_locked=True)).mappings().all()
            if not found:
                return
            after = int(found[-1][place.id])
            changed, unopened = [], []
            for row in found:
                try:
                    changed.append(_anew(place, row, database.cover))
                except StoreError:
                    unopened.append(place.name(row))
            if changed:
                tx.execute(change, changed)
        yield len(changed), unopened
        if not database.shared:
            time.sleep(_BREATH_SECS)


def _anew(place: Place, row: Any, cover: Cover) -> dict[str, Any]:
    new: dict[str, Any] = {"which": row[place.id]}
    for name, where in place.columns.items():
        value = row[name]
        if isinstance(value, bytes):
            value = cover.close(cover.open(value, *where(row)).decode(), *where(row)).encode()
        elif value is not None:
            value = cover.close(cover.open_text(value, *where(row)), *where(row))
        new[f"new_{name}"] = value
    return new


def unopened(tx: Connection, cover: Cover) -> Iterator[str]:
    """Names of rows with a value that does not open."""
    for place in PLACES:
        closed = or_(*(_starts(place.table.c[name], MARK) for name in place.columns))
        for row in _walk(tx, place, closed):
            try:
                for name in place.columns:
                    value_of(place, row, name, cover)
            except StoreError:
                yield place.name(row)


def value_of(place: Place, row: Any, name: str, cover: Cover) -> str | None:
    """The open value of a column. Raises StoreError."""
    value = row[name]
    if value is None:
        return None
    where = place.columns[name](row)
    return cover.open(value, *where).decode() if isinstance(value, bytes) else cover.open_text(value, *where)


def closed_rows(tx: Connection, table: Table) -> Iterator[tuple[Place, Any]]:
    """Rows of a table that hold a closed value, in order."""
    place = next(one for one in PLACES if one.table is table)
    for row in _walk(tx, place, or_(*(_starts(place.table.c[name], MARK) for name in place.columns))):
        yield place, row


def _walk(tx: Connection, place: Place, condition: ColumnElement[bool]) -> Iterator[Any]:
    key, after = place.table.c[place.id], -1
    while True:
        query = select(place.table).where(key > after, condition).order_by(key).limit(PART)
        rows = tx.execute(query).mappings().all()
        if not rows:
            return
        yield from rows
        after = int(rows[-1][place.id])


def _is_other(place: Place, cover: Cover) -> ColumnElement[bool]:
    """A value of the row is not as it would be written now."""
    columns = [place.table.c[name] for name in place.columns]
    if not cover.encrypts:
        return or_(*(_starts(column, MARK) for column in columns))
    return or_(*(and_(column.is_not(None), ~_starts(column, cover.begins)) for column in columns))


def _starts(column: Any, words: str) -> ColumnElement[bool]:
    binary = isinstance(column.type, LargeBinary)
    wanted = literal(words.encode(), LargeBinary) if binary else literal(words)
    return func.substr(column, 1, len(words), type_=column.type) == wanted


def _count(tx: Connection, place: Place, cover: Cover) -> int:
    return int(tx.execute(select(func.count()).select_from(place.table).where(_is_other(place, cover))).scalar_one())


def _noted(tx: Connection) -> list[str]:
    return list(tx.execute(select(t.seal_keys.c.key_id)).scalars())


def _retire(tx: Connection, cover: Cover) -> None:
    """Keys that nothing is closed with any more need not be there."""
    used = {cover.key_ids[0]} if cover.encrypts else set()
    for key_id in set(_noted(tx)) - used:
        begins = f"{MARK}{key_id}:"
        held = any(
            tx.execute(
                select(place.table.c[place.id])
                .where(or_(*(_starts(place.table.c[name], begins) for name in place.columns)))
                .limit(1)
            ).first()
            for place in PLACES
        )
        if not held:
            tx.execute(delete(t.seal_keys).where(t.seal_keys.c.key_id == key_id))


def _audit(database: Database, tx: Connection, who: str, detail: str) -> None:
    tx.execute(insert(t.audit).values(at=database.time(tx), who=who, action="state rotate-key", detail=detail))
