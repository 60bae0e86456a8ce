"""Intake: source → inbox and cursor. Records that cannot be identified are held too, as what will be a dead letter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flowrun.connector import Cursor, Query, Source
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow, Webhook
from flowrun.logs import log
from flowrun.plan import Identity, Plan, Rejected
from flowrun.runner.patience import Patience
from flowrun.store import Incoming, Store, fingerprint, unfit
from flowrun.writer import Seams

PART = 256  # records of one transaction, where the source does not give pages


class Intake:
    """One pass. read: records seen; received: those that were new."""

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        store: Store,
        run: int,
        seam: Seams,
        limit: int | None = None,
        patience: Patience | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.flow = flow
        self.plan = plan
        self.store = store
        self.run = run
        self.read = 0
        self.received = 0
        self._seam = seam
        self._limit = limit
        self._patience = patience or Patience(flow.name, time.sleep)
        self.stopping = stopping

    def take(self, source: Source | None, records: Iterable[Mapping[str, Any]] | None) -> None:
        """Raises ConnectorError when the source cannot be read; what was read before is held."""
        if source is None and records is None:
            raise ProjectError(
                f"flow '{self.flow.name}' has nothing to read from", help="give records with --input FILE"
            )
        if self.flow.source.group_by is not None:
            Groups(self).take(source, records)
            return
        if records is not None:
            for part in _parts(records, PART):
                self.hold(part[: self.room()], None)
                if self.room() == 0:
                    return
            return
        assert source is not None
        for page in source.read(query_of(self.flow, self.store.cursors.current(self.flow.name))):
            room = self.room()
            whole = room is None or room >= len(page.records)
            cursor = page.cursor.value if page.cursor is not None and whole else None
            self.hold(list(page.records)[:room], cursor)
            if self.room() == 0:
                return

    def room(self) -> int | None:
        """How many more may be taken in; None: any number."""
        if self.stopping():
            return 0
        return None if self._limit is None else max(0, self._limit - self.read)

    def hold(self, records: Sequence[Mapping[str, Any]], cursor: str | None) -> None:
        """Identify and hold, with the cursor, in one transaction."""
        self.read += len(records)
        self.add([identified(self.plan, record) for record in records], cursor)

    def add(self, incoming: Sequence[Incoming], cursor: str | None) -> None:
        """Done twice it adds nothing, so a database that is away is waited for."""
        self.received += self._patience(
            lambda: self.store.inbox.add(self.flow.name, incoming, cursor=cursor, run=self.run)
        )
        self._seam("taken")


def identified(plan: Plan, record: Mapping[str, Any]) -> Incoming:
    """A record as the inbox takes it. One without an identity keeps a key of its own (``?…``), so that nothing is
    dropped; why it has none is said when it is mapped."""
    identity = plan.identify(record)
    if isinstance(identity, Identity) and not any(map(unfit, identity.names)):
        return Incoming(identity.key or "", identity.version, identity.lane or "", record)
    stray = f"?{fingerprint(record)[:12]}"
    return Incoming(stray, None, stray, record)


class Groups:
    """Groups are built from complete sets: everything when all is read, else each named group read again."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.rows: dict[str, list[Mapping[str, Any]]] = {}
        self.strays: list[Mapping[str, Any]] = []

    def take(self, source: Source | None, records: Iterable[Mapping[str, Any]] | None) -> None:
        intake, flow, store = self.intake, self.intake.flow, self.intake.store
        query = query_of(flow, store.cursors.current(flow.name))
        last: str | None = None
        complete = False
        if records is not None:
            self._gather(records)
        else:
            assert source is not None
            for page in source.read(query):
                self._gather(page.records)
                last = page.cursor.value if page.cursor is not None else last
                if intake.stopping():  # groups are held whole or not at all
                    return
            if query.since is not None:
                self._read_again(source, query)
            else:
                complete = True
        groups = [{"key": name, "rows": rows} for name, rows in self.rows.items()]
        room = intake.room()
        whole = room is None or room >= len(groups)  # what --limit leaves out is read again
        if complete and whole:
            groups += [{"key": name, "rows": []} for name in self._vanished()]
        incoming = [identified(intake.plan, record) for record in (*groups[:room], *self.strays)]
        intake.add(incoming, last if query.cursor and whole else None)

    def _gather(self, found: Iterable[Mapping[str, Any]]) -> None:
        for row in found:
            group = self.intake.plan.group_of(row)
            if isinstance(group, Rejected):
                self.strays.append(row)
            else:
                self.rows.setdefault(group, []).append(row)
            self.intake.read += 1

    def _read_again(self, source: Source, query: Query) -> None:
        """The changed rows only named their groups. A group with no rows left is still named."""
        expr = self.intake.flow.source.group_by
        assert expr is not None
        field = expr.text.strip().partition(".")[2]  # ``stock.Material`` → ``Material``
        names, self.rows = list(self.rows), {name: [] for name in self.rows}
        for start in range(0, len(names), 50):
            again = Query(query.object, None, None, {**query.filter, field: names[start : start + 50]}, query.expand)
            for page in source.read(again):
                self._gather(page.records)

    def _vanished(self) -> list[str]:
        """Groups that were there before and have no rows in a complete read: sent empty, once."""
        flow, store = self.intake.flow, self.intake.store
        key = flow.source.key
        if key is None or getattr(key.origin, "text", "").strip() != "group.key" or key.converters or key.lookup:
            return []
        gone = sorted(store.inbox.keys(flow.name) - set(self.rows))
        if gone and not self.rows:
            log().warning("nothing read", flow=flow.name, known_groups=len(gone), action="no group is emptied")
            return []
        return gone


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
