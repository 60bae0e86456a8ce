"""HTTP failures as classes: by status where the vendor says no more, by the moment where there is no answer."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from flowrun.errors import (
    AuthFailed,
    Conflict,
    ConnectorError,
    DeliveryUnknown,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)

_LONGEST = 7 * 24 * 3600.0  # seconds


def retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds that Retry-After asks for; None when it is absent or no sense can be made of it."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        secs = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        secs = (at - (now or datetime.now(UTC))).total_seconds()
    return min(max(secs, 0.0), _LONGEST) if secs == secs else None


def from_status(
    response: httpx.Response,
    message: str = "",
    *,
    code: str = "",
    field: str = "",
    writing: bool = False,
    details: tuple[tuple[str, str], ...] = (),
) -> ConnectorError:
    """The class of an answer that is no success. message: the vendor's own words.

    writing: 5xx other than 503 leave it open whether the write was done.
    """
    status = response.status_code
    words = message or f"status {status}"
    facts = {"code": code, "field": field, "status": status, "details": details}
    if status == 429:
        return RateLimited(words, retry_after_secs=retry_after(response), **facts)
    if status in (401, 407):
        return AuthFailed(words, **facts)  # type: ignore[arg-type]
    if status == 403:
        return AuthFailed(words, **facts)  # type: ignore[arg-type]
    if status in (404, 410):
        return NotFound(words, **facts)  # type: ignore[arg-type]
    if status in (409, 412, 428):
        return Conflict(words, **facts)  # type: ignore[arg-type]
    if status in (408, 425, 503):
        return Unavailable(words, retry_after_secs=retry_after(response), **facts)
    if status >= 500:
        if writing:
            return DeliveryUnknown(words, **facts)  # type: ignore[arg-type]
        return Unavailable(words, retry_after_secs=retry_after(response), **facts)
    if 300 <= status < 400:
        return Refused(f"a redirect (status {status}); redirects are not followed", **facts)  # type: ignore[arg-type]
    return Refused(words, **facts)  # type: ignore[arg-type]


def from_exception(error: httpx.HTTPError, *, writing: bool) -> ConnectorError:
    """No answer. Before the request left nothing was done; after it, a write may have been."""
    kind = type(error).__name__
    nothing_done = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    if writing and not isinstance(error, nothing_done):
        return DeliveryUnknown(f"no answer ({kind}): the write may have been done")
    return Unavailable(f"the system cannot be reached ({kind})")
