"""Rows, columns and keys: how filters look into plain values, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from flowrun.expressions.numbers import number
from flowrun.expressions.runtime import TEXT_MAX, BadValue, Fuel, kind, show, too_long
from flowrun.expressions.text import to_text

MISSING: Final = object()
"""What a filter gives when Jinja gives undefined: an error unless the flow asks or defaults."""


class Group(dict[str, Any]):
    """One row of ``groupby``: ``g.grouper`` and ``g.list``, or unpacked in that order."""


def text(fuel: Fuel, value: Any) -> str:
    """Text of a value; long ones cost fuel, because each filter makes a copy."""
    found = value if type(value) is str else to_text(value)
    if len(found) > 256:
        fuel.spend(len(found) >> 6)
        if len(found) > TEXT_MAX:
            too_long()
    return found


def listed(fuel: Fuel, value: Any, what: str) -> list[Any]:
    """The elements Jinja would iterate: of a list, the keys of an object, the characters of a text."""
    if type(value) is list:
        fuel.spend(len(value))
        return value
    if isinstance(value, Group):
        return list(value.values())
    if isinstance(value, (list, tuple, str, Mapping)):
        fuel.spend(len(value))
        return list(value)
    help = "ask `… is missing` first, or write `| default([])`" if value is None else ""
    raise BadValue(f"{kind(value)} is not a list, in {what!r}", code="FR113", help=help)


def whole_number(value: Any, what: str, most: int) -> int:
    if type(value) is int and 0 <= value <= most:
        return value
    found = number(value, what)
    if not 0 <= found <= most or found != int(found):
        raise BadValue(f"{what!r} takes a whole number from 0 to {most:,}, not {show(value)}", code="FR113")
    return int(found)


def parts_of(attribute: Any) -> list[str | int]:
    """``'a.b.0'`` as steps; a number is one step."""
    if isinstance(attribute, int):
        return [attribute]
    if not isinstance(attribute, str) or len(attribute) > 500:
        raise BadValue(f"an attribute is named by text, not {kind(attribute)}", code="FR113")
    return _steps(attribute)


@lru_cache(maxsize=256)
def _steps(attribute: str) -> list[str | int]:
    return [int(part) if part.isdecimal() and len(part) < 10 else part for part in attribute.split(".")]


def dig(value: Any, parts: Iterable[str | int]) -> Any:
    """The value at the steps, by key and place only; MISSING when there is none."""
    for part in parts:
        value = lookup(value, part)
        if value is MISSING:
            return MISSING
    return value


def lookup(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key) if key not in value else key
        return value.get(key, MISSING) if isinstance(key, (str, int)) else MISSING
    if isinstance(value, (list, tuple, str)) and isinstance(key, (int, Decimal)):
        inside = -len(value) <= key < len(value)  # asked first: a huge Decimal takes a minute to become an int
        return value[int(key)] if inside and key == int(key) else MISSING
    return MISSING


def column(items: list[Any], attribute: Any, what: str, default: Any = MISSING) -> list[Any]:
    parts = parts_of(attribute)
    if len(parts) == 1:
        try:
            return [each[parts[0]] for each in items]  # JSON values: an object has the key, or this raises
        except (KeyError, TypeError, IndexError):
            pass
    found = [dig(each, parts) for each in items]
    for place, value in enumerate(found):
        if value is MISSING:
            if default is MISSING:
                raise BadValue(f"{attribute} is missing in row {place + 1}, in {what!r}", code="FR104")
            found[place] = default
    return found
