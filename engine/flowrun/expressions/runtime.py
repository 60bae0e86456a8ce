"""What generated functions lean on while they run: fuel, errors, and careful reads of values of any shape."""

from __future__ import annotations

import decimal
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn

from flowrun.errors import BudgetExceeded, DataError, ExpressionError

STEPS_MAX: Final = 1_000_000  # steps of one record; a step is one node of an expression for one element, some 50 ns
TEXT_MAX: Final = 1_000_000  # characters of one result
EMPTY: Final[dict[str, Any]] = {}  # what a value that is no object reads as; never written to


class BadValue(ExpressionError, DataError):
    """A value does not fit a function or operator: bad_data for a record, ExpressionError for other callers."""


class OverBudget(ExpressionError, BudgetExceeded):
    """The bounds of one expression are reached (``budget_exceeded``)."""


class Fuel:
    """The steps that are left for one record. Generated code counts inline: ``fuel.left -= n`` and, below zero,
    ``fuel.out()``; everything else calls ``spend``."""

    __slots__ = ("left", "limit")

    def __init__(self, limit: int = STEPS_MAX) -> None:
        self.limit = limit
        self.left = limit

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            self.out()

    def out(self) -> NoReturn:
        raise OverBudget(
            f"budget_exceeded: the expression asks for more than {self.limit:,} steps",
            help="filter the list before working on it, or make its loops smaller",
        )


def too_long() -> NoReturn:
    raise OverBudget(f"budget_exceeded: the result is longer than {TEXT_MAX:,} characters")


def within(value: Any, fuel: Fuel) -> Any:
    """The value, when all of it can be written out within the fuel: lists of the same list grow by doubling."""
    waiting: list[Any] = []
    for each in value.values() if type(value) is dict else value if type(value) is list else (value,):
        if not (each is None or type(each) is Decimal or type(each) is int or (type(each) is str and len(each) < 65)):
            waiting.append(each)
    while waiting:
        each = waiting.pop()
        if type(each) is str:
            if len(each) > 64:
                fuel.spend(len(each) >> 3)
        elif isinstance(each, list):
            fuel.spend(len(each) + 1)
            waiting.extend(each)
        elif isinstance(each, Mapping):
            fuel.spend(len(each) + 1)
            waiting.extend(each.values())
    return value


def as_dict(value: Any) -> Mapping[str, Any]:
    """The value seen as an object: itself when it is one, else an empty one (so every key reads as absent)."""
    return value if isinstance(value, Mapping) else EMPTY


def element(value: Any, index: int) -> Any:
    """JMESPath's index: None outside the list and for anything that is no list."""
    if type(value) is not list and not isinstance(value, list):
        return None
    try:
        return value[index]
    except IndexError:
        return None


NOT_THERE: Final = object()


def step(value: Any, part: str | int) -> Any:
    """One step of a path by key or place; ``NOT_THERE`` when there is nothing."""
    if isinstance(part, str):
        return value.get(part, NOT_THERE) if isinstance(value, Mapping) else NOT_THERE
    if isinstance(value, (list, str)) and -len(value) <= part < len(value):
        return value[part]
    return NOT_THERE


def is_missing(root: Any, path: Sequence[str | int]) -> bool:
    """Whether nothing stands at the path (a null that is there is not missing)."""
    value = root
    for part in path:
        value = step(value, part)
        if value is NOT_THERE:
            return True
    return False


def check_there(root: Any, path: Sequence[str | int], name: str) -> None:
    """Called when a read gave None: passes when the record says null, else names the first part that is absent."""
    value = root
    text = name
    for part in path:
        inner = step(value, part)
        if inner is NOT_THERE:
            holder = f"{text} is {kind(value)}" if not isinstance(value, (Mapping, list)) else ""
            text = spell(text, part)
            whole = spell_path(name, path)
            why = f"{whole} is missing" + (
                f" ({holder})" if holder else f" ({text} is absent)" if text != whole else ""
            )
            raise BadValue(why, code="FR104", help=f"ask `{whole} is missing`, or write `| default(…)`")
        text = spell(text, part)
        value = inner


def spell(text: str, part: str | int) -> str:
    return f"{text}.{part}" if isinstance(part, str) else f"{text}[{part}]"


def spell_path(name: str, path: Sequence[str | int]) -> str:
    for part in path:
        name = spell(name, part)
    return name


def kind(value: Any) -> str:
    """The type of a value in an analyst's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float, Decimal)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    return type(value).__name__


def show(value: Any) -> str:
    """A value as it may stand in a message: short, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else repr(value[:37] + "…")
    if isinstance(value, (int, Decimal)):
        text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of many digits"
        return text if len(text) <= 40 else text[:37] + "…"
    return kind(value)


def as_data_error(error: BaseException) -> DataError | None:
    """What an exception of Python's own that left a generated function means for the record; None when it is a bug."""
    if isinstance(error, DataError):
        return error
    if isinstance(error, decimal.DivisionByZero):
        return BadValue("division by zero")
    if isinstance(error, (decimal.Inexact, decimal.Overflow)):
        return OverBudget("budget_exceeded: the number has more digits than the bounds allow")
    if isinstance(error, decimal.DecimalException):
        return BadValue("the arithmetic has no result (a number is not finite)")
    if isinstance(error, (RecursionError, MemoryError)):
        return OverBudget("budget_exceeded: the value is nested too deeply or is too large")
    return None
