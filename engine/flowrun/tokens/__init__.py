"""Credentials on their way into requests, and the life of those that end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from flowrun.credentials.schemes import (
    ApiKey,
    AuthorizationCode,
    Basic,
    Bearer,
    ClientCredentials,
    JwtBearer,
    OAuth1,
    Scheme,
    Session,
    read_scheme,
)
from flowrun.errors import ProjectError
from flowrun.tokens.grants import ByClientCredentials, ByRefresh, ByStatement, Grant
from flowrun.tokens.placing import HeaderAuth, QueryAuth, SignedAuth, basic_auth
from flowrun.tokens.renewing import Renewing
from flowrun.tokens.rotating import Rotating
from flowrun.tokens.session import ByLogin
from flowrun.tokens.trouble import OnTrouble, Troubles
from flowrun.values import Clock, system_clock

if TYPE_CHECKING:
    from flowrun.store.vault import Vault

__all__ = ["OnTrouble", "Renewing", "Rotating", "Troubles", "open_auth"]


def open_auth(
    connection: str,
    read: Callable[[], Any],
    *,
    base_url: str = "",
    now: Clock = system_clock,
    vault: Vault | None = None,
    on_trouble: OnTrouble | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> httpx.Auth | None:
    """``auth:`` of a connection as an httpx.Auth; None when nothing is set.

    read: the setting with its references read anew, each time it is called. Raises ProjectError for what makes no
    sense, and for a grant that cannot be kept.
    """

    def scheme() -> Scheme:
        found = read_scheme(read())
        if found is None:
            raise ProjectError("auth is gone")
        return found

    def grant(found: Scheme) -> Grant:
        match found:
            case ClientCredentials():
                return ByClientCredentials(found)
            case AuthorizationCode():
                return ByRefresh(found, connection)
            case JwtBearer():
                return ByStatement(found, now)
            case Session():
                return ByLogin(found, base_url)
        raise ProjectError("the scheme of auth has changed", help="start flowrun again")

    def fixed(found: Scheme) -> httpx.Auth:
        match found:
            case Basic():
                return basic_auth(found.user, found.password.reveal())
            case Bearer():
                return HeaderAuth("Authorization", found.token.reveal(), "Bearer ")
            case ApiKey() if found.query:
                return QueryAuth(found.query, found.key.reveal())
            case ApiKey():
                return HeaderAuth(found.header, found.key.reveal(), f"{found.prefix} " if found.prefix else "")
            case OAuth1():
                return SignedAuth(found, now)
        raise ProjectError("the scheme of auth has changed", help="start flowrun again")

    first = read_scheme(read())
    if first is None:
        return None
    troubles = Troubles(connection, on_trouble)
    if isinstance(first, Basic | Bearer | ApiKey | OAuth1):
        return Rotating(connection, fixed, scheme, troubles)
    if isinstance(first, AuthorizationCode) and vault is None:
        raise ProjectError(
            f"connection '{connection}' lives on a refresh token, which must be stored encrypted; there is no key",
            help="in flowrun.yaml: store: { key: { env: FLOWRUN_KEY } }; make one with: openssl rand -base64 32",
        )
    shared = None if isinstance(first, Session) else vault  # a login can be made again, so a session is not stored
    return Renewing(connection, grant, scheme, now=now, troubles=troubles, vault=shared, wait=wait)
