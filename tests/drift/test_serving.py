"""While a service runs: one alert that names the line, a pause where flowrun.yaml says so, and its end."""

from __future__ import annotations

from typing import Any

import pytest

from flowrun.connector import discover
from flowrun.drift.settings import KIND
from flowrun.project import load_project
from flowrun.service import Deployment, load_flows
from flowrun.service.drifting import Drifting
from flowrun.store import Incoming, Store, open_store
from tests.drift.kit import FILE, FLOW, Desk, renamed
from tests.service.serving import serving, until


def told(store: Store) -> list[Any]:
    return [one for one in store.alerts.open() if one.kind == KIND]


def write(desk: Desk, words: str) -> None:
    path = desk.root / "flowrun.yaml"
    path.write_text(path.read_text() + words + "\n")


@pytest.mark.parametrize("pause", ["true", "false"])
def test_a_service_tells_and_pauses(desk: Desk, shop: Any, erp: Any, pause: str) -> None:
    write(desk, f"drift: {{ every: 1s, alert: on-call, pause: {pause} }}")
    desk.came_in(100)
    desk.came_in(60, renamed("currency", "currency_code"))
    with serving(desk.root, desk.place, shop, erp) as here:
        until(lambda: bool(told(here.store)), 20)
        (alert,) = told(here.store)
        assert (alert.flow, alert.channel, alert.count) == (FLOW, "on-call", 1)
        assert "order.currency" in alert.message and "'currency_code' is there instead" in alert.message
        assert alert.place.startswith(f"{FILE}:") and alert.place in alert.message
        if pause == "true":
            until(lambda: bool(here.store.pauses.all()), 20)
        paused = [(one.kind, one.name, one.who) for one in here.store.pauses.all()]
        assert paused == ([("flow", FLOW, "flowrun serve")] if pause == "true" else [])
        assert here.http.get("/healthz").status_code == 200


def looking(desk: Desk, store: Store) -> Drifting:
    project = load_project(desk.root)
    environment = project.environment("test")
    return Drifting(Deployment(project, environment, load_flows(project, environment, discover()), {}, store))


def came_in(desk: Desk, store: Store, count: int, *changes: Any) -> None:
    store.inbox.add(FLOW, [Incoming(one["order_id"], "1", one["order_id"], one) for one in desk.made(count, *changes)])


def test_it_is_told_once_and_over_when_it_is_as_before(desk: Desk) -> None:
    write(desk, "drift: { alert: on-call, pause: true }")
    store = open_store(desk.place)
    came_in(desk, store, 300)
    looking(desk, store).tick()
    assert told(store) == []
    came_in(desk, store, 150, renamed("currency", "currency_code"))
    for _ in range(3):  # as three processes do
        looking(desk, store).tick()
    assert [one.count for one in told(store)] == [1]
    came_in(desk, store, 150, renamed("currency", "currency_code"), renamed("email", "e_mail"))
    looking(desk, store).tick()
    assert [one.count for one in told(store)] == [2] and "order.email" in told(store)[0].message
    assert store.pauses.resume("flow", FLOW, "anna")
    looking(desk, store).tick()
    assert store.pauses.all() == [], "whoever let it go on knows"
    came_in(desk, store, 900)
    looking(desk, store).tick()
    store.alerts.due({})
    assert told(store) == []
    store.close()


def test_below_the_share_nobody_is_told(desk: Desk) -> None:
    write(desk, "drift: { alert: on-call, pause: true, share: 50% }")
    store = open_store(desk.place)
    came_in(desk, store, 300)
    came_in(desk, store, 150, lambda order: order.pop("currency") if int(order["order_id"]) % 4 == 0 else None)
    looking(desk, store).tick()
    assert (told(store), store.pauses.all()) == ([], [])
    store.close()


def test_a_flow_that_names_nobody_is_listed(desk: Desk) -> None:
    store = open_store(desk.place)
    came_in(desk, store, 300)
    came_in(desk, store, 150, renamed("currency", "currency_code"))
    looking(desk, store).tick()
    (alert,) = told(store)
    assert alert.channel == "order-desk"  # whom the flow names for bad_data
    assert store.pauses.all() == []
    store.close()
    ended = desk("alerts", "list", "--env", "test")
    assert "what arrives has changed its shape" in ended.out and f"flowrun drift {FLOW}" in ended.out, ended.out
