"""Exact numbers: int and Decimal, never float; text that is a plain decimal reads as one where the language says so."""

from __future__ import annotations

import re
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from types import TracebackType
from typing import Any, Final, NoReturn

from flowrun.expressions.runtime import BadValue, Fuel, OverBudget, kind, show

DIGITS_MAX: Final = 1000  # digits of one number; an amount has 15, an attack has millions
_EXPONENT_MAX: Final = 1000
_INT_MAX: Final = 10**DIGITS_MAX
_BITS_MAX: Final = _INT_MAX.bit_length()
_PLAIN = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?", re.ASCII)

_TRAPS = [InvalidOperation, DivisionByZero, Overflow, Inexact]
EXACT: Final = Context(prec=DIGITS_MAX, rounding=ROUND_HALF_EVEN, traps=_TRAPS, Emax=9999, Emin=-9999)
"""The context of + - * and comparison: a result is exact or an error, never silently rounded."""
DIVIDE: Final = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=_TRAPS[:3])
"""The context of / and of powers that have no exact result: 28 digits."""
_WHOLE = Context(prec=2 * DIGITS_MAX + 4, traps=_TRAPS[:3], Emax=9999, Emin=-9999)


class exact_numbers:
    """``with exact_numbers():`` — the code inside computes in EXACT; the caller's context comes back after."""

    __slots__ = ("_outer",)

    def __enter__(self) -> None:
        self._outer = getcontext()
        setcontext(EXACT)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        setcontext(self._outer)


def plain_decimal(text: str) -> Decimal | None:
    """The number a text spells in plain digits (``-12.50``), else None. No exponent, no blanks, no thousands marks."""
    if len(text) <= 40:
        whole, _, rest = text.partition(".")
        if whole.isdigit() and rest.isdigit() and text.isascii():
            return Decimal(text)  # as amounts are written; the pattern takes longer
    elif len(text) > DIGITS_MAX:
        if text.strip("+-.0123456789") == "":
            raise OverBudget(f"budget_exceeded: a number of more than {DIGITS_MAX} digits")
        return None
    return Decimal(text) if _PLAIN.fullmatch(text) else None


def number(value: Any, what: str = "arithmetic") -> int | Decimal:
    """The value as a number for an operator: numbers as they are, plain decimal text as Decimal.

    what: the operator or filter, for the message. Raises BadValue.
    """
    if type(value) is str:
        whole, _, rest = value.partition(".")
        if whole.isdigit() and rest.isdigit() and len(value) <= 40 and value.isascii():  # as in plain_decimal
            return Decimal(value)
        found = plain_decimal(value)
        if found is not None:
            return found
        help = "join text with ~" if what == "+" else "use `as: decimal` on the field, or compare with =="
        raise BadValue(f"{show(value)} is text, not a number, in {what!r}", code="FR113", help=help)
    if type(value) is Decimal:
        return bounded(value)
    if type(value) is int and -(2**63) < value < 2**63:
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _BITS_MAX else _too_many()
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Decimal):
        return bounded(Decimal(value))
    if value is None:
        raise BadValue(f"null is not a number, in {what!r}", code="FR113", help="ask `… is missing` first")
    raise BadValue(f"{kind(value)} is not a number, in {what!r}", code="FR113")


def bounded(value: Decimal) -> Decimal:
    """The Decimal, when it is finite and can be written out in a bounded number of digits."""
    if not value.is_finite():
        raise BadValue("the number is not finite", code="FR113")
    if -_EXPONENT_MAX < value.adjusted() < _EXPONENT_MAX:
        return value
    return _too_many()


def whole(value: int | Decimal) -> int | None:
    """The value as int; None when it has a fraction. Raises OverBudget: 1E+999999 would be written out for a minute."""
    if type(value) is int:
        return value
    found = bounded(Decimal(value))
    made = int(found)
    return made if made == found else None


def _too_many() -> NoReturn:
    raise OverBudget(f"budget_exceeded: a number of more than {DIGITS_MAX} digits")


def _int(value: int) -> int:
    return value if -_INT_MAX < value < _INT_MAX else _too_many()


# -- operators ---------------------------------------------------------------------------------------------------


def add(a: Any, b: Any, fuel: Fuel) -> Any:
    """``+`` for whatever the fast path does not take: numbers, and two lists (as in Jinja)."""
    if isinstance(a, list) and isinstance(b, list):
        fuel.spend(len(a) + len(b))
        return a + b
    left, right = number(a, "+"), number(b, "+")
    if type(left) is int and type(right) is int:
        return _int(left + right)
    return EXACT.add(left, right)


def subtract(a: Any, b: Any) -> int | Decimal:
    left, right = number(a, "-"), number(b, "-")
    if type(left) is int and type(right) is int:
        return _int(left - right)
    return EXACT.subtract(left, right)


def multiply(a: Any, b: Any) -> int | Decimal:
    left, right = (a, b) if type(a) is int and type(b) is int else (number(a, "*"), number(b, "*"))
    if type(left) is int and type(right) is int:
        if left.bit_length() + right.bit_length() > _BITS_MAX:
            _too_many()
        return left * right
    return EXACT.multiply(left, right)


def divide(a: Any, b: Any) -> Decimal:
    """Decimal division at 28 digits."""
    left, right = number(a, "/"), number(b, "/")
    if not right:
        raise BadValue("division by zero", code="FR113")
    return DIVIDE.divide(Decimal(left), Decimal(right))


def floor_divide(a: Any, b: Any) -> int | Decimal:
    """The next whole number at or below a / b, for int and Decimal alike."""
    if type(a) is int and type(b) is int and b:
        return a // b
    return _divmod(a, b, "//")[0]


def modulo(a: Any, b: Any) -> int | Decimal:
    """a - b * (a // b): has the sign of b, for int and Decimal alike."""
    if type(a) is int and type(b) is int and b:
        return a % b
    return _divmod(a, b, "%")[1]


def _divmod(a: Any, b: Any, what: str) -> tuple[int | Decimal, int | Decimal]:
    left, right = number(a, what), number(b, what)
    if not right:
        raise BadValue("division by zero", code="FR113")
    if type(left) is int and type(right) is int:
        return divmod(left, right)
    quotient, rest = _WHOLE.divmod(Decimal(left), Decimal(right))
    if rest and (rest < 0) != (right < 0):
        return _WHOLE.subtract(quotient, Decimal(1)), _WHOLE.add(rest, Decimal(right))
    return quotient, rest


def power(a: Any, b: Any) -> int | Decimal:
    """Exact for whole exponents within bounds, else at 28 digits."""
    base, exponent = number(a, "**"), number(b, "**")
    if not base and exponent < 0:
        raise BadValue("division by zero", code="FR113")
    if exponent == 0:
        return 1
    size = Decimal(base).copy_abs()
    whole = type(exponent) is int or exponent == Decimal(exponent).to_integral_value()
    if whole and exponent > 0:
        if size in (0, 1):
            return base if exponent % 2 or not base else 1
        if len(size.as_tuple().digits) * int(exponent) <= DIGITS_MAX:
            return base ** int(exponent) if type(base) is int else EXACT.power(base, Decimal(int(exponent)))
    reach = Decimal(exponent).copy_abs()
    if (size.adjusted() + 1) * reach > DIGITS_MAX or reach > 1_000_000:
        _too_many()
    return DIVIDE.power(Decimal(base), Decimal(exponent))


def negate(a: Any) -> int | Decimal:
    value = number(a, "-")
    if type(value) is Decimal:
        return value.copy_negate() if value else value.copy_abs()
    return -value


def less(a: Any, b: Any) -> bool:
    return number(a, "<") < number(b, "<")


def less_equal(a: Any, b: Any) -> bool:
    return number(a, "<=") <= number(b, "<=")


def greater(a: Any, b: Any) -> bool:
    return number(a, ">") > number(b, ">")


def greater_equal(a: Any, b: Any) -> bool:
    return number(a, ">=") >= number(b, ">=")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """``==`` of calc: text is read as a number only when the other side is one."""
    if type(a) is type(b):
        return bool(a == b)
    if type(b) is str and type(a) is Decimal:
        return _spelled(a, b) or plain_decimal(b) == a
    if type(a) is str and (type(b) is int or type(b) is Decimal):
        return _spelled(b, a) or plain_decimal(a) == b
    if isinstance(a, str) and is_number(b):
        a = plain_decimal(a)
    elif isinstance(b, str) and is_number(a):
        b = plain_decimal(b)
    if isinstance(a, float) or isinstance(b, float):
        a, b = _unfloat(a), _unfloat(b)
    return bool(a == b)


def _spelled(value: int | Decimal, text: str) -> bool:
    """Whether the text is how the number is written, as totals are that agree; told sooner than by reading it."""
    return str(value) == text and not text.strip("-.0123456789")  # what str makes of these is plain


def _unfloat(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def contains(container: Any, item: Any, fuel: Fuel) -> bool:
    """``in`` of calc: an element of a list (compared as == does), a key of an object, a piece of a text."""
    if isinstance(container, (list, tuple)):
        fuel.spend(len(container))
        return any(equal(item, each) for each in container)
    if isinstance(container, str):
        if isinstance(item, str):
            fuel.spend(len(container) >> 6)
            return item in container
        raise BadValue(f"{kind(item)} cannot be looked for in text", code="FR113")
    if isinstance(container, dict):
        return isinstance(item, str) and item in container
    raise BadValue(f"{kind(container)} holds nothing: 'in' needs a list, an object or text", code="FR113")


# -- rounding ----------------------------------------------------------------------------------------------------

_PLACES = {digits: Decimal(1).scaleb(-digits) for digits in range(-9, 10)}
_ROUNDINGS = {"common": ROUND_HALF_EVEN, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}


def rounded(value: Any, precision: Any = 0, method: str = "common") -> int | Decimal:
    """Jinja's ``round``: half to even, ``ceil`` or ``floor``, at so many digits after the point."""
    if not isinstance(method, str) or method not in _ROUNDINGS:
        raise BadValue("method must be common, ceil or floor", code="FR113")
    found = value if type(value) is Decimal else number(value, "round")
    digits = precision if type(precision) is int else number(precision, "round")
    if digits != int(digits) or not -100 <= digits <= 100:
        raise BadValue("round takes a whole number of digits up to 100", code="FR113")
    if type(found) is int and digits >= 0:
        return found
    place = _PLACES.get(int(digits)) or Decimal(1).scaleb(-int(digits))
    result = Decimal(found).quantize(place, rounding=_ROUNDINGS[method], context=_WHOLE)
    return result if digits >= 0 else Decimal(int(result))
