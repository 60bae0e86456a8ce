"""The door: ``/hooks/{connection}``. A request is answered 2xx only when what it brought is durable.

An ASGI endpoint of its own, since this is the hot path.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from flowrun.connector import Reply, Request
from flowrun.errors import ConnectorError, SignatureInvalid, StoreError
from flowrun.logs import log, redact
from flowrun.service.accepting import Acceptor, Busy
from flowrun.service.hooks import Hooks
from flowrun.service.turnstile import Turnstile
from flowrun.values import Clock, encode_json

MAX_BODY_BYTES = 1_000_000
BODY_SECS = 10.0  # for a whole body to arrive; slower senders hold connections, not facts
RETRY_SECS = 5  # until a sender should come again

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


class Door:
    """counted: called with (connection, outcome, events, seconds) for each request; a connection without a door is "".
    full: why nothing more is taken now, "" when it is."""

    def __init__(
        self,
        hooks: Hooks,
        acceptor: Acceptor,
        *,
        now: Clock,
        counted: Callable[[str, str, int, float], None],
        full: Callable[[], str],
        turnstiles: Mapping[str, Turnstile],
    ) -> None:
        self._hooks = hooks
        self._acceptor = acceptor
        self._now = now
        self._counted = counted
        self._full = full
        self._turnstiles = turnstiles
        self._known = frozenset(hooks.connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["path_params"]["connection"]
        named = connection if connection in self._known else ""
        begun = time.perf_counter()
        try:
            outcome, events, reply = await self._answer(connection, scope, receive)
        except Turned as turned:
            outcome, events = turned.reason, 0
            reply = Reply(turned.status, turned.headers, encode_json({"error": str(turned)}))
        self._counted(named, outcome, events, time.perf_counter() - begun)
        await _respond(send, reply)

    async def _answer(self, connection: str, scope: Scope, receive: Receive) -> tuple[str, int, Reply]:
        """(outcome, events held, the answer). Raises Turned."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            body=await _body(headers, receive),
            received_at=self._now(),
        )
        try:
            greeting = self._hooks.greeting(connection, request)
            if greeting is not None:
                return "greeted", 0, greeting
            if request.method != "POST":
                raise SignatureInvalid("no event comes so")
            arrivals, unheard = self._hooks.arrivals(connection, request)
        except SignatureInvalid:
            raise Turned(401, "the webhook's signature does not hold", "unsigned") from None
        except ConnectorError as error:
            raise Turned(400, redact(error.message), "unreadable") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log().error("webhook not understood", connection=connection, error=type(error).__name__)
            raise Turned(400, "the webhook cannot be read", "unreadable") from None
        turnstile = self._turnstiles.get(connection)
        if turnstile is not None and (wait := turnstile.wait(time.monotonic())):
            raise Turned(429, "more webhooks than limits: { webhooks: … } allows", "rate", wait)
        if arrivals and (reason := self._full()):
            raise Turned(503, reason, "full", RETRY_SECS)
        try:
            await self._acceptor.accept(arrivals)
        except Busy as busy:
            raise Turned(503, busy.message, "busy", RETRY_SECS) from None
        except StoreError as error:
            raise Turned(503, "it cannot be held now", "store", RETRY_SECS) from error
        outcome = "unheard" if unheard and not arrivals else "accepted"
        return outcome, len(arrivals), Reply(200, {}, b'{"accepted":%d}' % len(arrivals))


async def _body(headers: Mapping[str, str], receive: Receive) -> bytes:
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


async def _respond(send: Send, reply: Reply) -> None:
    headers = {"content-type": "application/json", **{name.lower(): value for name, value in reply.headers.items()}}
    headers["content-length"] = str(len(reply.body))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": reply.body})
