"""How all flows are, in one value: what waits and why, what is due, what needs a person. Only reads; no values of
records are in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from flowrun.flow.model import Flow
from flowrun.runner.pausing import delivers_by
from flowrun.store import Row, Store
from flowrun.store import schema as t
from flowrun.store.alert_rows import Alert
from flowrun.store.circuits import Circuit
from flowrun.store.pauses import Pause, first_of


@dataclass(frozen=True, slots=True)
class Pass:
    """Times are seconds since 1970. due: of the next one. error: of the last one, "" when it went well."""

    kind: str
    due: float
    ended_at: float | None
    running: bool
    error: str


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """records: state → count. oldest_waiting: seconds since 1970, with its key and why it waits; "": nothing does."""

    flow: str
    records: Mapping[str, int]
    oldest_waiting: float | None
    oldest_key: str
    why: str
    passes: Sequence[Pass]
    alerts: int
    paused: str


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """circuit: closed, failing, open, paused. budget: what it waits for, in words. thin_events: not yet read back.
    token_ends: seconds since 1970."""

    connection: str
    circuit: str
    reason: str
    budget: str
    thin_events: int
    token_ends: float | None
    paused: str


@dataclass(frozen=True, slots=True)
class Status:
    """at: seconds since 1970, by the database's clock. needs: what a person has to look at, with the next command."""

    at: float
    flows: Sequence[FlowStatus]
    connections: Sequence[ConnectionStatus]
    needs: Sequence[str] = field(default_factory=list)


def status_of(store: Store, flows: Mapping[str, Flow], connections: Sequence[str]) -> Status:
    """flows: those that are valid now; what the store holds of others is told, too. Raises StoreError."""
    with store.transaction() as tx:
        now = store.database.time(tx)
    pauses, alerts = store.pauses.all(), store.alerts.open()
    circuits = {one.connection: one for one in store.circuits.all()}
    held = {one["flow"]: one for one in store.summary()}
    passes: dict[str, list[Pass]] = {}
    for one in store.schedules.all():
        passes.setdefault(one.flow, []).append(
            Pass(one.kind, one.due, one.ended_at, one.worker is not None, one.error or "")
        )
    found, known = [], _connections(store, connections, circuits, pauses, now)
    by_name = {one.connection: one for one in known}
    for name in sorted({*held, *flows}):
        sums, flow = held.get(name), flows.get(name)
        pause = first_of(pauses, name, delivers_by(flow) if flow else ())
        waits = store.open_records(name, 0, 1) if sums and sums["oldest_waiting"] is not None else []
        mine = [one for one in alerts if name in (one.flow, *one.flows)]
        found.append(
            FlowStatus(
                flow=name,
                records=sums["records"] if sums else {},
                oldest_waiting=waits[0].received_at if waits else None,
                oldest_key=waits[0].key if waits else "",
                why=_why(store, waits[0], flow, pause, by_name, mine, now) if waits else "",
                passes=passes.get(name, []),
                alerts=len(mine),
                paused=pause.words if pause else "",
            )
        )
    return Status(now, found, known, _needs(found, known, alerts, now))


def _connections(
    store: Store, names: Sequence[str], circuits: Mapping[str, Circuit], pauses: Sequence[Pause], now: float
) -> list[ConnectionStatus]:
    thin = {one["connection"]: int(one["count"]) for one in store.events.waiting()}
    ends = dict(store.token_ends())
    found = []
    for name in sorted({*names, *circuits, *thin, *ends}):
        circuit, asked = circuits.get(name), store.budgets.of(name)
        budget = ""
        if asked is not None and asked[0].paused_until > asked[1]:
            budget = f"nothing is sent for {asked[0].paused_until - asked[1]:.0f} s, as {asked[0].paused_by} said"
        pause = next((one for one in pauses if (one.kind, one.name) == ("connection", name)), None)
        found.append(
            ConnectionStatus(
                connection=name,
                circuit=circuit.state if circuit else "closed",
                reason=circuit.reason if circuit else "",
                budget=budget,
                thin_events=thin.get(name, 0),
                token_ends=ends.get(name),
                paused=pause.words if pause else "",
            )
        )
    return found


def _why(
    store: Store,
    row: Row,
    flow: Flow | None,
    pause: Pause | None,
    connections: Mapping[str, ConnectionStatus],
    alerts: Sequence[Alert],
    now: float,
) -> str:
    """Why the oldest record is not delivered: what holds the whole flow first."""
    if flow is None:
        return "the flow is not there any more, or not valid"
    if pause is not None:
        return pause.words
    target = connections.get(flow.target.connection)
    if target is not None and target.circuit in ("open", "paused"):
        return f"circuit: {target.connection} is {target.circuit}: {target.reason}"
    for one in alerts:
        if one.kind == "guard":
            return f"guard: {one.message}"
    if target is not None and target.budget:
        return f"budget: {target.connection}: {target.budget}"
    lane = t.lanes.c
    with store.transaction() as tx:
        query = select(lane.due, lane.worker).where(lane.flow == row.flow, lane.lane == row.lane)
        due, worker = tx.execute(query).first() or (None, None)
    if worker is not None:
        return "it is being delivered"
    if due is None:
        return "dead letter: it stands behind one of its key"
    said = f"{row.error_class}: " if row.error_class else ""
    return f"{said}it is tried again in {due - now:.0f} s" if due > now else f"{said}it is due"


def _needs(
    flows: Sequence[FlowStatus], connections: Sequence[ConnectionStatus], alerts: Sequence[Alert], now: float
) -> list[str]:
    found = []
    for one in flows:
        if dead := one.records.get("dead", 0):
            found.append(f"{one.flow}: {dead} dead letter{'s' * (dead != 1)}; next: flowrun dlq list --flow {one.flow}")
        found += [f"{one.flow}: the last {pass_.kind} failed: {pass_.error}" for pass_ in one.passes if pass_.error]
    for other in connections:
        if other.circuit == "paused":
            found.append(f"{other.connection}: {other.reason}; next: flowrun connections check {other.connection}")
        if other.token_ends is not None and other.token_ends <= now:
            found.append(f"{other.connection}: its token has ended; next: flowrun connections check {other.connection}")
    for alert in alerts:
        if not alert.acknowledged(now):
            found.append(
                f"alert {alert.id}: {alert.kind} of {alert.connection or alert.flow}; next: flowrun alerts list"
            )
    return found
