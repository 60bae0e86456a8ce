"""What the store speaks in: rows as values, fingerprints, and how versions compare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flowrun.values import decode_json, encode_json


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record at intake, identified."""

    key: str
    version: str | None
    lane: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A record of the inbox. attempts: sends so far. place: ``file:line:column`` of the flow where it failed."""

    seq: int
    flow: str
    key: str
    version: str | None
    lane: str
    state: str
    due: float
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


def row_of(found: Mapping[str, Any]) -> Row:
    names = Row.__slots__
    values = {name: found[name] for name in names}
    values["payload"] = decode_json(found["payload"])
    values["body"] = decode_json(found["body"]) if found["body"] is not None else None
    values["edited"] = bool(found["edited"])
    return Row(**values)


def fingerprint(value: Any) -> str:
    """The same for equal JSON values, whatever the order of keys; 1.0 and 1.00 differ, as their texts do."""
    return hashlib.sha256(encode_json(_sorted(value))).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def newer(version: str, than: str) -> bool:
    """Whether one version is newer than another: as numbers, as times, else as text."""
    return _comparable(version, than)


def _comparable(a: str, b: str) -> bool:
    try:
        return Decimal(a) > Decimal(b)
    except InvalidOperation:
        pass
    try:
        return _time(a) > _time(b)
    except ValueError:
        return a > b


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
