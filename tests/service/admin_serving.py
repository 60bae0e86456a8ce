"""A service with its admin API on a socket of its own, and a token for each role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flowrun.service.admin import AdminApp
from flowrun.service.admin.throttle import Throttle
from flowrun.store import Store
from flowrun.store.access import ROLES
from tests.service.serving import Serving, serving, socketed

API = "/api/v1"


class Admin:
    """tokens: role → token, named as its role."""

    def __init__(self, here: Serving, url: str, http: httpx.Client, tokens: dict[str, str], throttle: Throttle) -> None:
        self.here = here
        self.store: Store = here.store
        self.url = url
        self.http = http
        self.tokens = tokens
        self.throttle = throttle

    def __call__(
        self, method: str, path: str, *, role: str | None = "admin", token: str = "", **more: Any
    ) -> httpx.Response:
        given = token or (self.tokens[role] if role else "")
        headers = {**({"authorization": f"Bearer {given}"} if given else {}), **more.pop("headers", {})}
        return self.http.request(method, f"{API}/{path}", headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        found = self("GET", path, **more)
        assert found.status_code == 200, found.text
        return found.json()


@contextmanager
def administered(root: Path, place: Path | str, shop: Any, erp: Any, **more: Any) -> Iterator[Admin]:
    with serving(root, place, shop, erp, **more) as here:
        throttle = Throttle()
        app = AdminApp(here.service.deployment, names=("admin.example.com",), wake=here.service.wake, throttle=throttle)
        tokens = {role: here.store.access.add(role, role, "tester") for role in ROLES}
        with socketed(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
            yield Admin(here, url, http, tokens, throttle)
