"""What a body would change of what the target holds, field by field, as the target's contract compares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flowrun.contract import Field, Shape

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent", "__slots__": ()})()


@dataclass(frozen=True, slots=True)
class Change:
    """field: the target path. old: ABSENT when there is no such value; known False: the target does not show it."""

    field: str
    old: Any
    new: Any
    known: bool = True
    because: tuple[str, ...] = ()
    place: str = ""


def fields_of(body: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Target path and value of each leaf; empty lists and objects are leaves."""
    if isinstance(body, Mapping) and body:
        for name, value in body.items():
            yield from fields_of(value, f"{path}.{name}" if path else name)
    elif isinstance(body, list) and body:
        for index, value in enumerate(body):
            yield from fields_of(value, f"{path}[{index}]")
    else:
        yield path, body


def changes(body: Mapping[str, Any], held: Mapping[str, Any], shape: Shape | None, path: str = "") -> Iterator[Change]:
    """What writing ``body`` changes of ``held``. What the body leaves out stays as it is.

    A field that ``held`` lacks at the top is one that the target takes and does not show.
    """
    for name, new in body.items():
        here = f"{path}.{name}" if path else name
        field = shape.get(name) if shape is not None else None
        if name not in held:
            for leaf, value in fields_of(new, here):
                yield Change(leaf, ABSENT, value, known=False)
        else:
            yield from _change(here, held[name], new, field)


def _change(path: str, old: Any, new: Any, field: Field | None) -> Iterator[Change]:
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        yield from changes(new, old, field.shape if field is not None else None, path)
    elif isinstance(new, list) and isinstance(old, list):
        item = field.item if field is not None else None
        for index, one in enumerate(new):
            if index < len(old):
                yield from _change(f"{path}[{index}]", old[index], one, item)
            else:
                yield from (Change(leaf, ABSENT, value) for leaf, value in fields_of(one, f"{path}[{index}]"))
        for index in range(len(new), len(old)):
            yield from (Change(leaf, value, ABSENT) for leaf, value in fields_of(old[index], f"{path}[{index}]"))
    elif not same(old, new, field):
        yield Change(path, old, new)


def same(old: Any, new: Any, field: Field | None = None) -> bool:
    """Equal for the target: empty is empty, numbers by value where one side or the contract says number, moments
    and padded numbers where the contract does."""
    if old in (None, "") and new in (None, ""):
        return True
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new or str(old).lower() == str(new).lower()
    numbers = field is not None and field.type in ("decimal", "integer")
    if numbers or isinstance(old, int | Decimal) or isinstance(new, int | Decimal):
        try:
            return Decimal(str(old)) == Decimal(str(new))
        except InvalidOperation:
            return str(old) == str(new)
    if old != new and field is not None and field.padded:
        one_text, other_text = str(old), str(new)
        if one_text.isdigit() and other_text.isdigit():
            return one_text.lstrip("0") == other_text.lstrip("0")
    if old != new and field is not None and field.type == "datetime":
        one, other = _moment(old), _moment(new)
        return one is not None and one == other
    return bool(old == new)


def _moment(value: Any) -> datetime | None:
    """Without an offset it is meant as UTC."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def within(held: Any, body: Any) -> Any:
    """The part of ``held`` that ``body`` speaks of: what is kept in a plan, to know whether it moved."""
    if isinstance(held, Mapping) and isinstance(body, Mapping):
        return {name: within(held[name], body[name]) for name in body if name in held}
    if isinstance(held, list) and isinstance(body, list):
        return [within(one, body[index] if index < len(body) else one) for index, one in enumerate(held)]
    return held


def over(held: Mapping[str, Any] | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the target holds once ``body`` is written: what comes later in the same plan starts from there."""
    return {**(held or {}), **body}
