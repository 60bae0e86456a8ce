"""The source's side: every record as the flow maps it now, into the spool; nothing is held of it anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowrun.connector import Record, Source
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.masking import mask_of
from flowrun.plan import Controls, Mapped, Plan, Rejected, Skipped, Wanted
from flowrun.planning.taking import Gathered, row_of, take
from flowrun.planning.target import Reader
from flowrun.reconcile.spool import Spool
from flowrun.reconcile.totals import Totals
from flowrun.runner import apply_all, resolve
from flowrun.runner.mapping import ROUNDS
from flowrun.runner.run import CLAIM
from flowrun.store import Incoming, Row, Store
from flowrun.store.reading import heads_of
from flowrun.store.rows import newer

Outcome = Mapped | Skipped | Rejected


class Expected(Gathered):
    """An inbox that holds nothing: what comes is mapped and spooled, a batch at a time. since: a cursor; None: all.

    read, skipped, rejected: records. unnamed: mapped, and not to be found at the target by anything.
    """

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        held: Store,
        reader: Reader,
        spool: Spool,
        totals: Totals,
        connections: Mapping[str, Any],
        since: str | None,
        step: Callable[[], None],
    ) -> None:
        super().__init__()
        self.flow, self.plan, self.held, self.reader = flow, plan, held, reader
        self.spool, self.totals, self.connections = spool, totals, connections
        self.since, self.step = since, step
        self.reconcile = flow.source.reconcile or {}
        self.sums_of_body = not self.reconcile.get("totals")
        self.read = self.skipped = self.rejected = self.unnamed = 0

    def take(self, source: Source | None, records: Iterable[Record] | None) -> None:
        """Raises ConnectorError."""
        take(self.flow, self.plan, self, source, records)

    # -- as the intake's inbox and cursors ---------------------------------------------------------------------------

    def current(self, flow: str) -> str | None:
        return self.since

    def keys(self, flow: str) -> set[str]:
        return self.held.inbox.keys(flow)

    def add(self, flow: str, incoming: Sequence[Incoming], **_: Any) -> int:
        for start in range(0, len(incoming), CLAIM):
            self.step()
            self._add(incoming[start : start + CLAIM])
        return len(incoming)

    # ----------------------------------------------------------------------------------------------------------------

    def _add(self, part: Sequence[Incoming]) -> None:
        self.read += len(part)
        snapshot = Snapshot()
        rows = [row_of(self.flow.name, one, -n - 1, "received", None) for n, one in enumerate(part)]
        outcomes = apply_all(self.flow, self.plan, self.held, rows, self.connections, snapshot, raises=True)
        keys = [one.key for one in part]
        standing = self.held.repairs.standing(self.flow.name, keys)
        heads = heads_of(self.held, self.flow.name, set(keys))
        names = [self._name(one) for one in outcomes]
        before = self.spool.expected([name for name in names if name])
        for one, row, outcome, name in zip(part, rows, outcomes, names, strict=True):
            if isinstance(outcome, Skipped):
                self.skipped += 1
                self.spool.skip(one.key)
                continue
            controls = self._controls(row, outcome, snapshot)
            if isinstance(outcome, Rejected):
                self._rejected(one, outcome, controls)
            elif not name:
                self.unnamed += 1
            else:
                facts = {
                    "key": one.key, "version": one.version, "lane": one.lane, "payload": dict(one.payload),
                    "name": name, "body": outcome.body, "intent": outcome.idempotency_key or "",
                    "match": dict(outcome.match), "sums": controls.sums, "per": list(controls.per),
                    "standing": standing.get(one.key, ""), "known": one.key in heads,
                }  # fmt: skip
                self._expect(name, facts, before)

    def _name(self, outcome: Outcome) -> list[str]:
        """The values by which the target's object is found, as text; empty when there are none."""
        if not isinstance(outcome, Mapped):
            return []
        return [str(value) for value in self.reader.named(outcome, outcome.body).values()]

    def _expect(self, name: list[str], facts: dict[str, Any], before: dict[bytes, dict[str, Any]]) -> None:
        """The newest of one object counts; without versions the last that came."""
        digest = self.spool.digest(name)
        held = before.get(digest)
        if held is not None:
            if held["key"] == facts["key"] and newer(held["version"], facts["version"]):
                return
            self.totals.add(held["sums"], held["per"], sign=-1)
        self.totals.add(facts["sums"], facts["per"])
        self.spool.expect(name, facts)
        before[digest] = facts

    def _rejected(self, one: Incoming, outcome: Rejected, controls: Controls) -> None:
        self.rejected += 1
        self.totals.add(controls.sums, controls.per)  # the source has it, whatever becomes of it
        words = mask_of(self.flow).text(outcome.message, one.payload, None, outcome.field)
        where = f"{outcome.field}: " if outcome.field else ""
        facts = {"key": one.key, "why": f"would be {outcome.error_class}: {where}{words}", "place": str(outcome.span)}
        self.spool.differ("rejected", facts)

    def _controls(self, row: Row, outcome: Mapped | Rejected, snapshot: Snapshot) -> Controls:
        if self.sums_of_body:
            body = outcome.body if isinstance(outcome, Mapped) else {}
            sums = {field: body.get(field) for field in self.totals.fields}
        found = self._asked(row, snapshot) if self.reconcile.get("totals") or self.reconcile.get("per") else None
        if not isinstance(found, Controls):
            per = ("?",) * len(self.reconcile.get("per") or ())
            return Controls(sums if self.sums_of_body else {}, per)
        return Controls(sums if self.sums_of_body else found.sums, found.per)

    def _asked(self, row: Row, snapshot: Snapshot) -> Controls | Rejected | Wanted:
        found = self.plan.controls(row.payload, snapshot)
        for _ in range(ROUNDS):
            if not isinstance(found, Wanted):
                break
            for name, keys in found.keys.items():
                snapshot.add(name, resolve(self.flow, self.held, name, set(keys), self.connections))
            found = self.plan.controls(row.payload, snapshot)
        return found
