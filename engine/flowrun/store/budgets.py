"""Budgets of connections, one row each: who books the next moments takes the row's lock for that, and no longer."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, delete, select, update

from flowrun.pacing.booking import State
from flowrun.pacing.gate import Step
from flowrun.pacing.sharing import Share
from flowrun.pacing.slots import Sharing
from flowrun.store import schema as t
from flowrun.store.database import Database

T = TypeVar("T")
_AS_JSON = ("counted", "told")
_NAMES = tuple(field.name for field in dataclasses.fields(State))


class Budgets:
    """waits: seconds that this process waited, by connection."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.shared = database.shared
        self.waits: dict[str, float] = {}
        self._lock = threading.Lock()

    def change(self, connection: str, step: Step[T]) -> tuple[T, State, float]:
        """See ``Ledger``. The clock is the database's, read under the lock, so that two never book one moment."""
        with self._db.transaction() as tx:
            before = self._locked(tx, connection)
            now = self._db.time(tx)
            offset = now - time.monotonic()
            after, given = step(before, now)
            if after is not before and after != before:
                tx.execute(update(t.budgets).where(t.budgets.c.connection == connection).values(_row(after)))
        return given, after, offset

    def share(self, connection: str, holder: str, step: Sharing) -> None:
        """See ``SlotLedger``."""
        s = t.slots.c
        with self._db.transaction() as tx:
            self._locked(tx, connection)
            now = self._db.time(tx)
            query = select(s.holder, s.slots, s.wants, s.since, s.until).where(s.connection == connection)
            shares = [Share(*found) for found in tx.execute(query)]
            mine = step(shares, now)
            gone = [one.holder for one in shares if one.until <= now or (mine is None and one.holder == holder)]
            if gone:
                tx.execute(delete(t.slots).where(s.connection == connection, s.holder.in_(gone)))
            if mine is not None:
                changing = self._db.upsert(t.slots, ("connection", "holder"), ("slots", "wants", "since", "until"))
                tx.execute(changing, [{"connection": connection, **dataclasses.asdict(mine)}])

    def of(self, connection: str) -> tuple[State, float] | None:
        """(the state, the moment it is asked for); None: never used."""
        b = t.budgets.c
        with self._db.transaction() as tx:
            found = tx.execute(select(t.budgets).where(b.connection == connection)).mappings().first()
            return None if found is None else (_state(found), self._db.time(tx))

    def waited(self, connection: str, secs: float) -> None:
        with self._lock:
            self.waits[connection] = self.waits.get(connection, 0.0) + secs

    def _locked(self, tx: Connection, connection: str) -> State:
        b = t.budgets.c
        query = select(t.budgets).where(b.connection == connection).with_for_update()
        found = tx.execute(query).mappings().first()
        if found is None:
            fresh = {"connection": connection, **_row(State())}
            tx.execute(self._db.dialect_insert(t.budgets).on_conflict_do_nothing(), [fresh])
            found = tx.execute(query).mappings().one()
        return _state(found)


def _row(state: State) -> dict[str, Any]:
    values = {name: getattr(state, name) for name in _NAMES}
    return {**values, **{name: json.dumps(values[name]) for name in _AS_JSON}}


def _state(found: RowMapping) -> State:
    return State(**{name: json.loads(found[name]) if name in _AS_JSON else found[name] for name in _NAMES})
