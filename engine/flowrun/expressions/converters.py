"""Converters: the words after ``as:``. Each is a small function made once per use, ``value → value``.

What comes in is never absent (that is decided before); what does not fit raises BadValue and the record is bad_data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any, Final

from flowrun.contract import Field, FieldType
from flowrun.diagnostics import near
from flowrun.errors import ExpressionError
from flowrun.expressions import dates
from flowrun.expressions.graphemes import cut
from flowrun.expressions.numbers import EXACT, plain_decimal, whole
from flowrun.expressions.runtime import BadValue, kind, show
from flowrun.expressions.text import json_text, number_text
from flowrun.values import decode_json

Convert = Callable[[Any], Any]
_ROUNDINGS: Final = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "down": ROUND_DOWN}
WIDTH_MAX: Final = 1000  # characters that pad and alpha may fill up to


@dataclass(frozen=True, slots=True)
class Parameter:
    """kind: ``count`` (0…1000), ``digits`` (0…20), ``number``, ``rounding``, ``text``, ``format`` or ``zone``."""

    name: str
    kind: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Converter:
    """gives: the type of what comes out (None: as it came in). examples: (arguments, input, output).
    source: the file of one that a project adds."""

    name: str
    doc: str
    make: Callable[..., Convert]
    parameters: tuple[Parameter, ...] = ()
    gives: FieldType | None = "text"
    examples: tuple[tuple[tuple[str, ...], Any, Any], ...] = ()
    source: str = ""


def text_of(value: Any, word: str) -> str:
    """The text a text converter works on: text as it is, numbers in plain digits. Raises BadValue for the rest."""
    if type(value) is str:
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return number_text(value)
    raise BadValue(f"{word} takes text, not {kind(value)}")


def _text(word: str, change: Callable[[str], str]) -> Convert:
    def convert(value: Any) -> str:
        return change(value) if type(value) is str else change(text_of(value, word))

    return convert


def _trim() -> Convert:
    return _text("trim", str.strip)


def _truncate(count: str) -> Convert:
    most = int(count)
    return _text("truncate", lambda text: text if len(text) <= most else cut(text, most))


def _pad(count: str) -> Convert:
    width = int(count)
    return _text("pad", lambda text: text.rjust(width, "0"))


def _alpha(count: str) -> Convert:
    width = int(count)

    def convert(value: Any) -> str:
        text = text_of(value, "alpha").strip()
        return text.zfill(width) if text.isascii() and text.isdigit() else text

    return convert


def _digits() -> Convert:
    return _text("digits", lambda text: "".join(c for c in text if "0" <= c <= "9"))


def _replace(old: str, new: str) -> Convert:
    def change(text: str) -> str:
        if len(new) > len(old) and len(text) * (len(new) + 1) > 1_000_000:
            raise BadValue("replace would make the text longer than 1,000,000 characters")
        return text.replace(old, new)

    return _text("replace", change)


def _word(count: str) -> Convert:
    index = int(count)

    def change(text: str) -> str:
        words = text.split()
        place = index - 1 if index > 0 else index
        return words[place] if -len(words) <= place < len(words) else ""

    return _text("word", change)


def _before(mark: str) -> Convert:
    return _text("before", lambda text: text.split(mark, 1)[0])


def _after(mark: str) -> Convert:
    return _text("after", lambda text: text.split(mark, 1)[1] if mark in text else "")


def number_of(value: Any, word: str) -> int | Decimal:
    """The exact number of a value: numbers as they are, plain decimal text as Decimal. Raises BadValue."""
    if isinstance(value, bool):
        raise BadValue(f"{word} takes a number, not {kind(value)}")
    if isinstance(value, int | Decimal):
        return value
    if type(value) is str:
        found = plain_decimal(value.strip())
        if found is not None:
            return found
        raise BadValue(f"{show(value)} is not a number", help="digits with at most one point; no thousands marks")
    raise BadValue(f"{word} takes a number, not {kind(value)}")


def _integer() -> Convert:
    def convert(value: Any) -> int:
        if type(value) is int:
            return value
        found = whole(number_of(value, "integer"))
        if found is None:
            raise BadValue(
                f"{show(value)} is not a whole number", help="round it first: as: [decimal 0 half_up, integer]"
            )
        return found

    return convert


@lru_cache(maxsize=64)
def _place(digits: int) -> Decimal:
    return Decimal(1).scaleb(-digits)


def _decimal(digits: str, rounding: str | None = None) -> Convert:
    place = _place(int(digits))
    how = _ROUNDINGS[rounding] if rounding else None
    quantize, same = Decimal.quantize, Decimal.same_quantum

    def convert(value: Any) -> Decimal:
        found = plain_decimal(value) if type(value) is str else None
        if found is None:
            found = value if type(value) is Decimal else Decimal(number_of(value, "decimal"))
        if found and same(found, place):
            return found  # as sums of amounts are; sooner told than done
        if how is not None:
            result = quantize(found, place, how, EXACT_ROUND)
            return result if result else abs(result)  # no -0.00
        result = quantize(found, place, ROUND_DOWN, EXACT_ROUND)
        if result != found:
            raise BadValue(
                f"{show(value)} has more than {digits} digits after the point",
                help=f"name the rounding: as: decimal {digits} half_up",
            )
        return result

    return convert


EXACT_ROUND: Final = EXACT.copy()
EXACT_ROUND.traps = {signal: on and signal.__name__ != "Inexact" for signal, on in EXACT.traps.items()}


def _not_below(bound: str) -> Convert:
    least = Decimal(bound)
    return lambda value: value if number_of(value, "not_below") >= least else _like(value, bound)


def _not_above(bound: str) -> Convert:
    most = Decimal(bound)
    return lambda value: value if number_of(value, "not_above") <= most else _like(value, bound)


def _like(value: Any, bound: str) -> Any:
    """The bound, with as many digits as the value shows."""
    number = Decimal(bound)
    if type(value) is int and number == int(number):
        return int(number)
    exponent = Decimal(number_of(value, "not_below")).as_tuple().exponent
    if isinstance(exponent, int) and exponent < 0:
        number = number.quantize(Decimal(1).scaleb(exponent), context=EXACT_ROUND)
    return number


def _boolean(yes: str | None = None, no: str | None = None) -> Convert:
    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if yes is not None:
            text = text_of(value, "boolean")
            if text == yes:
                return True
            if no is None or text == no:
                return False
            raise BadValue(f"{show(value)} is neither {yes!r} nor {no!r}")
        if value in ("true", 1):
            return True
        if value in ("false", 0):
            return False
        raise BadValue(f"{show(value)} is neither true nor false", help="name the words: as: boolean Y N")

    return convert


def _dated(make: Callable[[str, str | None], Convert]) -> Callable[..., Convert]:
    def build(form: str | None = None, zone: str | None = None) -> Convert:
        if form is not None and zone is None and is_zone(form):
            form, zone = "iso", form
        return make(form or "iso", zone)

    return build


def is_zone(text: str) -> bool:
    if text in ("iso", "unix", "unix_ms") or "%" in text:
        return False
    try:
        dates.zone(text)
    except BadValue:
        return False
    return True


def as_text(value: Any) -> str:
    """A value as text, the way ``as: text`` writes it."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return number_text(value)
    if isinstance(value, datetime):
        return dates.datetime_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise BadValue(f"text cannot be made of {kind(value)}", help="as: json writes lists and objects")


def _unjson(value: Any) -> Any:
    if type(value) is not str:
        raise BadValue(f"unjson takes text, not {kind(value)}")
    try:
        return decode_json(value)
    except (ValueError, RecursionError):
        raise BadValue(f"{show(value)} is not JSON") from None


def _hash(value: Any) -> str:
    text = value if type(value) is str else json_text(value, sort=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_FORM = (Parameter("format", "format", True), Parameter("zone", "zone", True))
_COUNT = (Parameter("n", "count"),)

CONVERTERS: Final[Mapping[str, Converter]] = {
    c.name: c
    for c in (
        Converter("trim", "cuts white space at both ends", _trim, examples=(((), " a ", "a"),)),
        Converter("upper", "capital letters", lambda: _text("upper", str.upper), examples=(((), "ab-1", "AB-1"),)),
        Converter("lower", "small letters", lambda: _text("lower", str.lower), examples=(((), "AB", "ab"),)),
        Converter("truncate", "at most n characters, as a person counts them", _truncate, _COUNT,
                  examples=((("3",), "abcd", "abc"),)),
        Converter("pad", "zeros on the left up to n characters", _pad, _COUNT, examples=((("6",), "10", "000010"),)),
        Converter("alpha", "SAP's leading zeros up to n for ids that are all digits; others stay", _alpha, _COUNT,
                  examples=((("10",), "42", "0000000042"), (("10",), "A42", "A42"))),
        Converter("digits", "only the digits", _digits, examples=(((), "+1 (555) 01", "155501"),)),
        Converter("replace", "every a by b", _replace, (Parameter("a", "text"), Parameter("b", "text")),
                  examples=((("-", "/"), "a-b", "a/b"),)),
        Converter("word", "the n-th word; negative counts from the end", _word, (Parameter("n", "index"),),
                  examples=((("1",), "Ann Lee", "Ann"), (("-1",), "Ann B Lee", "Lee"))),
        Converter("before", "what stands before the first x (all of it without x)", _before, (Parameter("x", "text"),),
                  examples=((("@",), "a@b", "a"),)),
        Converter("after", "what stands after the first x (nothing without x)", _after, (Parameter("x", "text"),),
                  examples=((("@",), "a@b", "b"),)),
        Converter("integer", "a whole number", _integer, gives="integer", examples=(((), "12", 12),)),
        Converter("decimal", "n digits after the point; rounding is named when digits would be lost", _decimal,
                  (Parameter("n", "digits"), Parameter("rounding", "rounding", True)), "decimal",
                  ((("2", "half_up"), "10.005", Decimal("10.01")), (("3",), "2", Decimal("2.000")))),
        Converter("not_below", "n where the number is smaller", _not_below, (Parameter("n", "number"),), None,
                  ((("0",), -3, 0),)),
        Converter("not_above", "n where the number is larger", _not_above, (Parameter("n", "number"),), None,
                  ((("9",), 12, 9),)),
        Converter("boolean", "true or false; or the words for yes and no", _boolean,
                  (Parameter("yes", "text", True), Parameter("no", "text", True)), "boolean",
                  ((("Y", "N"), "Y", True),)),
        Converter("date", "a calendar day", _dated(dates.to_date), _FORM, "date",
                  ((("unix", "America/New_York"), 1777888800, date(2026, 5, 4)),)),
        Converter("datetime", "a moment in UTC", _dated(dates.to_datetime), _FORM, "datetime",
                  ((("unix",), 1777888800, datetime(2026, 5, 4, 10, tzinfo=UTC)),)),
        Converter("time", "a time of day", _dated(dates.to_time), _FORM, "time", (((), "10:30", time(10, 30)),)),
        Converter("text", "the value as text", lambda: as_text, examples=(((), 12, "12"), ((), True, "true"))),
        Converter("list", "a list of this one value; a list stays", lambda: lambda v: v if isinstance(v, list) else [v],
                  gives="list", examples=(((), "a", ["a"]),)),
        Converter("json", "JSON text", lambda: json_text, examples=(((), {"a": 1}, '{"a":1}'),)),
        Converter("unjson", "the value that a JSON text holds", lambda: _unjson, gives="any",
                  examples=(((), '{"a":1}', {"a": 1}),)),
        Converter("hash", "SHA-256 in hexadecimal", lambda: _hash, examples=(
            ((), "a", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),)),
    )
}  # fmt: skip

_ARGUMENT = re.compile(r"\s*(?:'((?:[^']|'')*)'|\"([^\"]*)\"|([^\s'\"]+))(?=\s|$)")


def parse_call(text: str) -> tuple[str, tuple[str, ...]]:
    """``truncate 35`` → ("truncate", ("35",)). Arguments with spaces are quoted. Raises ExpressionError."""
    words: list[str] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _ARGUMENT.match(text, at)
        if found is None:
            raise ExpressionError("a quote is not closed", offset=at, code="FR121")
        single, double, bare = found.groups()
        words.append(single.replace("''", "'") if single is not None else double if double is not None else bare)
        at = found.end()
    if not words:
        raise ExpressionError("a converter is missing", code="FR121")
    return words[0], tuple(words[1:])


def check_call(name: str, args: Sequence[str], known: Mapping[str, Converter]) -> Converter:
    """The converter that the call means. Raises ExpressionError: unknown name, wrong number or kind of argument."""
    found = known.get(name)
    if found is None:
        guess = near(name, known)
        raise ExpressionError(
            f"unknown converter '{name}'",
            length=len(name),
            code="FR120",
            help=f"did you mean '{guess}'?" if guess else f"there are: {', '.join(known)}",
        )
    least = sum(not p.optional for p in found.parameters)
    if not least <= len(args) <= len(found.parameters):
        usage = " ".join([name, *(f"[{p.name}]" if p.optional else p.name for p in found.parameters)])
        raise ExpressionError(f"'{name}' is written: {usage}", code="FR121")
    for parameter, arg in zip(found.parameters, args, strict=False):
        wrong = _wrong(parameter, arg)
        if wrong:
            raise ExpressionError(f"{name}: {wrong}", code="FR121")
    if len(args) == 2 and "zone" in {p.kind for p in found.parameters} and not is_zone(args[1]):
        raise ExpressionError(f"{name}: no time zone is named '{args[1]}'", code="FR121", help="such as Europe/Berlin")
    return found


def _wrong(parameter: Parameter, arg: str) -> str:
    kind_ = parameter.kind
    if kind_ == "count" and not (arg.isdigit() and 0 < int(arg) <= WIDTH_MAX):
        return f"{parameter.name} is a whole number from 1 to {WIDTH_MAX}, not '{arg}'"
    if kind_ == "digits" and not (arg.isdigit() and int(arg) <= 20):
        return f"{parameter.name} is a whole number from 0 to 20, not '{arg}'"
    if kind_ == "index" and not (arg.lstrip("-").isdigit() and int(arg)):
        return f"{parameter.name} is a whole number, 1 for the first and -1 for the last, not '{arg}'"
    if kind_ == "number" and plain_decimal(arg) is None:
        return f"{parameter.name} is a number, not '{arg}'"
    if kind_ == "rounding" and arg not in _ROUNDINGS:
        return f"rounding is one of {', '.join(_ROUNDINGS)}, not '{arg}'"
    if kind_ == "text" and not arg and parameter.name in ("a", "x"):
        return f"{parameter.name} is empty"
    if kind_ == "format" and arg not in ("iso", "unix", "unix_ms") and "%" not in arg and not is_zone(arg):
        return f"'{arg}' is neither iso, unix, unix_ms, a pattern such as '%m/%d/%Y', nor a time zone"
    if kind_ == "format" and "%" in arg:
        return dates.bad_pattern(arg)
    return ""


@lru_cache(maxsize=4096)
def converter(name: str, args: tuple[str, ...]) -> Convert:
    """The function of a checked call; made once, shared by every use."""
    return CONVERTERS[name].make(*args)


def result_field(found: Converter, args: Sequence[str], before: Field) -> Field:
    """What is known of a value after the converter: type, length, digits."""
    name = found.name
    if found.gives is None:
        return before
    if name == "truncate" and args:
        return Field(before.name, "text", max_length=int(args[0]))
    if name == "decimal" and args:
        return Field(before.name, "decimal", scale=int(args[0]))
    if name in ("trim", "upper", "lower") and before.type == "text":
        return replace(before, enum=())
    if name == "hash":
        return Field(before.name, "text", max_length=64)
    return Field(before.name, found.gives)
