"""Circuits: connections that are not to be called now, known to every process.

Failures in a row open a circuit; while it is open nothing of any flow is sent there and no attempt is burnt. When its
time has come one worker takes the probe: a single record. An answer closes the circuit, a failure opens it for longer.
A refused credential pauses the connection instead: it is probed too, more rarely, since a person must act.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.database import Database

OPENS_AFTER = 5  # failures in a row
FIRST_OPEN_SECS = 5.0
MOST_OPEN_SECS = 300.0
PAUSED_SECS = 900.0
PROBE_SECS = 120.0  # within which a probe has an answer; a probe whose worker died is taken by another after it


@dataclass(frozen=True, slots=True)
class Circuit:
    """state: failing (still called), open, paused. wait_secs: until one record may try it."""

    connection: str
    state: str
    failures: int
    reason: str
    since: float
    wait_secs: float


class Circuits:
    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, connection: str) -> Circuit | None:
        """None: closed, nothing failed lately."""
        with self._db.transaction() as tx:
            return self._of(tx, connection)

    def all(self) -> list[Circuit]:
        with self._db.transaction() as tx:
            names = tx.execute(select(t.circuits.c.connection).order_by(t.circuits.c.connection)).scalars().all()
            return [found for name in names if (found := self._of(tx, name)) is not None]

    def _of(self, tx: Connection, connection: str) -> Circuit | None:
        found = st.CIRCUIT.run(tx, connection=connection).first()
        if found is None:
            return None
        state, failures, reason, since, until = found
        wait = 0.0 if until is None else max(0.0, until - self._db.time(tx))
        return Circuit(connection, state, failures, reason, since, wait)

    def failed(self, connection: str, reason: str, *, chance: float) -> Circuit:
        """One more failure in a row. chance: 0 to 1, so that processes do not probe at one moment."""
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            found = self._of(tx, connection)
            failures = (found.failures if found else 0) + 1
            state, until = "failing", None
            if failures >= OPENS_AFTER:
                longer = min(MOST_OPEN_SECS, FIRST_OPEN_SECS * 2 ** min(failures - OPENS_AFTER, 20))
                state, until = "open", now + longer * (0.5 + chance / 2)
            since = found.since if found else now
            self._put(tx, connection, state, failures, until, reason, since)
            found = self._of(tx, connection)
            assert found is not None
            return found

    def pause(self, connection: str, reason: str) -> None:
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            found = self._of(tx, connection)
            since = found.since if found and found.state == "paused" else now
            self._put(tx, connection, "paused", OPENS_AFTER, now + PAUSED_SECS, reason, since)

    def close(self, connection: str) -> bool:
        """It answered. True when it was not closed before."""
        with self._db.transaction() as tx:
            return bool(tx.execute(delete(t.circuits).where(t.circuits.c.connection == connection)).rowcount)

    def probe(self, connection: str) -> bool:
        """Take the probe of an open circuit whose time has come. One worker gets it."""
        c = t.circuits.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            mine = update(t.circuits).where(c.connection == connection, c.state != "failing", c.until <= now)
            return bool(tx.execute(mine.values(until=now + PROBE_SECS)).rowcount)

    def insist(self, connection: str) -> None:
        """A person asks: the probe's time has come."""
        c = t.circuits.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            tx.execute(update(t.circuits).where(c.connection == connection, c.state != "failing").values(until=now))

    def _put(
        self, tx: Connection, connection: str, state: str, failures: int, until: float | None, reason: str, since: float
    ) -> None:
        # One statement: two workers that fail at one moment would both insert.
        changing = self._db.upsert(t.circuits, ("connection",), ("state", "failures", "until", "reason", "since"))
        tx.execute(
            changing,
            [
                {
                    "connection": connection, "state": state, "failures": failures, "until": until,
                    "reason": reason, "since": since,
                }
            ],
        )  # fmt: skip
