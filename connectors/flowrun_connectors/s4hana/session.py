"""One conversation with Gateway: CSRF token bound to the session's cookies, fetched once, renewed once.

Source: SAP Gateway's cross-site request forgery protection. The client's cookie jar is the session's.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import httpx

from flowrun.errors import Unavailable
from flowrun_connectors._http.errors import from_exception
from flowrun_connectors._odata.errors import parse_error


class Session:
    def __init__(self, http: httpx.Client, params: Mapping[str, str]) -> None:
        self._http = http
        self._params = dict(params)
        self._token = ""
        self._lock = threading.RLock()  # one session: cookies and token belong together

    def get(
        self, path: str, params: Mapping[str, str] | None = None, accept: str = "application/json"
    ) -> httpx.Response:
        """Raises ConnectorError for everything that is no success."""
        response = self._send("GET", path, params=params, headers={"accept": accept})
        if response.status_code >= 300:
            raise parse_error(response, writing=False)
        return response

    def write(self, method: str, root: str, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A changing request with token and cookies; a token that is no longer good is fetched again, once.

        Raises ConnectorError for everything that is no success.
        """
        with self._lock:
            if not self._token:
                self._fetch(root)
            response = self._send(
                method, path, content=content, headers={**headers, "x-csrf-token": self._token}, writing=True
            )
            if response.status_code == 403 and response.headers.get("x-csrf-token", "").lower() == "required":
                self._fetch(root)  # nothing was executed
                response = self._send(
                    method, path, content=content, headers={**headers, "x-csrf-token": self._token}, writing=True
                )
        if response.status_code >= 300:
            raise parse_error(response, writing=True)
        return response

    def _fetch(self, root: str) -> None:
        self._token = ""
        response = self._send("GET", root, headers={"x-csrf-token": "Fetch", "accept": "application/json"})
        if response.status_code >= 300:
            raise parse_error(response, writing=False)
        self._token = response.headers.get("x-csrf-token", "")
        if not self._token:
            raise Unavailable("the system gave no CSRF token", help="is the service active for this user?")

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str],
        writing: bool = False,
    ) -> httpx.Response:
        try:
            return self._http.request(
                method, path, params={**self._params, **(params or {})}, content=content, headers=dict(headers)
            )
        except httpx.HTTPError as error:
            raise from_exception(error, writing=writing) from None
