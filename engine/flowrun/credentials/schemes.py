"""The schemes of ``auth:``, declared once: the checker, the editor schema, the docs and the client all read this.

A field is a setting. ``Secret`` fields take references only; a ``Mapping`` takes names and values.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from flowrun.connector import setting
from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.values import Secret

Send = Literal["header", "body"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]

_TOKEN_URL = "Where tokens are given."  # noqa: S105
_SCOPE = "What is asked for, as the system writes it."
_SEND = "Where the client's id and secret stand: header (the default) or body."


@dataclass(frozen=True)
class Basic:
    user: str = setting("The user's name.", example="{ env: S4_USER }")
    password: Secret = setting("The password.", example="{ secret: s4_password }")


@dataclass(frozen=True)
class Bearer:
    token: Secret = setting("The token.", example="{ secret: token }")


@dataclass(frozen=True)
class ApiKey:
    key: Secret = setting("The key.", example="{ secret: api_key }")
    header: str = setting("The header that carries it.", default="X-Api-Key", example="X-Api-Key")
    prefix: str = setting("A word before the key, such as ShippoToken.", default="", example="Token")
    query: str = setting("The query parameter that carries it, for systems that know no header.", default="")


@dataclass(frozen=True)
class ClientCredentials:
    token_url: str = setting(_TOKEN_URL, example="{ env: S4_TOKEN_URL }")
    client_id: str = setting("The client's id.", example="{ secret: s4_client_id }")
    client_secret: Secret = setting("The client's secret.", example="{ secret: s4_client_secret }")
    scope: str = setting(_SCOPE, default="")
    send: Send = setting(_SEND, default="header", example="body")
    params: Mapping[str, Any] | None = setting(
        "Further fields of the token request.", default=None, example="{ audience: https://api.example }"
    )


@dataclass(frozen=True)
class AuthorizationCode:
    """A person says yes once (``flowrun connections authorize NAME``); the refresh token keeps it alive."""

    authorize_url: str = setting(
        "Where the person says yes.", example="https://login.xero.com/identity/connect/authorize"
    )
    token_url: str = setting(_TOKEN_URL, example="https://identity.xero.com/connect/token")
    client_id: str = setting("The client's id.", example="{ secret: xero_client_id }")
    client_secret: Secret | None = setting(
        "The client's secret; public clients have none.", default=None, example="{ secret: xero_client_secret }"
    )
    scope: str = setting(_SCOPE, default="", example="offline_access accounting.transactions")
    send: Send = setting(_SEND, default="header", example="body")
    redirect_url: str = setting(
        "The redirect address registered with the system; without it a free port of 127.0.0.1 is used.",
        default="",
        example="http://127.0.0.1:8585/callback",
    )
    params: Mapping[str, Any] | None = setting(
        "Further fields of the authorise address.", default=None, example="{ access_type: offline }"
    )


@dataclass(frozen=True)
class JwtBearer:
    """A signed statement instead of a secret (RFC 7523)."""

    token_url: str = setting(_TOKEN_URL, example="{ env: NS_TOKEN_URL }")
    client_id: str = setting("The client's id: the statement's issuer.", example="{ secret: ns_client_id }")
    key: Secret = setting("The private key that signs, in PEM.", example="{ secret: ns_private_key }")
    algorithm: Algorithm = setting("How it is signed.", default="RS256", example="PS256")
    key_id: str = setting("The key's or certificate's id at the system.", default="", example="{ env: NS_KEY_ID }")
    use: Literal["grant", "client"] = setting(
        "grant: the statement is what the token is given for; client: it proves the client (NetSuite, Entra).",
        default="grant",
        example="client",
    )
    subject: str = setting("For whom; without it the client's id.", default="")
    audience: str = setting("To whom; without it token_url.", default="")
    scope: str = setting(_SCOPE, default="")
    claims: Mapping[str, Any] | None = setting(
        "Further claims of the statement.", default=None, example="{ scope: [restlets, rest_webservices] }"
    )


@dataclass(frozen=True)
class OAuth1:
    """OAuth 1.0a with HMAC-SHA256: NetSuite's token-based authentication."""

    consumer_key: str = setting("The integration's key.", example="{ secret: ns_consumer_key }")
    consumer_secret: Secret = setting("The integration's secret.", example="{ secret: ns_consumer_secret }")
    token: str = setting("The token's id.", example="{ secret: ns_token_id }")
    token_secret: Secret = setting("The token's secret.", example="{ secret: ns_token_secret }")
    realm: str = setting("The account, as NetSuite shows it.", default="", example="1234567_SB1")


@dataclass(frozen=True)
class Session:
    """A login call whose cookies go along until they end."""

    login: str = setting("The address of the login call, from base_url on.", example="Login")
    body: Mapping[str, Any] = setting(
        "What the login call sends.",
        example="{ CompanyDB: SBODEMOUS, UserName: { env: B1_USER }, Password: { secret: b1_password } }",
    )
    send: Literal["json", "form"] = setting("How it is sent: json (the default) or form.", default="json")
    idle: str = setting("How long a session lives unused.", default="20m", example="25m")
    idle_field: str = setting("The field of the answer that says so, in minutes.", default="", example="SessionTimeout")
    cookies: Mapping[str, Any] | None = setting(
        "Cookies whose value stands in a field of the answer.", default=None, example="{ B1SESSION: SessionId }"
    )
    logout: str = setting("The logout call, made when the connection closes.", default="", example="Logout")


Scheme = Basic | Bearer | ApiKey | ClientCredentials | AuthorizationCode | JwtBearer | OAuth1 | Session

SCHEMES: Mapping[str, type[Any]] = {
    "basic": Basic,
    "bearer": Bearer,
    "api_key": ApiKey,
    "oauth2_client_credentials": ClientCredentials,
    "oauth2_authorization_code": AuthorizationCode,
    "oauth2_jwt_bearer": JwtBearer,
    "oauth1": OAuth1,
    "session": Session,
}
MANY = ("body",)
"""Mappings that hold credentials among plain values: every value of theirs is kept as a Secret."""


def name_of(scheme: Scheme) -> str:
    return next(name for name, cls in SCHEMES.items() if type(scheme) is cls)


def read_scheme(auth: Any) -> Scheme | None:
    """``auth:`` of a connection, resolved. None when nothing is set. Raises ProjectError for what it does not know."""
    if not auth:
        return None
    known = f"auth is exactly one of {', '.join(SCHEMES)}"
    if not isinstance(auth, Mapping) or len(auth) != 1:
        raise ProjectError(known)
    (name, given) = next(iter(auth.items()))
    if name not in SCHEMES:
        guess = near(str(name), SCHEMES)
        raise ProjectError(f"auth: there is no scheme '{name}'", help=f"did you mean '{guess}'?" if guess else known)
    if not isinstance(given, Mapping):
        raise ProjectError(f"auth: {name} needs its settings", help=f"auth: {{ {name}: {{ … }} }}")
    cls = SCHEMES[name]
    fields = {one.name: one for one in dataclasses.fields(cls)}
    for key in given:
        if key not in fields:
            guess = near(str(key), fields)
            help = f"did you mean '{guess}'?" if guess else f"known: {', '.join(fields)}"
            raise ProjectError(f"auth: {name} has no setting '{key}'", help=help)
    values = {}
    for key, one in fields.items():
        if given.get(key) is not None:  # null is "not set"
            values[key] = _typed(name, one, given[key])
        elif one.default is dataclasses.MISSING:
            raise ProjectError(f"auth: {name} lacks '{key}'", help=str(one.metadata["doc"]))
    scheme: Scheme = cls(**values)
    return scheme


def _typed(scheme: str, field: dataclasses.Field[Any], value: Any) -> Any:
    kind = str(field.type)
    if kind.startswith("Mapping"):
        if not isinstance(value, Mapping):
            raise ProjectError(f"auth: {scheme}: '{field.name}' is a block of names and values")
        return {k: _kept(k, v) for k, v in value.items()} if field.name in MANY else value
    if isinstance(value, Mapping | list):
        raise ProjectError(f"auth: {scheme}: '{field.name}' is one value")
    text = plain(value)
    if kind.startswith("Secret"):
        if "\0" in text or (any(c in text for c in "\r\n") and field.name != "key"):
            raise ProjectError(f"auth: {scheme}: '{field.name}' holds a line end", help="write it without one")
        return value if isinstance(value, Secret) else Secret(text, field.name)
    if re.search(r"[\r\n\0]", text):
        raise ProjectError(f"auth: {scheme}: '{field.name}' holds a line end", help="write it without one")
    allowed = choices(field)
    if allowed and text not in allowed:
        raise ProjectError(f"auth: {scheme}: '{field.name}' is one of {', '.join(allowed)}, not '{text}'")
    return text


def _kept(name: str, value: Any) -> Any:
    """bool, numbers and null have a type of their own on the wire; every text may be a password."""
    return Secret(value, name) if isinstance(value, str) else value


def choices(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The words a setting is one of; () when it is free."""
    kind = str(field.type)
    named = {"Send": Send, "Algorithm": Algorithm}
    if kind in named:
        return get_args(named[kind])
    return tuple(re.findall(r"[\"']([^\"']+)[\"']", kind)) if kind.startswith("Literal") else ()


def plain(value: Any) -> str:
    """The text of a setting, for the wire."""
    return value.reveal() if isinstance(value, Secret) else str(value)


def revealed(value: Any) -> Any:
    """A mapping or list with the texts of the secrets inside, for the wire."""
    if isinstance(value, Mapping):
        return {key: revealed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [revealed(inner) for inner in value]
    return value.reveal() if isinstance(value, Secret) else value
