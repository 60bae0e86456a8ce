"""Where things stand in an answer, and values put into paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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


def named(path: str) -> tuple[str, ...]:
    """The names in braces."""
    return tuple(re.findall(r"\{(\w+)\}", path))


def put(body: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with ``value`` at ``search.after``; blocks on the way are made."""
    name, dot, rest = path.partition(".")
    inner = body.get(name)
    return {**body, name: put(inner if isinstance(inner, Mapping) else {}, rest, value) if dot else value}
