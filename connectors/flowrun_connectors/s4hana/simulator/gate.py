"""Who may come in: Basic, OAuth tokens, sessions with their CSRF tokens, services that a user may call."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from flowrun.testing.simulator import SimRequest, SimResponse, json_response
from flowrun.values import Clock
from flowrun_connectors.s4hana.simulator.wire import Stop, refuse

USER, PASSWORD = "SIM_USER", "sim-s4-password"
CLIENT_ID, CLIENT_SECRET = "sim-s4-client", "sim-s4-client-secret"
CLIENT = "100"
_MOST_FAILURES = 5  # wrong passwords, after which the user is locked


@dataclass(slots=True)
class _Session:
    token: str
    used: datetime


@dataclass(slots=True)
class Gate:
    """token_secs: life of an OAuth token. session_secs: idle life of a session. locked: the user had too many tries."""

    now: Clock
    token_secs: int = 3600
    session_secs: int = 1800
    revoked: set[str] = field(default_factory=set)
    inactive: set[str] = field(default_factory=set)
    locked: bool = False
    sessions: dict[str, _Session] = field(default_factory=dict)
    tokens: dict[str, datetime] = field(default_factory=dict)
    _failures: int = 0
    _serial: int = 0

    def oauth(self, request: SimRequest) -> SimResponse:
        form = dict(parse_qsl(request.body.decode(errors="replace")))
        if request.headers.get("authorization") != _basic(CLIENT_ID, CLIENT_SECRET):
            return json_response({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return json_response({"error": "unsupported_grant_type"}, 400)
        self._serial += 1
        token = f"sim-token-{self._serial}"
        self.tokens[token] = self.now() + timedelta(seconds=self.token_secs)
        return json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.token_secs})

    def authenticate(self, request: SimRequest) -> None:
        given = request.headers.get("authorization", "")
        if request.query.get("sap-client", CLIENT) == CLIENT:
            if given == _basic(USER, PASSWORD) and not self.locked:
                self._failures = 0
                return
            token = given.removeprefix("Bearer ")
            if given.startswith("Bearer ") and self.tokens.get(token, self.now()) > self.now():
                return
        if given.startswith("Basic "):
            self._failures += 1
            self.locked = self.locked or self._failures >= _MOST_FAILURES
        raise Stop(
            SimResponse(
                401,
                b"<html><head><title>Logon Error Message</title></head><body>Logon failed</body></html>",
                {
                    "content-type": "text/html;charset=utf-8",
                    "www-authenticate": 'Basic realm="SAP NetWeaver Application Server [SIM/100]"',
                },
            )
        )

    def authorise(self, service: str, v4: bool) -> None:
        if service in self.inactive:
            raise refuse(
                v4, 403, "/IWFND/MED/170", f"No service found for namespace '', name '{service}', version '0001'"
            )
        if service in self.revoked:
            raise refuse(v4, 403, "/IWFND/CM_CONSUMER/101", f"No authorization to access Service '{service}_0001'")

    def session(self, headers: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """(the session's id, cookies to set when it is a new one)."""
        found = re.search(r"SAP_SESSIONID_SIM_100=(\w+)", headers.get("cookie", ""))
        held = self.sessions.get(found.group(1)) if found else None
        if found and held and self.now() - held.used <= timedelta(seconds=self.session_secs):
            held.used = self.now()
            return found.group(1), ()
        self._serial += 1
        name = f"s{self._serial}"
        self.sessions[name] = _Session(f"token-{self._serial}==", self.now())
        return name, (
            "sap-usercontext=sap-client=100; path=/",
            f"SAP_SESSIONID_SIM_100={name}; path=/; HttpOnly",
            f"sap-XSRF_SIM_100={name}x; path=/; HttpOnly",
        )

    def check_token(self, headers: Mapping[str, str], session: str, new: bool) -> None:
        """Token and cookies belong together: a right token in a new session is as wrong as none."""
        if new or headers.get("x-csrf-token") != self.sessions[session].token:
            raise Stop(
                SimResponse(
                    403,
                    b"CSRF token validation failed",
                    {"content-type": "text/plain;charset=utf-8", "x-csrf-token": "Required"},
                )
            )


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
