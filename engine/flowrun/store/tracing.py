"""One business object through all flows: its records, found by key, cross-reference and receipt, and what each lived
through. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select

from flowrun.store import schema as t
from flowrun.store.cover import Cover
from flowrun.store.database import Database
from flowrun.store.rows import DETAIL, Row, row_of
from flowrun.store.steps import step_of
from flowrun.values import decode_json

MOST = 500  # records of one trace; more are not one object
ROUNDS = 6  # hops from id to id: order → sales order → delivery → invoice, and back


@dataclass(frozen=True, slots=True)
class Event:
    """at: seconds since 1970. event: one word. words: the rest. who: a person, where one did it."""

    at: float
    event: str
    words: str = ""
    who: str = ""


@dataclass(slots=True)
class Life:
    """One record. link: how it was found from the key that was asked for; "" for the key itself. events: in order."""

    row: Row
    link: str = ""
    events: list[Event] = field(default_factory=list)


class Tracing:
    """database: of an open store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def follow(self, key: str, flow: str | None = None) -> list[Life]:
        """The lives of all records that are about one object, oldest first; at most ``MOST``.

        flow: ``key`` is a key of this flow. Without it, it may be a key of any flow or an id of any system, and ids of
        several systems may look alike; each record says how it was found.
        """
        with self._database.transaction() as tx:
            found = _Search(tx, self._database.cover).run(key, flow)
            for life in found:
                life.events = sorted(_events(tx, life.row, self._database.cover), key=lambda event: event.at)
        return found


class _Search:
    def __init__(self, tx: Connection, cover: Cover) -> None:
        self.tx, self.cover = tx, cover
        self.lives: dict[int, Life] = {}
        self.ids: dict[str, str] = {}  # id → how it was found

    def run(self, key: str, flow: str | None) -> list[Life]:
        r = t.records.c
        self.ids[key] = ""
        begin = [r.key == key] if flow is None else [r.key == key, r.flow == flow]
        fresh = self._add(self._records(*begin), "")
        new = dict.fromkeys([key]) if flow is None else {}
        if flow is not None:
            fresh += self._named_so(
                key, [id_ for life in self.lives.values() for id_ in _receipt_ids(self.tx, life.row)]
            )
        for _ in range(ROUNDS):
            new.update(dict.fromkeys(self._ids_of(fresh)))
            fresh = []
            reached: list[str] = []
            for id_ in new:
                fresh += self._about(id_)
                reached += self._partners(id_)
            new = dict.fromkeys(reached)
            if not (fresh or new) or len(self.lives) >= MOST:
                break
        return sorted(self.lives.values(), key=lambda life: life.row.seq)[:MOST]

    def _records(self, *where: ColumnElement[bool]) -> list[Row]:
        query = select(t.records).where(*where).order_by(t.records.c.seq).limit(MOST)
        return [row_of(found, self.cover) for found in self.tx.execute(query).mappings()]

    def _add(self, rows: Iterable[Row], link: str) -> list[Row]:
        fresh = [row for row in rows if row.seq not in self.lives]
        for row in fresh:
            self.lives[row.seq] = Life(row, link)
        return fresh

    def _ids_of(self, rows: Sequence[Row]) -> Iterator[str]:
        """The ids that records speak of: their own keys, and what the target calls them."""
        for row in rows:
            named = [(row.key, f"key of {row.flow}")]
            named += [(id_, f"receipt of {row.flow} {row.key}") for id_ in _receipt_ids(self.tx, row)]
            yield from self._note(named)

    def _note(self, named: Iterable[tuple[str, str]]) -> Iterator[str]:
        for id_, how in named:
            if id_ and id_ not in self.ids:
                self.ids[id_] = how
                yield id_

    def _about(self, id_: str) -> list[Row]:
        r = t.records.c
        how = self.ids[id_]
        said = f" ({how})" if how else ""
        fresh = self._add(self._records(r.key == id_), f"key {id_}{said}")
        # Only what waits: what was delivered is found by its receipt, and a lane may be wider than one object.
        waits = or_(t.is_open(r.state), r.state == "dead")
        fresh += self._add(self._records(r.lane == id_, waits), f"lane {id_}{said}")
        fresh += self._add(self._records(r.seq.in_(_sent_as(id_))), f"idempotency key {id_}{said}")
        fresh += self._add(self._records(r.seq.in_(_delivered_as(id_))), f"receipt {id_}{said}")
        return fresh

    def _named_so(self, key: str, receipts: Sequence[str]) -> list[Row]:
        """What was delivered as ``key``, where a cross-reference says that key and receipt are one object."""
        x = t.xref.c
        pairs = or_(
            and_(x.source_id == key, x.target_id.in_(receipts)), and_(x.target_id == key, x.source_id.in_(receipts))
        )
        found = self.tx.execute(select(x.name, x.source_id, x.target_id).where(pairs).limit(1)).first()
        if found is None:
            return []
        how = f"receipt {key} (cross-reference {found[0]}: {found[1]} ↔ {found[2]})"
        return self._add(self._records(t.records.c.seq.in_(_delivered_as(key))), how)

    def _partners(self, id_: str) -> Iterator[str]:
        x = t.xref.c
        query = select(x.name, x.source_id, x.target_id).where(or_(x.source_id == id_, x.target_id == id_)).limit(MOST)
        for name, source, target in self.tx.execute(query).all():
            other = target if source == id_ else source
            yield from self._note([(other, f"cross-reference {name}: {source} ↔ {target}")])


def _sent_as(id_: str) -> Any:
    return _of_any_flow(t.journal.c.intent == id_)


def _delivered_as(id_: str) -> Any:
    return _of_any_flow(t.journal.c.target_id == id_)


def _of_any_flow(condition: ColumnElement[bool]) -> Any:
    """Naming the flows lets the database use the journal's indices, which begin with the flow."""
    flows = select(t.runs.c.flow).distinct()
    return select(t.journal.c.seq).where(t.journal.c.flow.in_(flows), condition)


def _receipt_ids(tx: Connection, row: Row) -> list[str]:
    j = t.journal.c
    query = select(j.target_id).where(j.seq == row.seq, j.target_id.is_not(None)).distinct()
    known = row.reason.removeprefix("known: ") if row.reason and row.reason.startswith("known: ") else ""
    return [*(str(id_) for id_ in tx.execute(query).scalars()), *([known] if known else [])]


# -- what a record lived through -----------------------------------------------------------------------------------


def _events(tx: Connection, row: Row, cover: Cover) -> Iterator[Event]:
    """What the tables say, each with its time; not yet in order."""
    yield Event(row.received_at, "received", _run(tx, row.run))
    told = list(_history(tx, row.seq, cover))
    last = max((i for i, event in enumerate(told) if event.event == "failed"), default=-1)
    if row.state == "dead" and row.error_place and last >= 0:
        told[last] = replace(told[last], words=f"{told[last].words}   ({row.error_place})")
    yield from told
    yield from _journal(tx, row)
    yield from _steps(tx, row, cover)
    yield from _stands(row, told)


def _run(tx: Connection, run: int | None) -> str:
    if run is None:
        return ""
    found = tx.execute(select(t.runs.c.environment, t.runs.c.flow_hash).where(t.runs.c.id == run)).first()
    return f"run {run}" + (f", environment {found[0]}, flow {found[1]}" if found is not None else "")


def _history(tx: Connection, seq: int, cover: Cover) -> Iterator[Event]:
    h = t.history.c
    for found in tx.execute(select(t.history).where(h.seq == seq).order_by(h.id)).mappings():
        detail = decode_json(cover.open_text(found["detail"], DETAIL, seq, found["event"], found["at"]))
        name = "failed" if found["event"] == "dead" else found["event"]
        yield Event(found["at"], str(name), _detail(detail), found["who"] or "")


def _detail(detail: Mapping[str, Any]) -> str:
    """Never the record or body itself, only what was said of it."""
    field_ = f"{detail['field']}: " if detail.get("field") else ""
    parts = [f"{detail['class']}: {field_}{detail.get('message', '')}"] if detail.get("class") else []
    if detail.get("try"):
        parts.append(f"try {detail['try']}, again after {detail.get('wait_secs', 0)} s")
    elif detail.get("wait_secs"):
        parts.append(f"{detail.get('message', '')}; again after {detail['wait_secs']} s")
    if detail.get("found"):
        parts.append(f"found at the target: {detail['found']}")
    if detail.get("receipt"):
        parts.append(f"receipt {detail['receipt']} as {detail.get('intent', '')}")
    if detail.get("reason"):
        parts.append(str(detail["reason"]))
    return "; ".join(parts)


def _journal(tx: Connection, row: Row) -> Iterator[Event]:
    j = t.journal.c
    for found in tx.execute(select(t.journal).where(j.seq == row.seq).order_by(j.id)).mappings():
        if found["state"] == "done":
            yield Event(found["at"], "answered", f"{_receipt(found)} as {found['intent']}")
        else:
            yield Event(found["at"], "sent", f"as {found['intent']}; no answer is known")


def _steps(tx: Connection, row: Row, cover: Cover) -> Iterator[Event]:
    s = t.steps.c
    for found in tx.execute(select(t.steps).where(s.seq == row.seq).order_by(s.at, s.id)).mappings():
        step = step_of(found, cover)
        words = f"{step.path} ({step.kind}): {step.state}"
        if step.kind == "choose" and step.answer is not None:
            words += f", branch {step.answer.get('branch') or 'none'}"
        if step.error is not None:
            words += f", {step.error.get('class')}: {step.error.get('message')}"
        yield Event(step.at, "step", words)


def _receipt(found: RowMapping) -> str:
    said = {
        "sent": "created" if found["created"] else "taken",
        "found": "found at the target",
        "finished": "ended as on_error says",
    }
    words = said.get(found["how"], str(found["how"]))
    return f"{words}: {found['target_id']}" if found["target_id"] else words


def _stands(row: Row, told: Sequence[Event]) -> Iterator[Event]:
    """How it ended, or why it has not, where nothing else has said so."""
    reason = row.reason or ""
    if row.state == "confirmed":
        words = {"unchanged": "unchanged, nothing was sent", "known": "was sent before"}.get(reason, "")
        words = reason.replace("known: ", "was sent before: ") if reason.startswith("known: ") else words
        if words:
            yield Event(row.changed_at, "answered", words)
    elif row.state in ("skipped", "superseded"):
        yield Event(row.changed_at, row.state, reason)
    elif row.state in ("sent", "in_doubt"):
        yield Event(row.changed_at, "in doubt", _failure(row))
    elif row.state == "received" and row.error_class and not any(one.event in ("retried", "waited") for one in told):
        yield Event(row.changed_at, "waiting", _failure(row))
    elif row.state == "dead" and not any(one.event == "failed" for one in told):
        yield Event(row.changed_at, "failed", _failure(row))


def _failure(row: Row) -> str:
    where = f"{row.error_field}: " if row.error_field else ""
    return f"{row.error_class}: {where}{row.error_message}" if row.error_class else ""
