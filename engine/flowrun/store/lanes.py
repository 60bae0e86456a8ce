"""Lanes: who may deliver what, in which order.

A lane is one ordering key with open records. A worker claims lanes that are due; while it holds one, ``due`` is the end
of its lease, so that a lane whose worker died becomes due by itself. ``fence`` counts the claims: what a worker says
after its lane was claimed by another one is not heard. Before each send the worker looks at its own deadline, which a
clock that also counts the sleep of the machine measures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, case, func, or_, select

from flowrun.logs import log
from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.database import Database
from flowrun.store.rows import SENT, Held, Row, row_from
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
        self._ahead = math.inf  # at most so many seconds, the database's clock was ahead of ours when it was last asked
        self._distrust_until = -math.inf  # by ``boot_time()``

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
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            asked = {"flow": flow, "now": now, "limit": limit, "ends": now + lease_secs, "worker": worker}
            believed = self._believes(begun, now, lease_secs)
            if only is None:
                taken = (st.CLAIM if believed else st.CLAIM_FREE).run(tx, **asked).all()
            else:
                taken = (st.CLAIM_ONLY if believed else st.CLAIM_FREE_ONLY).run(tx, **asked, names=list(only)).all()
            if not taken:
                self._db.end_frozen(tx)  # they may be due and locked
                return Held(worker, {}, [], begun)
            fences = {id_: fence for id_, _, fence in taken}
            rows = self._oldest(tx, flow, {lane: id_ for id_, lane, _ in taken}, limit)
            empty = set(fences) - {row.lane_id for row in rows}
            if empty:
                self._let_go(tx, sorted(empty), due=None)
                for gone in empty:
                    del fences[gone]
        return Held(worker, fences, rows, begun + lease_secs * SAFE_SHARE, begun + lease_secs * LAST_SHARE)

    def _believes(self, before: float, now: float, lease_secs: float) -> bool:
        """Whether leases that are over by the database's clock really are. When it jumps ahead, the calls of those who
        hold them are still under way: for the time of one lease nothing is taken over.

        before: by ``boot_time()``, when it was about to be asked. now: its answer.
        """
        after = boot_time()
        jump = now - after - self._ahead
        self._ahead = now - before
        if jump > lease_secs * (1 - LAST_SHARE) and self._db.has_own_clock:
            log().warning("clock jumped", secs=round(jump), action=f"for {lease_secs:.0f} s nothing is taken over")
            self._distrust_until = after + lease_secs
        return after >= self._distrust_until

    def _oldest(self, tx: Connection, flow: str, ids: Mapping[str, int], limit: int) -> list[Row]:
        """The records of the lanes (name → id) that may be tried, in order: the first of each; of few lanes several.

        Records that were sent before come with what was sent, under which key.
        """
        if len(ids) <= min(DEEP, limit - 1):
            depth = limit // len(ids)
            found = [one for lane in ids for one in st.OF_LANE.run(tx, flow=flow, lane=lane, depth=depth).all()]
            found.sort(key=lambda one: int(one.seq))
        else:
            found = list(st.FIRSTS.run(tx, ids=list(ids.values())).all())
        rows = [row_from(one, self._db.cover, ids[one.lane]) for one in found]
        return with_journal(self._db, tx, rows) if any(row.state != "received" for row in rows) else rows

    def renew(self, held: Held) -> set[int]:
        """A new lease for what is held. Returns the lanes that were lost meanwhile, and forgets them."""
        begun = boot_time()
        with self._db.transaction() as tx:
            ours = self.still_held(tx, held, held.fences)
            st.RENEW.run(tx, ids=sorted(ours), ends=self._db.time(tx) + self.lease_secs)
        lost = set(held.fences) - ours
        for gone in lost:
            del held.fences[gone]
        held.deadline = begun + self.lease_secs * SAFE_SHARE
        held.ends = begun + self.lease_secs * LAST_SHARE
        return lost

    def still_held(self, tx: Connection, held: Held, ids: Iterable[int]) -> set[int]:
        """Those of ``ids`` whose fence is still ours; locked until the commit."""
        return {id_ for id_, fence in st.HELD.run(tx, ids=sorted(ids)).all() if held.fences.get(id_) == fence}

    def release(self, held: Held, ids: Iterable[int] | None = None, *, wait_secs: float = 0.0) -> None:
        """Give lanes back untouched (all of them without ``ids``). wait_secs: until they may be tried."""
        mine = set(held.fences) if ids is None else set(ids) & set(held.fences)
        if not mine:
            return
        with self._db.transaction() as tx:
            waits = dict.fromkeys(mine, wait_secs) if wait_secs else {}
            self.settle(tx, held, mine, self.still_held(tx, held, mine), waits, self._db.time(tx))

    def settle(
        self, tx: Connection, held: Held, ids: Iterable[int], ours: set[int], waits: Mapping[int, float], now: float
    ) -> None:
        """Give lanes back after their outcome: closed when nothing is open in them, else due now, or after
        ``waits`` seconds. ours: those that are still held, and locked by that question."""
        back = set(ids)
        self._let_go(tx, sorted((back & ours) - set(waits)), due=now)
        later = [[id_, secs] for id_, secs in sorted(waits.items()) if id_ in ours]
        if later:
            st.POSTPONE.run(tx, rows=later, now=now)
        for id_ in back:
            held.fences.pop(id_, None)

    def _let_go(self, tx: Connection, ids: list[int], *, due: float | None) -> None:
        """due None: parked, since what is open in them waits behind dead letters."""
        if ids and st.CLOSE.run(tx, ids=ids).rowcount < len(ids):
            st.GIVE_BACK.run(tx, ids=ids, due=due)

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

    def due_flows(self, flows: Sequence[str], most: int) -> tuple[dict[str, int], float | None]:
        """Of these flows, those with lanes that may be claimed now, and how many (counted up to ``most``); and seconds
        until the next lane is due, None when none is."""
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            found = st.DUE_FLOWS.run(tx, now=now, most=most, rows=[[flow] for flow in flows]).all()
        after = [due for _, _, due in found if due is not None]
        return {flow: int(count) for flow, count, _ in found if count}, min(after) - now if after else None

    def waiting(self, flow: str) -> int:
        """Open records of a flow."""
        r = t.records.c
        with self._db.transaction() as tx:
            return int(tx.execute(select(func.count()).where(r.flow == flow, t.is_open(r.state))).scalar_one())


def with_journal(database: Database, tx: Connection, rows: Sequence[Row]) -> list[Row]:
    """The rows, each with the body and the key of its newest journal entry."""
    j = t.journal.c
    found: dict[int, tuple[str, bytes]] = {}
    for part in _parts([row.seq for row in rows]):
        query = select(j.seq, j.intent, j.body).where(j.seq.in_(part)).order_by(j.id)
        found.update({seq: (intent, body) for seq, intent, body in tx.execute(query)})
    open_ = database.cover.open
    return [
        replace(row, intent=sent[0], body=decode_json(open_(sent[1], SENT, row.flow, sent[0])))
        if (sent := found.get(row.seq)) is not None
        else row
        for row in rows
    ]


def _parts(ids: Sequence[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(ids), _CHUNK):
        yield list(ids[start : start + _CHUNK])
