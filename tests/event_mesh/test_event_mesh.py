"""Queues of SAP Event Mesh: pulled, held, acknowledged; what is lost on the way comes again and has no second effect."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import build
from flowrun.connector import Pulls, Understands
from flowrun.errors import AuthFailed, NotFound, ProjectError
from flowrun.testing.faults import Faults
from flowrun.values import Secret, system_clock
from flowrun_connectors.event_mesh.connector import EventMesh
from flowrun_connectors.event_mesh.simulator import EventMeshSimulator
from flowrun_connectors.s4hana.simulator.mesh import EventMesh as Pushing
from tests.conftest import connect_erp
from tests.service.serving import delivered, known_customer, placed, serving, until

EVENTS = Pushing("", "", "", system_clock)  # for the form of its events


@pytest.fixture
def broker() -> Iterator[EventMeshSimulator]:
    simulator = EventMeshSimulator()
    with simulator.running():
        yield simulator


def connect(broker: EventMeshSimulator, root: Path, **more: Any) -> EventMesh:
    found = build(EventMesh, "mesh", {**broker.connection_settings(), **more}, now=system_clock, root=root)
    assert isinstance(found, Pulls)
    return found


def test_a_message_comes_again_until_it_is_acknowledged(broker: EventMeshSimulator, tmp_path: Path) -> None:
    broker.hidden_secs = 0
    broker.publish(EVENTS.event("SalesOrder.Created", SalesOrder="1"))
    mesh = connect(broker, tmp_path)
    (first,) = mesh.pull(1)
    (again,) = mesh.pull(1)
    assert first.ticket == again.ticket and "#" in first.ticket and "/" in first.ticket
    mesh.acknowledge([first.ticket])
    assert mesh.pull(10) == [] and broker.acknowledged == [first.ticket]
    mesh.acknowledge([first.ticket])  # it is known no more, which harms nobody


def test_what_is_wrong_is_said(broker: EventMeshSimulator, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no queue 'acme/shop/sync/other'"):
        connect(broker, tmp_path, queue="acme/shop/sync/other").pull(1)
    wrong = {"token_url": f"{broker.base_url}/oauth/token", "client_id": "x", "client_secret": Secret("y")}
    with pytest.raises(AuthFailed):
        connect(broker, tmp_path, auth={"oauth2_client_credentials": wrong}).pull(1)
    with pytest.raises(ProjectError, match="without a slash"):
        connect(broker, tmp_path, queue="/acme")
    assert connect(broker, tmp_path).check().ok
    assert not connect(broker, tmp_path, queue="none").check().ok


def test_a_token_that_ended_is_renewed(broker: EventMeshSimulator, tmp_path: Path) -> None:
    mesh = connect(broker, tmp_path)
    assert mesh.pull(1) == []
    broker.expire_tokens()
    assert mesh.pull(1) == []


def by_queue(project: Path) -> None:
    flow = project / "flows/xcart-s4hana/deliveries-to-xcart.yaml"
    poll = "trigger: { poll: { every: 2m, cursor: delivery.LastChangeDate, overlap: 1d } }"
    text = flow.read_text()
    assert poll in text
    flow.write_text(text.replace(poll, "trigger: { webhook: delivery.goods_issue_changed }"))


def test_goods_issues_from_the_queue_reach_the_shop_through_faults(
    project: Path, store_place: Path | str, shop: Any, erp: Any, broker: EventMeshSimulator
) -> None:
    by_queue(project)
    known_customer(store_place)
    numbers = placed(shop, range(1, 7))
    broker.hidden_secs = 0.3
    broker.faults = Faults.parse(
        "503:0.03,reset_before:0.03,reset_after:0.05,timeout_after:0.02;hang=0.1;seed=5;path=messages"
    )
    assert isinstance(connect_erp(erp, project), Understands)
    with serving(project, store_place, shop, erp, connections={"mesh": connect(broker, project)}) as here:
        assert here.service.queues == ["mesh"]
        until(lambda: delivered(erp) == numbers)
        until(lambda: here.store.counts("xcart-orders-to-s4") == {"confirmed": 6})
        found = [
            EVENTS.event(
                "OutboundDelivery.GIStatusChanged", OutboundDelivery=erp.deliver(order["SalesOrder"]).zfill(10)
            )
            for order in erp.orders
        ]
        broker.publish(*found, *found)  # each twice
        until(lambda: here.store.counts("s4-deliveries-to-xcart") == {"confirmed": 6}, 40)
        until(lambda: not broker.waiting, 40)
        assert [shop.orders[n]["shipping_status"]["code"] for n in numbers] == ["S"] * 6
    assert len(broker.acknowledged) == 12 and broker.dead == []


def test_what_cannot_be_held_is_not_acknowledged(
    project: Path, tmp_path: Path, shop: Any, erp: Any, broker: EventMeshSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowrun.errors import StoreGone

    by_queue(project)
    broker.hidden_secs = 0.2
    with serving(project, tmp_path / "state.db", shop, erp, connections={"mesh": connect(broker, project)}) as here:
        accept, failed = here.store.events.accept, []

        def refuse(arrivals: Any) -> int:
            if len(failed) < 2:
                failed.append(len(arrivals))
                assert broker.acknowledged == []
                raise StoreGone("gone")
            return accept(arrivals)

        monkeypatch.setattr(here.store.events, "accept", refuse)
        broker.publish(EVENTS.event("OutboundDelivery.GIStatusChanged", OutboundDelivery="80000001"))
        until(lambda: broker.acknowledged, 20)
        assert failed == [1, 1]


def test_a_paused_queue_is_not_pulled(
    project: Path, tmp_path: Path, shop: Any, erp: Any, broker: EventMeshSimulator
) -> None:
    by_queue(project)
    with serving(project, tmp_path / "state.db", shop, erp, connections={"mesh": connect(broker, project)}) as here:
        here.store.pauses.pause("connection", "mesh", "the broker moves", "ann")
        time.sleep(0.5)  # what is on its way
        broker.publish(EVENTS.event("OutboundDelivery.GIStatusChanged", OutboundDelivery="80000001"))
        asked = len(broker.log)
        time.sleep(1.5)
        assert len(broker.log) == asked and broker.acknowledged == [] and here.service.troubles() == []
        here.store.pauses.resume("connection", "mesh", "ann")
        until(lambda: broker.acknowledged, 20)


def test_what_nobody_understands_goes_to_the_dead_messages_and_the_rest_goes_on(
    project: Path, tmp_path: Path, shop: Any, erp: Any, broker: EventMeshSimulator
) -> None:
    by_queue(project)
    broker.hidden_secs, broker.most = 0.05, 3
    good = EVENTS.event("OutboundDelivery.GIStatusChanged", OutboundDelivery="80000001")
    strange = EVENTS.event("SalesOrder.Eaten", SalesOrder="1")
    with serving(project, tmp_path / "state.db", shop, erp, connections={"mesh": connect(broker, project)}):
        broker.publish(b"no json", good, strange, {"type": "x"})
        until(lambda: len(broker.acknowledged) == 2 and len(broker.dead) == 2, 20)
