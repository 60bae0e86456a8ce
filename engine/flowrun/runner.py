"""Where source, plan, store and writer meet, and nowhere else: one intake pass, then deliver until nothing is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flowrun.connector import Cursor, Query, Reads, Source, Target
from flowrun.errors import ConnectorError, ProjectError
from flowrun.flow.model import Flow, Webhook
from flowrun.lookups import MISS, Key, Snapshot
from flowrun.plan import Identity, Mapped, Outcome, Plan, Rejected, Skipped, Wanted
from flowrun.store import Incoming, Row, Store, fingerprint
from flowrun.writer import Counts, Seams, Writer

CLAIM = 256  # records mapped together; their cross-references are one query a table
ROUNDS = 20  # rounds of resolving wanted keys: look-ups that need look-ups


@dataclass(slots=True)
class Summary:
    """What one run did. received: new records at intake; known: read but held already; waiting: with a due time."""

    flow: str
    run: int
    read: int = 0
    received: int = 0
    counts: Counts = field(default_factory=Counts)
    waiting: int = 0
    next_due: float | None = None

    def as_counts(self) -> dict[str, int]:
        c = self.counts
        return {
            "read": self.read, "received": self.received, "confirmed": c.confirmed, "unchanged": c.unchanged,
            "skipped": c.skipped, "dead": c.dead, "waiting": self.waiting, "sends": c.sends, "asked": c.asked,
            "warnings": c.warnings,
        }  # fmt: skip


def run_flow(
    flow: Flow,
    plan: Plan,
    *,
    target: Target,
    store: Store,
    source: Source | None = None,
    records: Iterable[Mapping[str, Any]] | None = None,
    environment: str = "",
    connections: Mapping[str, Any] | None = None,
    wait_secs: float = 60.0,
    limit: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
    seams: Seams | None = None,
    report: Callable[[Row, str, str], None] | None = None,
    intake: bool = True,
) -> Summary:
    """One intake pass (from ``records``, else from ``source``), then deliver.

    wait_secs: retries that are due within this time are waited for; later ones stay for the next run.
    connections: connectors by name, for live look-ups. intake False: only deliver what is held.
    Raises ConnectorError when the source cannot be read (what was read is held), StoreError.
    """
    run = store.begin_run(flow.name, environment, flow.hash)
    summary = Summary(flow.name, run)
    writer = Writer(flow, plan, target, store, seams=seams, report=report)
    summary.counts = writer.counts
    try:
        try:
            if intake:
                _intake(flow, plan, store, source, records, summary, limit, seams or (lambda name: None))
        except ConnectorError:  # what was read is held; any other end (a person's Ctrl-C) is an end
            _deliver(flow, plan, store, writer, connections or {}, wait_secs, sleep)
            raise
        _deliver(flow, plan, store, writer, connections or {}, wait_secs, sleep)
    finally:
        summary.waiting = store.waiting(flow.name)
        summary.next_due = store.next_due(flow.name)
        store.end_run(run, summary.as_counts())
    return summary


# -- intake ------------------------------------------------------------------------------------------------------


def _intake(
    flow: Flow,
    plan: Plan,
    store: Store,
    source: Source | None,
    records: Iterable[Mapping[str, Any]] | None,
    summary: Summary,
    limit: int | None,
    seam: Seams,
) -> None:
    if flow.source.group_by is not None:
        _take_groups(flow, plan, store, source, records, summary, limit)
        return
    if records is not None:
        for part in _parts(records, CLAIM):
            _take(flow, plan, store, part[: _room(limit, summary)], None, summary)
            seam("taken")
            if _room(limit, summary) == 0:
                return
        return
    if source is None:
        raise ProjectError(f"flow '{flow.name}' has nothing to read from", help="give records with --input FILE")
    for page in source.read(query_of(flow, store.cursor(flow.name))):
        room = _room(limit, summary)
        whole = room is None or room >= len(page.records)
        cursor = page.cursor.value if page.cursor is not None and whole else None
        _take(flow, plan, store, list(page.records)[:room], cursor, summary)
        seam("taken")
        if _room(limit, summary) == 0:
            return


def _room(limit: int | None, summary: Summary) -> int | None:
    return None if limit is None else max(0, limit - summary.read)


def _parts(records: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    part: list[Mapping[str, Any]] = []
    for record in records:
        part.append(record)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def query_of(flow: Flow, cursor: str | None) -> Query:
    """What the trigger asks the source for. A webhook flow is read the way its ``reconcile`` says."""
    trigger = flow.source.trigger
    name, overlap, page_size = None, 0, None
    if trigger is None or isinstance(trigger, Webhook):
        reconcile = flow.source.reconcile or {}
        name, overlap = reconcile.get("cursor"), int(reconcile.get("look_back_secs") or 0)
    else:
        name, overlap, page_size = trigger.cursor, trigger.overlap_secs, trigger.page_size
    since = Cursor(rewind(cursor, overlap)) if cursor is not None and name is not None else None
    return Query(flow.source.object, since, name, flow.source.filter, flow.source.expand, page_size)


def rewind(cursor: str, secs: int) -> str:
    """A cursor moved back in time; one that is no time stays where it is."""
    if not secs:
        return cursor
    try:
        at = datetime.fromisoformat(cursor)
    except ValueError:
        return cursor
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - timedelta(seconds=secs)).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _take(
    flow: Flow, plan: Plan, store: Store, records: Sequence[Mapping[str, Any]], cursor: str | None, summary: Summary
) -> None:
    """Identify and hold. A record that cannot be identified is a dead letter at once, never dropped."""
    incoming, strays = [], []
    for record in records:
        identity = plan.identify(record)
        if isinstance(identity, Identity):
            incoming.append(Incoming(identity.key or "", identity.version, identity.lane or "", record))
        else:
            strays.append((record, identity))
    summary.read += len(records)
    _hold(flow, store, incoming, strays, cursor, summary)


def _hold(
    flow: Flow,
    store: Store,
    incoming: list[Incoming],
    strays: Sequence[tuple[Mapping[str, Any], Rejected]],
    cursor: str | None,
    summary: Summary,
) -> None:
    for record, _ in strays:
        key = f"?{fingerprint(record)[:12]}"
        incoming.append(Incoming(key, None, key, record))
    summary.received += store.add(flow.name, incoming, cursor=cursor, run=summary.run)


def _take_groups(
    flow: Flow,
    plan: Plan,
    store: Store,
    source: Source | None,
    records: Iterable[Mapping[str, Any]] | None,
    summary: Summary,
    limit: int | None,
) -> None:
    """Groups are built from complete sets: everything when all is read, else each named group read again."""
    cursor = store.cursor(flow.name)
    query = query_of(flow, cursor)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    strays: list[tuple[Mapping[str, Any], Rejected]] = []
    last: str | None = None

    def gather(found: Iterable[Mapping[str, Any]]) -> None:
        for row in found:
            group = plan.group_of(row)
            if isinstance(group, Rejected):
                strays.append((row, group))
            else:
                rows.setdefault(group, []).append(row)
            summary.read += 1

    if records is not None:
        gather(records)
    elif source is None:
        raise ProjectError(f"flow '{flow.name}' has nothing to read from", help="give records with --input FILE")
    else:
        for page in source.read(query):
            gather(page.records)
            last = page.cursor.value if page.cursor is not None else last
        if query.since is not None:
            field_ = _group_field(flow)
            names, rows = list(rows), {}
            for start in range(0, len(names), 50):
                again = Query(
                    query.object, None, None, {**query.filter, field_: names[start : start + 50]}, query.expand
                )
                for page in source.read(again):
                    gather(page.records)
    groups = list(rows.items())[: limit if limit is not None else None]
    incoming = []
    for name, members in groups:
        record = {"key": name, "rows": members}
        identity = plan.identify(record)
        if isinstance(identity, Identity):
            incoming.append(Incoming(identity.key or "", identity.version, identity.lane or "", record))
        else:
            strays.append((record, identity))
    whole = len(groups) == len(rows)  # what --limit leaves out is read again
    _hold(flow, store, incoming, strays, last if query.cursor and whole else None, summary)


def _group_field(flow: Flow) -> str:
    """``stock.Material`` → ``Material``: the field by which a group's rows are read again."""
    expr = flow.source.group_by
    assert expr is not None
    return expr.text.strip().partition(".")[2]


# -- deliver -----------------------------------------------------------------------------------------------------


def _deliver(
    flow: Flow,
    plan: Plan,
    store: Store,
    writer: Writer,
    connections: Mapping[str, Any],
    wait_secs: float,
    sleep: Callable[[float], None],
) -> None:
    until = store.time() + wait_secs
    while not writer.counts.paused:
        rows = store.claim(flow.name, CLAIM)
        if rows:
            writer.write(list(zip(rows, apply_all(flow, plan, store, rows, connections), strict=True)))
            continue
        due = store.next_due(flow.name)
        if due is None or due > until:
            return  # nothing waits, it waits too long, or it stands behind a dead letter
        sleep(max(0.0, due - store.time()) + 0.001)


def apply_all(
    flow: Flow, plan: Plan, store: Store, rows: Sequence[Row], connections: Mapping[str, Any]
) -> list[Mapped | Skipped | Rejected]:
    """Map a batch; wanted keys of all its records are resolved with one query per table and round."""
    snapshot = Snapshot()
    found: dict[int, Mapped | Skipped | Rejected] = {}
    open_ = list(rows)
    for _ in range(ROUNDS):
        wanted: dict[str, set[Key]] = {}
        still = []
        missing: dict[int, Collection[str]] = {}
        for row in open_:
            outcome = _identified(plan, row, snapshot)
            if isinstance(outcome, Wanted):
                still.append(row)
                missing[row.seq] = outcome.keys.keys()
                for name, keys in outcome.keys.items():
                    wanted.setdefault(name, set()).update(keys)
            else:
                found[row.seq] = outcome
        if not still:
            return [found[row.seq] for row in rows]
        open_ = still
        for name, needed in wanted.items():
            try:
                snapshot.add(name, resolve(flow, store, name, needed, connections))
            except ConnectorError as error:  # a live lookup's system: its records follow on_error, others go on
                refused = Rejected(error.error_class, "", f"lookup '{name}': {error.message}", help=error.help)
                found.update((row.seq, refused) for row in open_ if name in missing[row.seq])
        open_ = [row for row in open_ if row.seq not in found]
        if not open_:
            return [found[row.seq] for row in rows]
    for row in open_:
        found[row.seq] = Rejected("bad_data", "", f"more than {ROUNDS} look-ups depend on each other")
    return [found[row.seq] for row in rows]


def _identified(plan: Plan, row: Row, snapshot: Snapshot) -> Outcome:
    if row.key.startswith("?"):  # taken in without an identity: say why, until it is corrected
        identity = plan.identify(row.payload)
        if isinstance(identity, Rejected):
            return identity
    return plan.apply(row.payload, snapshot)


def resolve(flow: Flow, store: Store, name: str, keys: set[Key], connections: Mapping[str, Any]) -> dict[Key, Any]:
    """Answers for the wanted keys of one lookup; keys without a row are MISS."""
    lookup = flow.lookups[name]
    answers: dict[Key, Any] = dict.fromkeys(keys, MISS)
    if lookup.kind == "xref":
        texts = [key if isinstance(key, str) else key[0] for key in keys]
        answers.update(store.look_up(lookup.xref or name, texts, reverse=lookup.reverse))
        return answers
    connector = connections.get(lookup.connection or "")
    if not isinstance(connector, Reads):
        raise ProjectError(f"lookup '{name}': connection '{lookup.connection}' cannot read one record by key")
    for key in keys:
        parts = (key,) if isinstance(key, str) else key
        record = connector.get(lookup.object or "", dict(zip(lookup.find, parts, strict=True)))
        if record is not None:
            value = record.get(lookup.returns or "")
            answers[key] = None if value is None else str(value)
    return answers
