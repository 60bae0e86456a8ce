"""One conversation with Gateway: a CSRF token bound to the session in the cookies, fetched once, renewed once.

Token and cookies belong together, so they are held and sent together. The client's own jar would mix them: while one
thread renews, the refusals that others get bring cookies of yet other sessions.
Source: SAP Gateway, cross-site request forgery protection.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from flowrun.errors import ConnectorError, Refused, Unavailable
from flowrun_connectors._http.errors import from_exception
from flowrun_connectors._odata.address import query
from flowrun_connectors.s4hana.codes import error_of

_FETCH = "Fetch"  # stands where a token would, and asks for one


@dataclass(frozen=True, slots=True)
class Held:
    """A token with the cookies it came with. Names of cookies hold the system's id, so none is looked for by name."""

    token: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict)


class Session:
    """params: added to every address (sap-client, sap-language). lock_codes: SAP codes that also mean "locked"."""

    def __init__(self, http: httpx.Client, params: Mapping[str, str], lock_codes: Sequence[str] = ()) -> None:
        self._http = http
        self._params = dict(params)
        self._lock_codes = tuple(lock_codes)
        self._held = Held()
        self._lock = threading.Lock()

    def get(self, path: str, *, accept: str = "application/json") -> httpx.Response:
        """path: with its query. Raises ConnectorError for everything that is no success."""
        held = self._held
        response = self._send("GET", path, {"accept": accept}, held)
        if not held.token:  # the session that reading began is the one that writing goes on with
            with self._lock:
                if self._held is held:
                    self._held = Held("", {**held.cookies, **response.cookies})
        if response.status_code >= 300:
            raise self._error(response, writing=False)
        return response

    def write(self, method: str, root: str, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A changing request with token and cookies. A token that is no longer good is fetched again, once: nothing
        was executed. Any other 403 is a missing authorisation.

        Raises ConnectorError for everything that is no success.
        """
        held = self.held(root)
        response = self._send(method, path, headers, held, content)
        if _asks_for_token(response):
            held = self.held(root, stale=held)
            response = self._send(method, path, headers, held, content)
        if _asks_for_token(response):
            raise Unavailable(
                "the CSRF token is refused although it is new",
                status=403,
                help="do cookies arrive? several systems behind one address need a sticky session",
            )
        if response.status_code >= 300:
            raise self._error(response, writing=True)
        return response

    def held(self, root: str, *, stale: Held | None = None) -> Held:
        """The session's token, fetched when there is none or when it is the ``stale`` one."""
        with self._lock:
            if not self._held.token or self._held is stale:  # otherwise another thread has fetched it meanwhile
                self._held = self._fetch(root)
            return self._held

    def _fetch(self, root: str) -> Held:
        """From the service root with its slash; without it some systems redirect and lose the header."""
        held = Held(_FETCH, self._held.cookies)
        response = self._send("GET", root, {"accept": "application/json"}, held)
        if response.status_code >= 300:
            raise self._error(response, writing=False)
        token: str = response.headers.get("x-csrf-token", "")
        if not token or token.lower() in ("required", "fetch"):
            raise Unavailable("the system gave no CSRF token", help="is the service active for this user?")
        return Held(token, {**held.cookies, **response.cookies})

    def _error(self, response: httpx.Response, *, writing: bool) -> ConnectorError:
        return error_of(response, writing=writing, lock_codes=self._lock_codes)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], held: Held, content: bytes | None = None
    ) -> httpx.Response:
        more = query(self._params)
        address = path + (more.replace("?", "&", 1) if "?" in path else more)
        sent = dict(headers)
        if held.token and (content is not None or held.token is _FETCH):
            sent["x-csrf-token"] = held.token
        if held.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in held.cookies.items())
        try:
            return self._http.request(method, address, content=content, headers=sent)
        except httpx.HTTPError as error:
            raise from_exception(error, writing=content is not None) from None
        except httpx.InvalidURL:
            raise Refused("the address is too long or holds what no address may hold") from None


def _asks_for_token(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.headers.get("x-csrf-token", "").lower() == "required"
