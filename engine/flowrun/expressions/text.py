"""Values as text: what a template prints, and JSON, both with exact numbers and a bound on length."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from types import NoneType
from typing import Any

import msgspec

from flowrun.expressions.numbers import bounded
from flowrun.expressions.runtime import TEXT_MAX, BadValue, OverBudget, kind, too_long

_VALUE = 9  # each value inside takes so many characters of the room, because a walk takes time as well


def number_text(value: int | Decimal) -> str:
    """Plain digits, never an exponent."""
    try:
        text = str(value)
        return text if text[-1] <= "9" and "E" not in text else format(bounded(Decimal(value)), "f")
    except ValueError:  # more digits than Python converts
        raise OverBudget("budget_exceeded: a number of too many digits") from None


def to_text(value: Any) -> str:
    """A value as a template prints it: as Jinja does, but Decimals in plain digits."""
    kind_ = type(value)
    if kind_ is str:
        return value  # type: ignore[no-any-return]
    if kind_ is Decimal or kind_ is int:
        return number_text(value)
    if value is None or kind_ is bool:
        return str(value)
    text = str(value)  # lists and objects, as Python and so Jinja print them
    if "Decimal(" in text:
        return bounded_text(value)
    if len(text) > TEXT_MAX:
        too_long()
    return text


def bounded_text(value: Any) -> str:
    """``to_text`` for values that may print as far more than they hold: it stops at the bound."""
    if type(value) in (str, int, Decimal, bool, NoneType):
        return to_text(value)
    out: list[str] = []
    _write_python(value, out, [TEXT_MAX], 0)
    return "".join(out)


_compact = msgspec.json.Encoder(decimal_format="number")
_sorted = msgspec.json.Encoder(decimal_format="number", order="sorted")
_DIFFERENT = re.compile(r"[0-9]e[0-9]|\x7f|NaN|Infinity")  # Python writes 1e+16 where msgspec writes 1e16; …


def quick_json(value: Any) -> str:
    """Compact JSON as ``json_text`` writes it, by msgspec; for values that hold no list many times over."""
    return _quick(value, _compact, None) or json_text(value)


def sorted_json(value: Any) -> str:
    """The same with sorted keys and blanks after commas and colons, as Python's json writes it."""
    return _quick(value, _sorted, 0) or json_text(value, comma=", ", colon=": ", sort=True)


def _quick(value: Any, encoder: msgspec.json.Encoder, indent: int | None) -> str | None:
    """None when the two write it differently."""
    try:
        data = encoder.encode(value)
        if len(data) > TEXT_MAX:
            too_long()
        text = (data if indent is None else msgspec.json.format(data, indent=indent)).decode()
    except (TypeError, msgspec.MsgspecError, UnicodeError, OverflowError):
        return None
    if not text.isascii() or _DIFFERENT.search(text):
        return None
    return text


def _write_python(value: Any, out: list[str], room: list[int], depth: int) -> None:
    """Lists and objects look as Jinja prints them (``['a', 1]``), numbers exact."""
    if depth > 50:
        raise OverBudget("budget_exceeded: a value nested more than 50 deep")
    room[0] -= _VALUE
    piece = ""
    if isinstance(value, str):
        piece = repr(value) if depth else str(value)
    elif isinstance(value, (list, tuple)):
        opening, closing = ("(", ",)" if len(value) == 1 else ")") if isinstance(value, tuple) else ("[", "]")
        out.append(opening)
        for place, each in enumerate(value):
            if place:
                out.append(", ")
            room[0] -= 2
            _write_python(each, out, room, depth + 1)
        out.append(closing)
    elif isinstance(value, Mapping):
        out.append("{")
        for place, (key, each) in enumerate(value.items()):
            out.append((", " if place else "") + repr(key) + ": ")
            room[0] -= 4 + len(key)
            _write_python(each, out, room, depth + 1)
        out.append("}")
    elif isinstance(value, (bool, type(None))):
        piece = str(value)
    elif isinstance(value, (int, Decimal)):
        piece = number_text(value)
    elif isinstance(value, float):
        piece = repr(value)
    else:
        piece = str(value)
    out.append(piece)
    room[0] -= len(piece) + 1
    if room[0] < 0:
        too_long()


def join_texts(pieces: Iterable[str]) -> str:
    """The pieces as one text, refused before it is built when it would be too long."""
    held = list(pieces)
    if sum(map(len, held)) > TEXT_MAX:
        too_long()
    return "".join(held)


def json_text(value: Any, *, comma: str = ",", colon: str = ":", sort: bool = False, indent: int | None = None) -> str:
    """JSON text, ASCII only, numbers in their own digits. Raises BadValue for what JSON has no word for."""
    out: list[str] = []
    _write_json(value, out, [TEXT_MAX], (comma, colon, sort, indent), 0)
    return "".join(out)


def _write_json(
    value: Any, out: list[str], room: list[int], how: tuple[str, str, bool, int | None], depth: int
) -> None:
    if depth > 50:
        raise OverBudget("budget_exceeded: a value nested more than 50 deep")
    room[0] -= _VALUE
    comma, colon, sort, indent = how
    before = len(out)
    if isinstance(value, str):
        out.append(encode_basestring_ascii(value))
    elif value is None:
        out.append("null")
    elif isinstance(value, bool):
        out.append("true" if value else "false")
    elif isinstance(value, (int, Decimal)):
        out.append(number_text(value))
    elif isinstance(value, float):
        out.append(repr(value))
    elif isinstance(value, (list, tuple, Mapping)):
        keyed = isinstance(value, Mapping)
        inner = "" if indent is None else "\n" + " " * (indent * (depth + 1))
        out.append("{" if keyed else "[")
        for place, each in enumerate(sorted(value) if keyed and sort else value):
            out.append((comma.rstrip() if indent is not None else comma) + inner if place else inner)
            if keyed:
                out.append(encode_basestring_ascii(str(each)) + colon)
                room[0] -= len(str(each)) + 3
            room[0] -= 1 + len(inner)
            _write_json(value[each] if keyed else each, out, room, how, depth + 1)
        if value and indent is not None:
            out.append("\n" + " " * (indent * depth))
        out.append("}" if keyed else "]")
    else:
        raise BadValue(f"{kind(value)} cannot be written as JSON", code="FR113")
    if len(out) == before + 1:
        room[0] -= len(out[-1])
    if room[0] < 0:
        too_long()
