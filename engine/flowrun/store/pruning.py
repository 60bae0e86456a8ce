"""Retention: what ended long ago leaves the store in small transactions, while others work.

What duplicates are known by stays: heads, the keys of the journal, cross-references, what the target holds. So does
everything that is open.
"""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, select, true, update

from flowrun.store import schema as t
from flowrun.store.database import Database

PART = 500  # records of one transaction
_EMPTY = b"{}"


def prune(
    database: Database, *, before: float, flow: str | None = None, who: str, dry_run: bool = False
) -> dict[str, int]:
    """Take out what ended before a moment (seconds since 1970). Returns how much of each kind. Raises StoreError.

    dry_run: only count. The journal keeps its keys and receipts without bodies, so that nothing is created twice.
    """
    if dry_run:
        with database.transaction() as tx:
            r = t.records.c
            found = tx.execute(select(func.count()).select_from(t.records).where(_over(before, flow)))
            return {"records": int(found.scalar_one())}
    gone: Counter[str] = Counter()
    while True:
        with database.transaction() as tx:
            r = t.records.c
            query = select(r.seq, r.run).where(_over(before, flow)).order_by(r.seq).limit(PART)
            rows = tx.execute(query).all()
            if rows:
                _take_out(tx, [seq for seq, _ in rows], gone)
                _less(tx, Counter(run for _, run in rows if run is not None))
        if not rows:
            break
    with database.transaction() as tx:
        _leftovers(tx, before, flow, gone)
        detail = ", ".join(f"{count} {name}" for name, count in gone.items()) or "nothing"
        tx.execute(insert(t.audit).values(at=database.time(tx), who=who, action="state prune", detail=detail))
    return dict(gone)


def _over(before: float, flow: str | None) -> ColumnElement[bool]:
    """Ended, looked at by whoever was to look, and its outcome not in doubt."""
    r, j = t.records.c, t.journal.c
    doubt = exists().where(j.seq == r.seq, j.state == "in_doubt")
    ended = and_(t.among(r.state, *t.FINAL), r.changed_at < before, r.flag.is_(None), ~doubt)
    return ended if flow is None else and_(ended, r.flow == flow)


def _take_out(tx: Connection, seqs: list[int], gone: Counter[str]) -> None:
    gone["history"] += tx.execute(delete(t.history).where(t.history.c.seq.in_(seqs))).rowcount
    tx.execute(delete(t.steps).where(t.steps.c.seq.in_(seqs)))
    tx.execute(update(t.journal).where(t.journal.c.seq.in_(seqs)).values(body=_EMPTY, response=None))
    gone["records"] += tx.execute(delete(t.records).where(t.records.c.seq.in_(seqs))).rowcount


def _less(tx: Connection, taken: Counter[int]) -> None:
    """A run remembers how many of its records were taken out, so that its sum still holds."""
    u = t.runs.c
    for run, counts in tx.execute(select(u.id, u.counts).where(u.id.in_(taken), u.counts.is_not(None))).all():
        said = json.loads(counts)
        said["pruned"] = said.get("pruned", 0) + taken[run]
        tx.execute(update(t.runs).where(u.id == run).values(counts=json.dumps(said)))


def _leftovers(tx: Connection, before: float, flow: str | None, gone: Counter[str]) -> None:
    """Runs that hold no record any more, cursors but the newest, alerts that are over."""
    u, c, a = t.runs.c, t.cursors.c, t.alerts.c

    def mine(column: ColumnElement[str]) -> ColumnElement[bool]:
        return column == flow if flow is not None else true()

    held = exists().where(t.records.c.run == u.id)
    gone["runs"] += tx.execute(delete(t.runs).where(u.ended_at < before, ~held, mine(u.flow))).rowcount
    newest = select(func.max(c.id)).group_by(c.flow).scalar_subquery()
    gone["cursors"] += tx.execute(delete(t.cursors).where(c.at < before, c.id.not_in(newest), mine(c.flow))).rowcount
    over = select(a.id).where(a.state == "resolved", a.resolved_at < before, mine(a.flow))
    tx.execute(delete(t.alert_notices).where(t.alert_notices.c.alert.in_(over), t.alert_notices.c.state != "waiting"))
    waiting = exists().where(t.alert_notices.c.alert == a.id)
    gone["alerts"] += tx.execute(
        delete(t.alerts).where(a.state == "resolved", a.resolved_at < before, mine(a.flow), ~waiting)
    ).rowcount
