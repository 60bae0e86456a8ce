"""A store that is only asked: no file is made, migrated, locked or written. For ``plan``, ``diff`` and ``trace``."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, exc, inspect, select, text
from sqlalchemy.pool import StaticPool

from flowrun.errors import StoreError
from flowrun.store import schema as t
from flowrun.store.cover import Cover
from flowrun.store.database import HEAD, Database, postgres_url, words_of
from flowrun.store.sealing import put_over
from flowrun.store.store import Store
from flowrun.values import system_clock

PART = 500  # keys asked for in one statement
Head = tuple[str | None, str]
"""(version, fingerprint as it came) of the newest record of a key."""


def read_store(place: Path | str, cover: Cover | None = None) -> Reading:
    """The store at ``place``; an empty one, in memory, when there is none. cover: opens what is encrypted.

    Raises StoreError, also when the store was encrypted with a key that cover lacks.
    """
    database = Untouched(place)
    try:
        put_over(database, cover or Cover(), writes=False)
    except StoreError:
        database.close()
        raise
    return Reading(database)


class Reading(Store):
    """What the store holds. Methods that write raise StoreError."""

    def holds(self, flow: str, key: str, version: str) -> bool:
        """Whether this version of a key came in before."""
        r = t.records.c
        query = select(r.seq).where(r.flow == flow, r.key == key, r.version == version).limit(1)
        with self.transaction() as tx:
            return tx.execute(query).first() is not None

    def dead_keys(self, flow: str) -> dict[str, int]:
        """Key → seq of its first dead letter."""
        r = t.records.c
        query = select(r.key, r.seq).where(r.flow == flow, t.is_unsent(r.state, "dead")).order_by(r.seq.desc())
        with self.transaction() as tx:
            return {str(key): int(seq) for key, seq in tx.execute(query)}


def heads_of(store: Store, flow: str, keys: Iterable[str]) -> dict[str, Head]:
    """The newest accepted record of each key; keys that never came in are left out."""
    h = t.heads.c
    wanted = list(keys)
    found: dict[str, Head] = {}
    with store.transaction() as tx:
        for start in range(0, len(wanted), PART):
            query = select(h.key, h.version, h.fingerprint).where(
                h.flow == flow, h.key.in_(wanted[start : start + PART])
            )
            found.update((key, (version, print_)) for key, version, print_ in tx.execute(query))
    return found


def one_moment(tx: Connection) -> None:
    """From here on all that is read is of one moment. PostgreSQL's reader says so itself; SQLite's begins here."""
    if tx.dialect.name == "sqlite" and not tx.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
        tx.exec_driver_sql("BEGIN")


class Untouched(Database):
    """A database that is read as it stands, beside whoever writes it.

    An SQLite file with nothing in a write-ahead log is opened as unchangeable, since even a reader would leave a log
    beside it; that nobody wrote meanwhile is looked at after every reading.
    """

    def __init__(self, place: Path | str) -> None:
        self.path = place if isinstance(place, Path) else None
        self.shared = True  # nothing is held that others would wait for
        self._lock = None
        self.cover = Cover()
        self._clock = system_clock
        self._writing = threading.RLock()
        self._stamp: tuple[int, int] | None = None
        try:
            self.engine = self._opened(place)
        except exc.SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {words_of(error)}") from None

    def _opened(self, place: Path | str) -> Engine:
        if isinstance(place, str) and "://" in place:
            engine = create_engine(
                postgres_url(place), hide_parameters=True, execution_options={"postgresql_readonly": True},
                isolation_level="REPEATABLE READ",
            )  # fmt: skip
            return engine if _is_ready(engine, "this database") else _nothing()
        path = Path(place)
        if not path.exists():
            return _nothing()
        log = Path(f"{path}-wal")
        alone = not log.exists() or log.stat().st_size == 0  # an empty one is left where the disk was full
        address = f"file:{quote(str(path.resolve()))}?mode=ro" + ("&immutable=1" if alone else "")
        self.path = path
        self._stamp = self._seen() if alone else None
        engine = create_engine(
            "sqlite://", hide_parameters=True, poolclass=StaticPool,
            creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False),
        )  # fmt: skip
        return engine if _is_ready(engine, str(path)) else _nothing()

    def _seen(self) -> tuple[int, int]:
        assert self.path is not None
        about = self.path.stat()
        return about.st_mtime_ns, about.st_size

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection to ask with. Raises StoreError, also for anything that would write."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {words_of(error)}") from None
        if self._stamp is not None and self._stamp != self._seen():
            raise StoreError(f"{self.path} was written while it was read", help="run the command again")

    def time(self, tx: Connection) -> float:
        return system_clock().timestamp()


def _nothing() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    t.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    return engine


def _is_ready(engine: Engine, name: str) -> bool:
    """False when no flowrun ever wrote there. Raises StoreError for another schema than ours."""
    with engine.connect() as connection:
        if "alembic_version" not in inspect(connection).get_table_names():
            return False
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found == HEAD:
        return True
    forward = "the next flowrun run brings it forward; this command writes nothing"
    raise StoreError(
        f"the store {name} has schema {found}, this flowrun reads {HEAD}",
        help="upgrade flowrun" if str(found) > HEAD else forward,
    )
