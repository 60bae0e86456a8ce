"""Sending again what was sent before, since the target no longer holds it: reconciliation says so.

A record that is known comes back into its lane as a new one; what the journal knows as done is in doubt again, so that
the target is asked before anything is sent. All of it in one transaction, so a repair that is cut off is gone on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from flowrun.store import schema as t
from flowrun.store.database import Database
from flowrun.store.inbox import Inbox
from flowrun.store.outcomes import Outcomes
from flowrun.store.rows import Incoming
from flowrun.values import decode_json

REASON = "reconcile"
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Again:
    """incoming: the record as the source gives it now. intent: its idempotency key, "" without one. object: what the
    target's object is called, where only changes are sent; else ""."""

    incoming: Incoming
    intent: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class Losses:
    """Of a flow with a webhook: records that events brought, and those that only reconciliation found."""

    brought: int
    missed: int

    @property
    def rate(self) -> float:
        """0 … 1."""
        return self.missed / (self.missed + self.brought) if self.missed else 0.0


class Repairs:
    def __init__(self, database: Database, inbox: Inbox, outcomes: Outcomes) -> None:
        self._db = database
        self._inbox = inbox
        self._outcomes = outcomes

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, flow: str, wanted: Sequence[Again], *, run: int, who: str) -> int:
        """Have them delivered, in one transaction. Returns how many wait for it now that did not before; a key that
        has an open record or a dead letter gets no second one."""
        self._db.check_room()
        with self._db.transaction() as tx:
            incoming = [one.incoming for one in wanted]
            added = self._inbox.take(tx, flow, incoming, run)  # what no webhook brought; locks lanes and keys, too
            busy = self._standing(tx, flow, [one.key for one in incoming])
            again = [one for one in wanted if one.incoming.key not in busy]
            seqs = self._inbox.again(tx, flow, [one.incoming for one in again], run, REASON)
            put = [(one, seqs[one.incoming.key]) for one in again if one.incoming.key in seqs]
            if put:
                self._doubt(tx, flow, put)
            if added or put:
                detail = f"{flow}: {added + len(put)} records"
                tx.execute(
                    insert(t.audit).values(at=self._db.time(tx), who=who, action="reconcile repair", detail=detail)
                )
        return added + len(put)

    def _doubt(self, tx: Connection, flow: str, put: Sequence[tuple[Again, int]]) -> None:
        j, s = t.journal.c, t.sent.c
        now = self._db.time(tx)
        intents = [{"b_intent": one.intent, "b_seq": seq} for one, seq in put if one.intent]
        if intents:
            for again, _ in put:
                self._outcomes.keep_receipt(tx, flow, again.intent, now)
            mine = update(t.journal).where(j.flow == flow, j.intent == bindparam("b_intent"))
            tx.execute(mine.values(state="in_doubt", how=None, seq=bindparam("b_seq"), at=now), intents)
        objects = [{"b_object": one.object} for one, _ in put if one.object]
        if objects:
            tx.execute(delete(t.sent).where(s.flow == flow, s.object == bindparam("b_object")), objects)

    # -- asking ----------------------------------------------------------------------------------------------------

    def standing(self, flow: str, keys: Sequence[str]) -> dict[str, str]:
        """Key → ``waiting`` (for its delivery) or ``dead`` (it has a dead letter); of the others nothing."""
        with self._db.transaction() as tx:
            return self._standing(tx, flow, keys)

    def _standing(self, tx: Connection, flow: str, keys: Sequence[str]) -> dict[str, str]:
        r = t.records.c
        found: dict[str, str] = {}
        for part in _parts(sorted(set(keys))):
            dead = select(r.key).where(r.flow == flow, t.is_unsent(r.state, "dead"), r.key.in_(part))
            found.update((key, "dead") for key in tx.execute(dead).scalars())
            open_ = select(r.key).where(r.flow == flow, t.is_open(r.state), r.key.in_(part))
            found.update((key, "waiting") for key in tx.execute(open_).scalars())
        return found

    def made_by(self, flow: str, target_ids: Sequence[str]) -> dict[str, str]:
        """The target's id → key of the record that made it, as the journal knows."""
        j, r = t.journal.c, t.records.c
        found: dict[str, str] = {}
        with self._db.transaction() as tx:
            for part in _parts(list(target_ids)):
                query = select(j.target_id, r.key).where(j.flow == flow, j.target_id.in_(part), r.seq == j.seq)
                found.update((str(id_), str(key)) for id_, key in tx.execute(query))
        return found

    def losses(self, flow: str) -> Losses:
        """Of all that the store still has."""
        return next((losses for name, losses in self._losses(flow)), Losses(0, 0))

    def all_losses(self) -> list[tuple[str, Losses]]:
        """(flow, losses) of each flow that has any record of a webhook or of the reconciliation behind it."""
        return self._losses(None)

    def _losses(self, flow: str | None) -> list[tuple[str, Losses]]:
        r, u = t.records.c, t.runs.c
        passes = select(u.id).where(u.kind == "reconcile")
        brought = func.count(case((r.run.is_(None), 1)))
        missed = func.count(case((r.run.in_(passes), 1)))
        query = select(r.flow, brought, missed).group_by(r.flow).order_by(r.flow)
        if flow is not None:
            query = query.where(r.flow == flow)
        with self._db.transaction() as tx:
            found = [(str(name), Losses(int(one), int(other))) for name, one, other in tx.execute(query)]
        return [(name, losses) for name, losses in found if losses.brought or losses.missed]

    def last_full(self) -> list[tuple[str, Mapping[str, int]]]:
        """(flow, counts) of the newest full comparison of each flow that ended."""
        u = t.runs.c
        newest = select(func.max(u.id)).where(u.kind == "full", u.counts.is_not(None)).group_by(u.flow)
        query = select(u.flow, u.counts).where(u.id.in_(newest)).order_by(u.flow)
        with self._db.transaction() as tx:
            return [(str(flow), decode_json(counts)) for flow, counts in tx.execute(query)]


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
