"""What Jinja's generated code calls for the rarer shapes: items by a computed key, slices, ranges, unpacking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from flowrun.expressions.jinja_rows import MISSING, Group, lookup
from flowrun.expressions.numbers import number
from flowrun.expressions.runtime import TEXT_MAX, BadValue, Fuel, kind, show, too_long


def found(value: Any, name: str) -> Any:
    """The value; an error that names it when it is not there."""
    if value is MISSING:
        raise BadValue(f"{name} is missing", code="FR104", help="ask `is missing`, or write `| default(…)`")
    return value


def item(value: Any, key: Any) -> Any:
    """``value[key]`` by a computed key: a field of an object, a place in a list."""
    result = lookup(value, key)
    if result is MISSING:
        raise BadValue(
            f"{kind(value)} has nothing at {show(key)}", code="FR104", help="ask `is missing`, or write `| default(…)`"
        )
    return result


def _place(value: Any) -> int | None:
    if value is None or (type(value) is int and -(2**63) < value < 2**63):
        return value
    whole = number(value, "[:]")
    if whole != int(whole):
        raise BadValue("a slice takes whole numbers", code="FR113")
    return int(whole)


def slice_of(fuel: Fuel, value: Any, start: Any, stop: Any, step: Any) -> Any:
    if not isinstance(value, (list, tuple, str)):
        raise BadValue(f"{kind(value)} cannot be sliced", code="FR113")
    by = _place(step)
    if by == 0:
        raise BadValue("the step of a slice cannot be 0", code="FR113")
    fuel.spend(len(value) if isinstance(value, list) else len(value) >> 6)
    return value[_place(start) : _place(stop) : by]


def bounded_range(fuel: Fuel, *bounds: Any) -> list[int]:
    """``range``, paid for before it is made."""
    if len(bounds) == 1 and type(bounds[0]) is int and 0 <= bounds[0] < 10**12:
        fuel.spend(bounds[0])
        return list(range(bounds[0]))
    places = [_place(bound) or 0 for bound in bounds]
    if len(places) == 3 and places[2] == 0:
        raise BadValue("the step of a range cannot be 0", code="FR113")
    numbers = range(*places)
    first, last = (numbers.start, numbers.stop)
    size = max(0, (last - first) // numbers.step + 1)
    fuel.spend(size if size < 10**12 else 10**12)
    return list(numbers)


def concat(fuel: Fuel, pieces: tuple[str, ...]) -> str:
    """The texts joined, within the bound and paid for."""
    size = sum(map(len, pieces))
    if size > TEXT_MAX:
        too_long()
    fuel.spend(size >> 6)
    return "".join(pieces)


def without_else() -> NoReturn:
    raise BadValue("the condition does not hold and there is no `else`", code="FR104", help="write `… if … else …`")


def rows(fuel: Fuel, value: Any, cost: int) -> list[Any]:
    """What a loop goes over, paid for: one step for each node of its body and element."""
    if not isinstance(value, (list, tuple, str, Mapping)):
        help = "write `| default([])`" if value is None else ""
        raise BadValue(f"{kind(value)} cannot be looped over", code="FR113", help=help)
    items = value if type(value) is list else list(value)
    fuel.spend(len(items) * cost)
    return items


def unpack(value: Any, count: int) -> list[Any]:
    """``for k, v in …``: exactly so many parts."""
    parts = list(value.values()) if isinstance(value, Group) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != count:
        raise BadValue(f"{kind(value)} does not have the {count} parts that the loop names", code="FR113")
    return list(parts)
