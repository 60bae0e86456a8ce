"""Jinja's filters that count: exact, over plain decimal text too."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from flowrun.expressions.jinja_rows import MISSING, column, listed, whole_number
from flowrun.expressions.numbers import number, plain_decimal, rounded
from flowrun.expressions.runtime import BadValue, Fuel, OverBudget


def f_abs(fuel: Fuel, value: Any) -> Any:
    found = number(value, "abs")
    return found.copy_abs() if type(found) is Decimal else abs(found)


def f_round(fuel: Fuel, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    return rounded(value, precision, method)


def f_int(fuel: Fuel, value: Any, default: Any = 0, base: Any = 10) -> Any:
    """The whole part; ``default`` where the text is no number."""
    if isinstance(value, str):
        if base != 10:
            try:
                return int(value[:1000], whole_number(base, "int", 36))
            except ValueError:
                pass  # as Jinja does it: then as a decimal number
        found = plain_decimal(value.strip())
        return default if found is None else int(found)
    if isinstance(value, (int, Decimal, float)):
        return int(number(value, "int"))
    return default


def f_float(fuel: Fuel, value: Any, default: Any = Decimal("0.0")) -> Any:
    """The number, as Decimal: nothing in a flow is a float."""
    if isinstance(value, str):
        found = plain_decimal(value.strip())
        return default if found is None else found
    if isinstance(value, (int, Decimal, float)):
        return Decimal(number(value, "float"))
    return default


def f_sum(fuel: Fuel, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    items = listed(fuel, value, "sum")
    if attribute is not None:
        items = column(items, attribute, "sum")
    numbers = [each if type(each) is Decimal else number(each, "sum") for each in items]
    return sum(numbers, start if type(start) is int else number(start, "sum"))


def sum_of(name: str, start: int) -> Callable[[Fuel, Any], Any]:
    """``f_sum`` of a field that every row has, as sums in flows are: written for the columns of amounts in texts."""

    def summed(fuel: Fuel, rows: Any) -> Any:
        if type(rows) is not list:
            return f_sum(fuel, rows, name, start)
        total: Any = start
        try:
            for row in rows:
                found = row[name]
                if type(found) is str:
                    whole, _, rest = found.partition(".")
                    if (
                        whole.isdigit() and rest.isdigit() and len(found) <= 40 and found.isascii()
                    ):  # as in plain_decimal
                        total += Decimal(found)
                        continue
                total += found if type(found) is Decimal else number(found, "sum")
        except (KeyError, TypeError, IndexError, BadValue, OverBudget):
            return f_sum(fuel, rows, name, start)  # says what is wrong, in which row
        fuel.left -= len(rows)
        if fuel.left < 0:
            fuel.out()
        return total

    return summed


def _extreme(fuel: Fuel, value: Any, attribute: Any, what: str, pick: Callable[..., int]) -> Any:
    items = listed(fuel, value, what)
    if not items:
        return MISSING
    if attribute is None:
        numbers = [number(each, what) for each in items]
        return numbers[pick(range(len(numbers)), key=numbers.__getitem__)]
    numbers = [number(each, what) for each in column(items, attribute, what)]
    return items[pick(range(len(numbers)), key=numbers.__getitem__)]


def f_max(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(fuel, value, attribute, "max", max)


def f_min(fuel: Fuel, value: Any, case_sensitive: Any = False, attribute: Any = None) -> Any:
    return _extreme(fuel, value, attribute, "min", min)


def f_filesizeformat(fuel: Fuel, value: Any, binary: Any = False) -> str:
    size, base = Decimal(number(value, "filesizeformat")), 1024 if binary else 1000
    if size == 1:
        return "1 Byte"
    if size < base:
        return f"{int(size)} Bytes"
    letters = "KMGTPEZY"
    for place, letter in enumerate(letters):
        if size < base ** (place + 2) or letter == letters[-1]:
            return f"{size / base ** (place + 1):.1f} {letter}{'iB' if binary else 'B'}"
    raise AssertionError
