"""Pauses: a paused flow is not read and not delivered, a paused connection is not called; webhooks are taken in all the
same; and what is paused in one process stands still in every other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowrun.errors import Paused
from flowrun.runner import run_flow
from flowrun.runner.pausing import Watch
from flowrun.store import Store, open_store
from flowrun.store.database import open_database
from flowrun.store.pauses import Pauses
from flowrun.writer import SUB_BATCH
from tests.conftest import connect_shop
from tests.front.clikit import Shell
from tests.service.serving import ORDERS, Process, delivered, deployment, known_customer, placed, serving, until


@pytest.fixture
def shell(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    return Shell(project, capsys)


@pytest.fixture
def store(store_place: Path | str) -> Iterator[Store]:
    with closing(open_store(store_place)) as found:
        yield found


def audit(store: Store) -> list[tuple[str, str, str]]:
    with store.transaction() as tx:
        return [tuple(row) for row in tx.execute(text("SELECT who, action, detail FROM audit ORDER BY id"))]


def test_a_pause_is_durable_audited_and_the_first_one_stays(store: Store) -> None:
    assert store.pauses.pause("flow", "a", "stocktaking", "ann")
    assert not store.pauses.pause("flow", "a", "because", "bob")
    assert store.pauses.pause("connection", "s4", "month end", "bob")
    found = store.pauses.of("a", ())
    assert found is not None and found.words == "flow a is paused by ann: stocktaking"
    assert store.pauses.of("b", ("xcart",)) is None
    assert store.pauses.of("s4", ()) is None  # a flow of that name is another thing
    assert store.pauses.of("b", ("xcart", "s4")) == store.pauses.all()[0]
    assert store.pauses.resume("flow", "a", "ann")
    assert not store.pauses.resume("flow", "a", "ann")
    assert audit(store) == [
        ("ann", "pause", "flow a: stocktaking"),
        ("bob", "pause", "connection s4: month end"),
        ("ann", "resume", "flow a"),
    ]


@pytest.mark.parametrize("what", [("flow", ORDERS), ("connection", "s4"), ("connection", "xcart")])
def test_a_run_is_refused_and_touches_nothing(project: Path, store: Store, shop: Any, erp: Any, what: Any) -> None:
    placed(shop, [1])
    here = deployment(project, store, shop, erp)
    one = here.flows[ORDERS]
    store.pauses.pause(*what, "month end", "ann")
    with pytest.raises(Paused, match="month end"):
        run_flow(one.flow, one.plan, target=here.connections["s4"], source=here.connections["xcart"], store=store)
    assert store.runs() == [] and delivered(erp) == [] and shop.log == []


def test_a_run_stops_at_a_pause_and_the_next_goes_on(project: Path, store: Store, shop: Any, erp: Any) -> None:
    """It is paused while its second order is on its way: the call is finished, no other begins."""
    store.xrefs.put([("customers", "42", "17100001")], "tester")
    placed(shop, range(1, 41))
    here = deployment(project, store, shop, erp)
    one = here.flows[ORDERS]
    sent: list[int] = []

    def pausing(request: Any, response: Any) -> Any:
        if request.method == "POST" and response.status == 201:
            sent.append(1)
            if len(sent) == 2:
                store.pauses.pause("flow", ORDERS, "stop", "ann")
                time.sleep(1.1)  # longer than a worker believes what it saw
        return response

    erp.mangle = pausing
    parts = {"target": here.connections["s4"], "source": here.connections["xcart"], "store": store}
    summary = run_flow(one.flow, one.plan, connections=here.connections, **parts)
    done = len(delivered(erp))
    assert 2 <= done <= SUB_BATCH
    assert summary.waiting == 40 - done and store.counts(ORDERS) == {"confirmed": done, "received": 40 - done}
    store.pauses.resume("flow", ORDERS, "ann")
    run_flow(one.flow, one.plan, connections=here.connections, **parts)
    assert delivered(erp) == list(range(1, 41))


def test_a_worker_looks_once_a_second(project: Path, store: Store, shop: Any, erp: Any) -> None:
    flow = deployment(project, store, shop, erp).flows[ORDERS].flow
    ending = threading.Event()
    watch = Watch(flow, store, ending.is_set)
    store.pauses.pause("connection", "s4", "month end", "ann")
    assert not watch()  # it looked a moment ago
    time.sleep(1.05)
    assert watch()
    ending.set()
    assert Watch(flow, store, ending.is_set)()


def test_webhooks_are_held_while_the_target_is_paused(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    known_customer(store_place)
    with serving(project, store_place, shop, erp) as here:
        here.store.pauses.pause("connection", "s4", "month end", "ann")
        placed(shop, [1, 2])
        for number in (1, 2):
            assert here.hook(*shop.webhook(number)).status_code == 200
        until(lambda: here.store.counts(ORDERS) == {"received": 2})
        time.sleep(1.5)
        assert delivered(erp) == [] and here.store.counts(ORDERS) == {"received": 2}
        assert here.metric("flowrun_paused") == {'kind="connection",name="s4"': 1}
        here.store.pauses.resume("connection", "s4", "ann")
        until(lambda: delivered(erp) == [1, 2])


def test_a_paused_source_is_not_called_and_its_events_are_held(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    known_customer(store_place)
    with serving(project, store_place, shop, erp) as here:
        until(lambda: all(one.ended_at for one in here.store.schedules.all() if one.flow == ORDERS))
        here.store.pauses.pause("connection", "xcart", "the shop moves", "ann")
        placed(shop, [1])
        asked = len(shop.log)
        assert here.hook(*shop.webhook(1)).status_code == 200
        time.sleep(1.5)
        assert len(shop.log) == asked
        assert [one["count"] for one in here.store.events.waiting()] == [1]
        loop = here.service._reading_loop
        beat = loop.beat
        time.sleep(0.3)
        assert loop.beat - beat <= 0.3 and here.service.troubles() == []  # it does not spin, it waits
        here.store.pauses.resume("connection", "xcart", "ann")
        until(lambda: delivered(erp) == [1])


def test_a_paused_flow_is_not_read_by_the_clock(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    flow.write_text(flow.read_text().replace("every: 15m", "every: 1s"))
    known_customer(store_place)
    with closing(open_store(store_place)) as store:
        store.pauses.pause("flow", ORDERS, "stocktaking", "ann")
    placed(shop, [1])
    with serving(project, store_place, shop, erp) as here:
        time.sleep(2.0)
        assert here.store.counts(ORDERS) == {}
        assert not [one for one in here.store.runs() if one["flow"] == ORDERS]
        rows = [one for one in here.store.schedules.all() if one.flow == ORDERS]
        assert [one.started_at for one in rows] == [None]  # it is due still: what was missed is caught up at once
        here.store.pauses.resume("flow", ORDERS, "ann")
        until(lambda: delivered(erp) == [1])


def test_a_pause_in_one_process_stops_the_other(
    project: Path, postgres: Callable[[], str], shop: Any, erp: Any
) -> None:
    place = postgres()
    known_customer(place)
    served = Process(project, place, shop, erp)
    try:
        placed(shop, [1])
        head, body = shop.webhook(1)
        assert served.http.post("/hooks/xcart", content=body, headers=head).status_code == 200
        until(lambda: delivered(erp) == [1])
        with closing(open_database(place)) as database:
            pauses = Pauses(database)
            pauses.pause("flow", ORDERS, "stop", "ann")
            time.sleep(2.0)
            placed(shop, [2])
            head, body = shop.webhook(2)
            assert served.http.post("/hooks/xcart", content=body, headers=head).status_code == 200
            time.sleep(2.0)
            assert delivered(erp) == [1]
            pauses.resume("flow", ORDERS, "ann")
            until(lambda: delivered(erp) == [1, 2])
    finally:
        served.end()


def test_a_command_pauses_beside_a_service_on_a_file(
    project: Path, tmp_path: Path, shop: Any, erp: Any, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "state.db"
    monkeypatch.setenv("FLOWRUN_STORE", str(place))
    known_customer(place)
    with serving(project, place, shop, erp, connections={"xcart": connect_shop(shop, project)}) as here:
        code, out, _ = shell("pause", "connection:s4", "--reason", "month end", "--env", "test")
        assert (code, out) == (0, "paused connection s4; next: flowrun resume connection:s4\n")
        assert [one.name for one in here.store.pauses.all()] == ["s4"]
        code, out, _ = shell("pause", "connection:s4", "--reason", "again", "--env", "test")
        assert code == 0 and "month end (already)" in out
        assert shell("resume", "connection:s4", "--env", "test")[:2] == (0, "resumed connection:s4\n")
        code, _, err = shell("resume", ORDERS, "--env", "test")
        assert code == 2 and f"{ORDERS} is not paused\n  = help: paused: nothing" in err


def test_wrong_names_are_mended(shell: Shell) -> None:
    code, _, err = shell("pause", "connection:s5", "--reason", "x", "--env", "dev")
    assert code == 2 and "flowrun.yaml has: xcart, s4" in err
    code, _, err = shell("pause", "xcart-order-to-s4", "--reason", "x", "--env", "dev")
    assert code == 2 and f"did you mean '{ORDERS}'?" in err
    code, _, err = shell("pause", ORDERS, "--reason", " ", "--env", "dev")
    assert code == 2 and "--reason is empty" in err


def test_run_says_that_it_is_paused(shell: Shell) -> None:
    shell("pause", ORDERS, "--reason", "stocktaking", "--env", "dev")
    code, _, err = shell("run", ORDERS, "--env", "dev")
    assert code == 3 and "stocktaking\n  = help: flowrun resume " + ORDERS in err
    assert shell("resume", ORDERS, "--env", "dev")[0] == 0
    assert shell("run", ORDERS, "--env", "dev")[0] != 3
