"""Where credentials stand in a request: a header, a query parameter, a signature."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Generator
from typing import Any

import httpx

from flowrun.credentials.schemes import OAuth1
from flowrun.errors import ProjectError
from flowrun.logs import hide
from flowrun.values import Clock, Secret


def basic_auth(user: str, password: str) -> httpx.BasicAuth:
    """What it sends is the password in another form, and is masked in words as that is."""
    hide(Secret(base64.b64encode(f"{user}:{password}".encode()).decode()))
    return httpx.BasicAuth(user, password)


class HeaderAuth(httpx.Auth):
    def __init__(self, name: str, key: str, prefix: str = "") -> None:
        self._name = name
        self._value = prefix + key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._value
        yield request


class QueryAuth(httpx.Auth):
    """A key in the address lands in access logs; some systems leave no choice. It is added where the request leaves, so
    that requests and errors on our side do not show it."""

    def __init__(self, name: str, key: str) -> None:
        self._pair = (name, Secret(key, name))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.extensions["flowrun.query"] = self._pair
        yield request


class SignedAuth(httpx.Auth):
    """OAuth 1.0a, HMAC-SHA256, in the Authorization header. Extra ``oauth1``.

    Query parameters are signed, JSON bodies are not. Source: RFC 5849; NetSuite, token-based authentication.
    """

    requires_request_body = True

    def __init__(self, scheme: OAuth1, now: Clock) -> None:
        try:
            from oauthlib.oauth1 import SIGNATURE_HMAC_SHA256, Client
        except ImportError:
            raise ProjectError("OAuth 1 needs another package", help="pip install 'flowrun[oauth1]'") from None
        self._client: Any = Client
        self._method = SIGNATURE_HMAC_SHA256
        self._scheme = scheme
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        one = self._scheme
        client = self._client(
            one.consumer_key,
            client_secret=one.consumer_secret.reveal(),
            resource_owner_key=one.token,
            resource_owner_secret=one.token_secret.reveal(),
            signature_method=self._method,
            realm=one.realm or None,
            nonce=secrets.token_hex(16),
            timestamp=str(int(self._now().timestamp())),
        )
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        body = request.content.decode("ascii") if form else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        _, signed, _ = client.sign(str(request.url), http_method=request.method, body=body, headers=headers)
        request.headers["Authorization"] = signed["Authorization"]
        yield request
