"""A system that notes when each request came, and ways to reach it through a shared budget."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flowrun.connections import build, limits_of
from flowrun.connector import LimitHeaders
from flowrun.pacing.gate import Gate
from flowrun.store import Store
from flowrun.store.budgets import Budgets
from flowrun.store.database import open_database
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.transport import build_client
from flowrun.values import system_clock
from flowrun_connectors.http.connector import Http
from flowrun_connectors.http.simulator import HttpSimulator


class Noting(Simulator):
    """times: of every request, refused ones included, by ``time.monotonic``; statuses: what it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.statuses: list[int] = []

    def handle(self, request: SimRequest) -> SimResponse:
        return json_response({"ok": True})

    def respond(self, request: SimRequest, fault: Any) -> SimResponse | None:
        at = time.monotonic()
        found = super().respond(request, fault)
        with self.lock:
            self.times.append(at)
            self.statuses.append(found.status if found is not None else 0)
        return found


class Counter(Noting):
    """A counter of so many in so many seconds that begins anew, told with each answer; 429 beyond."""

    def __init__(self, limit: int, secs: float) -> None:
        super().__init__()
        self.limit, self.secs = limit, secs
        self.ends, self.used = 0.0, 0

    def handle(self, request: SimRequest) -> SimResponse:
        now = time.monotonic()
        if now >= self.ends:
            self.ends, self.used = now + self.secs, 0
        self.used += 1
        left = max(0, self.limit - self.used)
        told = {
            "x_ratelimit_limit": str(self.limit),
            "x_ratelimit_remaining": str(left),
            "x_ratelimit_reset": f"{self.ends - now:.3f}",
        }
        return json_response({}, 429 if self.used > self.limit else 200, **told)


def most_in(times: Sequence[float], secs: float) -> int:
    """The fullest window, wherever it begins."""
    times = sorted(times)
    return max((bisect_left(times, at + secs) - i for i, at in enumerate(times)), default=0)


@contextmanager
def shared_budgets(place: Path | str) -> Iterator[Budgets]:
    """As another process has them: on SQLite beside whoever holds the file."""
    database = open_database(place, beside=True)
    try:
        yield Budgets(database)
    finally:
        database.close()


def client_of(
    base_url: str, budgets: Any, name: str = "shop", rate: str = "", declared: Sequence[LimitHeaders] = (), **more: Any
) -> httpx.Client:
    limits = limits_of({"rate": rate, **more} if rate else more)
    return build_client(
        base_url, limits=limits, gate=Gate(name, limits.rates, budgets, declared, concurrent=more.get("concurrent"))
    )


OBJECTS = {"things": {"create": {"path": "a"}, "find": {"path": "a"}, "read": {"path": "a"}}}


@contextmanager
def http_system(
    store: Store, root: Path, name: str = "to", limits: Mapping[str, Any] | None = None
) -> Iterator[tuple[Any, Any, list[tuple[float, int]]]]:
    """(connector, simulator, (time, status) of each request) of the http connector against its own simulator."""
    simulator = HttpSimulator.for_settings({"objects": OBJECTS})
    came: list[tuple[float, int]] = []
    respond, lock = simulator.respond, threading.Lock()

    def noting(request: SimRequest, fault: Any) -> SimResponse | None:
        at = time.monotonic()
        found = respond(request, fault)
        with lock:
            came.append((at, found.status if found is not None else 0))
        return found

    simulator.respond = noting  # type: ignore[method-assign]
    with simulator.running():
        settings = {"objects": OBJECTS, **simulator.connection_settings(), "limits": dict(limits or {})}
        connector = build(Http, name, settings, now=system_clock, root=root, budgets=store.budgets)
        try:
            yield connector, simulator, came
        finally:
            connector.http.close()
