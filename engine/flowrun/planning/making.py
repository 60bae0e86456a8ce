"""What a run would do now: each record mapped, held against the journal and the target, and decided as the writer
would. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowrun.connector import ObjectInfo, Record, Source, Target
from flowrun.flow.model import Flow
from flowrun.lookups import MISS, Snapshot
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.planning import reasons
from flowrun.planning.changes import Change, changes, fields_of, over, within
from flowrun.planning.taking import Taken, take
from flowrun.planning.target import Reader, Seen, find
from flowrun.runner import apply_all, too_much
from flowrun.runner.run import CLAIM
from flowrun.store import Row, fingerprint
from flowrun.store.reading import Head, Reading

ACTIONS = ("create", "update", "delete", "send", "unchanged", "skip", "reject", "duplicate", "wait", "supersede")
"""send: an action of the connector's own, whose effect cannot be foreseen. wait: behind a dead letter of its key."""
_REPEATABLE = ("update", "upsert", "delete")
SENT_LAST = "the same was sent the last time"
SENDS = ("create", "update", "delete", "send")


@dataclass(slots=True)
class Entry:
    """What would become of one record. why: in words; place: ``file:line:column``; outcome: what mapping gave.

    before: what the target holds of what the body speaks of, None when the object is not there. asked: whether the
    target could be asked. receipt: the target's id of what is there already. head: the newest record of its key that
    the store has.
    """

    row: Row
    action: str
    outcome: Mapped | Skipped | Rejected | None = None
    why: str = ""
    place: str = ""
    help: str = ""
    field: str = ""
    error_class: str = ""
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None
    asked: bool = False
    receipt: str = ""
    head: Head | None = None


@dataclass(slots=True)
class Proposal:
    """lookups: what was looked up outside the flow: name → key → answer. known: read, but held already.

    guard: why a run would stop before it sends anything; "" when it would not.
    """

    flow: Flow
    environment: str
    entries: list[Entry] = field(default_factory=list)
    lookups: dict[str, dict[Any, Any]] = field(default_factory=dict)
    read: int = 0
    known: int = 0
    cursor_before: str | None = None
    cursor_after: str | None = None
    guard: str = ""

    def totals(self) -> dict[str, int]:
        """How many records meet each action; those that none meets are left out."""
        counted = {action: sum(entry.action == action for entry in self.entries) for action in ACTIONS}
        return {action: count for action, count in counted.items() if count}


def make_plan(
    flow: Flow,
    plan: Plan,
    *,
    target: Target,
    info: ObjectInfo | None,
    held: Reading,
    source: Source | None = None,
    records: Iterable[Record] | None = None,
    environment: str = "",
    connections: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Proposal:
    """Take in what a run would, map it, read the target, decide. info: of the target's object.

    Raises ConnectorError when the source or the target cannot be read, StoreError.
    """
    intake = Taken(flow.name, held)
    read = take(flow, plan, intake, source, records, limit)
    proposal = Proposal(
        flow, environment, read=read, known=intake.known,
        cursor_before=intake.cursor_before, cursor_after=intake.cursor_after,
    )  # fmt: skip
    decider = _Decider(flow, plan, target, info, held)
    blockers = held.dead_keys(flow.name)
    rows = []
    for row in intake.in_order():
        dead = blockers.get(row.key)
        if row.state == "superseded":
            proposal.entries.append(Entry(row, "supersede", why=row.reason or ""))
        elif row.version is None and dead is not None and (row.seq < 0 or dead < row.seq):
            why = f"it stands behind the dead letter of its key: flowrun dlq show {flow.name} {row.key}"
            proposal.entries.append(Entry(row, "wait", why=why))
        else:
            rows.append(row)
    for start in range(0, len(rows), CLAIM):
        batch = rows[start : start + CLAIM]
        snapshot = Snapshot()
        outcomes = apply_all(flow, plan, held, batch, connections or {}, snapshot)
        proposal.entries += decider.decide(batch, outcomes, snapshot)
        for name, answers in snapshot.held.items():
            proposal.lookups.setdefault(name, {}).update({k: None if v is MISS else v for k, v in answers.items()})
    for entry in proposal.entries:
        entry.head = intake.heads.get(entry.row.key)
    proposal.guard = _guarded(flow, held, intake, proposal.entries)
    order = {row.seq: place for place, row in enumerate(intake.in_order())}
    proposal.entries.sort(key=lambda entry: order[entry.row.seq])
    return proposal


def _guarded(flow: Flow, held: Reading, intake: Taken, entries: Sequence[Entry]) -> str:
    """What the guard would say of this; it counts as the run's own does, which does not ask the target."""
    if flow.target.guard is None:
        return ""
    changes = sum(isinstance(entry.outcome, Mapped) and entry.why != SENT_LAST for entry in entries)
    seen = held.inbox.keys(flow.name) | {row.key for row in intake.rows}
    return too_much(flow, changes, len(seen), delivered=held.delivered(flow.name))


class _Decider:
    """Decides batch by batch; remembers what earlier records of the plan will have done."""

    def __init__(self, flow: Flow, plan: Plan, target: Target, info: ObjectInfo | None, held: Reading) -> None:
        self.flow = flow
        self.plan = plan
        self.target = target
        self.held = held
        self.reader = Reader(flow, target, info)
        self._intents: dict[str, str] = {}  # idempotency key → fingerprint of the body planned under it
        self._objects: dict[str, Mapping[str, Any] | None] = {}  # object → what it holds after the plan so far
        self._sent: dict[str, str] = {}  # object → fingerprint of the last body planned for it

    def decide(
        self, rows: Sequence[Row], outcomes: Sequence[Mapped | Skipped | Rejected], snapshot: Snapshot
    ) -> list[Entry]:
        intents = [self._intent(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
        known = self.held.outcomes.known(self.flow.name, intents)
        entries: list[Entry] = []
        open_: list[tuple[int, Row, Mapped]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if not isinstance(outcome, Mapped):
                entries.append(self._not_mapped(row, outcome, snapshot))
                continue
            settled = self._settled(row, outcome, known.get(self._intent(row, outcome)))
            if settled is None:
                open_.append((len(entries), row, outcome))
            entries.append(settled or Entry(row, "send", outcome))
            entries[-1].warnings = outcome.warnings
        seen = self.reader.look([(mapped, mapped.body) for _, _, mapped in open_])
        for (index, row, mapped), there in zip(open_, seen, strict=True):
            made = self._against(row, mapped, there)
            entries[index] = self._because(made, row, mapped, snapshot)
        return entries

    @staticmethod
    def _intent(row: Row, outcome: Mapped | Skipped | Rejected) -> str:
        return (outcome.idempotency_key if isinstance(outcome, Mapped) else None) or f"#{row.seq}"

    # -- without asking for the object -----------------------------------------------------------------------------

    def _not_mapped(self, row: Row, outcome: Skipped | Rejected, snapshot: Snapshot) -> Entry:
        if row.state in ("sent", "in_doubt") and self.flow.target.action not in _REPEATABLE:
            there = find(self.target, self.flow, row.body or {})
            if there.id:
                class_, name = (
                    ("", outcome.reason) if isinstance(outcome, Skipped) else (outcome.error_class, outcome.field)
                )
                why = f"an earlier try arrived: {there.id}"
                return Entry(row, "unchanged", outcome, why, field=name, error_class=class_, receipt=there.id)
        if isinstance(outcome, Rejected):
            return Entry(
                row, "reject", outcome, outcome.message, str(outcome.span), outcome.help, outcome.field,
                outcome.error_class,
            )  # fmt: skip
        why, place = reasons.of_skip(self.flow, self.plan.explain(row.payload, snapshot), outcome)
        return Entry(row, "skip", outcome, why, place, field=outcome.reason)

    def _settled(self, row: Row, mapped: Mapped, entry: Mapping[str, Any] | None) -> Entry | None:
        """What the journal and the fingerprints decide; None when the target's own state does."""
        print_ = fingerprint(mapped.body)
        key = mapped.idempotency_key
        creates = self.flow.target.action == "create"
        if key is not None and key in self._intents:
            if self._intents[key] == print_:
                return Entry(row, "unchanged", mapped, f"an earlier record of this plan has key '{key}'")
            if creates:
                why = f"an earlier record of this plan has key '{key}' and another body"
                return Entry(row, "duplicate", mapped, why, error_class="duplicate")
        if entry is not None and entry["state"] == "done":
            return self._known(row, mapped, entry, str(entry["target_id"] or ""))
        if self.flow.target.action in _REPEATABLE and (entry is not None or row.state in ("sent", "in_doubt")):
            return None  # sent again, since that harms nothing
        if entry is not None or row.state in ("sent", "in_doubt"):
            there = find(self.target, self.flow, row.body or mapped.body)
            if there.several:
                why = f"an earlier try may have arrived; the target has several: {', '.join(there.several)}"
                return Entry(row, "reject", mapped, why, error_class="conflict")
            own = row.state in ("sent", "in_doubt") and not row.edited
            if there.id and entry is not None and not own and entry["fingerprint"] != print_:
                return self._known(row, mapped, entry, there.id)
            if there.id:
                return Entry(row, "unchanged", mapped, f"an earlier try arrived: {there.id}", receipt=there.id)
        elif self.flow.target.only_changes:
            object_ = mapped.object
            if (self._sent.get(object_) or self.held.was_sent(self.flow.name, [object_]).get(object_)) == print_:
                return Entry(row, "unchanged", mapped, SENT_LAST, receipt=object_)
        return None

    def _known(self, row: Row, mapped: Mapped, entry: Mapping[str, Any], id_: str) -> Entry | None:
        """Something was sent under this key and is at the target; None: it is sent again, as a change."""
        if entry["fingerprint"] == fingerprint(mapped.body):
            return Entry(row, "unchanged", mapped, f"was sent before: {id_}", receipt=id_)
        if self.flow.target.action != "create":
            return None
        return Entry(
            row, "duplicate", mapped,
            f"key '{mapped.idempotency_key}' was sent before with another body; target id {id_}",
            help="use action: upsert to send changes", error_class="duplicate",
            changes=self._since(int(entry["seq"]), mapped), receipt=id_,
        )  # fmt: skip

    def _since(self, seq: int, mapped: Mapped) -> tuple[Change, ...]:
        earlier = next((row.body for row in self.held.records(seq=seq)), None)
        return tuple(changes(mapped.body, earlier, self.flow.target.shape)) if earlier is not None else ()

    # -- against the target ----------------------------------------------------------------------------------------

    def _against(self, row: Row, mapped: Mapped, there: Seen) -> Entry:
        action = self.flow.target.action
        object_ = mapped.object
        if there.several:
            why = f"several objects at the target match: {', '.join(there.several)}"
            if action == "create":
                return Entry(row, "duplicate", mapped, why, error_class="duplicate", asked=True)
            return Entry(row, "reject", mapped, why, error_class="conflict", asked=True)
        held = within(there.record, mapped.body) if there.record is not None else None
        entry = Entry(row, "send", mapped, there.note, before=held, asked=there.asked, receipt=there.id)
        now = self._objects.get(object_, held) if object_ else held
        if action == "create":
            entry.action = "create" if held is None else "duplicate"
            if held is not None:
                entry.error_class, entry.why = "duplicate", f"the target has it already: {there.id}"
        elif action == "delete":
            entry.action = "delete" if now is not None or not there.asked else "unchanged"
            entry.why = entry.why or ("" if now is not None else "the target does not have it")
        elif action in ("update", "upsert"):
            self._update(entry, mapped, now)
        if entry.action in SENDS:
            self._sent[object_] = fingerprint(mapped.body)
            if mapped.idempotency_key is not None:
                self._intents[mapped.idempotency_key] = self._sent[object_]
            if object_:
                self._objects[object_] = None if action == "delete" else over(now, mapped.body)
        return entry

    def _update(self, entry: Entry, mapped: Mapped, now: Mapping[str, Any] | None) -> None:
        target = self.flow.target
        if now is None and entry.asked:
            if target.action == "upsert":
                entry.action = "create"
                return
            entry.action, entry.error_class = "reject", "not_found"
            entry.why = f"the target has no {target.object} {mapped.object}"
            entry.place = str(target.span)
            return
        body = {name: value for name, value in mapped.body.items() if name not in target.match}
        entry.changes = tuple(changes(body, now or {}, target.shape))
        entry.action = "update" if entry.changes else "unchanged"
        if not entry.changes:
            entry.why = "the target holds these values already"

    def _because(self, entry: Entry, row: Row, mapped: Mapped, snapshot: Snapshot) -> Entry:
        """The reason behind each field that would be written."""
        entry.warnings = mapped.warnings
        if entry.action not in ("create", "update", "send"):
            return entry
        written = entry.changes
        if entry.action != "update":
            written = tuple(Change(path, None, value) for path, value in fields_of(mapped.body))
        explained = reasons.Reasons(self.plan.explain(row.payload, snapshot))
        entry.changes = tuple(
            replace(one, because=explained.of(one.field)[0], place=explained.of(one.field)[1]) for one in written
        )
        return entry
