"""How a token is asked for, read from the answer and put into a request: one class a scheme that can renew."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from flowrun.credentials.schemes import AuthorizationCode, ClientCredentials, JwtBearer, Scheme, revealed
from flowrun.credentials.token import Token
from flowrun.errors import AuthFailed, ProjectError
from flowrun.tokens.answers import token_of
from flowrun.tokens.jwt import signer, statement
from flowrun.tokens.placing import basic_auth
from flowrun.values import Clock, encode_json

_STATEMENT_LIFE = 300  # seconds; NetSuite allows an hour, others less
_GRANT_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLIENT_JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Grant(Protocol):
    """slides: each use prolongs it. personal: a person said yes, and may have to again. issued_for: see ``Token``."""

    issued_for: str
    slides: bool
    personal: bool

    def request(self, old: Token | None) -> httpx.Request:
        """The request for a new token. Raises AuthFailed when a person must act first."""
        ...

    def take(self, response: httpx.Response, old: Token | None) -> Token:
        """Raises AuthFailed, RateLimited, Unavailable."""
        ...

    def place(self, request: httpx.Request, token: Token) -> None:
        """Put the token into a request to the system."""
        ...


class _OAuth2:
    slides = False
    personal = False
    issued_for = ""

    def take(self, response: httpx.Response, old: Token | None) -> Token:
        return token_of(response, old, self.issued_for)

    def place(self, request: httpx.Request, token: Token) -> None:
        request.headers["Authorization"] = f"Bearer {token.access.reveal()}"


class ByClientCredentials(_OAuth2):
    """RFC 6749, section 4.4."""

    def __init__(self, scheme: ClientCredentials) -> None:
        self.scheme = scheme
        self.issued_for = printed(scheme.token_url, scheme.client_id, scheme.scope, scheme.params)
        web_address(scheme.token_url, "token_url")

    def request(self, old: Token | None) -> httpx.Request:
        form = {"grant_type": "client_credentials", **_texts(self.scheme.params)}
        if self.scheme.scope:
            form["scope"] = self.scheme.scope
        return token_request(self.scheme, form)


class ByRefresh(_OAuth2):
    """RFC 6749, section 6; the first token came from ``flowrun connections authorize``."""

    personal = True

    def __init__(self, scheme: AuthorizationCode, connection: str) -> None:
        self.scheme = scheme
        self.issued_for = printed(scheme.token_url, scheme.client_id, scheme.scope)
        self._connection = connection
        web_address(scheme.token_url, "token_url")

    def request(self, old: Token | None) -> httpx.Request:
        help = f"flowrun connections authorize {self._connection}"
        if old is None or old.refresh is None:
            lacks = "was never authorised" if old is None else "was given no refresh token"
            raise AuthFailed(f"connection '{self._connection}' {lacks}", code="not_authorised", help=help)
        return token_request(self.scheme, {"grant_type": "refresh_token", "refresh_token": old.refresh.reveal()})


class ByStatement(_OAuth2):
    """RFC 7523, sections 2.1 (``use: grant``) and 2.2 (``use: client``)."""

    def __init__(self, scheme: JwtBearer, now: Clock) -> None:
        self.scheme = scheme
        self.issued_for = printed(scheme.token_url, scheme.client_id, scheme.subject, scheme.scope, scheme.claims)
        self._sign = signer(scheme.key, scheme.algorithm)
        self._now = now
        web_address(scheme.token_url, "token_url")

    def request(self, old: Token | None) -> httpx.Request:
        one = self.scheme
        now = int(self._now().timestamp())
        claims = {
            "iss": one.client_id,
            "sub": one.subject or one.client_id,
            "aud": one.audience or one.token_url,
            "iat": now,
            "exp": now + _STATEMENT_LIFE,
            "jti": secrets.token_urlsafe(16),
            **revealed(one.claims or {}),
        }
        signed = statement(self._sign, one.algorithm, one.key_id, claims)
        form = {"grant_type": _GRANT_JWT, "assertion": signed}
        if one.use == "client":
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": _CLIENT_JWT,
                "client_assertion": signed,
            }
        if one.scope:
            form["scope"] = one.scope
        return _form_request(one.token_url, form)


def token_request(scheme: ClientCredentials | AuthorizationCode, form: Mapping[str, str]) -> httpx.Request:
    """A request to the token endpoint in which the client says who it is."""
    secret = scheme.client_secret.reveal() if scheme.client_secret is not None else ""
    if scheme.send == "body" or scheme.client_secret is None:
        form = {**form, "client_id": scheme.client_id, **({"client_secret": secret} if secret else {})}
        return _form_request(scheme.token_url, form)
    request = _form_request(scheme.token_url, form)
    next(basic_auth(scheme.client_id, secret).auth_flow(request))
    return request


def _form_request(url: str, form: Mapping[str, str]) -> httpx.Request:
    return httpx.Request("POST", url, data=dict(form), headers={"accept": "application/json"})


def printed(*facts: Any) -> str:
    """A short print of facts that are no secret."""
    return hashlib.sha256(encode_json([revealed(fact) for fact in facts])).hexdigest()[:16]


def all_of(scheme: Scheme) -> str:
    """Every setting of a scheme, secrets included: to be marked, never shown."""
    return encode_json({one.name: revealed(getattr(scheme, one.name)) for one in dataclasses.fields(scheme)}).decode()


def web_address(text: str, setting: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ProjectError(f"{setting} is no address of a web service", help="https://host/path")
    return url


def _texts(params: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in revealed(params or {}).items()}
