"""Requests at once, over all processes: in virtual time, and with real processes."""

from __future__ import annotations

import threading
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.pacing.sharing import SLOT_LEASE_SECS, Share, share
from flowrun.pacing.slots import BEAT_SECS
from flowrun.store import Store
from flowrun.testing.simulator import SimRequest, SimResponse
from tests.budgets.kit import Noting, client_of, shared_budgets
from tests.budgets.test_processes import place, said, started

__all__ = ["place"]  # a fixture


class Process:
    """Asks as ``Slots`` does: when it wants more, once a second, and when it holds more than it may."""

    def __init__(self, name: str, demand: int, takes: float) -> None:
        self.name, self.demand, self.takes = name, demand, takes
        self.running: list[float] = []
        self.may = self.done = 0
        self.last = -1.0
        self.alive = True

    def ask(self, shares: dict[str, Share], total: int, now: float) -> None:
        mine, self.may = share(
            total,
            list(shares.values()),
            self.name,
            now,
            in_use=len(self.running),
            need=max(self.demand, len(self.running)),
        )
        shares.pop(self.name, None)
        if mine is not None:
            shares[self.name] = mine
        self.last = now

    def step(self, shares: dict[str, Share], total: int, now: float) -> None:
        ended = len(self.running)
        self.running = [end for end in self.running if end > now]
        self.done += ended - len(self.running)
        held = shares[self.name].slots if self.name in shares else 0
        wants = len(self.running) < self.demand and len(self.running) >= self.may
        if now >= self.last + BEAT_SECS or wants or held > max(self.may, len(self.running)):
            self.ask(shares, total, now)
        while len(self.running) < min(self.may, self.demand):
            self.running.append(now + self.takes)


DEMAND = st.tuples(st.integers(0, 6), st.floats(0.05, 3.0))


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 8), demands=st.lists(DEMAND, min_size=1, max_size=10))
def test_never_more_than_there_are_and_everybody_comes_to_it(total: int, demands: list[tuple[int, float]]) -> None:
    processes = [Process(str(n), demand, takes) for n, (demand, takes) in enumerate(demands)]
    shares: dict[str, Share] = {}
    for tick in range(900):  # 90 s
        for one in processes:
            one.step(shares, total, tick / 10)
            assert sum(len(each.running) for each in processes) <= total
    for one in processes:
        assert one.done or not one.demand, (
            f"{one.name} starves: {[(each.demand, each.takes, each.done) for each in processes]}"
        )
    wanted = sum(one.demand for one in processes)
    if wanted <= total:
        assert all(one.may == one.demand for one in processes)


def test_slots_of_a_process_that_died_are_free_after_its_lease() -> None:
    dead, other = Process("dead", 3, 1.0), Process("other", 4, 0.5)
    shares: dict[str, Share] = {}
    dead.step(shares, 4, 0.0)
    other.step(shares, 4, 0.1)
    assert (len(dead.running), len(other.running)) == (3, 1)
    other.step(shares, 4, SLOT_LEASE_SECS - 0.5)
    assert len(other.running) == 1
    other.step(shares, 4, SLOT_LEASE_SECS + 0.5)
    assert len(other.running) == 4


def test_a_clock_that_is_set_back_keeps_no_slot_of_the_dead() -> None:
    shares: dict[str, Share] = {}
    Process("dead", 4, 1.0).step(shares, 4, 90_000.0)
    other = Process("other", 4, 0.5)
    other.step(shares, 4, 3_600.0)
    assert len(other.running) == 4


class Crowd(Noting):
    """most: requests that were under way at once. Each takes a while."""

    def __init__(self) -> None:
        super().__init__()
        self.now_running = self.most = 0
        self.count = threading.Lock()

    def respond(self, request: SimRequest, fault: Any) -> SimResponse | None:
        with self.count:
            self.now_running += 1
            self.most = max(self.most, self.now_running)
        time.sleep(0.05)
        try:
            return super().respond(request, fault)
        finally:
            with self.count:
                self.now_running -= 1


def test_four_processes_together_have_no_more_under_way(place: str) -> None:
    system = Crowd()
    with system.running() as base_url:
        found = said(started(4, place, base_url, {"concurrent": 5}, 4, threads=3))
    counts = [one.get("200", 0) for one in found]
    assert system.most <= 5
    assert sum(counts) >= 5 * 4 / 0.05 * 0.3, f"five are there to be used: {found}"
    assert min(counts) >= 10, f"one starves: {found}"


def test_fewer_slots_than_processes_go_round(place: str) -> None:
    system = Crowd()
    with system.running() as base_url:
        found = said(started(3, place, base_url, {"concurrent": 1}, 8))
    assert system.most == 1 and all(one.get("200", 0) >= 5 for one in found), found


def test_the_slot_of_a_killed_process_comes_back(place: str) -> None:
    system = Crowd()
    with system.running() as base_url:
        (victim,) = started(1, place, base_url, {"concurrent": 1}, 60)
        time.sleep(1.0)
        victim.kill()
        victim.wait()
        at = time.monotonic()
        with shared_budgets(place) as budgets, client_of(base_url, budgets, concurrent=1) as client:
            for _ in range(10):  # 5 s of patience each
                try:
                    client.get("a")
                    break
                except Exception as error:
                    assert "1 requests that shop takes at once are under way" in str(error)
            assert time.monotonic() - at < SLOT_LEASE_SECS + 2
            assert system.statuses[-1] == 200 and system.times[-1] > at


def test_slots_cost_a_statement_a_second_and_are_given_back(store: Store) -> None:
    asked = []
    given_share = store.budgets.share
    store.budgets.share = lambda *args: asked.append(1) or given_share(*args)  # type: ignore[method-assign, func-returns-value]
    system = Noting()
    begun = time.monotonic()
    with system.running() as base_url, client_of(base_url, store.budgets, concurrent=2) as client:
        for _ in range(300):
            client.get("a")
        assert len(asked) <= (time.monotonic() - begun + 2 if store.database.shared else 0)
        time.sleep(2.5)
    with store.transaction() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM slots").scalar_one() == 0
