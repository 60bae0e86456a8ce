"""Applying a plan: everything is held against the present first; then its records are taken in and end as planned,
through the one writer. What moved since the plan was made refuses all of it, before anything is written."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowrun.connector import Item, ObjectInfo, Receipt, Target, Verdict
from flowrun.diagnostics import NOWHERE, Span
from flowrun.errors import Unavailable
from flowrun.flow.model import Flow
from flowrun.lookups import MISS
from flowrun.masking import mask_of
from flowrun.plan import Mapped, Plan, Rejected, Skipped
from flowrun.planning.changes import ABSENT, changes, over, within
from flowrun.planning.document import PlanRefused
from flowrun.planning.making import SENDS
from flowrun.planning.target import Reader, Seen
from flowrun.runner import Summary, refuse_paused, resolve
from flowrun.runner.run import CLAIM
from flowrun.store import Ending, Held, Incoming, Row, Store, fingerprint
from flowrun.store.reading import heads_of
from flowrun.store.schema import OPEN
from flowrun.writer import Writer

_AGAIN = "make the plan again: flowrun plan {flow}"


@dataclass(slots=True)
class Applied:
    """before: records that had ended already, mostly because this plan was applied before."""

    summary: Summary
    before: int = 0


@dataclass(slots=True)
class _Planned:
    """A record of the plan, and where it stands in the store now: None when it is not held yet."""

    facts: Mapping[str, Any]
    row: Row | None = None
    ended: bool = False
    moved: list[str] = field(default_factory=list)

    @property
    def action(self) -> str:
        return str(self.facts["action"])

    @property
    def name(self) -> str:
        return str(self.facts["key"])


def apply_plan(
    document: Mapping[str, Any],
    flow: Flow,
    plan: Plan,
    *,
    target: Target,
    info: ObjectInfo | None,
    store: Store,
    environment: str,
    values: Mapping[str, Any],
    connections: Mapping[str, Any] | None = None,
    wait_secs: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    report: Callable[[Row, str, str], None] | None = None,
) -> Applied:
    """Do what the plan says, or nothing. Raises PlanRefused with what moved, Paused, ConnectorError, StoreError."""
    _same_ground(document, flow, environment, values)
    planned = [_Planned(facts) for facts in document["records"]]
    for one in planned:
        _place(one, flow, store)
    todo = [one for one in planned if not one.ended]
    moved = [line for one in planned for line in one.moved]
    moved += _lookups_moved(document, flow, store, connections or {}) if todo else []
    moved += _target_moved(planned, flow, Reader(flow, target, info)) if not moved else []
    if moved:
        raise PlanRefused(
            f"the plan for {flow.name} no longer fits; nothing was sent",
            moved=tuple(moved),
            help=_AGAIN.format(flow=flow.name),
        )
    refuse_paused(flow, store, reads=False, delivers=True)
    run = store.begin_run(flow.name, environment, flow.hash)
    summary = Summary(flow.name, run)
    guarded = _OnlyPlanned(target, [one.facts["body"] for one in todo if one.action in SENDS])
    writer = Writer(flow, plan, guarded, store, report=report)
    summary.counts = writer.counts
    try:
        _take_in(document, planned, flow, store, summary)
        _deliver(todo, flow, store, writer, wait_secs, sleep)
    finally:
        summary.waiting = store.lanes.waiting(flow.name)
        summary.next_due_in = store.lanes.due_in(flow.name)
        store.end_run(run, summary.as_counts())
    return Applied(summary, len(planned) - len(todo))


# -- does it still fit? --------------------------------------------------------------------------------------------


def _same_ground(document: Mapping[str, Any], flow: Flow, environment: str, values: Mapping[str, Any]) -> None:
    target = {"connection": flow.target.connection, "object": flow.target.object, "action": flow.target.action}
    help = _AGAIN.format(flow=flow.name)
    if document["flow"] != flow.name:
        raise PlanRefused(f"the plan is for flow '{document['flow']}', not '{flow.name}'")
    if document["environment"] != environment:
        raise PlanRefused(
            f"the plan is for environment '{document['environment']}', not '{environment}'",
            help=f"flowrun run {flow.name} --env {document['environment']} --plan FILE",
        )
    if document["flow_hash"] != flow.hash or document["target"] != target:
        raise PlanRefused("the flow, a fragment, a table or a contract changed since the plan was made", help=help)
    if document["values"] != fingerprint(dict(values)):
        raise PlanRefused(f"the values of environment '{environment}' changed since the plan was made", help=help)


def _place(one: _Planned, flow: Flow, store: Store) -> None:
    """Find the record in the store; say whether it has ended, or is no longer what was planned."""
    facts = one.facts
    if facts["seq"] is not None:
        rows = store.records(seq=int(facts["seq"]))
    else:
        rows = [row for row in store.records(flow=flow.name, key=one.name) if row.version == facts["version"]]
        rows = [row for row in rows if fingerprint(row.payload) == facts["fingerprint"]]
    one.row = rows[-1] if rows else None
    if one.row is None:
        if facts["seq"] is not None:
            one.moved.append(f"{one.name}: the record is no longer in the store")
        elif one.action != "supersede":
            _overtaken(one, store, flow)
        return
    state = one.row.state
    if state in OPEN:
        if fingerprint(one.row.payload) != facts["fingerprint"]:
            one.moved.append(f"{one.name}: the record was corrected since")
        return
    one.ended = True
    as_planned = state in ("confirmed", "dead") if one.action in SENDS else True
    sent = one.row.body is None or fingerprint(one.row.body) == fingerprint(facts.get("body"))
    if not as_planned or (state == "confirmed" and one.action in SENDS and not sent):
        one.moved.append(f"{one.name}: the record is {state} now" + ("" if sent else ", with another body"))


def _overtaken(one: _Planned, store: Store, flow: Flow) -> None:
    """Not held yet, so nothing else of its key may have come since."""
    head = heads_of(store, flow.name, [one.name]).get(one.name)
    if (list(head) if head is not None else None) != one.facts["head"]:
        one.moved.append(f"{one.name}: another record of this key came since")


def _lookups_moved(
    document: Mapping[str, Any], flow: Flow, store: Store, connections: Mapping[str, Any]
) -> Iterator[str]:
    """Every answer that came from outside the flow is asked for again."""
    for name, pairs in document["lookups"].items():
        was = {tuple(key) if isinstance(key, list) else key: answer for key, answer in pairs}
        for key, answer in resolve(flow, store, name, set(was), connections).items():
            now = None if answer is MISS else answer
            if now != was[key]:
                shown = ", ".join(key) if isinstance(key, tuple) else key
                yield f"lookup {name}: '{shown}' was {_said(was[key])}, is {_said(now)}"


def _target_moved(planned: Sequence[_Planned], flow: Flow, reader: Reader) -> Iterator[str]:
    """Each object that the plan read is read again. What this plan itself wrote before it was cut short, and what is
    in doubt, is not held against it; the writer asks for the latter."""
    written: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    asked: list[tuple[_Planned, Mapped, Mapping[str, Any] | None]] = []
    for one in planned:
        facts = one.facts
        if not facts["asked"] or facts.get("body") is None:
            continue
        mapped = _mapped(facts)
        name = tuple(sorted((key, str(value)) for key, value in mapped.match.items()))
        if one.ended:
            if one.action in SENDS and name:
                written[name] = over(written.get(name), mapped.body)
            continue
        if one.row is not None and one.row.state in ("sent", "in_doubt"):
            continue
        before = facts["before"]
        if name in written:
            before = within(over(before, written[name]), mapped.body)
        asked.append((one, mapped, before))
    found = reader.look([(mapped, mapped.body) for _, mapped, _ in asked])
    for (one, mapped, before), there in zip(asked, found, strict=True):
        yield from _difference(one, flow, mapped, before, there)


def _difference(
    one: _Planned, flow: Flow, mapped: Mapped, before: Mapping[str, Any] | None, there: Seen
) -> Iterator[str]:
    if there.several:
        if one.action != "duplicate":
            yield f"{one.name}: the target has several now: {', '.join(there.several)}"
    elif not there.asked:
        yield f"{one.name}: {there.note}"
    elif before is None and there.record is not None:
        yield f"{one.name}: the target has it now" + (f": {there.id}" if there.id else "")
    elif before is not None and there.record is None:
        yield f"{one.name}: the target does not have it any more"
    elif before is not None and there.record is not None and one.action != "duplicate":
        for change in changes(before, within(there.record, mapped.body), flow.target.shape):
            mask = mask_of(flow)
            was = "absent" if change.new is ABSENT else _said(mask.value(change.field, change.new))
            now = "absent" if change.old is ABSENT else _said(mask.value(change.field, change.old))
            yield f"{one.name}: {change.field} was {was}, is {now}"


def _said(value: Any) -> str:
    return "nothing" if value is None else f"'{value}'"


# -- doing it ------------------------------------------------------------------------------------------------------


class _OnlyPlanned:
    """The target, which takes no body that is not in the plan: such a record waits for the next ordinary run."""

    def __init__(self, target: Target, bodies: Sequence[Mapping[str, Any]]) -> None:
        self._target = target
        self._bodies = {fingerprint(body) for body in bodies}

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        return self._target.find(object, by)

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        good = [fingerprint(item.body) in self._bodies for item in items]
        answers = iter(self._target.deliver([item for item, is_good in zip(items, good, strict=True) if is_good]))
        return [next(answers) if is_good else Unavailable("this body is not in the plan") for is_good in good]


def _take_in(
    document: Mapping[str, Any], planned: Sequence[_Planned], flow: Flow, store: Store, summary: Summary
) -> None:
    """What the plan read and the store does not hold yet; the cursor moves as the run would have moved it."""
    fresh = [one for one in planned if one.row is None and not one.ended]
    incoming = [Incoming(one.name, one.facts["version"], str(one.facts["lane"]), one.facts["payload"]) for one in fresh]
    after = document["cursor_after"]
    cursor = after if store.cursors.current(flow.name) == document["cursor_before"] and after is not None else None
    if incoming or cursor is not None:
        summary.read = len(incoming)
        summary.received = store.inbox.add(flow.name, incoming, cursor=cursor, run=summary.run)
    for one in fresh:
        rows = [row for row in store.records(flow=flow.name, key=one.name) if row.version == one.facts["version"]]
        one.row = next(row for row in reversed(rows) if fingerprint(row.payload) == one.facts["fingerprint"])


def _deliver(
    todo: Sequence[_Planned], flow: Flow, store: Store, writer: Writer, wait_secs: float, sleep: Callable[[float], None]
) -> None:
    """The oldest planned record of each lane, then the next one, until all have ended or wait too long."""
    until = store.time() + wait_secs
    store.circuits.insist(flow.target.connection)  # whoever applies it asks for a try
    worker = f"plan-{uuid.uuid4().hex}"
    open_ = {one.row.seq: one for one in todo if one.row is not None and one.action not in ("wait", "supersede")}
    while open_ and (not writer.counts.stopped or writer.counts.rest_secs):
        if rest := writer.counts.rest_secs:  # the target's budget is spent
            if writer.counts.paused or store.time() + rest > until:
                return
            sleep(rest + 0.001)
            writer.counts.held, writer.counts.rest_secs = "", 0.0
        lanes = sorted({one.row.lane for one in open_.values() if one.row is not None})
        moved = False
        for start in range(0, len(lanes), CLAIM):
            held = store.lanes.claim(flow.name, CLAIM, worker, only=lanes[start : start + CLAIM])
            moved |= _turn(held, open_, flow, store, writer)
        for seq in list(open_):
            if next((row.state for row in store.records(seq=seq)), "") not in OPEN:
                del open_[seq]
        if moved:
            continue
        waits = [store.lanes.due_in(flow.name, lanes[n : n + CLAIM]) for n in range(0, len(lanes), CLAIM)]
        wait = min((one for one in waits if one is not None), default=None)
        if wait is None or store.time() + wait > until:
            return
        sleep(max(0.0, wait) + 0.001)


def _turn(held: Held, open_: dict[int, _Planned], flow: Flow, store: Store, writer: Writer) -> bool:
    """One record a lane; False when there is none. All lanes are given back.

    A lane whose oldest record is no part of the plan (a dead letter that was replayed since) is left to the next run.
    """
    firsts: dict[int, Row] = {}
    for row in held.rows:
        firsts.setdefault(row.lane_id, row)
    others = {row.lane for row in firsts.values() if row.seq not in open_}
    for seq in [seq for seq, one in open_.items() if one.row is not None and one.row.lane in others]:
        del open_[seq]
    mine = [(row, open_[row.seq]) for row in firsts.values() if row.seq in open_]
    as_seen = [(row, one) for row, one in mine if one.action == "unchanged" and one.facts["asked"]]
    if as_seen:  # as the plan saw, and the second reading confirmed
        lost, *_ = store.outcomes.advance(held, [_unchanged(row, one, flow) for row, one in as_seen])
        writer.counts.unchanged += len(as_seen) - len(lost)
    through = [(row, one) for row, one in mine if not (one.action == "unchanged" and one.facts["asked"])]
    held.rows[:] = [row for row, _ in through]
    writer.write(held, [_outcome(one.facts) for _, one in through])
    return bool(mine)


def _unchanged(row: Row, one: _Planned, flow: Flow) -> Ending:
    mapped = _mapped(one.facts)
    if not flow.target.only_changes:
        return Ending(row, "confirmed", reason="unchanged")
    object_ = ", ".join(str(value) for value in mapped.match.values())
    return Ending(row, "confirmed", reason="unchanged", object=object_, print_=fingerprint(mapped.body))


def _outcome(facts: Mapping[str, Any]) -> Mapped | Skipped | Rejected:
    """What the plan decided, as mapping would have said it."""
    if facts["action"] in ("reject", "duplicate") or ("body" not in facts and facts["error_class"]):
        return Rejected(facts["error_class"], facts["field"], facts["why"], _span(facts["place"]), facts["help"])
    return _mapped(facts) if "body" in facts and facts["action"] != "skip" else Skipped(facts["field"])


def _mapped(facts: Mapping[str, Any]) -> Mapped:
    return Mapped(facts["body"], facts["idempotency_key"], facts["match"])


def _span(place: str) -> Span:
    file, line, column = place.rsplit(":", 2) if place.count(":") >= 2 else ("", "", "")
    if not (line.isdigit() and column.isdigit()):
        return NOWHERE
    return Span(file, int(line), int(column), int(line), int(column))
