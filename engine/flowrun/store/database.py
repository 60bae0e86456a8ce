"""The database: one process at a time on SQLite, many on PostgreSQL; durable; migrated before use.

The same statements run on both. What differs stands here: locks, the clock, how a write transaction begins.
"""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, exc, func, inspect, select, text

from flowrun.errors import NoRoom, StoreError, StoreGone
from flowrun.store.cover import Cover
from flowrun.values import Clock, system_clock

HEAD = "0012"
LOW_WATER = 16 << 20  # free bytes under which nothing new is taken in: what is held must still reach its outcome
BALLAST = 4 << 20  # bytes set aside beside the file, since SQLite cannot delete on a full disk
_SMALLEST = (3, 35)  # SQLite with RETURNING and DROP COLUMN


class Database:
    """An engine, its lock, and transactions. Raises StoreError in words; bound values never stand in an error."""

    def __init__(
        self, url: str, *, clock: Clock | None = None, path: Path | None = None, lock: IO[bytes] | None = None
    ) -> None:
        """clock: stands in for the database's own (tests). path: of the SQLite file."""
        self.path = path
        self.cover = Cover()
        """What payloads are closed and opened with; ``sealing.put_over`` lays another one over them."""
        self._lock = lock
        self._clock = clock
        self._writing = threading.RLock()
        self.engine = _engine(url)
        self.shared = self.engine.dialect.name != "sqlite"
        """Whether several processes may use it at once."""
        try:
            self._migrate()
        except exc.SQLAlchemyError as error:
            self.close()
            raise StoreError(f"the store cannot be opened: {words_of(error)}", help=_help(error)) from None
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. Raises StoreError when the database fails (full, locked, damaged, gone)."""
        if not self.shared:
            # One writer at a time; threads of this process queue here, where it is fair and costs no polling.
            self._writing.acquire()
        try:
            with self.engine.begin() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            if self.shared and "lock timeout" in words_of(error):
                self._free_locks()
            kind = StoreGone if _passes(error) else StoreError
            raise kind(f"the store failed: {words_of(error)}", help=_help(error)) from None
        finally:
            if not self.shared:
                self._writing.release()

    def _free_locks(self) -> None:
        with suppress(exc.SQLAlchemyError), self.engine.begin() as connection:
            self.end_frozen(connection)

    @property
    def has_own_clock(self) -> bool:
        """Whether it is not told the time, as tests do, whose clocks jump as they please."""
        return self._clock is None

    def time(self, tx: Connection) -> float:
        """Seconds since 1970 by the database's clock, so that machines whose clocks differ agree on leases."""
        if self._clock is not None:
            return self._clock().timestamp()
        if self.shared:
            return float(tx.execute(_CLOCK).scalar_one())
        return system_clock().timestamp()

    def upsert(self, table: Table, keys: Sequence[str], values: Sequence[str]) -> Any:
        """INSERT that updates ``values`` where ``keys`` exist already; both dialects spell it alike."""
        insert = _insert(self.engine.dialect.name)(table)
        return insert.on_conflict_do_update(
            index_elements=list(keys), set_={name: insert.excluded[name] for name in values}
        )

    def dialect_insert(self, table: Table) -> Any:
        return _insert(self.engine.dialect.name)(table)

    def check_room(self) -> None:
        """Raises NoRoom when the disk is nearly full: better refused than half taken."""
        if self.path is not None and shutil.disk_usage(self.path.parent).free < LOW_WATER:
            raise NoRoom(
                f"under {LOW_WATER >> 20} MiB are free beside {self.path}: nothing new is taken in",
                help="free space, or: flowrun state prune",
            )

    def end_frozen(self, tx: Connection) -> None:
        """End sessions of ours that stand still inside a transaction: a frozen process keeps its row locks beyond its
        lease. The server does it by itself, except after statements that were sent as a pipeline (executemany)."""
        if self.shared:
            from flowrun.store.postgres import END_FROZEN, IDLE_SECS  # its driver is an extra

            tx.execute(END_FROZEN, {"secs": IDLE_SECS})

    def close(self) -> None:
        self.engine.dispose()
        if self._lock is not None:
            self._lock.close()  # closing the file gives the lock back

    def _migrate(self) -> None:
        with self.engine.begin() as connection:
            if self.shared:  # one process migrates, the others wait
                from flowrun.store.postgres import wait_long  # its driver is an extra

                wait_long(connection)
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            tables = inspect(connection).get_table_names()
            found = None
            if "alembic_version" in tables:
                found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if found == HEAD:
                return
            if found is not None and found > HEAD:
                raise StoreError(
                    f"the store was written by a newer flowrun (schema {found}, this one knows {HEAD})",
                    help="upgrade flowrun, or use another store",
                )
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


_CLOCK = select(func.extract("epoch", func.clock_timestamp()))
_LIMIT = "54"  # PostgreSQL's class of codes for a limit of the program: too long, too many
_MIGRATION_LOCK = 7_032_941_553  # any number that nothing else in the database uses


def _insert(dialect: str) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert
    from sqlalchemy.dialects.postgresql import insert as pg_insert

    return pg_insert


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        from flowrun.store.postgres import make_engine  # its driver is an extra

        return make_engine(url)
    engine = create_engine(url, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once when another one writes.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_database(where: Path | str, *, clock: Clock | None = None, beside: bool = False) -> Database:
    """The SQLite file at a path, made when it is not there, or the PostgreSQL database of a URL.

    beside: without the file's lock, for what may be read or written while another process delivers (tokens, reports).
    Raises StoreError when another process holds the file, or the database cannot be reached.
    """
    if isinstance(where, str):
        if "://" in where:
            return Database(postgres_url(where), clock=clock)
        where = Path(where)
    _check_sqlite()
    where.parent.mkdir(parents=True, exist_ok=True)
    if where.parent.name == ".flowrun":
        where.parent.chmod(0o700)  # it holds orders and addresses
    if beside:
        return Database(f"sqlite:///{where}", clock=clock, path=where)
    lock = Path(f"{where}.lock").open("ab")  # noqa: SIM115 - held as long as the store is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"{where} is in use by another flowrun",
            help="wait until it ends; several processes share a store on PostgreSQL",
        ) from None
    database = Database(f"sqlite:///{where}", clock=clock, path=where, lock=lock)
    keep_ballast(where)
    return database


def keep_ballast(path: Path) -> None:
    """A file to give up when the disk is full, so that there is room to delete; skipped when there is none to set
    aside."""
    ballast = Path(f"{path}.ballast")
    if ballast.exists() or shutil.disk_usage(path.parent).free < LOW_WATER + BALLAST:
        return
    ballast.write_bytes(b"\0" * BALLAST)


def spend_ballast(path: Path) -> None:
    """Give up what ``keep_ballast`` set aside, when the disk is full; the next one to open the store with room enough
    sets it aside again."""
    if path.exists() and shutil.disk_usage(path.parent).free < LOW_WATER:
        Path(f"{path}.ballast").unlink(missing_ok=True)


def postgres_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise StoreError(f"a store is an SQLite file or a postgresql:// address, not {scheme}://")
    try:
        import psycopg  # noqa: F401 - an extra
    except ImportError:
        raise StoreError("PostgreSQL needs the driver psycopg", help="pip install 'flowrun[postgres]'") from None
    return f"postgresql+psycopg://{rest}"


def _check_sqlite() -> None:
    import sqlite3

    if sqlite3.sqlite_version_info[:2] < _SMALLEST:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed")


def words_of(error: exc.SQLAlchemyError) -> str:
    """The database's own words, without statement or values."""
    original = getattr(error, "orig", None)
    words = str(original).strip() if original is not None else type(error).__name__
    return words.splitlines()[0] if words else type(original).__name__  # PostgreSQL's DETAIL holds values


def _passes(error: exc.SQLAlchemyError) -> bool:
    """Whether the trouble is likely to pass by itself: no connection, a deadlock, a lock; not a full or damaged disk,
    not a mistake of ours."""
    if not isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        return bool(getattr(error, "connection_invalidated", False))
    said = words_of(error)
    if str(getattr(getattr(error, "orig", None), "sqlstate", "")).startswith(_LIMIT):
        return False
    return "locked" in said or not (
        "full" in said or "No space" in said or "sqlite3" in type(getattr(error, "orig", None)).__module__
    )


def _help(error: exc.SQLAlchemyError) -> str:
    said = words_of(error)
    if "full" in said or "No space" in said:
        return "free space on the disk, or: flowrun state prune; then run again"
    if "disk I/O" in said:
        return "is the disk full (then: flowrun state prune), or failing, as the system's log says? then: state verify"
    if "locked" in said:
        return "another program holds the file; close it, then run again"
    if isinstance(error, exc.OperationalError):
        return "is the database there, and may this user enter? then run again"
    return "nothing of this step was kept; run again"
