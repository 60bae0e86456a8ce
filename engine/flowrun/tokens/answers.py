"""What a token endpoint says: a token, a definite no, or nothing that counts.

Only a definite no pauses a connection. An endpoint that is busy, broken or silent is asked again later, and what is
held already stays as it is.
Source: RFC 6749, sections 5.1, 5.2 and 6.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import httpx

from flowrun.credentials.token import UNSTATED_LIFE, Token
from flowrun.errors import AuthFailed, ConnectorError, RateLimited, Unavailable
from flowrun.pacing.headers import read_wait
from flowrun.values import Secret, decode_json

_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})  # 400 under which nothing is refused
_PASSING_STATUS = frozenset({302, 303, 307, 408, 425})
_REFRESH_LIVES = ("refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in")


def token_of(response: httpx.Response, old: Token | None, issued_for: str) -> Token:
    """The token of a good answer. A refresh token that is not given anew stays (RFC 6749, section 6).

    Raises AuthFailed, RateLimited, Unavailable; never with a word of the answer but its error code, since some
    endpoints repeat what they were sent.
    """
    body = body_of(response)
    access = body.get("access_token")
    if response.status_code != 200 or not _sendable(access):
        raise no_token(response, body)
    life = _secs(body.get("expires_in")) or UNSTATED_LIFE
    refresh = body.get("refresh_token")
    refresh_life = next((secs for name in _REFRESH_LIVES if (secs := _secs(body.get(name)))), None)
    refresh_left = refresh_life
    if refresh_life is not None and old is not None and old.refresh_life is not None:
        refresh_life = max(refresh_life, old.refresh_life)  # a grant that ends on a fixed day has less each time
    kept: Secret | None = Secret(refresh, "refresh_token") if isinstance(refresh, str) and refresh else None
    if kept is None and old is not None and old.refresh is not None:
        kept = old.refresh
        if refresh_life is None:
            refresh_left, refresh_life = old.refresh_left, old.refresh_life
    return Token(Secret(str(access), "access_token"), life, life, kept, refresh_left, refresh_life, issued_for)


def no_token(response: httpx.Response, body: dict[str, Any]) -> ConnectorError:
    """The error that an answer without a token stands for."""
    status = response.status_code
    code = body.get("error")
    code = code if isinstance(code, str) and re.fullmatch(r"[\w.-]{1,60}", code) else ""
    wait, _ = read_wait(response.headers, (), datetime.now(UTC).timestamp())
    if status == 429:
        return RateLimited("the token endpoint is asked too often", status=status, retry_after_secs=wait)
    if status in _PASSING_STATUS or status < 300 or status >= 500 or code in _PASSING:
        what = "an answer without a token" if status < 300 else code or f"status {status}"
        return Unavailable(f"the token endpoint gave {what}", code=code, status=status, retry_after_secs=wait)
    return AuthFailed(
        f"no token was given: {code or f'status {status}'}",
        code=code,
        status=status,
        help="check client_id, client_secret, scope and token_url",
    )


def body_of(response: httpx.Response) -> dict[str, Any]:
    """{} for everything that is no JSON object."""
    try:
        body = decode_json(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _sendable(text: Any) -> bool:
    return isinstance(text, str) and bool(text) and text.isascii() and text.isprintable()


def _secs(value: Any) -> float | None:
    """Some say it as text. None for what is no positive number of seconds."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return float(text) if text.isascii() and text.isdigit() and 0 < len(text) < 11 and int(text) else None
