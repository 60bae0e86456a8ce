"""Case 16: 429 in every shape, and budgets that are spent, through a whole run on both databases."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from flowrun.connections import build
from flowrun.connector import LimitHeaders, discover
from flowrun.errors import BudgetSpent
from flowrun.flow import load_flow
from flowrun.pacing.gate import patience
from flowrun.pacing.headers import MOST_TOLD_SECS
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import Summary, run_flow
from flowrun.store import Store, open_store
from flowrun.store.tracing import Tracing
from flowrun.testing.faults import Faults
from flowrun.values import system_clock
from flowrun_connectors.http.connector import Http
from tests.budgets.kit import OBJECTS, Counter, Noting, client_of, http_system, most_in
from tests.runner.test_edges import CREATE, PROJECT


class Desk:
    def __init__(self, root: Path, store: Store) -> None:
        (root / "flows").mkdir()
        (root / "flowrun.yaml").write_text(PROJECT)
        text = CREATE.replace("{ ref:", "{ reference:").replace("find_existing: ref", "find_existing: reference")
        text = text.replace(
            "on_error:\n", "on_error:\n  rate_limited: { retry: { times: 5, wait: 1s, max_wait: 2s } }\n"
        )
        (root / "flows" / "orders.yaml").write_text(text)
        project = load_project(root)
        self.root, self.store = root, store
        self.flow = load_flow("orders", project, discover())
        self.plan = compile_plan(self.flow, {})

    def run(self, target: Any, count: int, wait_secs: float, **more: Any) -> Summary:
        records = [{"id": str(n), "amount": n} for n in range(count)]
        return run_flow(
            self.flow, self.plan, target=target, store=self.store, records=records, wait_secs=wait_secs, **more
        )

    def attempts(self) -> list[int]:
        return sorted(row.attempts for row in self.store.records(flow="orders", limit=1000))


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Desk:
    return Desk(tmp_path, store)


def in_date(secs: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=secs)).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("shape", "least", "most"),
    [("2", 2.0, 3.2), ("date", 1.0, 4.2), ("", 1.0, 2.5), ("-5", 1.0, 2.5), ("soon", 1.0, 2.5), ("9" * 400, 1.0, 2.5), ("0.5", 0.5, 2.2)],
    ids=["seconds", "date", "absent", "negative", "garbage", "digits", "float"],
)  # fmt: skip
def test_it_waits_as_told_and_others_do_not(desk: Desk, tmp_path: Path, shape: str, least: float, most: float) -> None:
    with (
        http_system(desk.store, tmp_path, limits={"rate": "50/s"}) as (target, system, came),
        Noting().running() as elsewhere,
    ):
        system.faults = Faults.parse("429")
        system.faults.retry_after = in_date(3) if shape == "date" else shape
        quick: list[float] = []

        def other() -> None:
            with client_of(elsewhere, desk.store.budgets, name="other") as client:
                for _ in range(40):
                    begun = time.monotonic()
                    client.get("a")
                    quick.append(time.monotonic() - begun)

        beside = threading.Thread(target=other)
        beside.start()
        summary = desk.run(target, 6, 20)
        beside.join()
    assert summary.counts.confirmed == 6 and not summary.waiting
    refused = next(at for at, status in came if status == 429)
    later = [at for at, _ in came if at > refused]
    assert least <= min(later) - refused <= most, "the first after it"
    assert sum(status == 429 for _, status in came) == 1
    assert most_in([at for at, _ in came], 1.0) <= 51
    assert desk.attempts() == [1, 1, 1, 1, 1, 2], "one try was drawn, by the one that was refused"
    assert max(quick) < least, "none of the others' had to wait for it"


def test_who_asks_for_ages_is_asked_again_after_a_day(desk: Desk, tmp_path: Path) -> None:
    """And not by the next run either, nor after a restart; no try is drawn by what was not sent."""
    with http_system(desk.store, tmp_path) as (target, system, came):
        system.faults = Faults.parse("429;retry_after=1000000000")
        begun = time.monotonic()
        first = desk.run(target, 20, 1)
        assert time.monotonic() - begun < 8, "a wait of a day is a due time, not a thread that sleeps"
        due = desk.store.lanes.due_in("orders")
        assert due is not None and due > MOST_TOLD_SECS - 20, "what was held waits too, and not only what was tried"
        second = desk.run(target, 20, 1)
        assert len(came) == 1 and (first.waiting, second.waiting) == (20, 20)
        assert desk.attempts() == [0] * 19 + [1]
        assert second.next_due_in is not None and MOST_TOLD_SECS - 20 < second.next_due_in <= MOST_TOLD_SECS
        found = desk.store.budgets.of("to")
        assert found is not None and found[0].paused_by == "retry-after"
        assert MOST_TOLD_SECS - 20 < found[0].paused_until - found[1] <= MOST_TOLD_SECS
        told = [
            event
            for life in Tracing(desk.store.database).follow("1", "orders")
            for event in life.events
            if event.event == "waited"
        ]
        assert told and told[0].words.startswith("not sent: the budget of to is spent for 86")
        assert "(retry-after); again after" in told[0].words


def test_a_slow_pace_gives_lanes_back_instead_of_holding_them(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrun.writer.writer.PATIENCE_SECS", 1.0)
    with http_system(desk.store, tmp_path, limits={"rate": "30/m"}) as (target, _, came):
        begun = time.monotonic()
        summary = desk.run(target, 3, 0)
        assert time.monotonic() - begun < 3
        assert (summary.counts.confirmed, summary.waiting, len(came)) == (1, 2, 1)
        assert summary.next_due_in is not None and 0.5 < summary.next_due_in <= 2.1
        assert desk.attempts() == [0, 0, 1]
        more = desk.run(target, 0, 30)
    assert more.counts.confirmed == 2 and desk.attempts() == [1, 1, 1]
    assert more.waits["to"] >= 1 and more.as_counts()["s_waited"] >= 1
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(came)]
    assert all(gap >= 60 / 30 for gap in gaps)


def test_who_waits_never_holds_a_lane_beyond_its_deadline(desk: Desk, tmp_path: Path) -> None:
    """The lease is shorter than the wait: the lane goes back, and nobody takes over what is not sent."""
    desk.store.lanes.lease_secs = 2.0
    with http_system(desk.store, tmp_path, limits={"rate": "20/m"}) as (target, _, came):
        held: list[float] = []
        begun = 0.0
        claim = desk.store.lanes.claim

        def noting(*args: Any, **more: Any) -> Any:
            nonlocal begun
            begun = time.monotonic()
            return claim(*args, **more)

        release = desk.store.lanes.release

        def released(*args: Any, **more: Any) -> Any:
            held.append(time.monotonic() - begun)
            return release(*args, **more)

        desk.store.lanes.claim = noting  # type: ignore[method-assign]
        desk.store.lanes.release = released  # type: ignore[method-assign]
        summary = desk.run(target, 3, 30)
    assert len(held) >= 3 and max(held) < 2.0, "given back before the lease ended"
    assert summary.counts.confirmed == 3 and summary.counts.lost == 0 and len(came) == 3
    assert desk.attempts() == [1, 1, 1]


def test_who_waits_holds_no_transaction(desk: Desk, tmp_path: Path) -> None:
    with http_system(desk.store, tmp_path, limits={"rate": "1/s"}) as (target, _, _):
        longest = 0.0
        running = threading.Thread(target=desk.run, args=(target, 4, 20))
        running.start()
        while running.is_alive():
            begun = time.monotonic()
            with desk.store.transaction():
                pass
            longest = max(longest, time.monotonic() - begun)
            time.sleep(0.01)
        running.join()
    assert longest < 0.5


def test_a_budget_that_is_spent_tells_nothing_of_the_system(desk: Desk, tmp_path: Path) -> None:
    """It closes no circuit, and opens none."""
    with http_system(desk.store, tmp_path, limits={"rate": "1/m"}) as (target, _, _):
        target.http.get("a")  # the only one of this minute
        for _ in range(2):
            desk.store.circuits.failed("to", "down", chance=0.5)
        desk.run(target, 8, 0)
        circuit = desk.store.circuits.of("to")
    assert circuit is not None and circuit.failures == 2


def test_a_day_is_counted_over_runs_and_restarts(desk: Desk, tmp_path: Path, store_place: Any) -> None:
    with http_system(desk.store, tmp_path, limits={"rate": "50/s 5/d"}) as (target, _, came):
        assert desk.run(target, 8, 0).counts.confirmed == 5
        assert desk.run(target, 8, 0).counts.confirmed == 0 and len(came) == 5
    desk.store.close()
    again = open_store(store_place)
    desk.store = again
    try:
        with http_system(again, tmp_path, limits={"rate": "50/s 5/d"}) as (target, _, came):
            summary = desk.run(target, 8, 0)
        assert not came and summary.waiting == 3 and desk.attempts()[:3] == [0, 0, 0]
    finally:
        again.close()


def test_a_limit_that_is_told_is_never_run_into(store: Store) -> None:
    system = Counter(20, 1.5)
    with system.running() as base_url, client_of(base_url, store.budgets) as client:
        for _ in range(70):
            client.get("a")
    assert set(system.statuses) == {200}
    assert system.times[-1] - system.times[0] < 70 / 20 * 1.5 * 1.5, "and not for ever"
    found = store.budgets.of("shop")
    assert found is not None and "X-RateLimit" in found[0].told


def test_a_connector_says_which_headers_are_its_systems(store: Store, tmp_path: Path) -> None:
    class Ledgers(Http):
        limit_headers = (LimitHeaders("minute", remaining="x-minlimit-remaining", limit_is=60, window_is=60),)

    system = Noting()
    system.mangle = lambda request, found: replace(found, headers={**found.headers, "x-minlimit-remaining": "3"})
    with system.running() as base_url:
        settings = {"base_url": base_url, "objects": OBJECTS}
        connector = build(Ledgers, "xero", settings, now=system_clock, root=tmp_path, budgets=store.budgets)
        connector.http.get("a")
        with patience(lambda: 5.0), pytest.raises(BudgetSpent, match=r"one request in 20.* s"):
            for _ in range(2):
                connector.http.get("a")
        connector.http.close()
    assert len(system.times) == 1
    found = store.budgets.of("xero")
    assert found is not None and found[0].slow_by == "minute"


def test_requests_for_tokens_count_and_do_not_wait(store: Store) -> None:
    system = Noting()
    with system.running() as base_url, client_of(base_url, store.budgets, rate="1/s") as client:
        begun = time.monotonic()
        for _ in range(2):
            client.send(client.build_request("GET", "token", extensions={"flowrun.token": True}))
        assert time.monotonic() - begun < 0.5
        client.get("a")
        assert 2.0 <= time.monotonic() - begun < 3.0


def test_a_store_that_is_away_sends_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrun.errors import StoreGone

    system = Noting()
    with system.running() as base_url, client_of(base_url, store.budgets, rate="1/s") as client:

        def gone(*args: Any) -> Any:
            raise StoreGone("no route to host")

        monkeypatch.setattr(store.budgets, "change", gone)
        with pytest.raises(BudgetSpent, match="the budget of shop cannot be asked") as caught:
            client.get("a")
    assert not system.times and caught.value.retry_after_secs == 5.0


def test_a_store_of_one_process_is_asked_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = open_store(tmp_path / "state.db")
    asked = []
    change = made.budgets.change
    monkeypatch.setattr(made.budgets, "change", lambda *args: asked.append(1) or change(*args))
    system = Noting()
    begun = time.monotonic()
    with system.running() as base_url, client_of(base_url, made.budgets, rate="5000/s 1000000/d") as client:
        for _ in range(600):
            client.get("a")
    made.close()
    assert len(asked) <= time.monotonic() - begun + 2


@pytest.fixture(autouse=True)
def quiet() -> Any:
    def dropped(logger: object, name: str, event: object) -> str:
        raise structlog.DropEvent

    structlog.configure(processors=[dropped])
    yield
    structlog.reset_defaults()
