"""JSON at the door: exact numbers, no field twice, no NaN, bounded depth and digits, no halves of characters."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

from flowrun.errors import ConnectorError, Unavailable

MAX_DEPTH = 100
MAX_DIGITS = 1000  # of one number


def parse_json(data: bytes | str, what: str = "the answer") -> Any:
    """Exact JSON (int, Decimal). what: the words that errors begin with.

    Raises Unavailable when it is cut or broken, ConnectorError when it breaks a rule.
    """
    try:
        found = json.loads(
            data,
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_no_constant,
            object_pairs_hook=_no_duplicates,
        )
    except UnicodeDecodeError as error:
        raise Unavailable(f"{what} is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Unavailable(f"{what} is not JSON, or cut short (character {error.pos} of {len(data)})") from None
    except RecursionError:
        raise ConnectorError(f"{what} is nested more than {MAX_DEPTH} levels deep") from None
    except _Rule as error:
        raise ConnectorError(f"{what} {error}") from None
    escapes = b"\\u" in data if isinstance(data, bytes) else "\\u" in data
    try:
        _check(found, surrogates=escapes)
    except _Rule as error:
        raise ConnectorError(f"{what} {error}") from None
    return found


class _Rule(Exception):
    """A rule that is broken, in words that follow ``what``."""


def _number(text: str) -> Decimal:
    found = Decimal(text)
    if len(text) > MAX_DIGITS or abs(found.adjusted()) > MAX_DIGITS:
        raise _Rule(f"holds a number of more than {MAX_DIGITS} digits")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Rule(f"holds a number of more than {MAX_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise _Rule(f"holds {text}, which is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Rule("names a field twice")
    return found


def _check(value: Any, *, surrogates: bool) -> None:
    """Depth; and halves of characters, which only an escape can smuggle in and nothing can send on."""
    stack = [(value, 1)]
    while stack:
        at, depth = stack.pop()
        if isinstance(at, dict | list):
            if depth > MAX_DEPTH:
                raise _Rule(f"is nested more than {MAX_DEPTH} levels deep")
            stack.extend((inner, depth + 1) for inner in (at.values() if isinstance(at, dict) else at))
            if surrogates and isinstance(at, dict):
                stack.extend((name, depth) for name in at)
        elif surrogates and isinstance(at, str) and any("\ud800" <= one <= "\udfff" for one in at):
            raise _Rule("holds half a character (a lone surrogate)")
