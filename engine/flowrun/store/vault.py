"""Tokens at rest: one row a connection, sealed, changed by compare-and-set, renewed by one process at a time.

Who renews holds a lease on the row, by the database's clock. A process that crashes leaves a lease that ends by
itself, and whoever comes next is told that something was cut short. A lease that has passed to another saves nothing.
Spans are measured by the database's clock as well, so machines whose clocks differ agree.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Float, and_, insert, null, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from flowrun.credentials.token import Token
from flowrun.store.database import Database
from flowrun.store.schema import tokens
from flowrun.store.seal import Seal, SealBroken
from flowrun.values import Clock

_c = tokens.c


class _database_time(FunctionElement[float]):
    """Seconds since 1970 by the clock of the database."""

    type = Float()
    inherit_cache = True


@compiles(_database_time, "sqlite")
def _on_sqlite(_element: Any, _compiler: Any, **_more: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_database_time, "postgresql")
def _on_postgres(_element: Any, _compiler: Any, **_more: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last answer was a definite no. tried: a mark of the settings that were refused; ago: seconds."""

    kind: str
    words: str
    tried: str
    count: int
    ago: float


@dataclass(frozen=True, slots=True)
class Held:
    """A row as it was read. token: None when there is none, or none that can be opened (``unreadable`` says why)."""

    connection: str
    version: int
    token: Token | None
    refusal: Refusal | None = None
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to renew. interrupted: who held it before never gave it back."""

    connection: str
    holder: str
    interrupted: bool


@dataclass(frozen=True, slots=True)
class State:
    """What may be shown of a row: no secret is opened for it."""

    connection: str
    scheme: str
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    renewed_at: datetime | None
    key_id: str
    trouble: str
    renewing: bool


class Vault:
    def __init__(self, database: Database, now: Clock, seal: Seal) -> None:
        self._database = database
        self._now = now
        self._seal = seal

    @property
    def key_id(self) -> str:
        """Of the key that seals."""
        return self._seal.key_id

    def mark(self, text: str) -> str:
        """See ``Seal.mark``."""
        return self._seal.mark(text)

    def load(self, connection: str) -> Held | None:
        """Raises StoreError."""
        with self._database.transaction() as tx:
            row = _row(tx, connection)
        if row is None:
            return None
        refusal = None
        if row["refused_at"] is not None:
            ago = max(0.0, row["time"] - row["refused_at"])
            refusal = Refusal(row["refused_kind"], row["refused_words"], row["refused_mark"], row["refusals"], ago)
        if row["sealed"] is None:
            return Held(connection, row["version"], None, refusal)
        try:
            data = self._seal.open(row["sealed"], connection)
        except SealBroken:
            why = f"it was sealed with key {row['key_id']}" if row["key_id"] != self._seal.key_id else "it is damaged"
            return Held(connection, row["version"], None, refusal, why)
        left = _span(row["expires_at"], row["time"])
        token = Token.from_bytes(data, left or 0.0, _span(row["refresh_expires_at"], row["time"]))
        return Held(connection, row["version"], token, refusal)

    def lease(self, connection: str, secs: float, again: Lease | None = None) -> Lease | None:
        """The lease for so long; None while another holds it. again: prolong this one, if it is still ours."""
        holder = again.holder if again else uuid.uuid4().hex
        with self._database.transaction() as tx:
            _ensure(tx, connection)
            row = _row(tx, connection, lock=True)
            assert row is not None
            mine = row["holder"] == holder
            if (again and not mine) or (row["holder"] and not mine and row["held_until"] > row["time"]):
                return None
            values = {"holder": holder, "held_until": _database_time() + secs}
            tx.execute(update(tokens).where(_c.connection == connection).values(values))
        return again or Lease(connection, holder, interrupted=row["holder"] is not None)

    def release(self, lease: Lease) -> None:
        with self._database.transaction() as tx:
            tx.execute(update(tokens).where(_mine(lease)).values(holder=null(), held_until=null()))

    def save(self, connection: str, token: Token, expected_version: int, lease: Lease, *, scheme: str = "") -> bool:
        """Committed when it returns True. False: the row has moved on, or the lease has passed to another."""
        values = {
            "version": expected_version + 1,
            "scheme": scheme,
            "sealed": self._seal.close(token.to_bytes(), connection),
            "key_id": self._seal.key_id,
            "expires_at": _database_time() + token.left,
            "refresh_expires_at": null() if token.refresh_left is None else _database_time() + token.refresh_left,
            "renewed_at": _database_time(),
            "refused_at": null(),
            "refused_kind": null(),
            "refused_words": null(),
            "refused_mark": null(),
            "refusals": 0,
        }
        with self._database.transaction() as tx:
            where = and_(_mine(lease), _c.connection == connection, _c.version == expected_version)
            return tx.execute(update(tokens).where(where).values(values)).rowcount == 1

    def refuse(self, lease: Lease, kind: str, words: str, tried: str) -> None:
        """Remember a definite no, so that no other process asks again with the same. The token stays as it is."""
        values = {
            "refused_at": _database_time(),
            "refused_kind": kind,
            "refused_words": words,
            "refused_mark": tried,
            "refusals": _c.refusals + 1,
        }
        with self._database.transaction() as tx:
            tx.execute(update(tokens).where(_mine(lease)).values(values))

    def states(self) -> list[State]:
        """Every connection that has a row, by name."""
        with self._database.transaction() as tx:
            rows = tx.execute(select(tokens, _database_time().label("time")).order_by(_c.connection)).mappings().all()
        return [self._state(row) for row in rows]

    def rotate(self) -> int:
        """Seal every token with the newest key. Returns how many were sealed anew; the others have it already.

        Nothing is lost when processes renew meanwhile: a row that moved on is read again. Raises StoreError.
        """
        done = 0
        for state in self.states():
            while not self._rotated(state.connection):
                pass
            done += state.key_id not in ("", self._seal.key_id)
        return done

    def _rotated(self, connection: str) -> bool:
        with self._database.transaction() as tx:
            row = _row(tx, connection, lock=True)
            if row is None or row["sealed"] is None or row["key_id"] == self._seal.key_id:
                return True
            try:
                data = self._seal.open(row["sealed"], connection)
            except SealBroken:
                return True  # nothing here could read it before either
            values = {"sealed": self._seal.close(data, connection), "key_id": self._seal.key_id}
            where = and_(_c.connection == connection, _c.version == row["version"])
            return tx.execute(update(tokens).where(where).values(values)).rowcount == 1

    def _state(self, row: Mapping[Any, Any]) -> State:
        def moment(at: float | None) -> datetime | None:
            return None if at is None else self._now() + timedelta(seconds=at - row["time"])

        return State(
            row["connection"],
            row["scheme"] or "",
            moment(row["expires_at"]),
            moment(row["refresh_expires_at"]),
            moment(row["renewed_at"]),
            row["key_id"] or "",
            row["refused_words"] or "",
            bool(row["holder"]) and row["held_until"] > row["time"],
        )


def _mine(lease: Lease) -> Any:
    return and_(_c.connection == lease.connection, _c.holder == lease.holder)


def _row(tx: Connection, connection: str, *, lock: bool = False) -> Mapping[Any, Any] | None:
    query = select(tokens, _database_time().label("time")).where(_c.connection == connection)
    found = tx.execute(query.with_for_update() if lock else query).mappings().first()
    return dict(found) if found is not None else None


def _ensure(tx: Connection, connection: str) -> None:
    """The row is there. Two that make it at once both succeed."""
    make: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}.get(tx.dialect.name, insert)
    tx.execute(make(tokens).values(connection=connection, version=0, refusals=0).on_conflict_do_nothing())


def _span(until: float | None, time: float) -> float | None:
    return None if until is None else until - time
