"""Passes by the clock: each time once, missed ones as one, whatever the clocks say; and what stops them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flowrun.connector import Page
from flowrun.errors import Unavailable
from flowrun.service.passes import LEASE_SECS, Passes, first_fire, next_fire
from flowrun.store import open_store
from flowrun.store.schedules import Schedules
from tests.conftest import connect_shop
from tests.service.serving import ORDERS, delivered, deployment, known_customer, placed, serving, until

BERLIN = "cron 0 3 * * *|Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("spec", "due", "now", "expected"),
    [
        ("every 600", at("2026-05-01T00:00"), at("2026-05-01T00:00:05"), at("2026-05-01T00:10")),
        ("every 600", at("2026-05-01T00:00"), at("2026-05-01T00:10"), at("2026-05-01T00:20")),
        ("every 600", at("2026-05-01T00:00"), at("2026-05-01T00:34:59"), at("2026-05-01T00:40")),  # three were missed
        ("every 1", at("2026-05-01T00:00"), at("2026-05-01T00:00:00"), at("2026-05-01T00:00:01")),
        (BERLIN, at("2026-05-01T01:00"), at("2026-05-01T01:00:05"), at("2026-05-02T03:00", "Europe/Berlin")),
        (BERLIN, at("2026-05-01T01:00"), at("2026-05-04T12:00"), at("2026-05-05T03:00", "Europe/Berlin")),
        # the clock springs from 2 to 3: 2:30 is not there, and is not skipped either
        ("cron 30 2 * * *|Europe/Berlin", at("2026-03-28T02:30", "Europe/Berlin"),
         at("2026-03-28T02:31", "Europe/Berlin"), at("2026-03-29T01:00")),
        # the clock falls back from 3 to 2: 2:30 comes twice, and fires once
        ("cron 30 2 * * *|Europe/Berlin", at("2026-10-25T00:30"), at("2026-10-25T00:30:10"), at("2026-10-26T01:30")),
        ("cron 0 0 29 2 *|UTC", at("2024-02-29T00:00"), at("2024-02-29T00:00:01"), at("2028-02-29T00:00")),
    ],
)  # fmt: skip
def test_when_it_is_due_next(spec: str, due: float, now: float, expected: float) -> None:
    assert datetime.fromtimestamp(next_fire(spec, due, now), UTC) == datetime.fromtimestamp(expected, UTC)


def test_a_year_of_days_fires_each_day_once() -> None:
    due = at("2026-01-01T00:00", "America/New_York")
    days = []
    while len(days) < 365:
        due = next_fire("cron 30 2 * * *|America/New_York", due, due)
        days.append(datetime.fromtimestamp(due, ZoneInfo("America/New_York")).date())
    assert days == [datetime(2026, 1, 1).date() + timedelta(days=n) for n in range(365)]


def test_a_poll_begins_at_once_and_a_schedule_at_its_time() -> None:
    now = at("2026-05-01T12:00")
    assert first_fire("every 600", now) == now
    assert first_fire(BERLIN, now) == at("2026-05-02T03:00", "Europe/Berlin")


@pytest.fixture
def schedules(store_place: Path | str) -> Iterator[tuple[Schedules, list[datetime]]]:
    clock = [datetime(2026, 5, 1, tzinfo=UTC)]
    with closing(open_store(store_place, now=lambda: clock[0])) as store:
        yield store.schedules, clock


def test_one_of_many_gets_it_and_another_takes_over(schedules: tuple[Schedules, list[datetime]]) -> None:
    rows, clock = schedules
    names = [("a", "poll"), ("a", "reconcile"), ("b", "poll")]
    for flow, kind in names:
        rows.ensure(flow, kind, "every 60", clock[0].timestamp())
    first = rows.claim("one", 60, 10, names)
    assert [(due.flow, due.kind) for due in first] == [("a", "poll"), ("b", "poll")]  # one pass of a flow at a time
    assert rows.claim("two", 60, 10, names) == []
    clock[0] += timedelta(seconds=50)
    rows.renew("one", 60)
    clock[0] += timedelta(seconds=50)
    assert rows.claim("two", 60, 10, names) == []
    clock[0] += timedelta(seconds=11)  # one is frozen, or gone
    taken = rows.claim("two", 60, 10, names)
    assert {(due.flow) for due in taken} == {"a", "b"}
    assert not rows.done("b", "poll", "one", 0.0, None)  # and comes back too late to say anything
    assert rows.done("b", "poll", "two", clock[0].timestamp() + 60, None)


def test_a_changed_rhythm_is_reckoned_anew_and_a_kept_one_is_not(schedules: tuple[Schedules, list[datetime]]) -> None:
    rows, clock = schedules
    begun = clock[0].timestamp()
    rows.ensure("a", "poll", "every 60", begun)
    rows.ensure("a", "poll", "every 60", begun + 5)
    assert [one.due for one in rows.all()] == [begun]
    rows.ensure("a", "poll", "every 90", begun + 5)
    assert [one.due for one in rows.all()] == [begun + 5]
    rows.keep_only([("b", "poll")])
    assert rows.all() == []


def test_dropped_webhooks_are_found_and_counted(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    """The reconciliation behind the stream brings what no webhook brought; the loss has a number."""
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("every: 15m", "every: 1s"))
    known_customer(store_place)
    placed(shop, [1, 2])
    with serving(project, store_place, shop, erp) as here:
        until(lambda: delivered(erp) == [1, 2])
        assert here.metric("flowrun_webhook_missed_records_total") == {}  # what was there before is not lost
        placed(shop, [3, 4])
        assert here.hook(*shop.webhook(3)).status_code == 200
        until(lambda: delivered(erp) == [1, 2, 3, 4])
        missed = here.metric("flowrun_webhook_missed_records_total")
        assert missed[f'flow="{ORDERS}"'] in (1, 2)  # the pass may have come before the webhook's read-back
        until(lambda: here.store.counts(ORDERS) == {"confirmed": 4})


def test_a_source_that_is_away_is_told_and_read_later(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("every: 15m", "every: 1s"))
    known_customer(tmp_path / "state.db")
    placed(shop, [1])
    inner = connect_shop(shop, project)
    down = [True]

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        receive = property(lambda self: inner.receive)

        def read(self, query: Any) -> Any:
            if down[0]:
                raise Unavailable("the shop is closed")
            return inner.read(query)

    with serving(project, tmp_path / "state.db", shop, erp, connections={"xcart": Away()}) as here:
        until(lambda: any(one.error == "network: the shop is closed" for one in here.store.schedules.all()))
        assert here.http.get("/healthz").status_code == 200  # it is not this process that is ill
        down[0] = False
        until(lambda: delivered(erp) == [1])
        until(lambda: all(one.error is None for one in here.store.schedules.all()))


class Slow:
    """The shop, whose list comes in two pages: the second when ``open`` is set."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.open, self.begun = inner, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def receive(self, request: Any) -> Any:
        return self.inner.receive(request)

    def read(self, query: Any) -> Any:
        records = [record for page in self.inner.read(query) for record in page.records]
        yield Page(records[:2])
        self.begun.set()
        self.open.wait(10)
        yield Page(records[2:])


def guarded(project: Path) -> None:
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("  object: A_SalesOrder\n  action: create\n",
                                             "  object: A_SalesOrder\n  action: create\n  guard: { max_changes: 3 }\n"))  # fmt: skip
    assert "max_changes: 3" in flow.read_text()


def test_a_guard_waits_for_the_whole_pass(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    """Two of five would be few enough."""
    guarded(project)
    known_customer(tmp_path / "state.db")
    placed(shop, range(1, 6))
    slow = Slow(connect_shop(shop, project))
    with serving(project, tmp_path / "state.db", shop, erp, connections={"xcart": slow}) as here:
        assert slow.begun.wait(10)
        until(lambda: here.store.waiting(9) == 2)
        time.sleep(1.2)  # longer than a look
        assert delivered(erp) == []
        slow.open.set()
        until(lambda: [one for one in here.store.alerts.open() if one.kind == "guard"])
        assert delivered(erp) == []


def test_a_pass_that_is_cut_short_is_due_again(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    placed(shop, range(1, 6))
    slow = Slow(connect_shop(shop, project))
    with serving(project, store_place, shop, erp, connections={"xcart": slow}) as here:
        assert slow.begun.wait(10)
        assert ORDERS in [one.flow for one in here.store.schedules.all() if one.worker]
        threading.Timer(0.3, slow.open.set).start()
    with closing(open_store(store_place)) as store:
        assert [one for one in store.schedules.all() if one.worker] == []
        (again,) = (one for one in store.schedules.all() if one.flow == ORDERS)
        assert again.ended_at is None and again.due <= store.time()


def test_a_service_keeps_what_it_is_at(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    """Its lease is renewed long before it ends."""
    clock = [datetime(2026, 5, 1, tzinfo=UTC)]
    with closing(open_store(store_place, now=lambda: clock[0])) as store:
        passes = Passes(deployment(project, store, shop, erp), "one")
        passes.begin()
        names = [(one.flow, one.kind) for one in store.schedules.all()]
        flows = {flow for flow, _ in names}  # one pass of a flow at a time
        assert len(store.schedules.claim("one", LEASE_SECS, 10, names)) == len(flows)
        for _ in range(3):
            clock[0] += timedelta(seconds=LEASE_SECS * 0.6)
            passes._renewed -= LEASE_SECS / 2  # as long has passed by the other clock
            passes.tick()
            assert not any(passes.busy(flow) for flow, _ in names), "what it is at it does not begin again"
            assert store.schedules.claim("two", LEASE_SECS, 10, names) == []
        clock[0] += timedelta(seconds=LEASE_SECS + 1)
        assert len(store.schedules.claim("two", LEASE_SECS, 10, names)) == len(flows)


def test_a_guard_stops_the_whole_pass_and_nothing_is_sent(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    guarded(project)
    known_customer(tmp_path / "state.db")
    placed(shop, range(1, 6))
    with serving(project, tmp_path / "state.db", shop, erp) as here:
        until(lambda: [one for one in here.store.alerts.open() if one.kind == "guard"])
        assert delivered(erp) == []
        assert here.store.waiting(100) == 5
