"""What SAP's messages mean for a flow: message code → error class.

Sources: SAP Gateway's technical messages (/IWBEP, /IWFND); message classes of sales and delivery as published in SAP's
message catalogues. A text is looked at only where no code is known for the one error worth a retry: a lock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx

from flowrun.errors import (
    AuthFailed,
    Conflict,
    ConnectorError,
    DeliveryUnknown,
    NotFound,
    Refused,
    Unavailable,
)
from flowrun_connectors._http.errors import from_status, retry_after
from flowrun_connectors._odata.errors import GENERIC, Problem, problem

LOCKED = frozenset({"VL/045", "V1/042", "M3/023", "M3/024", "M3/897", "MC/601"})
"""Somebody works on the document or its master data; it passes by itself. Tenants add theirs: ``lock_codes``."""

_LOCK_WORDS = (" is currently being processed by ", " is locked by ", " is blocked by user ")

_MESSAGE = re.compile(r"(?!SY/)[A-Z0-9_]{2,20}/\d{3}")
"""``VP/196``: message class and number, so a business message, whatever status it came with. SY is the system's own."""

_FLOW = "the flow does not fit this release: compare with flowrun connections pull-contract"
_MASTER_DATA = "extend the master data in S/4HANA, then replay"

MEANING: dict[str, tuple[type[ConnectorError], str]] = {
    # technical
    "005056A509B11EE1B9A8FEA8DE87F78E": (Refused, _FLOW),
    "/IWBEP/CM_MGW_RT/020": (NotFound, ""),
    "/IWBEP/CM_MGW_RT/021": (Refused, "this service does not filter by that field"),
    "/IWBEP/CM_COS/005": (DeliveryUnknown, "an earlier attempt was executed: it is searched for, not sent again"),
    "/IWFND/MED/170": (AuthFailed, "the service is not activated: /IWFND/MAINT_SERVICE"),
    "/IWFND/CM_CONSUMER/101": (AuthFailed, "the communication scenario or role is missing"),
    # business
    "VP/196": (Refused, _MASTER_DATA),
    "VS/406": (Refused, _MASTER_DATA),
    "V1/382": (Refused, "extend the product to the sales area in S/4HANA, then replay"),
    "M3/305": (Refused, "the material does not exist in S/4HANA"),
    "56/393": (Refused, ""),
    "M7/021": (Refused, "not enough stock"),
}

_CLASSES = {"NR/": (ConnectorError, "a number range is missing or used up: transaction SNRO")}
"""By message class, where every message of it means the same."""


def error_of(response: httpx.Response, *, writing: bool, lock_codes: Sequence[str] = ()) -> ConnectorError:
    """The error of an answer that is no success: by SAP's code where one is known, else by status."""
    found = problem(response)
    if found is None:
        return from_status(response, _without_body(response), writing=writing)
    reasons = found.reasons()
    code, text = found.code, found.text
    if (not code or code == GENERIC) and reasons:  # the first line may be the least useful one
        code, text = reasons[0].code, reasons[0].text
    field = found.target or next((d.target for d in reasons if d.target), "")
    facts: dict[str, Any] = {
        "code": code,
        "field": field.strip("/"),
        "details": tuple((d.code, d.text) for d in reasons if (d.code, d.text) != (code, text) and d.code != GENERIC),
        "status": response.status_code,
    }
    text = text or f"status {response.status_code}"
    codes = [code, *(d.code for d in reasons)]
    if _is_lock(codes, [text, *(d.text for d in reasons)], lock_codes):
        return Unavailable(text, retry_after_secs=retry_after(response), help="somebody works on it", **facts)
    for one in codes:
        meant = MEANING.get(one) or _CLASSES.get(one[:3])
        if meant is not None:
            kind, help_ = meant
            return kind(text, help=help_ or _log_entry(found), **facts)
    status = response.status_code
    if status in (401, 403, 429, 503) or (status >= 500 and not _MESSAGE.fullmatch(code)):
        return _with_help(from_status(response, text, writing=writing, **_only(facts)), found)
    if status in (404, 410):
        return NotFound(text, **facts)
    if status in (409, 412, 428):
        return Conflict(text, **facts)
    return Refused(text, help=_log_entry(found), **facts)


def _is_lock(codes: Sequence[str], texts: Sequence[str], more: Sequence[str]) -> bool:
    if any(code in LOCKED or code in more for code in codes):
        return True
    return any(words in text for text in texts for words in _LOCK_WORDS)


def _without_body(response: httpx.Response) -> str:
    status = response.status_code
    if status == 401:
        return "the user or password is refused (status 401)"
    if status == 428:
        return "the system asks for If-Match (status 428)"
    return f"no answer that SAP Gateway gives (status {status})"


def _only(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "status"}


def _with_help(error: ConnectorError, found: Problem) -> ConnectorError:
    error.help = error.help or _log_entry(found)
    return error


def _log_entry(found: Problem) -> str:
    return f"in SAP: /IWFND/ERROR_LOG, transaction {found.transaction}" if found.transaction else ""
