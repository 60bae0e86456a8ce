"""flowrun status: why the oldest record waits, in each case; what needs a person decides the exit code."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowrun.runner.status import status_of
from flowrun.store import open_store
from flowrun.store.alert_rows import Incident
from tests.front.clikit import Shell
from tests.service.serving import ORDERS, deployment, known_customer, placed, serving, until


@pytest.fixture
def shell(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    return Shell(project, capsys)


def test_why_the_oldest_waits(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    known_customer(store_place)
    placed(shop, [1])
    with closing(open_store(store_place)) as store:
        here = deployment(project, store, shop, erp)
        flows = {name: one.flow for name, one in here.flows.items()}
        from flowrun.runner import run_flow

        one = here.flows[ORDERS]
        run_flow(one.flow, one.plan, target=here.connections["s4"], source=here.connections["xcart"], store=store,
                 connections=here.connections, deliver=False)  # fmt: skip

        def why() -> str:
            found = next(one for one in status_of(store, flows, ["s4", "xcart"]).flows if one.flow == ORDERS)
            assert found.oldest_key == "1" and found.records == {"received": 1}
            return found.why

        assert why() == "it is due"
        held = store.lanes.claim(ORDERS, 10, "w")
        assert why() == "it is being delivered"
        store.lanes.release(held, wait_secs=100.0)
        assert why().startswith("it is tried again in ")
        with store.transaction() as tx:
            store.alerts.note(tx, [Incident("", "guard", "too many", flow=ORDERS)])
        assert why() == "guard: too many"
        store.circuits.pause("s4", "401 from the token endpoint")
        assert why() == "circuit: s4 is paused: 401 from the token endpoint"
        store.pauses.pause("connection", "s4", "month end", "ann")
        assert why() == "connection s4 is paused by ann: month end"
        needs = status_of(store, flows, ["s4"]).needs
        assert any(need.startswith("s4: 401 from the token endpoint") for need in needs)
        assert any("guard of" in need for need in needs)
        gone = next(one for one in status_of(store, {}, []).flows if one.flow == ORDERS)
        assert gone.why == "the flow is not there any more, or not valid"


def test_beside_a_service_in_text_and_json(
    project: Path, tmp_path: Path, shop: Any, erp: Any, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "state.db"
    monkeypatch.setenv("FLOWRUN_STORE", str(place))
    assert shell("status", "--env", "test")[0] == 0  # no store yet: nothing is made
    assert not place.exists()
    placed(shop, [1])  # its customer is not known: a dead letter
    with serving(project, place, shop, erp) as here:
        until(lambda: here.store.counts(ORDERS) == {"dead": 1})
        code, out, _ = shell("status", "--env", "test")
        assert code == 1
        assert f"{ORDERS}: 1 dead" in out and "reconcile: last " in out and "connection s4: ok" in out
        assert f"needs a person: {ORDERS}: 1 dead letter; next: flowrun dlq list --flow {ORDERS}" in out
        assert "nothing needs" not in out and "\x1b" not in out
        code, out, _ = shell("status", "--env", "test", "--format", "json")
        found = json.loads(out)
        assert code == 1 and found["flows"][0].keys() >= {"flow", "records", "why", "passes", "alerts", "paused"}
        assert next(one for one in found["flows"] if one["flow"] == ORDERS)["records"] == {"dead": 1}
        here.store.letters.discard(here.store.records(state="dead"), "test", "tester")
        for alert in here.store.alerts.open():
            here.store.alerts.acknowledge(alert.id, "tester")
        code, out, _ = shell("status", "--env", "test")
        assert (code, "nothing needs a person" in out) == (0, True), out
