"""The durable state of a project: one value that holds its rooms.

Each room's methods are one transaction, unless they take one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from flowrun.errors import StoreError
from flowrun.store import schema as t
from flowrun.store.access import Access
from flowrun.store.alert_book import AlertBook
from flowrun.store.budgets import Budgets
from flowrun.store.circuits import Circuits
from flowrun.store.cover import Cover
from flowrun.store.database import Database, open_database
from flowrun.store.events import Events
from flowrun.store.inbox import Cursors, Inbox, current_cursor
from flowrun.store.lanes import Lanes, with_journal
from flowrun.store.letters import Letters
from flowrun.store.outcomes import Outcomes
from flowrun.store.pauses import Pauses
from flowrun.store.repairs import Repairs
from flowrun.store.rows import ANSWER, PAYLOAD, Row, row_of
from flowrun.store.schedules import Schedules
from flowrun.store.sealing import put_over
from flowrun.store.steps import Steps
from flowrun.store.xrefs import Xrefs
from flowrun.values import Clock, decode_json, encode_json


def open_store(where: Path | str, *, now: Clock | None = None, cover: Cover | None = None) -> Store:
    """The store in the SQLite file at a path, or in the PostgreSQL database of a URL.

    now: a clock in place of the database's own (tests). cover: how payloads are encrypted; without it they are not.
    Raises StoreError, also when the store was encrypted with a key that cover lacks: before anything is taken in.
    """
    database = open_database(where, clock=now)
    try:
        put_over(database, cover or Cover())
    except StoreError:
        database.close()
        raise
    return Store(database)


class Store:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.inbox = Inbox(database)
        self.cursors = Cursors(database)
        self.events = Events(database, self.inbox)
        self.schedules = Schedules(database)
        self.lanes = Lanes(database)
        self.xrefs = Xrefs(database)
        self.alerts = AlertBook(database)
        self.steps = Steps(database)
        self.outcomes = Outcomes(database, self.lanes, self.xrefs, self.alerts, self.steps)
        self.letters = Letters(database, self.lanes, self.steps)
        self.repairs = Repairs(database, self.inbox, self.outcomes)
        self.circuits = Circuits(database)
        self.budgets = Budgets(database)
        self.pauses = Pauses(database)
        self.access = Access(database)
        if not database.shared:
            self._take_over()

    def _take_over(self) -> None:
        """The file's lock is ours, so whoever held lanes is gone."""
        with self.transaction() as tx:
            now = self.database.time(tx)
            held = t.lanes.c.worker.is_not(None)
            tx.execute(update(t.lanes).where(held).values(due=now, worker=None))
            tx.execute(update(t.events).where(t.events.c.due > now, t.events.c.tries == 0).values(due=now))
            tx.execute(update(t.schedules).values(worker=None, held_until=None))

    def close(self) -> None:
        self.database.close()

    def time(self) -> float:
        with self.transaction() as tx:
            return self.database.time(tx)

    def transaction(self) -> AbstractContextManager[Connection]:
        return self.database.transaction()

    # -- reading ---------------------------------------------------------------------------------------------------

    def records(
        self,
        *,
        run: int | None = None,
        flow: str | None = None,
        state: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        seq: int | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[Row]:
        """In order of arrival from the one after ``after``, each with what was sent last, or what was made of it."""
        r = t.records.c
        query = select(t.records).order_by(r.seq).limit(limit)
        for column, value in (
            (r.run, run), (r.flow, flow), (r.state, state), (r.queue, queue), (r.key, key), (r.seq, seq),
        ):  # fmt: skip
            if value is not None:
                query = query.where(column == value)
        if after:
            query = query.where(r.seq > after)
        with self.transaction() as tx:
            return self._rows(tx, query)

    def _rows(self, tx: Connection, query: Select[Any]) -> list[Row]:
        cover = self.database.cover
        return with_journal(self.database, tx, [row_of(found, cover) for found in tx.execute(query).mappings()])

    def counts(self, flow: str) -> dict[str, int]:
        """Records by state; they sum up to what was received."""
        r = t.records.c
        with self.transaction() as tx:
            found = tx.execute(select(r.state, func.count()).where(r.flow == flow).group_by(r.state)).all()
        return {str(state): int(count) for state, count in found}

    def summary(self) -> list[dict[str, Any]]:
        """Of each flow: flow, records (state → count), oldest_waiting (seconds since 1970, or None) and its key,
        cursor."""
        r = t.records.c
        with self.transaction() as tx:
            counts: dict[str, dict[str, int]] = {}
            grouped = select(r.flow, r.state, func.count()).group_by(r.flow, r.state).order_by(r.flow, r.state)
            for flow, state, count in tx.execute(grouped):
                counts.setdefault(flow, {})[state] = count
            found = []
            for flow, states in counts.items():
                waiting = (
                    select(r.received_at, r.key).where(r.flow == flow, t.is_open(r.state)).order_by(r.seq).limit(1)
                )
                since, key = tx.execute(waiting).first() or (None, None)
                found.append(
                    {"flow": flow, "records": states, "oldest_waiting": since, "oldest_waiting_key": key,
                     "cursor": current_cursor(tx, flow)}
                )  # fmt: skip
            return found

    def size(self) -> int:
        """Bytes that the database takes."""
        with self.transaction() as tx:
            if tx.dialect.name == "sqlite":
                pages, page = (
                    tx.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
                )
                return int(pages) * int(page)
            return int(tx.execute(select(func.pg_database_size(func.current_database()))).scalar_one())

    def waiting(self, most: int) -> int:
        """Records of all flows that wait for delivery, counted up to ``most``."""
        some = select(t.records.c.seq).where(t.is_open(t.records.c.state)).limit(most).subquery()
        with self.transaction() as tx:
            return int(tx.execute(select(func.count()).select_from(some)).scalar_one())

    def token_ends(self) -> list[tuple[str, float]]:
        """(connection, seconds since 1970) of each stored token that ends."""
        o = t.tokens.c
        query = select(o.connection, o.expires_at).where(o.expires_at.is_not(None)).order_by(o.connection)
        with self.transaction() as tx:
            return [(connection, float(ends)) for connection, ends in tx.execute(query)]

    def receipt(self, seq: int) -> Mapping[str, Any] | None:
        """target_id, created, how, response (JSON bytes), at, flow, intent: of a record that was delivered."""
        j = t.journal.c
        query = (
            select(j.target_id, j.created, j.how, j.response, j.at, j.flow, j.intent)
            .where(j.seq == seq, j.state == "done").order_by(j.id.desc()).limit(1)
        )  # fmt: skip
        with self.transaction() as tx:
            found = tx.execute(query).mappings().first()
        if found is None:
            return None
        receipt = dict(found)
        if receipt["response"] is not None:
            where = (ANSWER, receipt["flow"], receipt["intent"])
            receipt["response"] = self.database.cover.open(receipt["response"], *where)
        return receipt

    def was_sent(self, flow: str, objects: list[str]) -> dict[str, str]:
        """Fingerprints of what the target is known to hold (only_changes)."""
        s = t.sent.c
        found: dict[str, str] = {}
        with self.transaction() as tx:
            for start in range(0, len(objects), 500):
                query = select(s.object, s.fingerprint).where(
                    s.flow == flow, s.object.in_(objects[start : start + 500])
                )
                found.update((name, print_) for name, print_ in tx.execute(query))
        return found

    def open_records(self, flow: str, after: int, limit: int) -> list[Row]:
        """Records that wait for delivery, in order of arrival, from the one after ``after``."""
        r = t.records.c
        query = (
            select(t.records).where(r.flow == flow, t.is_open(r.state), r.seq > after).order_by(r.seq).limit(limit)
        )  # fmt: skip
        with self.transaction() as tx:
            return self._rows(tx, query)

    def delivered(self, flow: str) -> bool:
        """Whether anything of this flow ever reached its target."""
        r = t.records.c
        with self.transaction() as tx:
            return tx.execute(select(r.seq).where(r.flow == flow, r.state == "confirmed").limit(1)).first() is not None

    # -- runs, audit ----------------------------------------------------------------------------------------------

    def begin_run(self, flow: str, environment: str, flow_hash: str, kind: str = "run") -> int:
        """kind: run, poll, schedule, reconcile, first (the first pass of a flow), full (a comparison), repair."""
        with self.transaction() as tx:
            made = tx.execute(
                insert(t.runs).values(
                    flow=flow, environment=environment, flow_hash=flow_hash, kind=kind,
                    started_at=self.database.time(tx),
                )
            )  # fmt: skip
            return int(made.inserted_primary_key[0])  # type: ignore[index]

    def received(self, run: int) -> int:
        """Records that a run took in."""
        with self.transaction() as tx:
            return int(tx.execute(select(func.count()).where(t.records.c.run == run)).scalar_one())

    def end_run(self, run: int, counts: Mapping[str, int]) -> None:
        with self.transaction() as tx:
            tx.execute(
                update(t.runs)
                .where(t.runs.c.id == run)
                .values(ended_at=self.database.time(tx), counts=encode_json(dict(counts)).decode())
            )

    def runs(self, flow: str | None = None, limit: int = 20, before: int | None = None) -> list[Mapping[str, Any]]:
        """The newest first, from the one before ``before``."""
        query = select(t.runs).order_by(t.runs.c.id.desc()).limit(limit)
        if flow is not None:
            query = query.where(t.runs.c.flow == flow)
        if before is not None:
            query = query.where(t.runs.c.id < before)
        with self.transaction() as tx:
            return [dict(found) for found in tx.execute(query).mappings()]

    def inputs(self, flow: str, last: int) -> list[tuple[str, Mapping[str, Any]]]:
        """(key, record) of the last records that came in, oldest first; as they are now, if they were corrected."""
        r = t.records.c
        with self.transaction() as tx:
            query = (
                select(r.key, r.payload, r.version, r.received_at)
                .where(r.flow == flow)
                .order_by(r.seq.desc())
                .limit(last)
            )
            rows = tx.execute(query).all()
        opened = self.database.cover.open  # when nobody waits for the database any more
        return [
            (str(key), decode_json(opened(payload, PAYLOAD, flow, key, *more))) for key, payload, *more in rows[::-1]
        ]

    def audit(self, tx: Connection, who: str, action: str, detail: str) -> None:
        tx.execute(insert(t.audit).values(at=self.database.time(tx), who=who, action=action, detail=detail))

    def audited(self, limit: int = 50, before: int | None = None) -> list[Mapping[str, Any]]:
        """The newest first, from the one before ``before``: id, at, who, action, detail."""
        query = select(t.audit).order_by(t.audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(t.audit.c.id < before)
        with self.transaction() as tx:
            return [dict(found) for found in tx.execute(query).mappings()]
