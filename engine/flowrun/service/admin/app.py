"""Serving the table: who asks, whether they may, what they sent, and the answer.

In this order: Host, Origin, token, path, method, role, parameters, body; nobody without a token learns what there is.
There are no cookies: what a browser sends by itself is worth nothing here, so nothing can be forged across sites.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import msgspec

from flowrun.errors import ConnectorError, FlowrunError, Paused, ProjectError, StoreError
from flowrun.logs import log, redact, without_secrets
from flowrun.service.admin.openapi import document
from flowrun.service.admin.routes import ROOT, Call, Problem, Route
from flowrun.service.admin.table import ROUTES
from flowrun.service.admin.throttle import Throttle
from flowrun.service.bodies import Receive, Scope, Send, Turned, read_body
from flowrun.service.deployment import Deployment
from flowrun.showing import Masks
from flowrun.store.access import Token
from flowrun.values import decode_given, encode_json

LOOPBACK = ("127.0.0.1", "localhost", "::1")
AT_ONCE = 4  # calls beside each other; more wait
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


class AdminApp:
    """An ASGI application. names: Host names that are answered, beside those of this machine. wake: called after what
    gives the service something to do."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        names: Collection[str] = (),
        wake: Callable[[], None] = lambda: None,
        throttle: Throttle | None = None,
    ) -> None:
        self._deployment = deployment
        self._names = {name.lower().strip("[]") for name in (*LOOPBACK, *names)}
        self._wake = wake
        self._masks = Masks(deployment.project, [one.flow for one in deployment.flows.values()])
        self._throttle = throttle or Throttle()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="admin")
        self._document = document(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, kind, answer, more = await self._answered(scope, receive)
        except Problem as problem:
            status, kind, more = problem.status, "application/problem+json", problem.headers
            answer = _problem(problem)
        body = encode_json(without_secrets(msgspec.to_builtins(answer, builtin_types=(Decimal,))))
        headers = {"content-type": kind, "content-length": str(len(body)), **_HEADERS, **more}
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answered(self, scope: Scope, receive: Receive) -> tuple[int, str, Any, Mapping[str, str]]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_names(headers)
        token = await self._known(headers, (scope.get("client") or ("?",))[0])
        route, values = _route(scope["method"], scope.get("raw_path") or scope["path"].encode())
        if route is not None and not token.may(route.role):
            raise Problem(403, f"token '{token.name}' is {token.role}; this needs {route.role}")
        if route is None:
            return 200, "application/json", self._document, {}
        query = route.query(scope["query_string"].decode("latin-1"))
        body = None if route.body is None else await _body(route.body, headers, receive)
        call = Call(self._deployment, self._masks, token.name, values, query, body, self._wake)
        return 200, "application/json", await self._in_thread(lambda: _handled(route, call)), {}

    def _check_names(self, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "")
        if _without_port(host) not in self._names:
            raise Problem(421, "this Host is not served here", help="flowrun serve --admin-name NAME")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise Problem(403, "pages of other origins may not ask here")

    async def _known(self, headers: Mapping[str, str], address: str) -> Token:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise Problem(401, "a token is needed: Authorization: Bearer …", headers={"www-authenticate": "Bearer"})
        wait = self._throttle.wait_secs(address, given)
        if wait:
            raise Problem(429, "too many wrong tokens from this address", headers={"retry-after": str(int(wait) + 1)})
        try:
            found: Token | None = await self._in_thread(lambda: self._deployment.store.access.find(given))
        except StoreError as error:
            raise Problem(503, redact(error.message)) from None
        if found is None:
            self._throttle.failed(address)
            log().warning("admin token refused", address=address)
            raise Problem(401, "this token is not known, or was revoked", headers={"www-authenticate": "Bearer"})
        self._throttle.right(given)
        return found

    async def _in_thread(self, todo: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, todo)


class Split:
    """One server for two ports: what comes in at ``port`` is the admin API's, and nothing else is."""

    def __init__(self, app: Any, admin: Any, port: int) -> None:
        self._app, self._admin, self._port = app, admin, port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = self._admin if (scope.get("server") or (None, None))[1] == self._port else self._app
        await chosen(scope, receive, send)


def _route(method: str, raw_path: bytes) -> tuple[Route | None, dict[str, Any]]:
    """None: the document itself. Raises Problem."""
    path = raw_path.decode("latin-1").partition("?")[0]
    if not path.startswith(f"{ROOT}/"):
        raise Problem(404, "there is nothing here", help=f"{ROOT}/openapi.json says what there is")
    parts = path[len(ROOT) + 1 :].split("/")
    allowed = ["GET"] if parts == ["openapi.json"] else []
    if allowed and method == "GET":
        return None, {}
    for route in ROUTES:
        values = route.matches(parts)
        if values is not None:
            if route.method == method:
                return route, values
            allowed.append(route.method)
    if allowed:
        raise Problem(405, f"{method} is not for this", headers={"allow": ", ".join(allowed)})
    raise Problem(404, "there is nothing here", help=f"{ROOT}/openapi.json says what there is")


async def _body(kind: type[msgspec.Struct], headers: Mapping[str, str], receive: Receive) -> Any:
    """Raises Problem."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "bodies are application/json")
    try:
        return msgspec.convert(decode_given(await read_body(headers, receive)), kind)
    except Turned as turned:
        raise Problem(turned.status, str(turned), headers=turned.headers) from None
    except msgspec.ValidationError as error:
        raise Problem(422, f"the body does not fit: {error}") from None
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON, or names a field twice") from None


def _handled(route: Route, call: Call) -> Any:
    """Raises Problem, whatever goes wrong."""
    try:
        answer = route.handle(call)
    except Problem:
        raise
    except Paused as error:
        raise Problem(409, error.message, help=error.help) from None
    except ProjectError as error:
        raise Problem(422, redact(error.message), help=redact(error.help)) from None
    except ConnectorError as error:
        raise Problem(502, redact(f"{error.error_class}: {error.message}")) from None
    except StoreError as error:
        raise Problem(503, redact(error.message), help=error.help) from None
    except Exception as error:
        log().error("admin call broke", route=route.name, error=type(error).__name__)
        log().debug("admin call broke", exc_info=True)
        words = error.message if isinstance(error, FlowrunError) else "it broke; the log says more"
        raise Problem(500, redact(words)) from None
    if route.changes:
        log().info("admin", who=call.who, action=route.name)
    return answer


def _problem(problem: Problem) -> dict[str, Any]:
    found = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    return {**found, "help": problem.help} if problem.help else found


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
