"""The functions of the JMESPath specification over exact numbers, and its equality, order and truth.

Every function takes its evaluated arguments and then the fuel; ``&expr`` arrives as a function of (element, fuel).
Types are checked as the specification says; what does not fit raises BadValue.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flowrun.expressions.numbers import DIVIDE, bounded
from flowrun.expressions.runtime import BadValue, Fuel, too_long
from flowrun.expressions.text import json_text, quick_json

Key = Callable[[Any, Fuel], Any]
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


_EXACT: set[type] = {int, Decimal}
_PLAIN: set[type] = {int, float}
_TEXT: set[type] = {str}


def type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, Decimal, float)):
        return "number"
    if isinstance(value, list):
        return "array"
    if isinstance(value, Mapping):
        return "object"
    return "unknown"


def _misfit(function: str, value: Any, wanted: str) -> BadValue:
    return BadValue(f"{function}() takes {wanted}, not {_article(type_name(value))}", code="FR113")


def _article(name: str) -> str:
    return name if name == "null" else ("an " if name[0] in "aeiou" else "a ") + name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal, float)) and not isinstance(value, bool)


def _number(function: str, value: Any) -> Any:
    if not _is_number(value):
        raise _misfit(function, value, "a number")
    return bounded(value) if type(value) is Decimal else value


def _text(function: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _misfit(function, value, "a string")
    return value


def _array(function: str, value: Any, fuel: Fuel) -> list[Any]:
    if not isinstance(value, list):
        raise _misfit(function, value, "an array")
    fuel.spend(len(value))
    return value


def _object(function: str, value: Any, fuel: Fuel) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _misfit(function, value, "an object")
    fuel.spend(len(value))
    return value


def _all_numbers(function: str, value: Any, fuel: Fuel) -> list[Any]:
    array = _array(function, value, fuel)
    kinds = set(map(type, array))
    if kinds <= _EXACT or kinds <= _PLAIN:
        return array
    for each in array:
        if not _is_number(each):
            raise _misfit(function, each, "an array of numbers")
    return _one_kind(array)


def _all_alike(function: str, value: Any, fuel: Fuel) -> list[Any]:
    """All numbers or all strings."""
    array = _array(function, value, fuel)
    kinds = set(map(type, array))
    if kinds == _TEXT or kinds <= _EXACT or kinds <= _PLAIN:
        return array
    if array and isinstance(array[0], str):
        for each in array:
            if not isinstance(each, str):
                raise _misfit(function, each, "an array of only strings or only numbers")
        return array
    for each in array:
        if not _is_number(each):
            raise _misfit(function, each, "an array of numbers or of strings")
    return array


def _one_kind(numbers: list[Any]) -> list[Any]:
    """Floats beside Decimals become Decimals: Python adds no float to a Decimal."""
    kinds = set(map(type, numbers))
    if float in kinds and Decimal in kinds:
        return [unfloat(each) for each in numbers]
    return numbers


def unfloat(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


# -- equality, order, truth ----------------------------------------------------------------------------------------


def same(a: Any, b: Any, fuel: Fuel) -> bool:
    """``==``: by type and value, deep; a number never equals a boolean."""
    if isinstance(a, list):
        if not isinstance(b, list) or len(a) != len(b):
            return False
        if a is b:
            return True
        fuel.spend(len(a) * 4)
        for x, y in zip(a, b, strict=True):  # noqa: SIM110 - all() with a generator takes twice as long
            if not (x == y if type(x) is str else same(x, y, fuel)):
                return False
        return True
    if isinstance(a, Mapping):
        if not isinstance(b, Mapping) or len(a) != len(b):
            return False
        fuel.spend(len(a) * 4)
        return all(key in b and same(value, b[key], fuel) for key, value in a.items())
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, float) != isinstance(b, float):
        a, b = unfloat(a), unfloat(b)
    return bool(a == b)


def ordered(a: Any, b: Any) -> tuple[Any, Any] | None:
    """The pair when ``< <= > >=`` have an answer: two numbers, or two strings; otherwise they give null."""
    if _is_number(a) and _is_number(b):
        if isinstance(a, float) != isinstance(b, float):
            return unfloat(a), unfloat(b)
        return a, b
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    return None


def lt(a: Any, b: Any) -> bool | None:
    pair = ordered(a, b)
    return None if pair is None else bool(pair[0] < pair[1])


def lte(a: Any, b: Any) -> bool | None:
    pair = ordered(a, b)
    return None if pair is None else bool(pair[0] <= pair[1])


def gt(a: Any, b: Any) -> bool | None:
    pair = ordered(a, b)
    return None if pair is None else bool(pair[0] > pair[1])


def gte(a: Any, b: Any) -> bool | None:
    pair = ordered(a, b)
    return None if pair is None else bool(pair[0] >= pair[1])


def is_zero(value: Any) -> bool:
    """Asked only of what Python calls false: zero is true in JMESPath."""
    return value is not None and value is not False and isinstance(value, (int, Decimal, float))


def flatten(value: Any, fuel: Fuel) -> list[Any] | None:
    """One level of lists inside the list is opened; None for what is no list."""
    if not isinstance(value, list):
        return None
    merged: list[Any] = []
    for each in value:
        if isinstance(each, list):
            fuel.spend(len(each) + 1)
            merged.extend(each)
        else:
            merged.append(each)
    fuel.spend(len(value))
    return merged


def cut(value: Any, start: int | None, end: int | None, step: int | None) -> list[Any] | None:
    """A slice; None for what is no list."""
    return value[start:end:step] if isinstance(value, list) else None


def values_of(value: Any) -> list[Any] | None:
    """The values of an object; None for what is none."""
    return list(value.values()) if isinstance(value, Mapping) else None


# -- the functions -------------------------------------------------------------------------------------------------


def f_abs(value: Any, fuel: Fuel) -> Any:
    found = _number("abs", value)
    return found.copy_abs() if type(found) is Decimal else abs(found)


def f_avg(array: Any, fuel: Fuel) -> Any:
    """The mean, at 28 digits; None of an empty array."""
    numbers = _all_numbers("avg", array, fuel)
    if not numbers:
        return None
    total = sum(numbers)
    if isinstance(total, float):
        return total / len(numbers)
    return DIVIDE.divide(Decimal(total), Decimal(len(numbers)))


def f_ceil(value: Any, fuel: Fuel) -> Any:
    return math.ceil(_number("ceil", value))


def f_floor(value: Any, fuel: Fuel) -> Any:
    return math.floor(_number("floor", value))


def f_contains(subject: Any, search: Any, fuel: Fuel) -> bool:
    if isinstance(subject, str):
        fuel.spend(len(subject) >> 6)
        return isinstance(search, str) and search in subject
    if not isinstance(subject, list):
        raise _misfit("contains", subject, "an array or a string")
    fuel.spend(len(subject))
    if isinstance(search, str):
        return search in subject
    return any(same(each, search, fuel) for each in subject)


def f_ends_with(subject: Any, suffix: Any, fuel: Fuel) -> bool:
    return _text("ends_with", subject).endswith(_text("ends_with", suffix))


def f_starts_with(subject: Any, prefix: Any, fuel: Fuel) -> bool:
    return _text("starts_with", subject).startswith(_text("starts_with", prefix))


def f_join(glue: Any, array: Any, fuel: Fuel) -> str:
    between = _text("join", glue)
    pieces = _array("join", array, fuel)
    size = len(between) * len(pieces)
    for each in pieces:
        if not isinstance(each, str):
            raise _misfit("join", each, "an array of strings")
        size += len(each)
    if size > 1_000_000:
        too_long()
    return between.join(pieces)


def f_keys(value: Any, fuel: Fuel) -> list[str]:
    return list(_object("keys", value, fuel))


def f_values(value: Any, fuel: Fuel) -> list[Any]:
    return list(_object("values", value, fuel).values())


def f_length(value: Any, fuel: Fuel) -> int:
    if not isinstance(value, (str, list, Mapping)):
        raise _misfit("length", value, "a string, an array or an object")
    return len(value)


def f_map(key: Key, array: Any, fuel: Fuel) -> list[Any]:
    return [key(each, fuel) for each in _array("map", array, fuel)]


def f_max(array: Any, fuel: Fuel) -> Any:
    return max(_all_alike("max", array, fuel), default=None)


def f_min(array: Any, fuel: Fuel) -> Any:
    return min(_all_alike("min", array, fuel), default=None)


def _keyed(function: str, array: Any, key: Key, fuel: Fuel) -> list[Any]:
    return _all_alike(function, [key(each, fuel) for each in _array(function, array, fuel)], fuel)


def f_max_by(array: Any, key: Key, fuel: Fuel) -> Any:
    keys = _keyed("max_by", array, key, fuel)
    return array[max(range(len(keys)), key=keys.__getitem__)] if keys else None


def f_min_by(array: Any, key: Key, fuel: Fuel) -> Any:
    keys = _keyed("min_by", array, key, fuel)
    return array[min(range(len(keys)), key=keys.__getitem__)] if keys else None


def f_sort(array: Any, fuel: Fuel) -> list[Any]:
    items = _all_alike("sort", array, fuel)
    fuel.spend(len(items) * 4)
    return sorted(items)


def f_sort_by(array: Any, key: Key, fuel: Fuel) -> list[Any]:
    keys = _keyed("sort_by", array, key, fuel)
    fuel.spend(len(keys) * 4)
    return [array[place] for place in sorted(range(len(keys)), key=keys.__getitem__)]


def f_merge(*values: Any) -> dict[str, Any]:
    *objects, fuel = values
    merged: dict[str, Any] = {}
    for each in objects:
        merged.update(_object("merge", each, fuel))
    return merged


def f_not_null(*values: Any) -> Any:
    for each in values[:-1]:
        if each is not None:
            return each
    return None


def f_reverse(value: Any, fuel: Fuel) -> Any:
    if not isinstance(value, (str, list)):
        raise _misfit("reverse", value, "an array or a string")
    fuel.spend(len(value))
    return value[::-1]


def f_sum(array: Any, fuel: Fuel) -> Any:
    return sum(_all_numbers("sum", array, fuel))


def f_to_array(value: Any, fuel: Fuel) -> list[Any]:
    return value if isinstance(value, list) else [value]


def f_to_number(value: Any, fuel: Fuel) -> Any:
    """Numbers as they are; text that spells a number as int or Decimal; everything else is null."""
    if _is_number(value):
        return value
    if not isinstance(value, str) or len(value) > 1000 or not _NUMBER.fullmatch(value):
        return None
    return int(value) if value.lstrip("+-").isdigit() else Decimal(value)


def f_to_string(value: Any, fuel: Fuel) -> str:
    return value if isinstance(value, str) else quick_json(value)


def f_to_string_bounded(value: Any, fuel: Fuel) -> str:
    """For what an expression has built of several lists: it may print as far more than it holds."""
    return value if isinstance(value, str) else json_text(value)


def f_type(value: Any, fuel: Fuel) -> str:
    return type_name(value)


@dataclass(frozen=True, slots=True)
class Function:
    """parameters: what each argument must be, for messages and static checks ("expref" marks ``&expr``);
    variadic: the last may repeat. gives: the JMESPath type of the result, or "any"."""

    call: Callable[..., Any]
    parameters: tuple[str, ...]
    gives: str
    variadic: bool = False


FUNCTIONS: dict[str, Function] = {
    "abs": Function(f_abs, ("number",), "number"),
    "avg": Function(f_avg, ("array",), "number"),
    "ceil": Function(f_ceil, ("number",), "number"),
    "contains": Function(f_contains, ("array|string", "any"), "boolean"),
    "ends_with": Function(f_ends_with, ("string", "string"), "boolean"),
    "floor": Function(f_floor, ("number",), "number"),
    "join": Function(f_join, ("string", "array"), "string"),
    "keys": Function(f_keys, ("object",), "array"),
    "length": Function(f_length, ("array|object|string",), "number"),
    "map": Function(f_map, ("expref", "array"), "array"),
    "max": Function(f_max, ("array",), "any"),
    "max_by": Function(f_max_by, ("array", "expref"), "any"),
    "merge": Function(f_merge, ("object",), "object", variadic=True),
    "min": Function(f_min, ("array",), "any"),
    "min_by": Function(f_min_by, ("array", "expref"), "any"),
    "not_null": Function(f_not_null, ("any",), "any", variadic=True),
    "reverse": Function(f_reverse, ("array|string",), "any"),
    "sort": Function(f_sort, ("array",), "array"),
    "sort_by": Function(f_sort_by, ("array", "expref"), "array"),
    "starts_with": Function(f_starts_with, ("string", "string"), "boolean"),
    "sum": Function(f_sum, ("array",), "number"),
    "to_array": Function(f_to_array, ("any",), "array"),
    "to_number": Function(f_to_number, ("any",), "number"),
    "to_string": Function(f_to_string, ("any",), "string"),
    "type": Function(f_type, ("any",), "string"),
    "values": Function(f_values, ("object",), "array"),
}
