"""Credentials on their way into requests: basic, bearer, API key, OAuth2 client credentials."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import httpx

from flowrun.errors import AuthFailed, ConnectorError, ProjectError, RateLimited, Unavailable
from flowrun.values import Secret, decode_json

EARLY = 0.1  # share of a token's life at whose end it is renewed before it ends
UNSTATED_LIFE = 300.0  # seconds, for a token that does not say how long it lives

SCHEMES = ("basic", "bearer", "api_key", "oauth2_client_credentials")


def auth_from_settings(auth: Mapping[str, Any] | None) -> httpx.Auth | None:
    """``auth:`` of a connection, resolved, as an httpx.Auth. Raises ProjectError for what it does not know."""
    if not auth:
        return None
    if len(auth) != 1 or next(iter(auth)) not in SCHEMES:
        raise ProjectError(f"auth is exactly one of {', '.join(SCHEMES)}")
    (scheme, settings) = next(iter(auth.items()))
    if not isinstance(settings, Mapping):
        raise ProjectError(f"auth: {scheme} needs its settings", help=f"auth: {{ {scheme}: {{ … }} }}")
    try:
        return _MAKE[scheme](settings)
    except KeyError as missing:
        raise ProjectError(f"auth: {scheme} lacks {missing}") from None


def _basic(settings: Mapping[str, Any]) -> httpx.Auth:
    return httpx.BasicAuth(_text(settings["user"]), _text(settings["password"]))


def _bearer(settings: Mapping[str, Any]) -> httpx.Auth:
    return HeaderAuth("Authorization", _text(settings["token"]), "Bearer ")


def _api_key(settings: Mapping[str, Any]) -> httpx.Auth:
    if "query" in settings:
        return QueryAuth(_text(settings["query"]), _text(settings["key"]))
    return HeaderAuth(_text(settings.get("header", "X-Api-Key")), _text(settings["key"]))


def _client_credentials(settings: Mapping[str, Any]) -> httpx.Auth:
    send = _text(settings.get("send", "header"))
    if send not in ("header", "body"):
        raise ProjectError(f"auth: send is header or body, not '{send}'")
    return ClientCredentials(
        _text(settings["token_url"]),
        _text(settings["client_id"]),
        _text(settings["client_secret"]),
        scope=_text(settings.get("scope", "")),
        in_body=send == "body",
    )


_MAKE: Mapping[str, Callable[[Mapping[str, Any]], httpx.Auth]] = {
    "basic": _basic,
    "bearer": _bearer,
    "api_key": _api_key,
    "oauth2_client_credentials": _client_credentials,
}


def _text(value: Any) -> str:
    text = value.reveal() if isinstance(value, Secret) else str(value)
    if any(one in text for one in "\r\n\0"):
        raise ProjectError("a credential holds a line end", help="write it without one")
    return text


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

    While one thread asks for a token the others wait for its answer, be it a token or a failure: sixteen workers whose
    token has ended make one token request. Raises AuthFailed (with the server's error code and nothing else of its
    words, since some repeat what they were sent), Unavailable when the token endpoint is down.
    Source: RFC 6749, sections 4.4 and 5.2.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str = "",
        in_body: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        url = httpx.URL(token_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ProjectError("token_url is no address of a web service", help="https://host/oauth/token")
        self._url = url
        self._client = (client_id, client_secret)
        self._scope = scope
        self._in_body = in_body
        self._clock = clock
        self._chance = chance
        self._token = ""
        self._renew_at = 0.0
        self._asked = 0  # token requests that have ended
        self._failure: ConnectorError | None = None  # of the last one
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._token
        if not token or self._clock() >= self._renew_at:
            token = yield from self._renewed(token)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            response.read()
            token = yield from self._renewed(token, refused=True)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _renewed(self, old: str, *, refused: bool = False) -> Generator[httpx.Request, httpx.Response, str]:
        """A token newer than ``old``, asked for by whoever comes first. refused: a 401 said so, whatever its age."""
        before = self._asked
        with self._lock:
            if self._asked != before:  # the one we waited for has just tried
                if self._failure is not None:
                    raise self._failure
                return self._token
            if self._token and self._token != old:
                return self._token
            if self._token and not refused and self._clock() < self._renew_at:
                return self._token
            self._failure = Unavailable("the token endpoint cannot be reached")  # unless what follows says otherwise
            try:
                response = yield self._request()
                response.read()
                self._failure = None
                self._take(response)
            except ConnectorError as error:
                self._failure = error
                raise
            finally:
                self._asked += 1
            return self._token

    def _request(self) -> httpx.Request:
        form = {"grant_type": "client_credentials"}
        if self._scope:
            form["scope"] = self._scope
        if self._in_body:
            form |= {"client_id": self._client[0], "client_secret": self._client[1]}
        request = httpx.Request("POST", self._url, data=form, headers={"accept": "application/json"})
        if not self._in_body:
            next(httpx.BasicAuth(*self._client).auth_flow(request))
        request.extensions["flowrun.token"] = True  # the token endpoint may stand on another host
        return request

    def _take(self, response: httpx.Response) -> None:
        status = response.status_code
        try:
            body = decode_json(response.content)
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        token = body.get("access_token")
        if status == 200 and isinstance(token, str) and token and token.isascii() and token.isprintable():
            life = body.get("expires_in")
            life = int(life) if isinstance(life, str) and life.isdigit() else life
            secs = float(life) if isinstance(life, int) and life > 0 else UNSTATED_LIFE
            self._token = token
            # Earlier by chance, so that many processes do not renew at one moment.
            self._renew_at = self._clock() + secs - secs * EARLY * (0.5 + self._chance())
            return
        self._token = ""
        code = body.get("error")
        code = code if isinstance(code, str) and re.fullmatch(r"[\w.-]{1,60}", code) else ""
        if status in (400, 401, 403):
            raise AuthFailed(
                f"no token was given: {code or 'status ' + str(status)}",
                code=code,
                status=status,
                help="check client_id, client_secret, scope and token_url",
            )
        wait = response.headers.get("retry-after", "")
        secs_to_wait = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else None
        if status == 429:
            raise RateLimited("the token endpoint is asked too often", status=status, retry_after_secs=secs_to_wait)
        what = "an answer without a token" if status == 200 else f"status {status}"
        raise Unavailable(f"the token endpoint gave {what}", status=status, retry_after_secs=secs_to_wait)
