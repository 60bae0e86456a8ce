"""Intake: records into the inbox and the cursor forward, in one transaction.

The same identity adds nothing; an older version is kept as superseded; a newer one supersedes what waits unsent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, select, update

from flowrun.errors import ProjectError
from flowrun.store import schema as t
from flowrun.store import statements as st
from flowrun.store.database import Database
from flowrun.store.rows import PAYLOAD, Incoming, fingerprint, newer
from flowrun.values import encode_json

_CHUNK = 500  # records of one statement


class Inbox:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, flow: str, incoming: Sequence[Incoming], *, cursor: str | None = None, run: int | None = None) -> int:
        """One transaction for all of them and the cursor. Returns how many were new. Raises StoreError."""
        self._db.check_room()
        with self._db.transaction() as tx:
            added = self.take(tx, flow, incoming, run)
            if cursor is not None and cursor != current_cursor(tx, flow):
                now = self._db.time(tx)
                tx.execute(insert(t.cursors).values(flow=flow, value=cursor, run=run, at=now))
        return added

    def take(self, tx: Connection, flow: str, incoming: Sequence[Incoming], run: int | None = None) -> int:
        """The same as a part of a larger transaction: one event that several flows take in."""
        added = 0
        for start in range(0, len(incoming), _CHUNK):
            added += self._take(tx, flow, incoming[start : start + _CHUNK], run)
        return added

    def again(
        self, tx: Connection, flow: str, incoming: Sequence[Incoming], run: int | None, reason: str
    ) -> dict[str, int]:
        """Records whose identity is held already, once more as new ones; what is older than what is held is left out.
        Returns the seq of each key that was added."""
        now, cover = self._db.time(tx), self._db.cover
        self._open_lanes(tx, flow, {one.lane for one in incoming}, now)
        heads = self._heads(tx, flow, sorted({one.key for one in incoming}))
        new: dict[str, list[Any]] = {}
        for one in incoming:
            version, print_ = heads.get(one.key, (None, ""))
            if version != one.version or (version is None and print_ != fingerprint(one.payload)):
                continue
            payload = cover.close(encode_json(one.payload).decode(), PAYLOAD, flow, one.key, one.version, now)
            new[one.key] = [one.key, one.version, one.lane, payload, "received", reason]
        if not new:
            return {}
        st.ADD.run_many(tx, list(new.values()), flow=flow, run=run, now=now)
        r = t.records.c
        query = select(r.key, func.max(r.seq)).where(r.flow == flow, r.key.in_(list(new))).group_by(r.key)
        return {str(key): int(seq) for key, seq in tx.execute(query)}

    def keys(self, flow: str) -> set[str]:
        """Every key this flow has taken in."""
        with self._db.transaction() as tx:
            return set(tx.execute(select(t.heads.c.key).where(t.heads.c.flow == flow)).scalars())

    def _take(self, tx: Connection, flow: str, incoming: Sequence[Incoming], run: int | None) -> int:
        now, cover = self._db.time(tx), self._db.cover
        if self._db.shared:
            # The lanes first, sorted: that locks them, so that no worker closes a lane that is about to get a record,
            # and two intakes cannot wait for each other. SQLite's transaction is alone anyway.
            self._open_lanes(tx, flow, {one.lane for one in incoming}, now)
        heads = self._heads(tx, flow, sorted({one.key for one in incoming}))
        before = dict(heads)
        new: list[list[Any]] = []  # rows of the statement; state and reason stand last
        waits: dict[str, int] = {}  # key → its newest record of this batch
        overtaken: dict[str, str] = {}  # key → the version that came
        old = self._old_versions(tx, flow, incoming, heads)
        for one in incoming:
            head = heads.get(one.key)
            print_ = fingerprint(one.payload)
            state, reason = "received", None
            if one.version is None:
                if head is not None and head[1] == print_:
                    continue
            elif head is not None and head[0] is not None:
                if head[0] == one.version or (one.key, one.version) in old:
                    continue
                if newer(head[0], one.version):
                    state, reason = "superseded", f"version {head[0]} came before"
                    old.add((one.key, one.version))
                else:
                    overtaken[one.key] = one.version
                    if one.key in waits:
                        new[waits[one.key]][-2:] = "superseded", f"version {one.version} came"
                    old.add((one.key, head[0]))
            if state == "received":
                heads[one.key] = (one.version, print_)
                waits[one.key] = len(new)
            payload = encode_json(one.payload).decode()
            if cover.encrypts:
                payload = cover.close(payload, PAYLOAD, flow, one.key, one.version, now)
            new.append([one.key, one.version, one.lane, payload, state, reason])
        if not new:
            return 0
        if overtaken:
            self._supersede(tx, flow, {key: v for key, v in overtaken.items() if key in before}, now)
        if not self._db.shared:
            self._open_lanes(tx, flow, {lane for _, _, lane, _, state, _ in new if state == "received"}, now)
        st.ADD.run_many(tx, new, flow=flow, run=run, now=now)
        moved = [[key, *head] for key, head in sorted(heads.items()) if head != before.get(key)]
        if moved:
            st.MOVE_HEADS.run(tx, flow=flow, rows=moved, now=now)
        return len(new)

    def _open_lanes(self, tx: Connection, flow: str, lanes: set[str], now: float) -> None:
        if lanes:
            st.OPEN_LANES.run(tx, flow=flow, rows=[[lane] for lane in sorted(lanes)], now=now)

    def _heads(self, tx: Connection, flow: str, keys: list[str]) -> dict[str, tuple[str | None, str]]:
        """(version, fingerprint) of the newest accepted record of each key, locked until the end of the transaction."""
        found = st.HEADS.run(tx, flow=flow, names=keys).all()
        return {key: (version, print_) for key, version, print_ in found}

    def _old_versions(
        self, tx: Connection, flow: str, incoming: Sequence[Incoming], heads: dict[str, tuple[str | None, str]]
    ) -> set[tuple[str, str]]:
        """(key, version) of those that are held already behind a newer one."""
        late = sorted(
            {
                (one.key, one.version)
                for one in incoming
                if one.version is not None and (head := heads.get(one.key)) is not None
                if head[0] is not None and newer(head[0], one.version)
            }
        )
        r = t.records.c
        held: set[tuple[str, str]] = set()
        for key, version in late:  # few: late arrivals are the exception
            query = select(r.seq).where(r.flow == flow, r.key == key, r.version == version).limit(1)
            if tx.execute(query).first() is not None:
                held.add((key, version))
        return held

    def _supersede(self, tx: Connection, flow: str, overtaken: dict[str, str], now: float) -> None:
        """What waits unsent under an older version is not sent any more; its lane does not wait for its retry."""
        if not overtaken:
            return
        r, lane = t.records.c, t.lanes.c
        waiting = and_(
            r.flow == flow, r.key == bindparam("b_key"), t.is_unsent(r.state, "received"), r.version.is_not(None),
            ~exists().where(t.steps.c.seq == r.seq),  # a workflow under way goes to its end first
        )  # fmt: skip
        mine = [{"b_key": key, "b_reason": f"version {version} came"} for key, version in sorted(overtaken.items())]
        names = select(r.lane).where(waiting)
        tx.execute(
            update(t.lanes).where(lane.flow == flow, lane.lane.in_(names), lane.worker.is_(None)).values(due=now),
            [{"b_key": one["b_key"]} for one in mine],
        )
        tx.execute(
            update(t.records).where(waiting).values(state="superseded", reason=bindparam("b_reason"), changed_at=now),
            mine,
        )


def current_cursor(tx: Connection, flow: str) -> str | None:
    c = t.cursors.c
    found: str | None = tx.execute(select(c.value).where(c.flow == flow).order_by(c.id.desc()).limit(1)).scalar()
    return found


class Cursors:
    """Cursors with their history, so that a step too far can be taken back."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def current(self, flow: str) -> str | None:
        with self._db.transaction() as tx:
            return current_cursor(tx, flow)

    def history(self, flow: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Newest first: id, flow, value, run, at."""
        query = select(t.cursors).order_by(t.cursors.c.id.desc()).limit(limit)
        if flow is not None:
            query = query.where(t.cursors.c.flow == flow)
        with self._db.transaction() as tx:
            return [dict(found) for found in tx.execute(query).mappings()]

    def newest(self) -> list[dict[str, Any]]:
        """The cursor of each flow: id, flow, value, run, at."""
        c = t.cursors.c
        query = select(t.cursors).where(c.id.in_(select(func.max(c.id)).group_by(c.flow))).order_by(c.flow)
        with self._db.transaction() as tx:
            return [dict(found) for found in tx.execute(query).mappings()]

    def set(self, flow: str, value: str, who: str) -> None:
        """Move a cursor by hand; audited. Records that are read again add nothing. Raises ProjectError for what does
        not look like the cursor that is there: connectors take each other's words for anything."""
        with self._db.transaction() as tx:
            before = current_cursor(tx, flow)
            if before is not None and _kind(before) != _kind(value):
                raise ProjectError(
                    f"'{value}' is {_kind(value)}; the cursor of {flow} is {_kind(before)}: {before}",
                    help=f"flowrun state cursors list {flow}",
                )
            now = self._db.time(tx)
            tx.execute(insert(t.cursors).values(flow=flow, value=value, run=None, at=now))
            tx.execute(insert(t.audit).values(at=now, who=who, action="cursor set", detail=f"{flow}: {value}"))

    def undo(self, flow: str, who: str) -> str | None:
        """Back to the cursor before the newest. Returns the value that holds now, None when the flow begins anew."""
        c = t.cursors.c
        with self._db.transaction() as tx:
            newest = tx.execute(select(c.id, c.value).where(c.flow == flow).order_by(c.id.desc()).limit(1)).first()
            if newest is None:
                return None
            tx.execute(delete(t.cursors).where(and_(c.flow == flow, c.id == newest.id)))
            now = self._db.time(tx)
            tx.execute(insert(t.audit).values(at=now, who=who, action="cursor undo", detail=f"{flow}: {newest.value}"))
            return current_cursor(tx, flow)


def _kind(value: str) -> str:
    """What a cursor looks like, so that a slip of the hand is seen."""
    text = value.strip()
    if text.isdigit():
        return "a number"
    if text.startswith(("{", "[")):
        return "JSON"
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return "text"
    return "a time"
