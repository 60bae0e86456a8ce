"""One conversation with Gateway: a CSRF token bound to the session in the cookies, fetched once, renewed once.

Token and cookies belong together; the cookies live in the client's jar. Threads share both: one of them fetches, the
others wait for it. Source: SAP Gateway, cross-site request forgery protection.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import httpx

from flowrun.errors import ConnectorError, Refused, Unavailable
from flowrun_connectors._http.errors import from_exception
from flowrun_connectors._odata.address import query
from flowrun_connectors.s4hana.codes import error_of


class Session:
    """params: added to every address (sap-client, sap-language). lock_codes: SAP codes that also mean "locked"."""

    def __init__(self, http: httpx.Client, params: Mapping[str, str], lock_codes: Sequence[str] = ()) -> None:
        self._http = http
        self._params = dict(params)
        self._lock_codes = tuple(lock_codes)
        self._token = ""
        # Writes go one at a time: they share one cookie jar, and an answer to a stale token may set a new session's
        # cookie under another write's token.
        self._lock = threading.RLock()

    def get(self, path: str, *, accept: str = "application/json") -> httpx.Response:
        """path: with its query. Raises ConnectorError for everything that is no success."""
        response = self._send("GET", path, {"accept": accept})
        if response.status_code >= 300:
            raise self._error(response, writing=False)
        return response

    def write(self, method: str, root: str, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A changing request with token and cookies. A token that is no longer good is fetched again, once: nothing
        was executed. Any other 403 is a missing authorisation.

        Raises ConnectorError for everything that is no success.
        """
        with self._lock:
            token = self.token(root)
            response = self._send(method, path, {**headers, "x-csrf-token": token}, content)
            if _asks_for_token(response):
                token = self.token(root, stale=token)
                response = self._send(method, path, {**headers, "x-csrf-token": token}, content)
        if _asks_for_token(response):
            raise Unavailable(
                "the CSRF token is refused although it is new",
                status=403,
                help="do cookies arrive? several systems behind one address need a sticky session",
            )
        if response.status_code >= 300:
            raise self._error(response, writing=True)
        return response

    def token(self, root: str, *, stale: str = "") -> str:
        """The session's CSRF token, fetched when there is none or when it is the ``stale`` one."""
        with self._lock:
            if not self._token or self._token == stale:  # otherwise another thread has fetched it meanwhile
                self._token = ""
                self._token = self._fetch(root)
            return self._token

    def _fetch(self, root: str) -> str:
        """From the service root with its slash; without it some systems redirect and lose the header."""
        response = self._send("GET", root, {"x-csrf-token": "Fetch", "accept": "application/json"})
        if response.status_code >= 300:
            raise self._error(response, writing=False)
        token: str = response.headers.get("x-csrf-token", "")
        if not token or token.lower() in ("required", "fetch"):
            raise Unavailable("the system gave no CSRF token", help="is the service active for this user?")
        return token

    def _error(self, response: httpx.Response, *, writing: bool) -> ConnectorError:
        return error_of(response, writing=writing, lock_codes=self._lock_codes)

    def _send(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None) -> httpx.Response:
        more = query(self._params)
        address = path + (more.replace("?", "&", 1) if "?" in path else more)
        try:
            return self._http.request(method, address, content=content, headers=dict(headers))
        except httpx.HTTPError as error:
            raise from_exception(error, writing=content is not None and not _for_a_token(error)) from None
        except httpx.InvalidURL:
            raise Refused("the address is too long or holds what no address may hold") from None


def _asks_for_token(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.headers.get("x-csrf-token", "").lower() == "required"


def _for_a_token(error: httpx.HTTPError) -> bool:
    """The OAuth token could not be fetched, so the write itself never left."""
    try:
        return bool(error.request.extensions.get("flowrun.token"))
    except RuntimeError:
        return False
