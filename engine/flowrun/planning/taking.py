"""What a run would take in: the runner's own intake, into memory instead of the store, and what waits in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from flowrun.connector import Record, Source
from flowrun.flow.model import Flow
from flowrun.plan import Plan
from flowrun.runner.intake import Intake
from flowrun.store import Incoming, Row, Store, fingerprint
from flowrun.store.reading import Head, Reading, heads_of
from flowrun.store.rows import newer

_PART = 1000  # waiting records that are read at once


def take(
    flow: Flow,
    plan: Plan,
    into: Taken | Gathered,
    source: Source | None,
    records: Iterable[Record] | None,
    limit: int | None = None,
) -> int:
    """The runner's intake pass, into ``into``. Returns how many records were read. Raises ConnectorError."""
    # The intake knows of a store its inbox and its cursors; ``into`` has these two and no more.
    intake = Intake(flow, plan, cast(Store, into), 0, lambda name: None, limit)
    intake.take(source, records)
    return intake.read


class Gathered:
    """An inbox that keeps every record, as the flow takes them in: grouped, for a flow with groups."""

    def __init__(self) -> None:
        self.inbox = self.cursors = self
        self.records: list[Record] = []

    def current(self, flow: str) -> str | None:
        return None

    def keys(self, flow: str) -> set[str]:
        return set()

    def add(self, flow: str, incoming: Sequence[Incoming], **_: Any) -> int:
        self.records += [one.payload for one in incoming]
        return len(incoming)


class Taken:
    """An inbox that takes in as the store would, and tells what the store would hold then.

    rows: what would be new, in order, with seq -1, -2, … known: how many were read but are held already. heads: the
    newest record the store has of each key that came. cursor_before, cursor_after: where the source's cursor stands,
    and where a run would leave it.
    """

    def __init__(self, flow: str, held: Reading) -> None:
        self.inbox = self.cursors = self
        self.flow = flow
        self.held = held
        self.rows: list[Row] = []
        self.known = 0
        self.heads: dict[str, Head] = {}
        self.cursor_before = held.cursors.current(flow)
        self.cursor_after = self.cursor_before
        self._newest: dict[str, Head] = {}
        self._late: set[tuple[str, str]] = set()  # versions of this plan that are behind a newer one
        self._asked: set[str] = set()
        self._waiting = {row.seq: row for row in self._open()}

    def _open(self) -> Iterable[Row]:
        after = 0
        while rows := self.held.open_records(self.flow, after, _PART):
            yield from rows
            after = rows[-1].seq

    # -- as the store's inbox and cursors ---------------------------------------------------------------------------

    def current(self, flow: str) -> str | None:
        return self.cursor_before

    def keys(self, flow: str) -> set[str]:
        return self.held.inbox.keys(flow)

    def add(self, flow: str, incoming: Sequence[Incoming], *, cursor: str | None = None, run: int | None = None) -> int:
        """As ``Inbox.add`` decides: the same identity adds nothing, an older version is superseded, a newer one
        supersedes what waits."""
        fresh = {one.key for one in incoming} - self._asked
        self._asked |= fresh
        found = heads_of(self.held, flow, fresh)
        self.heads.update(found)
        self._newest.update(found)
        added = sum(self._add_one(one) for one in incoming)
        if cursor is not None:
            self.cursor_after = cursor
        return added

    def _add_one(self, one: Incoming) -> int:
        head = self._newest.get(one.key)
        print_ = fingerprint(one.payload)
        state, reason = "received", None
        if one.version is None:
            if head is not None and head[1] == print_:
                self.known += 1
                return 0
        elif head is not None and head[0] is not None:
            if head[0] == one.version or self._is_held(one.key, one.version, head[0]):
                self.known += 1
                return 0
            self._late.add((one.key, one.version))
            if newer(head[0], one.version):
                state, reason = "superseded", f"version {head[0]} came before"
            else:
                self._supersede(one)
                self._late.add((one.key, head[0]))
        if state == "received":
            self._newest[one.key] = (one.version, print_)
        self.rows.append(row_of(self.flow, one, -len(self.rows) - 1, state, reason))
        return 1

    def _is_held(self, key: str, version: str, head: str) -> bool:
        if (key, version) in self._late:
            return True
        return newer(head, version) and self.held.holds(self.flow, key, version)

    def _supersede(self, by: Incoming) -> None:
        """What waits unsent under an older version."""
        reason = f"version {by.version} came"
        for seq, row in self._waiting.items():
            if row.key == by.key and row.state == "received" and row.version is not None:
                self._waiting[seq] = replace(row, state="superseded", reason=reason)
        for index, row in enumerate(self.rows):
            if row.key == by.key and row.state == "received" and row.version is not None:
                self.rows[index] = replace(row, state="superseded", reason=reason)

    # -- what would be held then -------------------------------------------------------------------------------------

    def in_order(self) -> list[Row]:
        """What waits in the store, then what would be new: the order in which a run goes through them."""
        return [*sorted(self._waiting.values(), key=lambda row: row.seq), *self.rows]


def row_of(flow: str, one: Incoming, seq: int, state: str, reason: str | None) -> Row:
    """A record as a row that no store holds."""
    return Row(
        seq=seq, flow=flow, key=one.key, version=one.version, lane=one.lane, state=state, attempts=0,
        payload=dict(one.payload), body=None, intent=None, reason=reason, queue=None, error_class=None,
        error_field=None, error_message=None, error_help=None, error_place=None, flag=None, edited=False,
        flow_hash=None, run=None, received_at=0.0, changed_at=0.0,
    )  # fmt: skip
