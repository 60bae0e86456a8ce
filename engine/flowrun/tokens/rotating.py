"""Credentials that do not end by themselves: put into each request, and read again when they are refused.

A 401 reads the references again. When they give something else now, the request is sent once more with it; the same
is never tried twice, since that locks a user.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import httpx

from flowrun.errors import ProjectError
from flowrun.tokens.trouble import Troubles

Settings = TypeVar("Settings")


class Rotating(httpx.Auth, Generic[Settings]):
    """read: the settings with their references read anew, comparable. make: the auth of some settings."""

    def __init__(
        self, connection: str, make: Callable[[Settings], httpx.Auth], read: Callable[[], Settings], troubles: Troubles
    ) -> None:
        self._connection = connection
        self._make, self._read = make, read
        self._client: httpx.Client | None = None
        settings = read()
        self._held = (settings, make(settings))
        self._troubles = troubles
        self._lock = threading.Lock()

    def connect(self, client: httpx.Client) -> None:
        """See ``Renewing.connect``; what a connector brings may ask for tokens of its own."""
        self._client = client
        self._connect(self._held[1])

    def _connect(self, auth: httpx.Auth) -> None:
        connect = getattr(auth, "connect", None)
        if connect is not None and self._client is not None:
            connect(self._client)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        held = self._held
        response = yield from _through(held[1], request)
        if response.status_code != 401:
            self._troubles.over("refused")
            return
        other = self._read_again(held)
        if other is not None:
            response.read()
            response = yield from _through(other[1], request)
        if response.status_code == 401:
            self._troubles.say("refused", f"the system refuses the credentials of '{self._connection}' (401)")

    def _read_again(self, used: tuple[Settings, httpx.Auth]) -> tuple[Settings, httpx.Auth] | None:
        """Other credentials than those used; None when there are none."""
        with self._lock:
            if self._held is not used:
                return self._held  # another thread has found them
            try:
                settings = self._read()
                if settings == used[0]:
                    return None
                auth = self._make(settings)
            except (ProjectError, OSError):  # half written, taken away: what we have stays
                return None
            self._connect(auth)
            self._held = (settings, auth)
            return self._held


def _through(auth: httpx.Auth, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
    """All that ``auth`` sends; gives the last response."""
    flow = auth.sync_auth_flow(request)
    sent = next(flow)
    while True:
        response = yield sent
        try:
            sent = flow.send(response)
        except StopIteration:
            return response
