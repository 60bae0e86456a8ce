"""Error bodies of SAP Gateway, V2 and V4 → class, code, text, field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from flowrun.errors import AuthFailed, ConnectorError, NotFound, Refused, Unavailable
from flowrun_connectors._http.bodies import parse_json
from flowrun_connectors._http.errors import from_status

_GENERIC = "/IWBEP/CX_MGW_BUSI_EXCEPTION"
_LOCK_WORDS = ("is currently being processed by", "is locked by", "is blocked by user")
_NO_ACCESS = ("/IWFND/CM_CONSUMER/101", "/IWFND/MED/170")


def parse_error(response: httpx.Response, *, writing: bool) -> ConnectorError:
    """By the vendor's code where one is given, else by status. A locked document is a 400 that is worth a retry."""
    body: Any = None
    if "json" in response.headers.get("content-type", "").lower():
        try:
            body = parse_json(response.content)
        except ConnectorError:
            body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        words = "no answer that SAP Gateway gives"
        if response.status_code == 401:
            words = "the user or password is refused"
        return from_status(response, f"{words} (status {response.status_code})", writing=writing)
    code = str(error.get("code") or "")
    message = error.get("message")
    text = str(message.get("value") if isinstance(message, dict) else message or "")
    field = str(error.get("target") or "")
    details = [(c, t) for c, t, _ in _details(error) if c != _GENERIC and (c, t) != (code, text)]
    field = field or next((target for _, _, target in _details(error) if target), "")
    facts: dict[str, Any] = {"code": code, "field": field, "details": tuple(details), "status": response.status_code}
    if any(word in text for word in _LOCK_WORDS):
        return Unavailable(text, **facts)
    if code in _NO_ACCESS:
        return AuthFailed(text, **facts)
    if code.startswith("/IWBEP/CM_MGW_RT/020") or response.status_code == 404:
        return NotFound(text, **facts)
    if response.status_code == 400:
        return Refused(text, **facts)
    return from_status(response, text, code=code, field=field, writing=writing, details=tuple(details))


def _details(error: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(code, text, target) of each detail that is an error; warnings are not the reason."""
    inner = error.get("innererror")
    listed: Any = error.get("details")
    if isinstance(inner, dict) and "errordetails" in inner:
        listed = inner["errordetails"]
        if isinstance(listed, dict):
            listed = listed.get("errordetail")
    if isinstance(listed, dict):
        listed = [listed]
    for one in listed or ():
        if not isinstance(one, dict):
            continue
        severity = str(one.get("severity") or one.get("@SAP__common.Severity") or "error")
        if severity in ("error", "abort"):
            target = str(one.get("propertyref") or one.get("target") or "")
            yield str(one.get("code") or ""), str(one.get("message") or ""), target
