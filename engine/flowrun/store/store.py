"""The durable state of a project. Each method is one transaction unless it takes a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.sql import ColumnElement

from flowrun.connector import Receipt
from flowrun.store import schema as t
from flowrun.store.database import Database, open_database
from flowrun.store.rows import Incoming, Row, fingerprint, newer, row_of
from flowrun.values import Clock, encode_json


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record stands where it stands. place: of the flow file."""

    error_class: str
    message: str
    field: str = ""
    help: str = ""
    place: str = ""


def open_store(path: Path, *, now: Clock) -> Store:
    """The store in the SQLite file ``path``. Raises StoreError."""
    return Store(open_database(path), now)


class Store:
    def __init__(self, database: Database, now: Clock) -> None:
        self.database = database
        self._now = now

    def close(self) -> None:
        self.database.close()

    def time(self) -> float:
        return self._now().timestamp()

    def transaction(self) -> AbstractContextManager[Connection]:
        return self.database.transaction()

    # -- intake ----------------------------------------------------------------------------------------------------

    def add(self, flow: str, incoming: Sequence[Incoming], *, cursor: str | None = None, run: int | None = None) -> int:
        """Put records into the inbox and move the cursor, in one transaction. Returns how many were new.

        The same identity adds nothing; an older version is kept as superseded; a newer one supersedes what waits.
        """
        added = 0
        with self.transaction() as tx:
            for one in incoming:
                added += self._add_one(tx, flow, one, run)
            if cursor is not None and cursor != self._cursor(tx, flow):
                tx.execute(insert(t.cursors).values(flow=flow, value=cursor, run=run, at=self.time()))
        return added

    def _add_one(self, tx: Connection, flow: str, one: Incoming, run: int | None) -> int:
        now = self.time()
        r = t.records.c
        mine = and_(r.flow == flow, r.key == one.key)
        print_ = fingerprint(one.payload)
        state, reason = "received", None
        if one.version is None:
            last = tx.execute(select(r.fingerprint).where(mine).order_by(r.seq.desc()).limit(1)).scalar()
            if last == print_:
                return 0
        else:
            versions = [v for (v,) in tx.execute(select(r.version).where(mine, r.version.is_not(None)).distinct())]
            if one.version in versions:
                return 0
            later = next((v for v in versions if newer(v, one.version)), None)
            if later is not None:
                state, reason = "superseded", f"version {later} came before"
            else:
                tx.execute(
                    update(t.records).where(mine, r.state == "received", r.intent.is_(None))
                    .values(state="superseded", reason=f"version {one.version} came", changed_at=now)
                )  # fmt: skip
        tx.execute(
            insert(t.records).values(
                flow=flow, key=one.key, version=one.version, fingerprint=print_, lane=one.lane, state=state, due=now,
                attempts=0, payload=encode_json(one.payload), reason=reason, edited=0, run=run, received_at=now,
                changed_at=now,
            )
        )  # fmt: skip
        return 1

    def cursor(self, flow: str) -> str | None:
        with self.transaction() as tx:
            return self._cursor(tx, flow)

    @staticmethod
    def _cursor(tx: Connection, flow: str) -> str | None:
        c = t.cursors.c
        found: str | None = tx.execute(select(c.value).where(c.flow == flow).order_by(c.id.desc()).limit(1)).scalar()
        return found

    # -- delivery --------------------------------------------------------------------------------------------------

    def claim(self, flow: str, limit: int) -> list[Row]:
        """The oldest due record of each free lane, at most ``limit``. A later record of a key waits behind an open
        dead letter of that key, unless it has a version."""
        r = t.records.c
        query = (
            select(t.records)
            .where(r.flow == flow, r.state.in_(t.OPEN), r.due <= self.time(), ~_blocked())
            .order_by(r.seq)
            .limit(limit)
        )
        with self.transaction() as tx:
            return [row_of(dict(found)) for found in tx.execute(query).mappings()]

    def next_due(self, flow: str) -> float | None:
        """When the next record of a free lane may be tried; None when nothing waits, or only behind dead letters."""
        r = t.records.c
        with self.transaction() as tx:
            found: float | None = tx.execute(
                select(func.min(r.due)).where(r.flow == flow, r.state.in_(t.OPEN), ~_blocked())
            ).scalar()
        return found

    def waiting(self, flow: str) -> int:
        r = t.records.c
        with self.transaction() as tx:
            return int(tx.execute(select(func.count()).where(r.flow == flow, r.state.in_(t.OPEN))).scalar_one())

    def known(self, flow: str, intents: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Journal entries by intent."""
        j = t.journal.c
        with self.transaction() as tx:
            found = tx.execute(select(t.journal).where(j.flow == flow, j.intent.in_(intents))).mappings()
            return {entry["intent"]: dict(entry) for entry in found}

    def intend(
        self, rows: Sequence[tuple[Row, str, Mapping[str, Any]]], flow_hash: str, objects: Sequence[str] = ()
    ) -> None:
        """Commit what is about to be sent: (row, intent, body). From here on each is in doubt until its outcome.

        objects: what the target holds of these is no longer known, so their fingerprints go.
        """
        with self.transaction() as tx:
            for object_ in objects:
                tx.execute(delete(t.sent).where(t.sent.c.flow == rows[0][0].flow, t.sent.c.object == object_))
            for row, intent, body in rows:
                tx.execute(delete(t.journal).where(t.journal.c.flow == row.flow, t.journal.c.intent == intent))
                tx.execute(
                    insert(t.journal).values(
                        flow=row.flow,
                        intent=intent,
                        state="in_doubt",
                        seq=row.seq,
                        fingerprint=fingerprint(body),
                        at=self.time(),
                    )
                )
                self._change(
                    tx,
                    row.seq,
                    state="sent",
                    intent=intent,
                    body=encode_json(body),
                    flow_hash=flow_hash,
                    attempts=row.attempts + 1,
                )

    def confirm(
        self,
        tx: Connection,
        row: Row,
        intent: str,
        receipt: Receipt,
        *,
        how: str,
        body: Mapping[str, Any],
        flag: str | None = None,
    ) -> None:
        """The record is done: journal, receipt, state; open dead letters of an older version close themselves."""
        now = self.time()
        tx.execute(
            update(t.journal).where(t.journal.c.flow == row.flow, t.journal.c.intent == intent)
            .values(state="done", target_id=receipt.id, at=now)
        )  # fmt: skip
        tx.execute(
            insert(t.receipts).values(
                seq=row.seq, target_id=receipt.id, created=int(receipt.created), how=how,
                response=encode_json(dict(receipt.response)) if receipt.response else None, at=now,
            )
        )  # fmt: skip
        self._change(
            tx,
            row.seq,
            state="confirmed",
            intent=intent,
            body=encode_json(body),
            reason=how if how != "sent" else None,
            flag=flag,
            **_CLEAR,
        )
        r = t.records.c
        if row.version is not None:
            tx.execute(
                update(t.records)
                .where(r.flow == row.flow, r.key == row.key, r.state == "dead", r.seq < row.seq)
                .values(state="superseded", reason=f"version {row.version} was confirmed", changed_at=now)
            )

    def finish(self, tx: Connection, row: Row, state: str, reason: str) -> None:
        self._change(tx, row.seq, state=state, reason=reason, **_CLEAR)

    def fail(
        self,
        tx: Connection,
        row: Row,
        failure: Failure,
        *,
        state: str,
        due: float | None = None,
        attempts: int | None = None,
        queue: str | None = None,
        flag: str | None = None,
        body: Mapping[str, Any] | None = None,
        flow_hash: str | None = None,
    ) -> None:
        """Keep the record with its failure: waiting (``received``, ``in_doubt`` with a due time) or ``dead``."""
        values: dict[str, Any] = {
            "state": state, "queue": queue, "flag": flag, "error_class": failure.error_class,
            "error_field": failure.field, "error_message": failure.message, "error_help": failure.help,
            "error_place": failure.place,
        }  # fmt: skip
        if due is not None:
            values["due"] = due
        if attempts is not None:
            values["attempts"] = attempts
        if state == "received":
            values["intent"] = None  # nothing was done under it, so a newer version may overtake
        if body is not None:
            values["body"] = encode_json(body)
        if flow_hash is not None:
            values["flow_hash"] = flow_hash
        self._change(tx, row.seq, **values)

    def arrived(self, flow: str, intent: str, target_id: str) -> None:
        """What was in doubt under this intent is at the target."""
        j = t.journal.c
        with self.transaction() as tx:
            tx.execute(
                update(t.journal)
                .where(j.flow == flow, j.intent == intent)
                .values(state="done", target_id=target_id, at=self.time())
            )

    def forget_intent(self, tx: Connection, flow: str, intent: str) -> None:
        """Nothing was done under this intent."""
        tx.execute(delete(t.journal).where(t.journal.c.flow == flow, t.journal.c.intent == intent))

    def _change(self, tx: Connection, seq: int, **values: Any) -> None:
        tx.execute(update(t.records).where(t.records.c.seq == seq).values(**values, changed_at=self.time()))

    # -- cross-references and fingerprints -------------------------------------------------------------------------

    def look_up(self, name: str, keys: Iterable[str], *, reverse: bool = False) -> dict[str, str]:
        x = t.xref.c
        one, other = (x.target_id, x.source_id) if reverse else (x.source_id, x.target_id)
        found: dict[str, str] = {}
        wanted = list(keys)
        with self.transaction() as tx:
            for start in range(0, len(wanted), 500):
                query = select(one, other).where(x.name == name, one.in_(wanted[start : start + 500]))
                found.update((key, value) for key, value in tx.execute(query))
        return found

    def remember(self, tx: Connection, name: str, source_id: str, target_id: str) -> str | None:
        """Keep a cross-reference. Returns the other target id that stood there before, which is replaced."""
        x = t.xref.c
        there = tx.execute(select(x.target_id).where(x.name == name, x.source_id == source_id)).scalar()
        if there is None:
            tx.execute(insert(t.xref).values(name=name, source_id=source_id, target_id=target_id, at=self.time()))
        elif there != target_id:
            tx.execute(
                update(t.xref)
                .where(x.name == name, x.source_id == source_id)
                .values(target_id=target_id, at=self.time())
            )
            return str(there)
        return None

    def was_sent(self, flow: str, object_: str) -> str | None:
        s = t.sent.c
        with self.transaction() as tx:
            found: str | None = tx.execute(select(s.fingerprint).where(s.flow == flow, s.object == object_)).scalar()
        return found

    def note_sent(self, tx: Connection, flow: str, object_: str, print_: str) -> None:
        s = t.sent.c
        changed = tx.execute(
            update(t.sent).where(s.flow == flow, s.object == object_).values(fingerprint=print_, at=self.time())
        )
        if changed.rowcount == 0:
            tx.execute(insert(t.sent).values(flow=flow, object=object_, fingerprint=print_, at=self.time()))

    # -- runs, audit -----------------------------------------------------------------------------------------------

    def begin_run(self, flow: str, environment: str, flow_hash: str) -> int:
        with self.transaction() as tx:
            made = tx.execute(
                insert(t.runs).values(flow=flow, environment=environment, flow_hash=flow_hash, started_at=self.time())
            )
            return int(made.inserted_primary_key[0])  # type: ignore[index]

    def end_run(self, run: int, counts: Mapping[str, int]) -> None:
        with self.transaction() as tx:
            tx.execute(
                update(t.runs)
                .where(t.runs.c.id == run)
                .values(ended_at=self.time(), counts=encode_json(dict(counts)).decode())
            )

    def runs(self, flow: str | None = None, limit: int = 20) -> list[Mapping[str, Any]]:
        query = select(t.runs).order_by(t.runs.c.id.desc()).limit(limit)
        if flow is not None:
            query = query.where(t.runs.c.flow == flow)
        with self.transaction() as tx:
            return [dict(found) for found in tx.execute(query).mappings()]

    def records(
        self,
        *,
        run: int | None = None,
        flow: str | None = None,
        state: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        seq: int | None = None,
        limit: int = 1000,
    ) -> list[Row]:
        r = t.records.c
        query = select(t.records).order_by(r.seq).limit(limit)
        for column, value in (
            (r.run, run),
            (r.flow, flow),
            (r.state, state),
            (r.queue, queue),
            (r.key, key),
            (r.seq, seq),
        ):
            if value is not None:
                query = query.where(column == value)
        with self.transaction() as tx:
            return [row_of(dict(found)) for found in tx.execute(query).mappings()]

    def counts(self, flow: str) -> dict[str, int]:
        """Records by state; they sum up to what was received."""
        r = t.records.c
        with self.transaction() as tx:
            found = tx.execute(select(r.state, func.count()).where(r.flow == flow).group_by(r.state)).all()
        return {str(state): int(count) for state, count in found}

    def audit(self, tx: Connection, who: str, action: str, detail: str) -> None:
        tx.execute(insert(t.audit).values(at=self.time(), who=who, action=action, detail=detail))

    # -- dead letters ----------------------------------------------------------------------------------------------

    def edit(self, row: Row, payload: Mapping[str, Any], who: str) -> None:
        """Replace a dead letter's source record; it stays dead until it is replayed."""
        with self.transaction() as tx:
            self._change(tx, row.seq, payload=encode_json(dict(payload)), edited=1)
            self.audit(tx, who, "dlq edit", f"{row.flow} {row.key} #{row.seq}")

    def replay(self, rows: Sequence[Row], who: str) -> None:
        """Back into the inbox, at their old places in their lanes."""
        with self.transaction() as tx:
            for row in rows:
                self._change(tx, row.seq, state="received", due=self.time(), attempts=0, queue=None, reason="replay")
                self.audit(tx, who, "dlq replay", f"{row.flow} {row.key} #{row.seq}")

    def discard(self, rows: Sequence[Row], reason: str, who: str) -> None:
        with self.transaction() as tx:
            for row in rows:
                self._change(tx, row.seq, state="discarded", reason=reason)
                self.audit(tx, who, "dlq discard", f"{row.flow} {row.key} #{row.seq}: {reason}")


def _blocked() -> ColumnElement[bool]:
    """An older record of the lane is open, or an older one of the key is a dead letter and versions do not decide."""
    r, o = t.records.c, t.records.alias("older").c
    return exists().where(
        o.flow == r.flow,
        o.lane == r.lane,
        o.seq < r.seq,
        or_(o.state.in_(t.OPEN), and_(o.state == "dead", o.key == r.key, r.version.is_(None))),
    )


_CLEAR: dict[str, Any] = {
    "queue": None, "error_class": None, "error_field": None, "error_message": None, "error_help": None,
    "error_place": None,
}  # fmt: skip
