"""Jinja's standard tests (``x is …``) over plain values, and ``is missing``: absent or null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from flowrun.expressions import numbers
from flowrun.expressions.jinja_rows import MISSING
from flowrun.expressions.runtime import Fuel
from flowrun.expressions.text import to_text


def t_missing(fuel: Fuel, value: Any) -> bool:
    return value is MISSING or value is None


def t_defined(fuel: Fuel, value: Any) -> bool:
    return value is not MISSING


def t_undefined(fuel: Fuel, value: Any) -> bool:
    return value is MISSING


def t_none(fuel: Fuel, value: Any) -> bool:
    return value is None


def t_boolean(fuel: Fuel, value: Any) -> bool:
    return value is True or value is False


def t_true(fuel: Fuel, value: Any) -> bool:
    return value is True


def t_false(fuel: Fuel, value: Any) -> bool:
    return value is False


def t_integer(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def t_float(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, (Decimal, float))


def t_number(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, (int, Decimal, float))


def t_string(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, str)


def t_mapping(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, Mapping)


def t_sequence(fuel: Fuel, value: Any) -> bool:
    return isinstance(value, (list, tuple, str, Mapping))


def t_lower(fuel: Fuel, value: Any) -> bool:
    return to_text(value).islower()


def t_upper(fuel: Fuel, value: Any) -> bool:
    return to_text(value).isupper()


def t_odd(fuel: Fuel, value: Any) -> bool:
    return numbers.modulo(value, 2) == 1


def t_even(fuel: Fuel, value: Any) -> bool:
    return numbers.modulo(value, 2) == 0


def t_divisibleby(fuel: Fuel, value: Any, num: Any) -> bool:
    return numbers.modulo(value, num) == 0


def t_sameas(fuel: Fuel, value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) and not isinstance(value, (list, dict)) and value == other)


def t_in(fuel: Fuel, value: Any, seq: Any) -> bool:
    return numbers.contains(seq, value, fuel)


def t_eq(fuel: Fuel, value: Any, other: Any) -> bool:
    return numbers.equal(value, other)


def t_ne(fuel: Fuel, value: Any, other: Any) -> bool:
    return not numbers.equal(value, other)


def t_lt(fuel: Fuel, value: Any, other: Any) -> bool:
    return numbers.less(value, other)


def t_le(fuel: Fuel, value: Any, other: Any) -> bool:
    return numbers.less_equal(value, other)


def t_gt(fuel: Fuel, value: Any, other: Any) -> bool:
    return numbers.greater(value, other)


def t_ge(fuel: Fuel, value: Any, other: Any) -> bool:
    return numbers.greater_equal(value, other)


TESTS: Final[dict[str, Callable[..., bool]]] = {
    "!=": t_ne,
    "<": t_lt,
    "<=": t_le,
    "==": t_eq,
    ">": t_gt,
    ">=": t_ge,
    "boolean": t_boolean,
    "defined": t_defined,
    "divisibleby": t_divisibleby,
    "eq": t_eq,
    "equalto": t_eq,
    "even": t_even,
    "false": t_false,
    "float": t_float,
    "ge": t_ge,
    "greaterthan": t_gt,
    "gt": t_gt,
    "in": t_in,
    "integer": t_integer,
    "iterable": t_sequence,
    "le": t_le,
    "lessthan": t_lt,
    "lower": t_lower,
    "lt": t_lt,
    "mapping": t_mapping,
    "missing": t_missing,
    "ne": t_ne,
    "none": t_none,
    "number": t_number,
    "odd": t_odd,
    "sameas": t_sameas,
    "sequence": t_sequence,
    "string": t_string,
    "true": t_true,
    "undefined": t_undefined,
    "upper": t_upper,
}

ABOUT_ABSENCE: Final = ("missing", "defined", "undefined")
"""Tests that may be asked of what is not there."""

REFUSED_TESTS: Final = {
    "callable": "nothing in a flow can be called",
    "escaped": "nothing in a flow is HTML",
    "filter": "the filters are fixed",
    "test": "the tests are fixed",
}
