"""A target is away for six hours: no try is burnt, other targets keep their speed, and what waited goes in order.

The full size: pytest -m soak tests/faults/test_outage.py
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from flowrun.connector import discover
from flowrun.errors import Unavailable
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner.intake import Intake
from flowrun.runner.run import Drain
from flowrun.store import open_store
from flowrun.store.circuits import MOST_OPEN_SECS, OPENS_AFTER
from flowrun.writer import Writer
from tests.runner.test_edges import CREATE, PROJECT, Bench, Scripted

HOUR = 3600.0
AWAY_SECS = 6 * HOUR
BLOCKED = int(os.environ.get("FLOWRUN_BLOCKED_KEYS", "50000"))
ELSEWHERE = """\
  elsewhere:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects: { things: { create: { path: a }, find: { path: a } } }
environments:"""


class Outage(Bench):
    """``orders`` goes to a target that is away until ``ends``, ``live`` to one that is well."""

    def __init__(self, root: Path, place: Path | str) -> None:
        super().__init__(root)
        self.store.close()
        self.store = open_store(place, now=self.now)
        (root / "flowrun.yaml").write_text(PROJECT.replace("environments:", ELSEWHERE))
        words = CREATE.replace("connection: to", "connection: elsewhere").replace("flow: orders", "flow: live")
        (root / "flows" / "live.yaml").write_text(words)
        words = CREATE.replace("key: it.id }", "key: it.id, keep_order_by: it.key }")
        (root / "flows" / "orders.yaml").write_text(words)
        self.project = load_project(root)
        self.well = Scripted()
        self.tried: list[float] = []
        """when the target that is away was called, and could not answer"""
        self.target.script = self._answer

    def _answer(self, body: Any) -> Any:
        if self.slept < AWAY_SECS:
            self.tried.append(self.slept)
            return Unavailable("503")
        return None

    def live(self, first: int, count: int) -> None:
        """Events of the other target: taken in and delivered."""
        away, self.target = self.target, self.well
        try:
            self.run(*({"id": str(n), "amount": n} for n in range(first, first + count)), flow="live", wait_secs=0)
        finally:
            self.target = away

    def block(self, keys: int) -> None:
        """Two changes of each key, taken in while the target is away."""
        flow = load_flow("orders", self.project, discover())
        taking = Intake(flow, compile_plan(flow, {}), self.store, 0, lambda name: None)
        for change in (0, 1):
            taking.take(None, ({"id": f"{n}-{change}", "key": str(n), "amount": change} for n in range(keys)))

    def drain(self, chance: float) -> Drain:
        flow = load_flow("orders", self.project, discover())
        plan = compile_plan(flow, {})
        writer = Writer(flow, plan, self.target, self.store, chance=random.Random(chance))
        return Drain(flow, plan, self.store, writer, {}, self.sleep, alone=False)


@pytest.fixture
def away(tmp_path: Path, store_place: Path | str) -> Iterator[Outage]:
    made = Outage(tmp_path, store_place)
    yield made
    made.store.close()


def through_the_outage(away: Outage, keys: int, live: int) -> None:
    away.block(keys)
    hours = 0

    def sleep(secs: float) -> None:
        nonlocal hours
        away.slept += secs
        if away.slept // HOUR > hours:
            hours = int(away.slept // HOUR)
            away.live(1_000_000 * hours, live)

    away.run(intake=False, sleep=sleep, wait_secs=AWAY_SECS - HOUR)
    waiting = away.store.records(flow="orders", limit=10 * keys)
    assert {row.state for row in waiting} == {"received"} and len(waiting) == 2 * keys
    assert sum(row.attempts for row in waiting) == OPENS_AFTER - 1, "what opened the circuit; probes burn nothing"
    probes = away.tried[OPENS_AFTER:]
    assert len(probes) < 2 * (AWAY_SECS / MOST_OPEN_SECS) + 8
    pauses = [later - earlier for earlier, later in pairwise(probes[8:])]
    assert max(pauses) <= MOST_OPEN_SECS + 1 and len({round(one) for one in pauses}) > len(pauses) / 2, "jitter"
    assert away.states("live") == {"confirmed": hours * live} and hours >= 4
    away.slept = AWAY_SECS
    away.run(intake=False, wait_secs=2 * HOUR)
    assert away.states() == {"confirmed": 2 * keys}
    arrived = [body["ref"] for call in away.target.calls for body in call if body["ref"] in away.target.held]
    last = {ref: n for n, ref in enumerate(arrived)}
    assert len(last) == 2 * keys
    assert all(last[f"X-{n}-0"] < last[f"X-{n}-1"] for n in range(keys)), "per key, in order"
    assert away.store.circuits.all() == []


def test_six_hours_away_burn_no_tries_and_everything_goes_in_order(away: Outage) -> None:
    through_the_outage(away, keys=150, live=20)


def test_after_an_outage_each_worker_begins_with_one_record(away: Outage) -> None:
    """Whoever saw the circuit open: the one that probed, and those that waited for it. They come back one by one."""
    away.block(400)
    workers = [away.drain(n) for n in range(4)]
    away.target.script = lambda body: Unavailable("503")
    while away.store.circuits.of("to") is None or away.store.circuits.all()[0].state != "open":
        workers[0]._step(away.store.time() + HOUR)
    for worker in workers:  # each looks, and waits
        worker.writer.counts.held = ""
        worker._step(away.store.time() + HOUR)
    away.target.script = lambda body: None
    away.slept += HOUR
    away.target.calls.clear()
    back: list[list[int]] = []
    for worker in workers:
        taken: list[int] = []
        while len(taken) < 3:
            before = len(away.target.calls)
            assert worker._step(away.store.time() + HOUR)
            if len(away.target.calls) > before:
                taken.append(len(away.target.calls) - before)
        back.append(taken)
    assert [one[0] for one in back] == [1, 1, 1, 1]
    assert all(earlier < later <= 4 * earlier for one in back for earlier, later in pairwise(one)), back


def test_who_lost_the_probe_comes_back_at_a_moment_of_its_own(away: Outage) -> None:
    """Else all of them come at once, as soon as the target breathes."""
    away.block(40)
    for _ in range(OPENS_AFTER):
        away.store.circuits.failed("to", "503", chance=0.5)
    away.slept += HOUR
    assert away.store.circuits.probe("to"), "another one has it"
    paused = []
    for n in range(8):
        worker = away.drain(n)
        worker._sleep = paused.append
        before = len(away.target.calls)
        worker._step(away.store.time() + 2 * HOUR)
        assert len(away.target.calls) == before
    assert len({round(secs, 2) for secs in paused}) == 8, paused


def said_for_live(away: Outage, first: int) -> int:
    count = 0

    def said(*_: Any) -> None:
        nonlocal count
        count += 1

    event.listen(away.store.database.engine, "after_cursor_execute", said)
    away.live(first, 60)
    event.remove(away.store.database.engine, "after_cursor_execute", said)
    return count


def test_live_keys_of_another_target_cost_no_statement_more(away: Outage) -> None:
    before = said_for_live(away, 0)
    away.block(500)
    away.run(intake=False, wait_secs=0)
    assert said_for_live(away, 1000) == before
    assert away.states("live") == {"confirmed": 120}


@pytest.mark.soak
def test_live_keys_of_another_target_keep_their_speed(away: Outage) -> None:
    took: dict[str, list[float]] = {"free": [], "blocked": []}
    for turn in range(10):
        if turn == 5:
            away.block(BLOCKED)
            away.run(intake=False, wait_secs=0)
        begun = time.perf_counter()
        away.live(turn * 10_000, 1000)
        took["free" if turn < 5 else "blocked"].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in took.items()}
    assert medians["free"] / medians["blocked"] >= 0.5, medians
    assert away.states("live") == {"confirmed": 10_000}


@pytest.mark.soak
def test_six_hours_away_for_all_keys(away: Outage) -> None:
    through_the_outage(away, keys=BLOCKED, live=200)
