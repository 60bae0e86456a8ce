"""What generated lines call: no value, no row, text where text is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flowrun.expressions.converters import as_text, text_of
from flowrun.expressions.runtime import BadValue, show
from flowrun.flow.tables import normal

ABSENT: Final[Any] = type("Absent", (), {"__repr__": lambda self: "ABSENT", "__slots__": ()})()
NO_ROWS: Final[dict[Any, Any]] = {}


class SkipRecord(Exception):
    """A lookup said on_miss: skip."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def no_value(what: str) -> None:
    raise BadValue(f"{what} has no value", help="write default: … or optional: true, or correct the record")


def no_row(name: str, where: str, key: Any) -> None:
    shown = ", ".join(show(part) for part in key) if isinstance(key, tuple) else show(key)
    raise BadValue(f"{name} has no row for {shown}", help=f"add the row{where}, or change on_miss of lookup '{name}'")


def is_blank(value: Any) -> bool:
    """Whether this means no value: null, or text of white space."""
    return value is None or (type(value) is str and (not value or value.isspace()))


def needed_text(value: Any, what: str, word: str | None) -> str:
    """``some_text`` of what must be there."""
    if value is None:
        no_value(what)
    return some_text(value, word)


def some_text(value: Any, word: str | None) -> str:
    """What is no text, as the text that the converter ``word`` (None: a key, a field) works on."""
    return as_text(value) if word is None else text_of(value, word)


def warned(lookup: str, key: Any) -> str:
    shown = ", ".join(map(show, key)) if isinstance(key, tuple) else show(key)
    return f"{lookup} has no row for {shown}; used the value of on_miss"


def normalised(trim: bool, ignore_case: bool) -> Callable[[Any], Any]:
    def convert(key: Any) -> Any:
        if isinstance(key, tuple):
            return normal(key, ignore_case, trim)
        return normal((key,), ignore_case, trim)[0]

    return convert
