"""Pauses: what a person has stopped, until a person lets it go on; known to every process.

A paused flow is neither read by the clock nor delivered; a paused connection is not called for any flow. Webhooks are
taken in all the same, since their senders would give up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from flowrun.store import schema as t
from flowrun.store.database import Database

MOST_REASON = 500  # characters


@dataclass(frozen=True, slots=True)
class Pause:
    """kind: flow or connection. since: seconds since 1970."""

    kind: str
    name: str
    reason: str
    who: str
    since: float

    @property
    def words(self) -> str:
        return f"{self.kind} {self.name} is paused by {self.who}: {self.reason}"


class Pauses:
    def __init__(self, database: Database) -> None:
        self._db = database

    def pause(self, kind: str, name: str, reason: str, who: str) -> bool:
        """False when it is paused already; who did it first, and why, stays. Audited."""
        once = self._db.dialect_insert(t.pauses).on_conflict_do_nothing(index_elements=["kind", "name"])
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            values = {"kind": kind, "name": name, "reason": reason[:MOST_REASON], "who": who, "since": now}
            made = bool(tx.execute(once.returning(t.pauses.c.name), [values]).first())
            if made:
                detail = f"{kind} {name}: {reason[:MOST_REASON]}"
                tx.execute(insert(t.audit).values(at=now, who=who, action="pause", detail=detail))
        return made

    def resume(self, kind: str, name: str, who: str) -> bool:
        """False when it was not paused. Audited."""
        p = t.pauses.c
        with self._db.transaction() as tx:
            gone = bool(tx.execute(delete(t.pauses).where(p.kind == kind, p.name == name)).rowcount)
            if gone:
                said = {"at": self._db.time(tx), "who": who, "action": "resume", "detail": f"{kind} {name}"}
                tx.execute(insert(t.audit).values(**said))
        return gone

    def all(self) -> list[Pause]:
        p = t.pauses.c
        with self._db.transaction() as tx:
            query = select(p.kind, p.name, p.reason, p.who, p.since).order_by(p.kind, p.name)
            return [Pause(*row) for row in tx.execute(query)]

    def of(self, flow: str, connections: Collection[str]) -> Pause | None:
        """What keeps a flow from being done that calls these connections."""
        return first_of(self.all(), flow, connections)


def first_of(pauses: Iterable[Pause], flow: str, connections: Collection[str]) -> Pause | None:
    """Of pauses that are known: the one that holds for a flow and its connections."""
    for one in pauses:
        if one.name == flow if one.kind == "flow" else one.name in connections:
            return one
    return None
