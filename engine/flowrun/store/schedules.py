"""What a service does by the clock: one row a flow and kind, with the time it is due and who is at it.

Times are the database's, so that one process fires each time, whatever the others' clocks say. A process that dies
loses its lease, and another one takes the pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, or_, select, tuple_, update

from flowrun.store import schema as t
from flowrun.store.database import Database

Name = tuple[str, str]  # flow, kind


@dataclass(frozen=True, slots=True)
class Due:
    """A pass to do. due: the time it was for; waited_secs: since then."""

    flow: str
    kind: str
    due: float
    waited_secs: float


@dataclass(frozen=True, slots=True)
class Scheduled:
    """due, started_at, ended_at: seconds since 1970. error: of the last pass, in words."""

    flow: str
    kind: str
    due: float
    worker: str | None
    started_at: float | None
    ended_at: float | None
    error: str | None


class Schedules:
    def __init__(self, database: Database) -> None:
        self._db = database

    def ensure(self, flow: str, kind: str, spec: str, first: float) -> None:
        """The row is there. A new or changed one is due at ``first``; one that is as it was keeps its time, so that
        what was missed while nobody served is caught up."""
        s = t.schedules.c
        insert = self._db.dialect_insert(t.schedules)
        changed = insert.on_conflict_do_update(
            index_elements=["flow", "kind"],
            set_={"spec": insert.excluded.spec, "due": insert.excluded.due},
            where=s.spec != insert.excluded.spec,
        )
        with self._db.transaction() as tx:
            tx.execute(changed, [{"flow": flow, "kind": kind, "spec": spec, "due": first}])

    def keep_only(self, names: Collection[Name]) -> None:
        """What no flow says any more is not done."""
        s = t.schedules.c
        with self._db.transaction() as tx:
            there = tx.execute(select(s.flow, s.kind)).all()
            gone = [(flow, kind) for flow, kind in there if (flow, kind) not in names]
            if gone:
                tx.execute(delete(t.schedules).where(tuple_(s.flow, s.kind).in_(gone)))

    def claim(self, worker: str, lease_secs: float, limit: int, names: Sequence[Name]) -> list[Due]:
        """Passes whose time has come and that nobody is at, the latest first in line; only of ``names``. One pass of a
        flow at a time, whatever its kind."""
        s = t.schedules.c
        found: list[Due] = []
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            free = or_(s.worker.is_(None), s.held_until <= now)
            busy = set(tx.execute(select(s.flow).where(~free)).scalars())
            ready = select(s.flow, s.kind, s.due).where(s.due <= now, free).order_by(s.due, s.flow, s.kind)
            if self._db.shared:
                ready = ready.with_for_update(skip_locked=True)
            for flow, kind, due in tx.execute(ready).all():
                if len(found) == limit or flow in busy or (flow, kind) not in names:
                    continue
                busy.add(flow)
                mine = update(t.schedules).where(s.flow == flow, s.kind == kind)
                tx.execute(mine.values(worker=worker, held_until=now + lease_secs, started_at=now))
                found.append(Due(flow, kind, due, now - due))
        return found

    def now(self, flow: str, kind: str, who: str) -> bool:
        """Due at once, beside its rhythm. False when there is no such row. Audited."""
        s = t.schedules.c
        with self._db.transaction() as tx:
            at = self._db.time(tx)
            if not tx.execute(update(t.schedules).where(s.flow == flow, s.kind == kind).values(due=at)).rowcount:
                return False
            tx.execute(insert(t.audit).values(at=at, who=who, action="schedule run", detail=f"{flow} {kind}"))
        return True

    def renew(self, worker: str, lease_secs: float) -> None:
        s = t.schedules.c
        with self._db.transaction() as tx:
            held = update(t.schedules).where(s.worker == worker)
            tx.execute(held.values(held_until=self._db.time(tx) + lease_secs))

    def done(self, flow: str, kind: str, worker: str, next_due: float, error: str | None) -> bool:
        """The pass is over. False when the lease was lost meanwhile: another process has it."""
        s = t.schedules.c
        with self._db.transaction() as tx:
            mine = update(t.schedules).where(s.flow == flow, s.kind == kind, s.worker == worker)
            over = mine.values(worker=None, held_until=None, ended_at=self._db.time(tx), due=next_due, error=error)
            return bool(tx.execute(over).rowcount)

    def give_back(self, worker: str) -> None:
        """A process that ends is at nothing any more; what it was at is due again at once."""
        s = t.schedules.c
        with self._db.transaction() as tx:
            tx.execute(update(t.schedules).where(s.worker == worker).values(worker=None, held_until=None))

    def due_in(self, names: Sequence[Name]) -> float | None:
        """Seconds until the next pass; None when there is none."""
        s = t.schedules.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            free = or_(s.worker.is_(None), s.held_until <= now)
            found = tx.execute(select(func.min(s.due)).where(free, tuple_(s.flow, s.kind).in_(list(names)))).scalar()
            return None if found is None else float(found) - now

    def all(self) -> list[Scheduled]:
        s = t.schedules.c
        query = select(s.flow, s.kind, s.due, s.worker, s.started_at, s.ended_at, s.error).order_by(s.flow, s.kind)
        with self._db.transaction() as tx:
            return [Scheduled(*row) for row in tx.execute(query)]
