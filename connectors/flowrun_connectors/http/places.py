"""Where things stand in an answer, and values put into paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from flowrun.errors import Refused

_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


def at(value: Any, path: str) -> Any:
    """``data.items``, ``result[0].id`` or ``data[-1].id`` inside an answer; "" is the answer itself; None where nothing
    is there."""
    for name, index in _STEP.findall(path):
        if index:
            place = int(index)
            value = value[place] if isinstance(value, list) and -len(value) <= place < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def text(value: Any) -> str:
    """A scalar as it stands in an address."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def filled(path: str, values: Mapping[str, Any]) -> str:
    """``v1/orders/{id}`` with values percent-encoded, whatever they hold. Raises Refused when one is missing."""

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        value = values.get(name)
        if value in (None, "") or isinstance(value, dict | list):
            raise Refused(f"the path needs '{name}', which the body lacks", field=name)
        one = quote(text(value), safe="")
        if one in (".", ".."):
            raise Refused(f"'{one}' cannot stand in a path", field=name)
        return one

    return re.sub(r"\{(\w+)\}", put, path)


def form(body: Mapping[str, Any]) -> bytes:
    """A body as application/x-www-form-urlencoded: ``a=1&lines[0][sku]=x``, in its order. Null is an empty value; empty
    lists and objects leave nothing."""
    return urlencode(list(_pairs(body, ""))).encode()


def _pairs(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _pairs(inner, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _pairs(inner, f"{name}[{number}]")
    elif value is None:
        yield name, ""
    else:
        yield name, format(value, "f") if isinstance(value, Decimal) else text(value)


def named(path: str) -> tuple[str, ...]:
    """The names in braces."""
    return tuple(re.findall(r"\{(\w+)\}", path))


def put(body: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with ``value`` at ``search.after``; blocks on the way are made."""
    name, dot, rest = path.partition(".")
    inner = body.get(name)
    return {**body, name: put(inner if isinstance(inner, Mapping) else {}, rest, value) if dot else value}
