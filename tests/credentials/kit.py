"""A small system with a token endpoint: refresh tokens that can be used once, access tokens that end, an authorise page."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

import httpx

from flowrun.store.database import Database
from flowrun.store.seal import Seal
from flowrun.store.vault import Vault
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.tokens import open_auth
from flowrun.transport import Limits, build_client
from flowrun.values import Secret, system_clock

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
CLIENT_ID, CLIENT_SECRET = "client-1", "canary-client-secret"
FIRST_REFRESH = "canary-refresh-0"


class TokenSystem(Simulator):
    """given: tokens that were given. bad_token: refresh tokens that were used twice, or are unknown.

    life: seconds of an access token. secret: what the client must say now. answer_with: answers the next token
    requests instead. revoke_old: a new access token ends the one before. rotates: a refresh gives a new refresh token.
    """

    name: ClassVar[str] = "tokens"

    def __init__(self, *, life: int = 3600, **more: Any) -> None:
        super().__init__(**more)
        self.life = life
        self.secret = CLIENT_SECRET
        self.refresh = FIRST_REFRESH
        self.refresh_life: int | None = None
        self.good: set[str] = set()
        self.given = self.bad_token = self.bad_client = self.asked = self.calls = self.unauthorized = 0
        self.answer_with: list[SimResponse] = []
        self.forms: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.deny = False
        self.revoke_old = False
        self.rotates = True
        self.on_token: Callable[[], None] | None = None

    def expire_tokens(self) -> None:
        self.good.clear()

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path == "/token":
            return self._token(request)
        if request.path == "/authorize":
            return self._authorize(request)
        self.calls += 1
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.good:
            return json_response({"ok": True})
        self.unauthorized += 1
        return json_response({"error": "who?"}, 401)

    def _token(self, request: SimRequest) -> SimResponse:
        self.asked += 1
        form = dict(parse_qsl(request.body.decode()))
        self.forms.append(form)
        if self.on_token is not None:
            self.on_token()
        if self.answer_with:
            return self.answer_with.pop(0)
        header = request.headers.get("authorization", "")
        said = base64.b64decode(header[6:]).decode().partition(":")[::2] if header.startswith("Basic ") else None
        if (said or (form.get("client_id"), form.get("client_secret", ""))) != (CLIENT_ID, self.secret):
            self.bad_client += 1
            words = f"unknown client, {said}"  # some servers repeat what they were sent
            return json_response({"error": "invalid_client", "error_description": words}, 401)
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != self.refresh:
                self.bad_token += 1
                return json_response({"error": "invalid_grant", "error_description": form["refresh_token"]}, 400)
            return self._give(rotate=True)
        if form["grant_type"] == "authorization_code":
            known = self.codes.pop(form["code"], None)
            verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
            if known is None or known["code_challenge"] != challenge or known["redirect_uri"] != form["redirect_uri"]:
                return json_response({"error": "invalid_grant"}, 400)
            return self._give(rotate=True)
        return self._give(rotate=False)

    def _give(self, *, rotate: bool) -> SimResponse:
        self.given += 1
        if self.revoke_old:
            self.good.clear()
        access = f"canary-access-{self.given}"
        self.good.add(access)
        body: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": str(self.life)}
        if rotate and self.rotates:
            self.refresh = f"canary-refresh-{self.given}"
            body["refresh_token"] = self.refresh
            if self.refresh_life is not None:
                body["x_refresh_token_expires_in"] = self.refresh_life
        return json_response(body)

    def _authorize(self, request: SimRequest) -> SimResponse:
        query = dict(request.query)
        if self.deny:
            answer = {"error": "access_denied", "state": query["state"]}
        else:
            code = f"canary-code-{len(self.log)}"
            self.codes[code] = query
            answer = {"code": code, "state": query["state"]}
        return SimResponse(302, b"", {"location": f"{query['redirect_uri']}?{urlencode(answer)}"})


class Clockwork:
    """A clock and a wait that tests move."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def wait(self, secs: float) -> None:
        self.time += secs


class Heard:
    """An ``on_trouble`` that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.ends: list[Any] = []

    def __call__(self, connection: str, kind: str, words: str, expires_at: Any) -> None:
        self.said.append((connection, kind))
        self.words.append(words)
        self.ends.append(expires_at)


def client_credentials(base_url: str, secret: str = CLIENT_SECRET, **more: Any) -> dict[str, Any]:
    settings = {"token_url": f"{base_url}/token", "client_id": CLIENT_ID, "client_secret": Secret(secret), **more}
    return {"oauth2_client_credentials": settings}


def authorisation(base_url: str, **more: Any) -> dict[str, Any]:
    settings = {
        "authorize_url": f"{base_url}/authorize",
        "token_url": f"{base_url}/token",
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
        **more,
    }
    return {"oauth2_authorization_code": settings}


def connected(
    base_url: str,
    auth: Any,
    *,
    vault: Vault | None = None,
    heard: Heard | None = None,
    clock: Clockwork | None = None,
    connection: str = "shop",
    timeout: float = 5.0,
) -> httpx.Client:
    """A client over real sockets. auth: the setting, or a function that gives it."""
    read = auth if callable(auth) else lambda: auth
    made = open_auth(connection, read, base_url=base_url, vault=vault, on_trouble=heard or Heard())
    if clock is not None:
        made._clock, made._wait, made._chance = clock, clock.wait, lambda: 0.5  # type: ignore[union-attr]
    return build_client(base_url, auth=made, limits=Limits(concurrent=16, timeout=timeout))


def vault_at(url: str, key: str = KEY) -> Vault:
    return Vault(Database(url), system_clock, Seal(Secret(key)))


def authorised(
    vault: Vault, base_url: str, connection: str = "shop", refresh: str = FIRST_REFRESH, **more: Any
) -> None:
    """Stores a grant whose access token has ended, as if a person had said yes a while ago."""
    from flowrun.credentials.schemes import read_scheme
    from flowrun.credentials.token import Token
    from flowrun.tokens.authorize import keep
    from flowrun.tokens.grants import ByRefresh

    scheme = read_scheme(authorisation(base_url))
    issued_for = ByRefresh(scheme, connection).issued_for  # type: ignore[arg-type]
    token = Token(Secret("canary-access-old"), -1.0, 3600.0, Secret(refresh), issued_for=issued_for, **more)
    keep(vault, connection, token, scheme)  # type: ignore[arg-type]


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """Results of ``call`` from so many threads that start together; an exception is a result."""
    gate, found = threading.Barrier(count), []

    def run() -> None:
        gate.wait()
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def files_of(folder: Path) -> bytes:
    """Every byte of every file: database, WAL, journal."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
