"""The last step of a value: into the target's type, in canonical form, or refused with a reason. Nothing is cut.

Canonical: days ``2026-05-04``, moments ``2026-05-04T10:00:00Z``, times ``10:30:00``; decimals as Decimal, or as text
with their digits where the contract's numbers travel as text; the connector writes the vendor's wire form.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import ROUND_DOWN, Decimal
from typing import Any

from flowrun.contract import Field
from flowrun.expressions import dates
from flowrun.expressions.converters import EXACT_ROUND, as_text, number_of
from flowrun.expressions.numbers import whole
from flowrun.expressions.runtime import BadValue, kind, show
from flowrun.expressions.text import number_text


def canonical(value: Any) -> Any:
    """What leaves a plan when no contract says more: dates as text, all else as it is."""
    if isinstance(value, datetime):
        return dates.datetime_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, tuple):
        return list(value)
    return value


def fitter(field: Field | None, text_numbers: bool) -> Callable[[Any], Any] | None:
    """A function from a value to what is sent; None when nothing needs doing beyond ``canonical``.

    The function raises BadValue: too long, too many digits, wrong type, not in the enumeration.
    """
    if field is None:
        return canonical
    make = _FITTERS.get(field.type)
    if make is None:
        return canonical
    return make(field, text_numbers)


def _text(field: Field, _: bool) -> Callable[[Any], Any]:
    most, allowed = field.max_length, frozenset(field.enum)

    def fit(value: Any) -> str:
        text = value if type(value) is str else as_text(value)
        if most is not None and len(text) > most:
            raise BadValue(
                f"{show(text)} has {len(text)} characters; {field.name} takes {most}", help=f"as: truncate {most}"
            )
        if allowed and text not in allowed:
            raise BadValue(f"{show(text)} is not one of {', '.join(field.enum[:12])}")
        return text

    return fit


def _decimal(field: Field, text_numbers: bool) -> Callable[[Any], Any]:
    scale, precision = field.scale, field.precision
    rest_max = scale if scale is not None else 1000
    whole_max = precision - (scale or 0) if precision is not None else 1000

    def fit(value: Any) -> Any:
        if type(value) is Decimal:
            text = str(value)
            whole, _, rest = text.partition(".")
            if len(rest) <= rest_max and len(whole) <= whole_max and text[-1] <= "9" and "E" not in text:
                return text if text_numbers else value
        number = Decimal(number_of(value, field.name))
        exponent = number.as_tuple().exponent
        digits = -exponent if isinstance(exponent, int) and exponent < 0 else 0
        if scale is not None and digits > scale:
            shorter = number.quantize(Decimal(1).scaleb(-scale), ROUND_DOWN, EXACT_ROUND)
            if shorter != number:
                raise BadValue(
                    f"{number_text(number)} has {digits} digits after the point; {field.name} takes {scale}",
                    help=f"as: decimal {scale} half_up",
                )
            number = shorter
        if precision is not None and number and number.adjusted() + 1 > precision - (scale or 0):
            raise BadValue(f"{number_text(number)} is too large; {field.name} takes {precision} digits")
        return number_text(number) if text_numbers else number

    return fit


def _integer(field: Field, _: bool) -> Callable[[Any], Any]:
    def fit(value: Any) -> int:
        if type(value) is int:
            return value
        number = whole(number_of(value, field.name))
        if number is None:
            raise BadValue(f"{show(value)} is not a whole number, which {field.name} takes")
        return number

    return fit


def _boolean(field: Field, _: bool) -> Callable[[Any], Any]:
    def fit(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return bool(value == "true")
        raise BadValue(f"{show(value)} is not true or false, which {field.name} takes", help="as: boolean Y N")

    return fit


def _date(field: Field, _: bool) -> Callable[[Any], Any]:
    read = dates.to_date("iso", None)

    def fit(value: Any) -> str:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, datetime):
            raise BadValue(f"{show(dates.datetime_text(value))} is a moment, {field.name} takes a day", help="as: date")
        return read(value).isoformat()

    return fit


def _datetime(field: Field, _: bool) -> Callable[[Any], Any]:
    read = dates.to_datetime("iso", None)

    def fit(value: Any) -> str:
        if isinstance(value, datetime):
            return dates.datetime_text(value)
        if isinstance(value, date):
            return value.isoformat() + "T00:00:00Z"
        return dates.datetime_text(read(value))

    return fit


def _time(field: Field, _: bool) -> Callable[[Any], Any]:
    read = dates.to_time("iso", None)

    def fit(value: Any) -> str:
        return (value if isinstance(value, time) else read(value)).isoformat()

    return fit


def _list(field: Field, _: bool) -> Callable[[Any], Any]:
    def fit(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise BadValue(f"{field.name} takes a list, not {kind(value)}", help="as: list")
        return list(value)

    return fit


def _object(field: Field, _: bool) -> Callable[[Any], Any]:
    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"{field.name} takes an object, not {kind(value)}")
        return value

    return fit


_FITTERS: dict[str, Callable[[Field, bool], Callable[[Any], Any]]] = {
    "text": _text,
    "decimal": _decimal,
    "integer": _integer,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "time": _time,
    "list": _list,
    "object": _object,
}
