"""A request's body within its bounds, whoever sends it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

MAX_BODY_BYTES = 1_000_000
BODY_SECS = 10.0  # for a whole body to arrive; slower senders hold connections, not facts

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Turned(Exception):
    """The request is answered, and nothing of it is held."""

    def __init__(self, status: int, words: str, reason: str, retry: float = 0.0) -> None:
        """reason: of the metric. retry: seconds until the sender should come again; 0: it should not."""
        super().__init__(words)
        self.status = status
        self.reason = reason
        self.headers = {"retry-after": str(math.ceil(retry))} if retry else {}
        if status in (408, 413, 415):
            self.headers["connection"] = "close"  # what still comes of the body is not read


async def read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """headers: lower-case names. Raises Turned."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Turned(415, "bodies come uncompressed", "refused")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 12 or int(length) > MAX_BODY_BYTES:
        raise Turned(413, f"a body is at most {MAX_BODY_BYTES} bytes", "too_large")
    message = await receive()  # most bodies come whole
    if not message.get("more_body") and message["type"] == "http.request":
        found: bytes = message.get("body", b"")
        return _bounded(found)
    parts = [message.get("body", b"")]
    size = len(parts[0])
    try:
        async with asyncio.timeout(BODY_SECS):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Turned(400, "the sender went away", "refused")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY_BYTES:
                    raise Turned(413, f"a body is at most {MAX_BODY_BYTES} bytes", "too_large")
    except TimeoutError:
        raise Turned(408, f"a body arrives within {BODY_SECS:.0f} s", "refused") from None
    return _bounded(b"".join(parts))


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise Turned(413, f"a body is at most {MAX_BODY_BYTES} bytes", "too_large")
    return body
