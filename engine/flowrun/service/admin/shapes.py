"""What the API gives and takes. Times are ISO 8601 in UTC; records and bodies are masked; a ``next`` that is not null is
the parameter for the next page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from flowrun.masking import Mask
from flowrun.store import Row
from flowrun.store.causes import Cluster, cause_id

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Name = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\u0000]*$")]
Words = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\u0000]*\S[^\u0000]*$")]
Number = Annotated[int, Meta(ge=0)]


class Given(Struct, forbid_unknown_fields=True, frozen=True):
    """What is taken: a field that nobody knows is a mistake."""


class FlowShown(Struct):
    flow: str
    file: str
    source: str
    target: str
    action: str
    hash: str
    masked: bool


class Flows(Struct):
    flows: list[FlowShown]


class StatusShown(Struct):
    """As `flowrun status --format json` prints it."""

    at: float
    flows: list[dict[str, Any]]
    connections: list[dict[str, Any]]
    needs: list[str]


class RunShown(Struct):
    id: int
    flow: str
    environment: str | None
    kind: str | None
    flow_hash: str | None
    started_at: Time
    ended_at: Time | None
    counts: dict[str, int]


class Runs(Struct):
    runs: list[RunShown]
    next: int | None


class RecordShown(Struct):
    seq: int
    flow: str
    key: str
    version: str | None
    lane: str
    state: str
    attempts: int
    record: dict[str, Any]
    body: dict[str, Any] | None
    reason: str | None
    queue: str | None
    cause: str | None
    error_class: str | None
    error_field: str | None
    error_message: str | None
    error_help: str | None
    error_place: str | None
    flag: str | None
    edited: bool
    run: int | None
    received_at: Time
    changed_at: Time


class Records(Struct):
    records: list[RecordShown]
    next: int | None


class EventShown(Struct):
    at: Time
    event: str
    words: str
    who: str


class LifeShown(Struct):
    flow: str
    key: str
    version: str | None
    state: str
    edited: bool
    link: str
    events: list[EventShown]


class Lives(Struct):
    lives: list[LifeShown]


class CauseShown(Struct):
    """letters: how many; keys: of the first few."""

    id: str
    flow: str
    error_class: str
    field: str
    message: str
    letters: int
    edited: int
    keys: list[str]
    first_at: Time
    last_at: Time


class Causes(Struct):
    """letters: how many were looked at, the oldest first; more: there are others, ask for one flow or one queue."""

    causes: list[CauseShown]
    letters: int
    more: bool


class Edit(Given, frozen=True):
    """One of them: the whole corrected record (what still stands as ``***`` comes back as it was), or values by path
    (``items[0].sku``)."""

    record: dict[str, Any] | None = None
    set: dict[Name, Any] | None = None


class Choice(Given, frozen=True):
    """Which letters: by key, all of one cause, or all of the flow; exactly one of the three."""

    flow: Name
    keys: list[Name] = []
    cause: Name | None = None
    all: bool = False


class Replay(Choice, frozen=True):
    """as_ran: send again what was sent before, whatever the flow says now."""

    as_ran: bool = False


class Discard(Given, frozen=True):
    flow: Name
    reason: Words
    keys: list[Name] = []
    cause: Name | None = None


class Changed(Struct):
    """How many it was true of."""

    changed: int


class FailingShown(Struct):
    error_class: str
    field: str
    message: str
    letters: int
    keys: list[str]


class PreviewShown(Struct):
    """Each letter is in one of these. body: what the first that would be sent becomes."""

    sent: int
    asked: int
    known: int
    skipped: dict[str, int]
    failing: list[FailingShown]
    body: dict[str, Any] | None


class CursorShown(Struct):
    flow: str
    value: str
    run: int | None
    at: Time


class Cursors(Struct):
    cursors: list[CursorShown]


class CursorGiven(Given, frozen=True):
    value: Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^[^\u0000]*$")]


class CursorNow(Struct):
    """value: null where the flow begins anew."""

    flow: str
    before: str | None
    value: str | None


class ScheduleShown(Struct):
    flow: str
    kind: str
    due: Time
    running: bool
    started_at: Time | None
    ended_at: Time | None
    error: str | None


class Schedules(Struct):
    schedules: list[ScheduleShown]


class PauseShown(Struct):
    kind: str
    name: str
    reason: str
    who: str
    since: Time


class Pauses(Struct):
    pauses: list[PauseShown]


class PauseGiven(Given, frozen=True):
    """kind: flow or connection."""

    kind: Annotated[str, Meta(pattern="^(flow|connection)$")]
    name: Name
    reason: Words


class AlertShown(Struct):
    id: int
    state: str
    kind: str
    flow: str
    connection: str
    channel: str
    count: int
    message: str
    place: str
    first_at: Time
    last_at: Time
    resolved_at: Time | None
    acknowledged_by: str | None
    escalated: bool


class Alerts(Struct):
    alerts: list[AlertShown]


class ConnectionShown(Struct):
    """circuit: closed, failing, open, paused. budget: what it waits for, in words."""

    connection: str
    circuit: str
    reason: str
    budget: str
    thin_events: int
    token_ends: Time | None
    paused: str


class Connections(Struct):
    connections: list[ConnectionShown]


class AuditShown(Struct):
    id: int
    at: Time
    who: str
    action: str
    detail: str


class Audit(Struct):
    audit: list[AuditShown]
    next: int | None


class TokenShown(Struct):
    name: str
    role: str
    created_at: Time
    created_by: str
    used_at: Time | None
    revoked_at: Time | None


class Tokens(Struct):
    tokens: list[TokenShown]


def time_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def time_or_none(at: float | None) -> str | None:
    return None if at is None else time_of(at)


def record_of(row: Row, mask: Mask) -> RecordShown:
    cause = cause_id(row) if row.error_class else None  # of the words themselves, as everywhere
    row = mask.row(row)
    return RecordShown(
        seq=row.seq, flow=row.flow, key=row.key, version=row.version, lane=row.lane, state=row.state,
        attempts=row.attempts, record=row.payload, body=row.body, reason=row.reason, queue=row.queue, cause=cause,
        error_class=row.error_class, error_field=row.error_field, error_message=row.error_message,
        error_help=row.error_help, error_place=row.error_place, flag=row.flag, edited=row.edited, run=row.run,
        received_at=time_of(row.received_at), changed_at=time_of(row.changed_at),
    )  # fmt: skip


def cause_of(one: Cluster, mask: Mask) -> CauseShown:
    example = mask.row(one.example)
    return CauseShown(
        id=one.id, flow=one.flow, error_class=one.error_class, field=example.error_field or "",
        message=example.error_message or "", letters=len(one.rows), edited=sum(row.edited for row in one.rows),
        keys=[row.key for row in one.rows[:5]], first_at=time_of(one.first_at), last_at=time_of(one.last_at),
    )  # fmt: skip
