"""What the store speaks in: records as rows, what happens to them, fingerprints, and how versions compare.

What is made once a record is a ``msgspec.Struct``: a frozen dataclass of this many fields takes twenty times as long.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from flowrun.connector import Receipt
from flowrun.store.cover import Cover
from flowrun.values import decode_json

REPLAY = "replay"
AS_RAN = "replay as it ran"
"""Reasons why a record is open again. The second lasts until the record ends: what is sent is what was sent before."""

LONGEST_KEY = 1000  # characters
MOST_KEY_BYTES = 2000  # in UTF-8: an index of PostgreSQL takes 2,704, the name of the flow included

_sorting = msgspec.json.Encoder(decimal_format="number", order="deterministic")


PAYLOAD, BODY, MESSAGE, HELP = (f"records.{name}" for name in ("payload", "body", "error_message", "error_help"))
"""Where values of a record are closed for, with its flow, key, version and the time it was received. Its number is not
known when it is written."""
SENT, ANSWER = "journal.body", "journal.response"
"""… with flow and intent."""
DETAIL = "history.detail"
"""… with the record's number, event and time."""
STEP_SENT, STEP_ANSWER, STEP_ERROR = "steps.sent", "steps.answer", "steps.error"
"""… with the record's number and the step's path."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record at intake, identified."""

    key: str
    version: str | None
    lane: str
    payload: Mapping[str, Any]


class Row(msgspec.Struct, frozen=True):
    """A record of the inbox. attempts: sends so far. body, intent: of the journal when it was sent, else the body that
    the flow made of it last. place: ``file:line:column`` of the flow where it failed. lane_id: while it is held."""

    seq: int
    flow: str
    key: str
    version: str | None
    lane: str
    state: str
    attempts: int
    payload: dict[str, Any]
    body: dict[str, Any] | None
    intent: str | None
    reason: str | None
    queue: str | None
    error_class: str | None
    error_field: str | None
    error_message: str | None
    error_help: str | None
    error_place: str | None
    flag: str | None
    edited: bool
    flow_hash: str | None
    run: int | None
    received_at: float
    changed_at: float
    lane_id: int = 0


COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in ("intent", "lane_id"))
"""What a row of ``records`` gives to a Row."""


@dataclass(slots=True)
class Held:
    """Lanes that one worker holds, and their records in order.

    fences: lane id → the claim's number. deadline: by ``boot_time()``; no call begins later without ``renew``.
    ends: the same for the requests of a call that has begun; the lease itself ends a little later.
    """

    worker: str
    fences: dict[int, int]
    rows: list[Row]
    deadline: float
    ends: float = math.inf


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record stands where it stands. place: of the flow file."""

    error_class: str
    message: str
    field: str = ""
    help: str = ""
    place: str = ""


class Intent(msgspec.Struct, frozen=True):
    """What is about to be sent. replaces: the journal knows this key already, from another send."""

    row: Row
    key: str
    body: Mapping[str, Any]
    print_: str
    replaces: bool = False
    object: str = ""  # only_changes: what the target holds of it is not known until the answer


class StepRow(msgspec.Struct, frozen=True):
    """What a step of a record's workflow came to. state: done, skipped, failed, waiting. answer: what ``steps.ID`` is.
    error: why it failed for good. due: when waiting ends. id, at: of what was read."""

    seq: int
    path: str
    kind: str
    state: str
    answer: Mapping[str, Any] | None = None
    sent: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    due: float | None = None
    at: float = 0.0
    id: int = 0


class Ending(msgspec.Struct, frozen=True):
    """The state a record comes to.

    wait_secs: it stays in its lane and is due again after so long; None with an open state: at once.
    journal: ``done`` and ``forget`` change the entry of ``intent``; ``""`` leaves the journal alone.
    body: kept with a dead letter that was never sent. xrefs: (name, source id, target id) to remember.
    object, print_: what the target is now known to hold (only_changes). event, detail: for the history.
    """

    row: Row
    state: str
    reason: str | None = None
    failure: Failure | None = None
    wait_secs: float | None = None
    attempts: int | None = None
    queue: str | None = None
    flag: str | None = None
    journal: Literal["", "done", "forget"] = ""
    intent: str = ""
    receipt: Receipt | None = None
    how: str = ""
    body: Mapping[str, Any] | None = None
    xrefs: Sequence[tuple[str, str, str]] = ()
    object: str = ""
    print_: str = ""
    event: str = ""
    detail: Mapping[str, Any] | None = None
    flow_hash: str | None = None


def row_of(found: Any, cover: Cover) -> Row:
    """found: a row of ``records``, as a mapping. Raises StoreError for what does not open."""
    return row_from([found[name] for name in COLUMNS], cover, 0)


def row_from(found: Sequence[Any], cover: Cover, lane_id: int) -> Row:
    """found: the columns of ``COLUMNS``, in their order."""
    (
        seq, flow, key, version, lane, state, attempts, payload, body, reason, queue, error_class, error_field,
        error_message, error_help, error_place, flag, edited, flow_hash, run, received_at, changed_at,
    ) = found  # fmt: skip
    whose = (flow, key, version, received_at)
    record = decode_json(cover.open(payload, PAYLOAD, *whose))
    made = None if body is None else decode_json(cover.open(body, BODY, *whose))
    if error_message is not None:
        error_message = cover.open_text(error_message, MESSAGE, *whose)
    if error_help is not None:
        error_help = cover.open_text(error_help, HELP, *whose)
    return Row(
        seq, flow, key, version, lane, state, attempts, record, made, None, reason, queue, error_class, error_field,
        error_message, error_help, error_place, flag, bool(edited), flow_hash, run, received_at, changed_at, lane_id,
    )  # fmt: skip


def unfit(key: str) -> str:
    """Why no database's index holds this text, in words that follow "a key"; "" when both do."""
    if "\0" in key:
        return "cannot hold the character U+0000"
    if len(key) > LONGEST_KEY:
        return f"is at most {LONGEST_KEY} characters"
    if len(key) > MOST_KEY_BYTES // 4 and len(key.encode()) > MOST_KEY_BYTES:
        return f"is at most {MOST_KEY_BYTES} bytes in UTF-8"
    return ""


def fingerprint(value: Any) -> str:
    """The same for equal JSON values, whatever the order of keys; 1.0 and 1.00 differ, as their texts do."""
    return hashlib.sha256(_sorting.encode(value)).hexdigest()


def newer(version: str, than: str) -> bool:
    """Whether one version is newer than another: as numbers, as times, else as text."""
    try:
        return Decimal(version) > Decimal(than)
    except InvalidOperation:
        pass
    try:
        return _time(version) > _time(than)
    except ValueError:
        return version > than


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
