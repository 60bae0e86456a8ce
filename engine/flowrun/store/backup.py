"""A whole store in one file, and back: an SQLite file with the tables as they stood at one moment.

It is taken from either database while others write, and goes into either.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, update

from flowrun.errors import StoreError
from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.reading import Untouched, one_moment
from flowrun.store.sealing import note

_PART = 1000  # rows of one statement


def backup(database: Database, file: Path) -> dict[str, int]:
    """Write the store into a new file that only its owner may read. Returns rows by table. Raises StoreError."""
    if file.exists():
        raise StoreError(f"{file} exists already", help="name another file")
    part = Path(f"{file}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with closing(Database(f"sqlite:///{part}")) as copy:
            with database.transaction() as source, copy.transaction() as target:
                one_moment(source)
                counts = _copy(source, target)
            with copy.engine.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA journal_mode=DELETE")  # type: ignore[union-attr]
        part.rename(file)
    finally:
        for left in (part, Path(f"{part}-wal"), Path(f"{part}-shm")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    return counts


def restore(file: Path, database: Database) -> dict[str, int]:
    """Fill an empty store from a backup, one of an earlier version as well. Returns rows by table.

    What is encrypted in it stays as it is. Raises StoreError, also when the keys that it needs are not there.
    Nobody holds a lane afterwards: whoever did is not there any more.
    """
    with _brought_forward(file) as found, database.transaction() as target:
        held = [table for table in t.metadata.sorted_tables if table is not t.seal_keys]
        if any(target.execute(select(table).limit(1)).first() for table in held):
            raise StoreError(
                "the store is not empty; a backup goes into an empty one", help="say --force, or name another store"
            )
        target.execute(t.seal_keys.delete())
        with found.transaction() as source:
            database.cover.check(source.execute(select(t.seal_keys.c.key_id)).scalars().all())
            counts = _copy(source, target)
        note(database, target, database.cover)
        target.execute(
            update(t.lanes).where(t.lanes.c.worker.is_not(None)).values(worker=None, due=database.time(target))
        )
        if database.shared:
            _count_on(target)
    return counts


def clear(database: Database) -> None:
    """Take everything out of a store, for a restore into it."""
    with database.transaction() as tx:
        for table in t.metadata.sorted_tables:
            tx.execute(table.delete())


@contextmanager
def _brought_forward(file: Path) -> Iterator[Untouched]:
    """The backup as a store of this version. The file itself stays as it is."""
    with file.open("rb") as head:
        if head.read(16) != b"SQLite format 3\0":
            raise StoreError(f"{file} is no backup of a store", help="flowrun state backup FILE makes one")
    copy = Path(f"{file}.restoring")
    shutil.copyfile(file, copy)
    copy.chmod(0o600)
    try:
        Database(f"sqlite:///{copy}").close()
        with closing(Untouched(copy)) as found:
            yield found
    finally:
        for left in (copy, Path(f"{copy}-wal"), Path(f"{copy}-shm")):
            left.unlink(missing_ok=True)


def _copy(source: Connection, target: Connection) -> dict[str, int]:
    counts = {}
    for table in t.metadata.sorted_tables:
        counts[table.name] = 0
        query = select(table).order_by(*table.primary_key.columns)
        with source.execution_options(yield_per=_PART).execute(query) as found:
            for rows in found.mappings().partitions(_PART):
                target.execute(insert(table), [dict(row) for row in rows])
                counts[table.name] += len(rows)
    return counts


def _count_on(target: Connection) -> None:
    """PostgreSQL's counters go on behind the ids that were copied."""
    for table in t.metadata.sorted_tables:
        column = _serial(table)
        if column is not None:
            last = target.execute(select(func.max(table.c[column]))).scalar()
            if last is not None:
                target.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column), last)))


def _serial(table: Table) -> str | None:
    columns = [column for column in table.primary_key.columns if column.autoincrement is True]
    return columns[0].name if columns else None
