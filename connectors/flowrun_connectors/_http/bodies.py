"""Reading answers: the right content type, a bounded size, exact numbers, no duplicate keys, no NaN."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

import httpx

from flowrun.errors import ConnectorError, DeliveryUnknown, Unavailable

MAX_DEPTH = 100
MAX_DIGITS = 1000  # of one number


def read_json(response: httpx.Response, *, writing: bool = False) -> Any:
    """The answer's JSON with exact numbers (int, Decimal).

    Raises Unavailable for what is no JSON answer at all (an HTML page with status 200 is a proxy or a maintenance page,
    never success), ConnectorError for JSON that breaks a rule. writing: both are DeliveryUnknown instead, since the
    write may have been done.
    """
    try:
        kind = response.headers.get("content-type", "")
        if "json" not in kind.lower():
            raise Unavailable(
                f"the answer is {kind.split(';')[0][:60] or 'of no type'}, not JSON (status {response.status_code})",
                status=response.status_code,
                help="a proxy or a maintenance page? check base_url",
            )
        return parse_json(response.content)
    except ConnectorError as error:
        if writing:
            raise DeliveryUnknown(error.message, status=response.status_code, help=error.help) from None
        raise


def parse_json(data: bytes) -> Any:
    """Exact JSON. Raises Unavailable when it is cut or broken, ConnectorError when it breaks a rule."""
    try:
        found = json.loads(
            data,
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_no_constant,
            object_pairs_hook=_no_duplicates,
        )
    except UnicodeDecodeError as error:
        raise Unavailable(f"the answer is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Unavailable(f"the answer is not JSON, or cut short (character {error.pos} of {len(data)})") from None
    except RecursionError:
        raise ConnectorError(f"the answer is nested more than {MAX_DEPTH} levels deep") from None
    _check(found, surrogates=b"\\u" in data)
    return found


def _number(text: str) -> Decimal:
    found = Decimal(text)
    if len(text) > MAX_DIGITS or abs(found.adjusted()) > MAX_DIGITS:
        raise ConnectorError(f"the answer holds a number of more than {MAX_DIGITS} digits")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ConnectorError(f"the answer holds a number of more than {MAX_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ConnectorError(f"the answer holds {text}, which is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ConnectorError("the answer names a field twice")
    return found


def _check(value: Any, *, surrogates: bool) -> None:
    """Depth; and halves of characters, which only an escape can smuggle in and nothing can send on."""
    stack = [(value, 1)]
    while stack:
        at, depth = stack.pop()
        if isinstance(at, dict | list):
            if depth > MAX_DEPTH:
                raise ConnectorError(f"the answer is nested more than {MAX_DEPTH} levels deep")
            stack.extend((inner, depth + 1) for inner in (at.values() if isinstance(at, dict) else at))
            if surrogates and isinstance(at, dict):
                stack.extend((name, depth) for name in at)
        elif surrogates and isinstance(at, str) and any("\ud800" <= one <= "\udfff" for one in at):
            raise ConnectorError("the answer holds half a character (a lone surrogate)")
