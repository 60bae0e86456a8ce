"""Lanes: who may deliver what, in which order.

A lane is one ordering key with open records. A worker claims lanes that are due; while it holds one, ``due`` is the end
of its lease, so that a lane whose worker died becomes due by itself. ``fence`` counts the claims: what a worker says
after its lane was claimed by another one is not heard. Before each send the worker looks at its own deadline, which a
clock that also counts the sleep of the machine measures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, exists, func, or_, select, update
from sqlalchemy.sql import ColumnElement

from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.rows import Held, Row, row_of
from flowrun.values import decode_json

LEASE_SECS = 90.0  # what remains after the safe share is longer than any one call with its time limit
SAFE_SHARE = 0.6  # of the lease: after it a worker renews before it sends
LAST_SHARE = 0.9  # of the lease: after it no request of a call under way leaves any more
DEEP = 32  # up to so many lanes, several records of each are taken at once
_CHUNK = 500


def boot_time() -> float:
    """Seconds since the machine was booted, its sleep included: a frozen machine wakes late, not early."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lanes:
    def __init__(self, database: Database) -> None:
        self._db = database
        self.lease_secs = LEASE_SECS
        """Of claims to come; shorter ones free the lanes of a dead worker sooner, and must outlast one call."""

    def claim(
        self,
        flow: str,
        limit: int,
        worker: str,
        lease_secs: float | None = None,
        *,
        only: Sequence[str] | None = None,
    ) -> Held:
        """Hold at most ``limit`` lanes that are due, and their oldest open records in order.

        A later record of a key waits behind an open dead letter of that key, unless it has a version; other keys of
        the lane do not. Lanes that are held by others are passed over. only: no others than these lanes.
        """
        begun = boot_time()
        lease_secs = self.lease_secs if lease_secs is None else lease_secs
        lane, r = t.lanes.c, t.records.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            due = (
                select(lane.id, lane.lane, lane.fence)
                .where(lane.flow == flow, lane.due <= now, *([lane.lane.in_(only)] if only is not None else []))
                .order_by(lane.due, lane.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            taken = tx.execute(due).all()
            if not taken:
                self._db.end_frozen(tx)  # they may be due and locked
                return Held(worker, {}, [], begun)
            ids = [one.id for one in taken]
            for part in _parts(ids):
                tx.execute(
                    update(t.lanes)
                    .where(lane.id.in_(part))
                    .values(due=now + lease_secs, fence=lane.fence + 1, worker=worker)
                )
            names = {one.lane: one.id for one in taken}
            fences = {one.id: one.fence + 1 for one in taken}
            rows: list[Row] = []
            if len(taken) <= min(DEEP, limit - 1):
                depth = max(1, limit // len(taken))
                for name in names:
                    rows += self._rows(tx, _open_of(flow, name).order_by(r.seq).limit(depth), names)
            else:
                for part in _parts(list(names)):
                    first = select(t.records).where(r.seq.in_(self._heads(tx, flow, part))).order_by(r.seq)
                    rows += self._rows(tx, first, names)
            rows = self._with_intents(tx, sorted(rows, key=lambda row: row.seq))
            empty = set(fences) - {row.lane_id for row in rows}
            if empty:
                self._let_go(tx, sorted(empty), park=True)
                for gone in empty:
                    del fences[gone]
        return Held(worker, fences, rows, begun + lease_secs * SAFE_SHARE, begun + lease_secs * LAST_SHARE)

    def _heads(self, tx: Connection, flow: str, names: Sequence[str]) -> list[int]:
        """The oldest record of each lane that may be tried."""
        lane, r = t.lanes.c, t.records.c
        oldest = (
            select(r.seq)
            .where(r.flow == lane.flow, r.lane == lane.lane, t.is_open(r.state), ~_behind_dead())
            .order_by(r.seq)
            .limit(1)
            .correlate(t.lanes)
            .scalar_subquery()
        )
        found = tx.execute(select(oldest).where(lane.flow == flow, lane.lane.in_(names))).scalars()
        return [seq for seq in found if seq is not None]

    def _rows(self, tx: Connection, query: Any, names: Mapping[str, int]) -> list[Row]:
        return [row_of(found, names[found["lane"]]) for found in tx.execute(query).mappings()]

    def _with_intents(self, tx: Connection, rows: Sequence[Row]) -> list[Row]:
        """Records that were sent before come with what was sent, under which key."""
        return with_journal(tx, rows) if any(row.state != "received" for row in rows) else list(rows)

    def renew(self, held: Held) -> set[int]:
        """A new lease for what is held. Returns the lanes that were lost meanwhile, and forgets them."""
        begun = boot_time()
        with self._db.transaction() as tx:
            ours = self.still_held(tx, held, held.fences)
            now = self._db.time(tx)
            for part in _parts(sorted(ours)):
                tx.execute(update(t.lanes).where(t.lanes.c.id.in_(part)).values(due=now + self.lease_secs))
        lost = set(held.fences) - ours
        for gone in lost:
            del held.fences[gone]
        held.deadline = begun + self.lease_secs * SAFE_SHARE
        held.ends = begun + self.lease_secs * LAST_SHARE
        return lost

    def still_held(self, tx: Connection, held: Held, ids: Iterable[int]) -> set[int]:
        """Those of ``ids`` whose fence is still ours; locked, so that nobody claims them before the commit."""
        lane = t.lanes.c
        ours: set[int] = set()
        for part in _parts(sorted(ids)):
            query = select(lane.id, lane.fence).where(lane.id.in_(part)).order_by(lane.id).with_for_update()
            ours.update(found.id for found in tx.execute(query) if held.fences.get(found.id) == found.fence)
        return ours

    def release(self, held: Held, ids: Iterable[int] | None = None) -> None:
        """Give lanes back untouched (all of them without ``ids``)."""
        mine = set(held.fences) if ids is None else set(ids) & set(held.fences)
        if not mine:
            return
        with self._db.transaction() as tx:
            self.settle(tx, held, mine, {})

    def settle(self, tx: Connection, held: Held, ids: Iterable[int], waits: Mapping[int, float]) -> None:
        """Give lanes back after their outcome: closed when nothing is open in them, else due now, or after
        ``waits`` seconds."""
        ours = self.still_held(tx, held, ids)
        now = self._db.time(tx)
        self._let_go(tx, sorted(ours - set(waits)), due=now)
        later = [{"b_id": id_, "b_due": now + secs} for id_, secs in sorted(waits.items()) if id_ in ours]
        if later:
            tx.execute(
                update(t.lanes).where(t.lanes.c.id == bindparam("b_id")).values(due=bindparam("b_due"), worker=None),
                later,
            )
        for id_ in ids:
            held.fences.pop(id_, None)

    def _let_go(self, tx: Connection, ids: Sequence[int], *, due: float | None = None, park: bool = False) -> None:
        lane, r = t.lanes.c, t.records.c
        still_open = exists().where(r.flow == lane.flow, r.lane == lane.lane, t.is_open(r.state)).correlate(t.lanes)
        for part in _parts(ids):
            gone = tx.execute(delete(t.lanes).where(lane.id.in_(part), ~still_open)).rowcount
            if gone < len(part):
                tx.execute(update(t.lanes).where(lane.id.in_(part)).values(due=None if park else due, worker=None))

    def wake(self, tx: Connection, lanes: Iterable[tuple[str, str]]) -> None:
        """(flow, lane) whose records may be tried now: a dead letter was replayed, discarded or superseded."""
        now = self._db.time(tx)
        opening = self._db.dialect_insert(t.lanes)
        opening = opening.on_conflict_do_update(
            index_elements=["flow", "lane"], set_={"due": opening.excluded.due}, where=t.lanes.c.worker.is_(None)
        )
        rows = [{"flow": flow, "lane": lane, "due": now, "fence": 0} for flow, lane in sorted(set(lanes))]
        if rows:
            tx.execute(opening, rows)

    def due_in(self, flow: str, only: Sequence[str] | None = None) -> float | None:
        """Seconds until the next lane may be tried; None when nothing waits, or only behind dead letters.

        only: of no others than these lanes.
        """
        query = select(func.min(t.lanes.c.due)).where(t.lanes.c.flow == flow)
        if only is not None:
            query = query.where(t.lanes.c.lane.in_(only))
        with self._db.transaction() as tx:
            found = tx.execute(query).scalar()
            return None if found is None else float(found) - self._db.time(tx)

    def free_in(self, flow: str) -> tuple[float | None, bool]:
        """(seconds until a lane that nobody holds may be tried, None when there is none; whether any is held)."""
        lane = t.lanes.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            free = or_(lane.worker.is_(None), lane.due <= now)
            query = select(func.min(case((free, lane.due))), func.count(case((~free, 1)))).where(lane.flow == flow)
            due, held = tx.execute(query).one()
        return None if due is None else float(due) - now, bool(held)

    def waiting(self, flow: str) -> int:
        """Open records of a flow."""
        r = t.records.c
        with self._db.transaction() as tx:
            return int(tx.execute(select(func.count()).where(r.flow == flow, t.is_open(r.state))).scalar_one())


def with_journal(tx: Connection, rows: Sequence[Row]) -> list[Row]:
    """The rows, each with the body and the key of its newest journal entry."""
    j = t.journal.c
    found: dict[int, tuple[str, bytes]] = {}
    for part in _parts([row.seq for row in rows]):
        query = select(j.seq, j.intent, j.body).where(j.seq.in_(part)).order_by(j.id)
        found.update({seq: (intent, body) for seq, intent, body in tx.execute(query)})
    return [
        replace(row, intent=found[row.seq][0], body=decode_json(found[row.seq][1])) if row.seq in found else row
        for row in rows
    ]


def _open_of(flow: str, lane: str) -> Any:
    r = t.records.c
    return select(t.records).where(r.flow == flow, r.lane == lane, t.is_open(r.state), ~_behind_dead())


def _behind_dead() -> ColumnElement[bool]:
    """An older record of the key is a dead letter, and versions do not decide."""
    r, o = t.records.c, t.records.alias("older").c
    dead = (
        exists()
        .where(o.flow == r.flow, o.key == r.key, t.is_unsent(o.state, "dead"), o.seq < r.seq)
        .correlate(t.records)
    )
    return and_(r.version.is_(None), dead)


def _parts(ids: Sequence[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(ids), _CHUNK):
        yield list(ids[start : start + _CHUNK])
