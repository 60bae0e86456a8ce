"""An API's own way to say no: its words, code and field, and what its codes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from flowrun.errors import ConnectorError, Duplicate, Unavailable
from flowrun_connectors._http.errors import from_status, retry_after
from flowrun_connectors._json import parse_json
from flowrun_connectors.http.objects import CLASSES
from flowrun_connectors.http.places import at

_MOST_WORDS = 500  # characters of an API's own message that are kept
_MESSAGES = (
    "error.message",
    "message",
    "detail",
    "error_description",
    "error",
    "title",
    "errors[0].message",
    "errors[0]",
)
_CODES = ("error.code", "code", "errors[0].code", "error.type", "type")


def told(response: httpx.Response, errors: Mapping[str, Any], *, writing: bool) -> ConnectorError | None:
    """The error that an answer stands for, when it says anything in JSON beyond its status; by its own code where
    ``classes:`` knows that, else by its status."""
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = parse_json(response.content)
    except ConnectorError:
        return None
    message, code, field = _said(body, errors)
    known = _by_code(message, code, field, response, errors)
    if known is not None:
        return known
    if writing and response.status_code == 409 and code.lower() in ("duplicate", "already_exists", "exists"):
        return Duplicate(message or "it exists already", code=code, field=field, status=409)
    return from_status(response, message, code=code, field=field, writing=writing)


def inside(answer: Any, response: httpx.Response, errors: Mapping[str, Any], kind: type[ConnectorError]) -> None:
    """Raises for an answer that says no with a status of success, as ``when:`` tells; of ``kind`` where its code says
    no more."""
    if not errors.get("when") or not at(answer, str(errors["when"])):
        return
    message, code, field = _said(answer, errors)
    raise _by_code(message, code, field, response, errors) or kind(
        message or "the answer says no", code=code, field=field, status=response.status_code
    )


def _said(body: Any, errors: Mapping[str, Any]) -> tuple[str, str, str]:
    message = _first(body, [str(errors["message"])] if errors.get("message") else _MESSAGES)
    code = _first(body, [str(errors["code"])] if errors.get("code") else _CODES)
    return message, code, _first(body, [str(errors["field"])] if errors.get("field") else ())


def _by_code(
    message: str, code: str, field: str, response: httpx.Response, errors: Mapping[str, Any]
) -> ConnectorError | None:
    word = (errors.get("classes") or {}).get(code)
    if word is None:
        return None
    made = CLASSES[str(word)](message or code, code=code, field=field, status=response.status_code)
    if isinstance(made, Unavailable):
        made.retry_after_secs = retry_after(response)
    return made


def _first(body: Any, paths: Sequence[str]) -> str:
    for path in paths:
        found = at(body, path)
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)[:_MOST_WORDS]
    return ""
