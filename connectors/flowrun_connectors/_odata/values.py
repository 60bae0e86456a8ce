"""OData values: wire ↔ canonical, literals for addresses, keys.

Canonical: days ``2026-05-04``, moments ``…Z``, decimals as text (V2) or Decimal (V4), lists as lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from flowrun.contract import Field, Shape
from flowrun.errors import Refused

_DATE = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HIDDEN = ("__metadata",)


def from_wire(value: Any, shape: Shape | None) -> Any:
    """An entity as answered → a record: envelopes, links and annotations taken off, dates canonical."""
    if isinstance(value, dict):
        if set(value) == {"results"}:
            return from_wire(value["results"], shape)
        record = {}
        for name, inner in value.items():
            if name in _HIDDEN or name.startswith(("@odata.", "SAP__")) or "@odata." in name:
                continue
            if isinstance(inner, dict) and "__deferred" in inner:
                continue
            field = shape.get(name) if shape else None
            record[name] = _field_from_wire(inner, field)
        return record
    if isinstance(value, list):
        return [from_wire(item, shape) for item in value]
    return value


def _field_from_wire(value: Any, field: Field | None) -> Any:
    if isinstance(value, str):
        found = _DATE.fullmatch(value)
        if found:
            # The milliseconds are UTC already; the offset is for display only.
            at = _EPOCH + timedelta(milliseconds=int(found.group(1)))
            if field is not None and field.type == "date":
                return at.date().isoformat()
            return at.replace(tzinfo=None).isoformat() + "Z"
        return value
    if isinstance(value, dict | list):
        inner = field.shape or (field.item.shape if field.item else None) if field else None
        return from_wire(value, inner)
    return value


def to_v2(value: Any, shape: Shape | None) -> Any:
    """A body → V2 JSON: days and moments as /Date(ms)/, decimals as text, lists as {"results": […]}."""
    if isinstance(value, Mapping):
        return {name: _field_to_v2(inner, shape.get(name) if shape else None) for name, inner in value.items()}
    return value


def _field_to_v2(value: Any, field: Field | None) -> Any:
    if isinstance(value, list | tuple):
        inner = field.item.shape if field and field.item else None
        return {"results": [to_v2(item, inner) for item in value]}
    if isinstance(value, Mapping):
        return to_v2(value, field.shape if field else None)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, str) and field is not None and field.type in ("date", "datetime") and value:
        return f"/Date({_millis(value)})/"
    return value


def _millis(text: str) -> int:
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int((at - _EPOCH) / timedelta(milliseconds=1))


def literal(value: Any, field: Field | None, *, v4: bool) -> str:
    """A value as it stands in $filter and keys. Quotes are doubled; control characters are refused."""
    kind = field.type if field else "text"
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if any(ord(c) < 32 for c in text):
        raise Refused("a key or filter value holds control characters")
    if kind in ("integer",):
        return text
    if kind == "decimal":
        return text if v4 else f"{text}M"
    if kind == "boolean":
        return text.lower()
    if kind == "datetime":
        return text if v4 else f"datetimeoffset'{text}'"
    if kind == "date":
        return text[:10] if v4 else f"datetime'{text[:10]}T00:00:00'"
    return "'" + text.replace("'", "''") + "'"


def key_path(entity_set: str, key: Mapping[str, Any], shape: Shape | None, *, v4: bool) -> str:
    """``A_SalesOrder('164')``, percent-encoded."""
    parts = [(name, literal(value, shape.get(name) if shape else None, v4=v4)) for name, value in key.items()]
    inner = parts[0][1] if len(parts) == 1 else ",".join(f"{name}={text}" for name, text in parts)
    return f"{entity_set}({quote(inner, safe=chr(39) + ',=()')})"
