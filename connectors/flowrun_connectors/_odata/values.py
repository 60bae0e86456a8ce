"""OData values: wire ↔ canonical, literals for addresses, keys.

Canonical: days ``2026-05-04``, moments ``2026-05-04T08:00:00.000Z``, times ``15:51:04``; decimals as text where the
Shape says so (V2), else as Decimal (V4); lists as lists, without envelopes, links and annotations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from flowrun.contract import Field, Shape
from flowrun.errors import Refused

_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{1,4})?\)/")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d+))?S)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*", re.ASCII)


# -- wire → canonical ----------------------------------------------------------------------------------------------


def from_wire(value: Any, shape: Shape | None) -> Any:
    """An entity as answered → a record. Fields that the Shape does not know are kept as they are."""
    if isinstance(value, dict):
        if "results" in value and set(value) <= {"results", "__count", "__next"}:
            return from_wire(value["results"], shape)
        record = {}
        for name, inner in value.items():
            if name == "__metadata" or "@" in name or name.startswith("SAP__"):
                continue
            if isinstance(inner, dict) and "__deferred" in inner:
                continue
            record[name] = _field_from_wire(inner, shape.get(name) if shape else None, shape)
        return record
    if isinstance(value, list):
        return [from_wire(item, shape) for item in value]
    return value


def _field_from_wire(value: Any, field: Field | None, shape: Shape | None) -> Any:
    kind = field.type if field is not None else "any"
    if isinstance(value, str):
        if (found := _DATE.fullmatch(value)) and kind != "text":
            return _from_millis(int(found.group(1)), kind, value)
        if kind == "time" and (found := _DURATION.fullmatch(value)):
            hours, minutes, seconds, _ = (int(part or 0) for part in found.groups())
            return f"{hours:02}:{minutes:02}:{seconds:02}"
        if kind == "decimal" and shape is not None and not shape.text_numbers:
            try:
                return Decimal(value)  # V4 with IEEE754Compatible sends text; the record holds a number either way
            except InvalidOperation:
                return value
        if kind == "integer" and value.lstrip("-").isdigit():
            return int(value)  # Int64 travels as text
        return value
    if isinstance(value, dict | list):
        inner = field.shape or (field.item.shape if field.item else None) if field else None
        return from_wire(value, inner)
    if kind == "decimal" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        as_text = shape is not None and shape.text_numbers  # a Double of V2 may come as a number
        return format(Decimal(value), "f") if as_text else Decimal(value)
    return value


def _from_millis(millis: int, kind: str, wire: str) -> str:
    """The milliseconds are UTC already; an offset behind them is for display only, and a day never shifts."""
    try:
        at = _EPOCH + timedelta(milliseconds=millis)
    except OverflowError:
        return wire
    if kind == "date":
        return at.date().isoformat()
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


# -- canonical → wire ----------------------------------------------------------------------------------------------


def to_wire(value: Any, shape: Shape | None, *, v4: bool) -> Any:
    """A body as it is sent. V2: days and moments as /Date(ms)/, lists as {"results": […]}. Both: decimals as text.

    V4 takes text only under ``IEEE754Compatible=true``, which the session declares.
    Raises Refused for a value that its field cannot be.
    """
    if isinstance(value, Mapping):
        return {
            name: _field_to_wire(inner, shape.get(name) if shape else None, name, v4) for name, inner in value.items()
        }
    return value


def _field_to_wire(value: Any, field: Field | None, name: str, v4: bool) -> Any:
    if isinstance(value, list | tuple):
        inner = field.item.shape if field and field.item else None
        rows = [to_wire(item, inner, v4=v4) for item in value]
        return rows if v4 else {"results": rows}
    if isinstance(value, Mapping):
        return to_wire(value, field.shape if field else None, v4=v4)
    kind = field.type if field is not None else "any"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _number_to_wire(value, kind, name)
    if kind in ("date", "datetime", "time") and isinstance(value, str):
        if value == "":
            return None  # an empty day is null on the wire; "" clears texts only
        return value if v4 else _moment_to_v2(value, kind, name)
    return value


def _number_to_wire(value: int | Decimal, kind: str, name: str) -> Any:
    """Text for decimals, and for texts that look like numbers, such as a customer's; a number for whole ones."""
    if kind == "integer":
        if value != int(value):
            raise Refused(f"{value} is no whole number", field=name)
        return int(value)
    return format(Decimal(value), "f") if kind in ("decimal", "text") or isinstance(value, Decimal) else value


def _moment_to_v2(text: str, kind: str, name: str) -> str:
    if _DATE.fullmatch(text):
        return text
    try:
        if kind == "time":
            at = time.fromisoformat(text)
            return f"PT{at.hour:02}H{at.minute:02}M{at.second:02}S"
        return f"/Date({to_millis(text)})/"
    except ValueError:
        raise Refused(f"'{text[:40]}' is no {kind}", field=name) from None


def to_millis(text: str) -> int:
    """Milliseconds since 1970 in UTC, exact; a day is its midnight in UTC, a naive time is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)


# -- literals and keys ---------------------------------------------------------------------------------------------


def literal(value: Any, field: Field | None, *, v4: bool) -> str:
    """A value as it stands in $filter and keys, not yet percent-encoded.

    Quotes are doubled; control characters and numbers, days or moments that are none are refused, so that no value
    can be read as a part of the expression around it. Raises Refused.
    """
    kind = field.type if field is not None else "text"
    name = field.name if field is not None else ""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise Refused("a key or filter value holds control characters", field=name)
    try:
        if kind in ("integer", "decimal"):
            number = Decimal(text)
            if not number.is_finite() or (kind == "integer" and number != number.to_integral_value()):
                raise ValueError(text)
            plain = format(number, "f")
            return plain if v4 or kind == "integer" else f"{plain}M"
        if kind == "boolean":
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower()
        if kind == "datetime":
            return _moment_literal(text, v4)
        if kind == "date":
            day = datetime.fromisoformat(text).date().isoformat()  # a moment is asked for by its day
            return day if v4 else f"datetime'{day}T00:00:00'"
        if kind == "time":
            at = time.fromisoformat(text)
            return f"{at:%H:%M:%S}" if v4 else f"time'PT{at.hour:02}H{at.minute:02}M{at.second:02}S'"
    except (ValueError, InvalidOperation):
        raise Refused(f"'{text[:40]}' is no {kind}", field=name) from None
    return "'" + text.replace("'", "''") + "'"


def _moment_literal(text: str, v4: bool) -> str:
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    plain = at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    fraction = re.search(r"\.(\d{7,})", text)  # Python keeps six digits; a seventh moves the place forward
    if fraction and fraction.group(1)[6:].strip("0"):
        plain = f"{plain.partition('.')[0][:19]}.{fraction.group(1)}Z"
    return plain if v4 else f"datetimeoffset'{plain}'"


def name_of(name: str) -> str:
    """A property or path as it may stand in a query. Raises Refused."""
    if not _NAME.fullmatch(name):
        raise Refused(f"'{name[:40]}' is no name of a property")
    return name


def key_path(entity_set: str, key: Mapping[str, Any], shape: Shape | None, *, v4: bool) -> str:
    """``A_SalesOrder('164')``, percent-encoded."""
    parts = [(name, literal(value, shape.get(name) if shape else None, v4=v4)) for name, value in key.items()]
    inner = parts[0][1] if len(parts) == 1 else ",".join(f"{name_of(name)}={text}" for name, text in parts)
    return f"{entity_set}({quote(inner, safe=chr(39) + ',=')})"
