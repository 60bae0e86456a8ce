"""Reading answers: the right content type, a bounded size, exact numbers, no duplicate keys, no NaN."""

from __future__ import annotations

from typing import Any

import httpx

from flowrun.errors import ConnectorError, DeliveryUnknown, Unavailable
from flowrun_connectors._json import parse_json


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
