"""What a test expects against what came out, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flowrun.expressions.text import number_text


@dataclass(frozen=True, slots=True)
class Difference:
    """path: the target path; expected and actual as words."""

    path: str
    expected: str
    actual: str


NOTHING: Any = object()


def reach(body: Any, path: str) -> Any:
    """The value at a target path such as ``to_Item[1].Material``; a name that itself holds dots is tried first."""
    if isinstance(body, dict) and path in body:
        return body[path]
    at = body
    for part in path.replace("]", "").replace("[", ".").split("."):
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, list) and part.isdigit() and int(part) < len(at):
            at = at[int(part)]
        else:
            return NOTHING
    return at


def compare(path: str, wanted: Any, found: Any, *, subset: bool) -> Iterator[Difference]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, inner in wanted.items():
            yield from compare(_join(path, name), inner, found.get(name, NOTHING), subset=subset)
        if not subset:
            for name in found:
                if name not in wanted:
                    yield Difference(_join(path, name), "absent", shown(found[name]))
        return
    if isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield Difference(path, f"{len(wanted)} rows", f"{len(found)} rows")
        for index, (one, other) in enumerate(zip(wanted, found, strict=False)):
            yield from compare(f"{path}[{index}]", one, other, subset=subset)
        return
    if not _same(wanted, found):
        yield Difference(path, shown(wanted), shown(found))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _same(wanted: Any, found: Any) -> bool:
    """Text by text, numbers by value; a quoted number means these very digits."""
    if wanted is None or isinstance(wanted, bool):
        return wanted is found
    if isinstance(wanted, str):
        if isinstance(found, int | Decimal) and not isinstance(found, bool):
            return wanted == number_text(found)
        return bool(wanted == found)
    if isinstance(found, bool) or not isinstance(found, int | Decimal):
        return False
    return bool(wanted == found)


def shown(value: Any) -> str:
    if value is NOTHING:
        return "absent"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | Decimal):
        return number_text(value)
    return f"{len(value)} rows" if isinstance(value, list) else "an object"
