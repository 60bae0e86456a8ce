"""Events at the door: held with their records before they are answered, known again by their sender's id.

A full event's record goes into the inbox of each flow that listens, in the same transaction. A thin one waits here
until its record is read back; then that goes into the inboxes, and the event is done, in one transaction too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.database import Database
from flowrun.store.inbox import Inbox
from flowrun.store.rows import Incoming
from flowrun.values import decode_json, encode_json

REMEMBERED_SECS = 7 * 86400.0  # longer than senders repeat an event


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it arrived. event_id: the sender's, "" if it gave none. thin: its record, to be read back; None for a
    full event, whose records are in ``takers``: (flow, record) of each flow that listens."""

    connection: str
    event_id: str
    name: str
    object: str
    thin: Mapping[str, Any] | None = None
    takers: Sequence[tuple[str, Incoming]] = ()


@dataclass(frozen=True, slots=True)
class Thin:
    """A record to read back, for the events (their ids and names) that ask for it. tries: of the most patient."""

    connection: str
    object: str
    record: Mapping[str, Any]
    tries: int
    waits_since: float
    ids: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def event_place(connection: str, event_id: str | None, object: str, at: float) -> tuple[Any, ...]:
    """What a sealed record of an event belongs to."""
    return ("events.record", connection, event_id, object, at)


class Events:
    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._db = database
        self._inbox = inbox

    def accept(self, arrivals: Sequence[Arrival]) -> int:
        """One transaction for all of them. Returns how many were new. Raises StoreError, and then none is held."""
        self._db.check_room()
        with self._db.transaction() as tx:
            new = self._known_apart(tx, arrivals)
            by_flow: dict[str, list[Incoming]] = {}
            for one in new:
                for flow, incoming in one.takers:
                    by_flow.setdefault(flow, []).append(incoming)
            for flow in sorted(by_flow):  # sorted, as lanes are: two processes lock in one order
                self._inbox.take(tx, flow, by_flow[flow])
        return len(new)

    def _known_apart(self, tx: Connection, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Those that were not here before, in order."""
        now, close = self._db.time(tx), self._db.cover.close
        firsts: dict[tuple[str, str], Arrival] = {}
        nameless = []
        for one in arrivals:
            if one.event_id:
                firsts.setdefault((one.connection, one.event_id), one)
            elif one.thin is not None:
                nameless.append(one)
        rows = [firsts[name] for name in sorted(firsts)] + nameless
        if not rows:
            return list(arrivals)

        def sealed(one: Arrival) -> str | None:
            if one.thin is None:
                return None
            return close(
                encode_json(one.thin).decode(), *event_place(one.connection, one.event_id or None, one.object, now)
            )

        told = [[one.connection, one.event_id or None, one.name, one.object, sealed(one)] for one in rows]
        added = st.EVENTS.run(tx, now=now, rows=told).all()
        there = {(connection, id_) for connection, id_ in added if id_ is not None}
        fresh = {id(one) for name, one in firsts.items() if name in there}
        return [one for one in arrivals if not one.event_id or id(one) in fresh]

    # -- thin ones -------------------------------------------------------------------------------------------------

    def claim(self, limit: int, lease_secs: float) -> list[Thin]:
        """Thin events that are due, oldest first, those of one record together; for so long nobody else has them.
        Those of a paused connection stay."""
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            rows = st.CLAIM_EVENTS.run(tx, now=now, ends=now + lease_secs, limit=limit).all()
        found: dict[tuple[str, str, bytes], Thin] = {}
        for id_, connection, event_id, name, object_, sealed, tries, at in sorted(rows):
            record = self._db.cover.open(bytes(sealed), *event_place(connection, event_id, object_, at))
            same = (connection, object_, record)
            if same not in found:
                found[same] = Thin(connection, object_, decode_json(record), tries, at)
            found[same].ids.append(id_)
            found[same].names.add(name)
        return list(found.values())

    def read_back(self, ids: Sequence[int], takers: Iterable[tuple[str, Incoming]]) -> int:
        """The record of these events is here. Returns how many were new to their flows."""
        by_flow: dict[str, list[Incoming]] = {}
        for flow, incoming in takers:
            by_flow.setdefault(flow, []).append(incoming)
        with self._db.transaction() as tx:
            added = sum(self._inbox.take(tx, flow, by_flow[flow]) for flow in sorted(by_flow))
            self._over(tx, ids, None)
        return added

    def later(self, ids: Sequence[int], wait_secs: float, error: str) -> None:
        """They could not be read back now."""
        e = t.events.c
        with self._db.transaction() as tx:
            due = self._db.time(tx) + wait_secs
            again = update(t.events).where(e.id.in_(ids), e.due.is_not(None))
            tx.execute(again.values(due=due, tries=e.tries + 1, error=error))

    def give_up(self, ids: Sequence[int], why: str) -> None:
        """There is nothing to read back; the event stays, with the reason, as long as others are remembered."""
        with self._db.transaction() as tx:
            self._over(tx, ids, why)

    def _over(self, tx: Connection, ids: Sequence[int], error: str | None) -> None:
        tx.execute(update(t.events).where(t.events.c.id.in_(ids)).values(record=None, due=None, error=error))

    # -- looking ---------------------------------------------------------------------------------------------------

    def due_in(self) -> float | None:
        """Seconds until one may be read back; None when none waits."""
        with self._db.transaction() as tx:
            e, p = t.events.c, t.pauses.c
            kept = select(p.name).where(p.kind == "connection")
            found = tx.execute(select(func.min(e.due)).where(e.due.is_not(None), e.connection.not_in(kept))).scalar()
            return None if found is None else float(found) - self._db.time(tx)

    def waiting(self) -> list[dict[str, Any]]:
        """Thin events not yet read back, by connection: connection, count, since (seconds since 1970), error."""
        e = t.events.c
        query = (
            select(e.connection, func.count().label("count"), func.min(e.at).label("since"), func.max(e.error))
            .where(e.due.is_not(None)).group_by(e.connection).order_by(e.connection)
        )  # fmt: skip
        with self._db.transaction() as tx:
            return [
                {"connection": name, "count": count, "since": since, "error": error}
                for name, count, since, error in tx.execute(query)
            ]

    def forget(self, before: float) -> int:
        """Ids that no sender repeats any more. Returns how many."""
        e = t.events.c
        with self._db.transaction() as tx:
            return tx.execute(delete(t.events).where(e.at < before, e.due.is_(None))).rowcount
