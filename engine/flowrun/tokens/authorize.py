"""A person says yes: the authorisation-code grant with PKCE, by a redirect to this machine or by a pasted address.

The state is compared, so that nobody can slip in an answer of their own; the code is worthless without the verifier,
which never leaves this process before it is exchanged.
Source: RFC 6749 section 4.1, RFC 7636 (S256), RFC 8252 section 7.3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx

from flowrun.credentials.schemes import AuthorizationCode, name_of, revealed
from flowrun.credentials.token import Token
from flowrun.errors import AuthFailed, ProjectError, Unavailable
from flowrun.tokens.answers import token_of
from flowrun.tokens.grants import ByRefresh, token_request, web_address
from flowrun.tokens.renewing import LEASE_SECS

if TYPE_CHECKING:
    from flowrun.store.vault import Vault

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_PAGE = "<!doctype html><meta charset=utf-8><title>flowrun</title><p>{}</p>"


@dataclass(frozen=True, slots=True)
class Question:
    """url: where the person says yes."""

    scheme: AuthorizationCode
    url: str
    redirect_url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def ask(scheme: AuthorizationCode, redirect_url: str) -> Question:
    """Raises ProjectError for an address that is none."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    params = {
        "response_type": "code",
        "client_id": scheme.client_id,
        "redirect_uri": redirect_url,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        **({"scope": scheme.scope} if scheme.scope else {}),
        **{name: str(value) for name, value in revealed(scheme.params or {}).items()},
    }
    url = web_address(scheme.authorize_url, "authorize_url").copy_merge_params(params)
    return Question(scheme, str(url), redirect_url, state, verifier)


def challenge(verifier: str) -> str:
    """S256 of RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def code_of(question: Question, answer: str) -> str:
    """The code in the address that the system led to; a code by itself is one too, since it is bound to the verifier.

    Raises AuthFailed: the person said no, or the address belongs to another question.
    """
    answer = answer.strip()
    if "?" not in answer and "/" not in answer:
        if not answer:
            raise AuthFailed("no code was given")
        return answer
    query = {name: values[0] for name, values in parse_qs(urlsplit(answer).query).items()}
    if not hmac.compare_digest(query.get("state", "").encode(), question.state.encode()):
        raise AuthFailed("this address answers another question (its state differs)", help="start again")
    if "error" in query:
        said = query["error"] if query["error"].isascii() and query["error"].replace("_", "").isalnum() else "an error"
        raise AuthFailed(f"the system says: {said[:60]}", help="was the right user logged in, and did they say yes?")
    if not query.get("code"):
        raise AuthFailed("the address holds no code")
    return query["code"]


def exchange(question: Question, code: str, client: httpx.Client, connection: str) -> Token:
    """The grant. Raises AuthFailed, RateLimited, Unavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": question.redirect_url,
        "code_verifier": question.verifier,
    }
    request = token_request(question.scheme, form)
    request.extensions = {"flowrun.token": True, "timeout": client.timeout.as_dict()}
    try:
        response = client.send(request)
    except httpx.HTTPError as error:
        raise Unavailable(f"the token endpoint cannot be reached ({type(error).__name__})") from None
    token = token_of(response, None, ByRefresh(question.scheme, connection).issued_for)
    if token.refresh is None:
        raise AuthFailed(
            f"the system gave '{connection}' no refresh token, so it would stop in {token.life / 60:.0f} minutes",
            help="many systems want it asked for: scope: offline_access, or params: { access_type: offline }",
        )
    return token


def keep(vault: Vault, connection: str, token: Token, scheme: AuthorizationCode) -> None:
    """Store a grant in place of the one before. Waits for a process that renews. Raises Unavailable."""
    until = time.monotonic() + 2 * LEASE_SECS
    while time.monotonic() < until:
        lease = vault.lease(connection, LEASE_SECS)
        if lease is not None:
            try:
                held = vault.load(connection)
                if vault.save(connection, token, held.version if held else 0, lease, scheme=name_of(scheme)):
                    return
            finally:
                vault.release(lease)
        time.sleep(0.1)
    raise Unavailable(f"another process has been renewing the token of '{connection}' for too long")


class Loopback:
    """A server on 127.0.0.1 that waits for the one redirect. redirect_url: as registered, or "" for a free port.

    Raises ProjectError when the address is not of this machine, or its port is taken.
    """

    def __init__(self, redirect_url: str = "") -> None:
        url = urlsplit(redirect_url or "http://127.0.0.1:0/callback")
        if url.scheme != "http" or url.hostname not in _LOOPBACK:
            raise ProjectError("redirect_url is not of this machine", help="use --paste")
        self._path = url.path or "/"
        try:
            self._server = HTTPServer(("127.0.0.1", url.port or (0 if not redirect_url else 80)), self._handler())
        except OSError as error:
            raise ProjectError(
                f"{redirect_url}: {error.strerror}", help="stop what listens there, or use --paste"
            ) from None
        port = self._server.server_address[1]
        self.url = redirect_url or f"http://127.0.0.1:{port}{self._path}"
        self._hosts = {f"{host}:{port}" for host in _LOOPBACK}
        self._found = ""
        self._error: AuthFailed | None = None
        self._done = threading.Event()
        self._judge: Callable[[str], str] = lambda answer: answer

    def wait(self, question: Question, secs: float) -> str:
        """The code. Answers to other questions are turned away, and waited on. Raises AuthFailed."""
        self._judge = lambda answer: code_of(question, answer)
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            if not self._done.wait(secs):
                raise AuthFailed(f"nobody said yes within {secs / 60:.0f} minutes", help="start again, or use --paste")
        finally:
            self._server.shutdown()
            self._server.server_close()
        if self._error is not None:
            raise self._error
        return self._found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds; who connects and says nothing keeps the redirect waiting no longer

            def do_GET(self) -> None:
                status, words = loopback._take(self.path, self.headers.get("host", ""))
                page = _PAGE.format(words).encode()
                self.send_response(status)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(page)))
                self.send_header("referrer-policy", "no-referrer")
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: the line would hold the code."""

        return Handler

    def _take(self, path: str, host: str) -> tuple[int, str]:
        if host not in self._hosts or urlsplit(path).path != self._path or self._done.is_set():
            return 404, "Nothing is here."
        try:
            self._found = self._judge(path)
        except AuthFailed as error:
            if "another question" in error.message:
                return 400, "This answers another question."
            self._error = error
            self._done.set()
            return 200, "The system did not say yes; see the terminal. You may close this window."
        self._done.set()
        return 200, "Done. You may close this window."
