"""Credentials on their way into requests: basic, bearer, API key, OAuth2 client credentials."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import httpx

from flowrun.errors import AuthFailed, ProjectError
from flowrun.values import Secret, decode_json

EARLY = 0.1  # share of a token's life at whose end it is renewed before it ends

SCHEMES = ("basic", "bearer", "api_key", "oauth2_client_credentials")


def auth_from_settings(auth: Mapping[str, Any] | None) -> httpx.Auth | None:
    """``auth:`` of a connection, resolved, as an httpx.Auth. Raises ProjectError for what it does not know."""
    if not auth:
        return None
    if len(auth) != 1 or next(iter(auth)) not in SCHEMES:
        raise ProjectError(f"auth is exactly one of {', '.join(SCHEMES)}")
    (scheme, settings) = next(iter(auth.items()))
    settings = dict(settings or {})
    try:
        if scheme == "basic":
            return httpx.BasicAuth(_text(settings["user"]), _text(settings["password"]))
        if scheme == "bearer":
            return HeaderAuth("Authorization", _text(settings["token"]), "Bearer ")
        if scheme == "api_key":
            if "query" in settings:
                return QueryAuth(_text(settings["query"]), _text(settings["key"]))
            return HeaderAuth(_text(settings.get("header", "X-Api-Key")), _text(settings["key"]))
        return ClientCredentials(
            _text(settings["token_url"]),
            _text(settings["client_id"]),
            _text(settings["client_secret"]),
            scope=_text(settings.get("scope", "")),
        )
    except KeyError as missing:
        raise ProjectError(f"auth: {scheme} lacks {missing}") from None


def _text(value: Any) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)


class HeaderAuth(httpx.Auth):
    def __init__(self, name: str, key: str, prefix: str = "") -> None:
        self._name = name
        self._value = prefix + key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._value
        yield request


class QueryAuth(httpx.Auth):
    """A key in the address lands in access logs; some systems leave no choice."""

    def __init__(self, name: str, key: str) -> None:
        self._name = name
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.url = request.url.copy_set_param(self._name, self._key)
        yield request


class ClientCredentials(httpx.Auth):
    """OAuth2 client credentials: renewed early, by one thread at a time; once more after a 401.

    Source: RFC 6749, section 4.4.
    """

    requires_response_body = True

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = token_url
        self._client = (client_id, client_secret)
        self._scope = scope
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                response = yield self._ask()
                response.read()
                self._take(response)
            token = self._token
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code != 401:
            return
        with self._lock:
            if self._token == token:  # nobody else has renewed it meanwhile
                again = yield self._ask()
                again.read()
                self._take(again)
            token = self._token
        request.headers["Authorization"] = f"Bearer {token}"
        yield request

    def _ask(self) -> httpx.Request:
        form = {"grant_type": "client_credentials"}
        if self._scope:
            form["scope"] = self._scope
        request = httpx.Request("POST", self._url, data=form, headers={"accept": "application/json"})
        basic = httpx.BasicAuth(*self._client)
        next(basic.auth_flow(request))
        request.extensions["flowrun.token"] = True  # the token endpoint may stand on another host
        return request

    def _take(self, response: httpx.Response) -> None:
        try:
            body = decode_json(response.content)
        except ValueError:
            body = {}
        token = body.get("access_token") if isinstance(body, dict) else None
        if response.status_code != 200 or not isinstance(token, str) or not token:
            code = str(body.get("error", "")) if isinstance(body, dict) else ""
            raise AuthFailed(
                f"no token: status {response.status_code}",
                code=code,
                status=response.status_code,
                help="check client_id, client_secret and token_url",
            )
        life = body.get("expires_in")
        secs = float(life) if isinstance(life, int) and life > 0 else 300.0
        self._token = token
        early = secs * EARLY * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        self._renew_at = self._clock() + secs - early
