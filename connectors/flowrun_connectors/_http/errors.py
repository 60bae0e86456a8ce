"""HTTP failures as classes: by status where the vendor says no more, by the moment where there is no answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import httpx

from flowrun.connector import read_wait
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

ParseError: TypeAlias = "Callable[[httpx.Response], ConnectorError | None]"  # a text, so that httpx is not loaded yet
"""A vendor's own reading of an answer that is no success; None when it says nothing beyond its status."""


def classify(
    found: httpx.Response | httpx.HTTPError, parse_error: ParseError | None = None, *, writing: bool
) -> ConnectorError:
    """The error that an answer, or its absence, stands for. ``parse_error`` is asked first."""
    if isinstance(found, httpx.HTTPError):
        return from_exception(found, writing=writing)
    told = parse_error(found) if parse_error is not None else None
    return told or from_status(found, writing=writing)


def retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds that Retry-After asks for, at most a day; None when it is absent or makes no sense."""
    return read_wait(response.headers, (), (now or datetime.now(UTC)).timestamp())[0]


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
    facts: dict[str, Any] = {"code": code, "field": field, "status": status, "details": details}
    if status == 429:
        return RateLimited(words, retry_after_secs=retry_after(response), **facts)
    if status in (401, 403, 407):
        return AuthFailed(words, **facts)
    if status in (404, 410):
        return NotFound(words, **facts)
    if status in (409, 412, 428):
        return Conflict(words, **facts)
    if status in (408, 425, 503):
        return Unavailable(words, retry_after_secs=retry_after(response), **facts)
    if status >= 500:
        if writing:
            return DeliveryUnknown(words, **facts)
        return Unavailable(words, retry_after_secs=retry_after(response), **facts)
    if 300 <= status < 400:
        return Refused(f"a redirect (status {status}); redirects are not followed", help="check base_url", **facts)
    return Refused(words, **facts)


def from_exception(error: httpx.HTTPError, *, writing: bool) -> ConnectorError:
    """No answer. Before the request left nothing was done; after it, a write may have been.

    Never repeats httpx' own words: they may hold an address with its query.
    """
    kind = type(error).__name__
    nothing_done = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    if writing and not isinstance(error, nothing_done):
        return DeliveryUnknown(f"no answer ({kind}): the write may have been done")
    return Unavailable(f"the system cannot be reached ({kind})")
