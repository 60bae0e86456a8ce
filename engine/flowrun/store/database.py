"""Opening the database: one process at a time on SQLite, durable, migrated before use."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text

from flowrun.errors import StoreError

HEAD = "0004"


class Database:
    """An engine, its lock, and transactions. Raises StoreError in words; bound values never stand in an error."""

    def __init__(self, url: str, lock: IO[bytes] | None = None) -> None:
        self._lock = lock
        self.engine = _engine(url)
        try:
            self._migrate()
        except exc.SQLAlchemyError as error:
            self.close()
            raise StoreError(f"the store cannot be opened: {_said(error)}") from None
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. Raises StoreError when the database fails (full, locked, damaged)."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            raise StoreError(
                f"the store failed: {_said(error)}", help="free space or mend the disk, then run again"
            ) from None

    def close(self) -> None:
        self.engine.dispose()
        if self._lock is not None:
            self._lock.close()  # closing the file gives the lock back

    def _migrate(self) -> None:
        with self.engine.begin() as connection:
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


def _engine(url: str) -> Engine:
    engine = create_engine(url, hide_parameters=True)
    if engine.dialect.name == "sqlite":

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


def open_database(path: Path) -> Database:
    """The SQLite file at ``path``, made when it is not there. Raises StoreError when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - held as long as the store is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"{path} is in use by another flowrun", help="wait until it ends; one process at a time"
        ) from None
    if path.parent.name == ".flowrun":
        path.parent.chmod(0o700)  # it holds orders and addresses
    return Database(f"sqlite:///{path}", lock)


def _said(error: exc.SQLAlchemyError) -> str:
    """The database's own words, without statement or values."""
    original = getattr(error, "orig", None)
    return str(original) if original is not None else type(error).__name__
