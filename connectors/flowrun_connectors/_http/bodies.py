"""Reading answers: the right content type, a bounded size, exact numbers, no duplicate keys, no NaN."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

import httpx

from flowrun.errors import ConnectorError, Unavailable

MAX_DEPTH = 100


def read_json(response: httpx.Response) -> Any:
    """The answer's JSON with exact numbers (int, Decimal).

    Raises Unavailable for what is no JSON answer at all (an HTML page with status 200 is a proxy or a maintenance page,
    never success).
    """
    kind = response.headers.get("content-type", "")
    if "json" not in kind.lower():
        raise Unavailable(
            f"the answer is {kind.split(';')[0] or 'of no type'}, not JSON (status {response.status_code})",
            status=response.status_code,
            help="a proxy or a maintenance page? check base_url",
        )
    return parse_json(response.content)


def parse_json(data: bytes) -> Any:
    """Exact JSON. Raises Unavailable when it is cut or broken, ConnectorError when it breaks a rule."""
    try:
        found = json.loads(data, parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Unavailable(f"the answer is not JSON: {type(error).__name__} at {getattr(error, 'pos', 0)}") from None
    except RecursionError:
        raise ConnectorError("the answer is nested too deeply") from None
    _check_depth(found)
    return found


def _number(text: str) -> Decimal:
    found = Decimal(text)
    if found.is_finite() and abs(found.adjusted()) > 1000:
        raise ConnectorError("the answer holds a number of absurd size")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ConnectorError(f"the answer holds {text}, which is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ConnectorError("the answer names a field twice")
    return found


def _check_depth(value: Any) -> None:
    stack = [(value, 1)]
    while stack:
        at, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ConnectorError(f"the answer is nested more than {MAX_DEPTH} levels deep")
        if isinstance(at, dict):
            stack.extend((inner, depth + 1) for inner in at.values())
        elif isinstance(at, list):
            stack.extend((inner, depth + 1) for inner in at)
