"""The door: ``/hooks/{connection}``. A request is answered 2xx only when what it brought is durable.

An ASGI endpoint of its own, since this is the hot path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from flowrun.connector import Reply, Request
from flowrun.errors import ConnectorError, SignatureInvalid, StoreError
from flowrun.logs import log, redact
from flowrun.service.accepting import Acceptor, Busy
from flowrun.service.bodies import Receive, Scope, Send, Turned, read_body
from flowrun.service.hooks import Hooks
from flowrun.service.turnstile import Turnstile
from flowrun.spans import span
from flowrun.values import Clock, encode_json

RETRY_SECS = 5  # until a sender should come again


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
        with span("receive", connection=named) as step:
            try:
                outcome, events, reply = await self._answer(connection, scope, receive)
            except Turned as turned:
                outcome, events = turned.reason, 0
                reply = Reply(turned.status, turned.headers, encode_json({"error": str(turned)}))
            step.say(outcome=outcome, events=events)
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
            body=await read_body(headers, receive),
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


async def _respond(send: Send, reply: Reply) -> None:
    headers = {"content-type": "application/json", **{name.lower(): value for name, value in reply.headers.items()}}
    headers["content-length"] = str(len(reply.body))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": reply.body})
