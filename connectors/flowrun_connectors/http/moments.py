"""Cursor values: how they order, how flowrun keeps them, how an API takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flowrun.errors import Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def order(value: Any) -> tuple[int, Decimal, str]:
    """What a cursor value orders by: numbers as numbers, times as moments, other text as text."""
    if isinstance(value, int | Decimal):
        return (0, Decimal(value), "")
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return (1, Decimal(0), str(value))
    return (0, Decimal((_aware(found) - _EPOCH) // timedelta(microseconds=1)), "")


def moment(value: Any, form: str) -> str:
    """A cursor as flowrun keeps it: ISO in UTC where it is a moment, the plain text otherwise."""
    if form != "iso" and str(value).isdigit():
        secs = Decimal(str(value)) / (1000 if form == "unix_ms" else 1)
        return _utc(_EPOCH + timedelta(microseconds=int(secs * 1_000_000)))
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return _utc(found) if found.tzinfo is not None else str(value)


def wire(value: str, form: str) -> str:
    """A cursor as the API takes it. Raises Refused when it is no moment and one is asked for."""
    if form == "iso":
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Refused(f"the cursor '{value[:40]}' is no moment", help="since_format: iso") from None
    unit = timedelta(milliseconds=1) if form == "unix_ms" else timedelta(seconds=1)
    return str((_aware(found) - _EPOCH) // unit)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
