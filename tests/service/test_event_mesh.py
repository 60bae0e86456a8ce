"""S/4HANA's events by webhook of SAP Event Mesh: handshake, doubled and shuffled events, a delivery back in the shop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import Request
from flowrun.errors import Refused, SignatureInvalid
from flowrun.values import Secret, system_clock
from flowrun_connectors.s4hana import events
from flowrun_connectors.s4hana.simulator.mesh import ORIGIN, EventMesh
from tests.conftest import ROOT, connect_erp
from tests.service.serving import delivered, known_customer, placed, serving, until

SPECS = ROOT.parent / "shared/specs/sap"
PASSWORD = "mesh-password"


def request(body: bytes, *, method: str = "POST", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, "/hooks/s4", named, {}, body, system_clock())


def test_a_goods_issue_is_pushed_and_the_shop_shows_it(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    flow = project / "flows/xcart-s4hana/deliveries-to-xcart.yaml"
    text = flow.read_text()
    poll = "trigger: { poll: { every: 2m, cursor: delivery.LastChangeDate, overlap: 1d } }"
    assert poll in text
    flow.write_text(text.replace(poll, "trigger: { webhook: delivery.goods_issue_changed }"))
    known_customer(store_place)
    numbers = placed(shop, [1, 2, 3])
    connections = {"s4": connect_erp(erp, project, webhook_secret=Secret(PASSWORD))}
    with serving(project, store_place, shop, erp, connections=connections) as here:
        until(lambda: delivered(erp) == numbers)
        until(lambda: here.store.counts("xcart-orders-to-s4") == {"confirmed": 3})
        mesh = EventMesh(f"{here.url}/hooks/s4", "flowrun", PASSWORD, system_clock)
        assert mesh.shake_hands() == "Completed"
        found = []
        for order in erp.orders:
            number = erp.deliver(order["SalesOrder"], tracking=f"1Z{order['SalesOrder']}")
            found.append(mesh.event("OutboundDelivery.GIStatusChanged", OutboundDelivery=number.zfill(10)))
        assert set(mesh.push(found, copies=3, seed=1)) == {200}
        until(lambda: here.store.counts("s4-deliveries-to-xcart") == {"confirmed": 3})
        assert [shop.orders[n]["shipping_status"]["code"] for n in numbers] == ["S", "S", "S"]
        strange = mesh.event("SalesOrder.Eaten", SalesOrder="1")
        assert mesh.push([strange]) == [200]  # refused it would come again for seven days


def test_without_the_right_credentials_there_is_no_handshake(
    project: Path, tmp_path: Path, shop: Any, erp: Any
) -> None:
    flow = project / "flows/xcart-s4hana/deliveries-to-xcart.yaml"
    flow.write_text(flow.read_text().replace(
        "trigger: { poll: { every: 2m, cursor: delivery.LastChangeDate, overlap: 1d } }",
        "trigger: { webhook: delivery.goods_issue_changed }"))  # fmt: skip
    connections = {"s4": connect_erp(erp, project, webhook_secret=Secret(PASSWORD))}
    with serving(project, tmp_path / "state.db", shop, erp, connections=connections) as here:
        for user, password in (("flowrun", "wrong"), ("other", PASSWORD), ("flowrun", "")):
            mesh = EventMesh(f"{here.url}/hooks/s4", user, password, system_clock)
            assert mesh.shake_hands() == "Failed"
            mesh.handshake = "Completed"
            assert mesh.push([mesh.event("OutboundDelivery.GIStatusChanged", OutboundDelivery="1")]) == [401]
        assert here.store.events.waiting() == []


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"authorization": "Basic Zmxvd3J1bjptZXNoLXBhc3N3b3Jk"}, True),
        ({"authorization": "basic Zmxvd3J1bjptZXNoLXBhc3N3b3Jk"}, True),
        ({"x_api_key": PASSWORD}, True),
        ({"x_api_key": "old-password"}, True),
        ({"authorization": "Bearer Zmxvd3J1bjptZXNoLXBhc3N3b3Jk"}, False),
        ({"authorization": "Basic !!!"}, False),
        ({"authorization": "Basic "}, False),
        ({"x_api_key": "ü"}, False),
        ({}, False),
    ],
)
def test_who_may_send(headers: dict[str, str], good: bool) -> None:
    secrets = (Secret(PASSWORD), Secret("old-password"))
    if good:
        events.verify(request(b"", **headers), "flowrun", secrets)
    else:
        with pytest.raises(SignatureInvalid, match="do not hold"):
            events.verify(request(b"", **headers), "flowrun", secrets)


def cloud_event(**changes: Any) -> dict[str, Any]:
    return {
        "type": "sap.s4.beh.salesorder.v1.SalesOrder.Created.v1", "specversion": "1.0",
        "source": "/default/sap.s4.beh/DEVCLNT001", "id": "db13c94e", "data": {"SalesOrder": "0000004711"}, **changes,
    }  # fmt: skip


def test_structured_batched_and_binary_mode_are_one() -> None:
    one = cloud_event()
    structured = events.parse(
        request(json.dumps(one).encode(), content_type="application/cloudevents+json; charset=utf-8")
    )
    batch = events.parse(request(json.dumps([one, one]).encode(), content_type="application/cloudevents-batch+json"))
    binary = events.parse(request(
        json.dumps(one["data"]).encode(), content_type="application/json", ce_type=one["type"], ce_id=one["id"],
        ce_source=one["source"], ce_specversion="1.0"))  # fmt: skip
    assert structured == binary == batch[:1] == batch[1:]
    (event,) = structured
    assert (event.name, event.object, event.record, event.thin) == (
        "sales_order.created", "A_SalesOrder", {"SalesOrder": "4711"}, True,
    )  # fmt: skip
    assert event.id == "/default/sap.s4.beh/DEVCLNT001 db13c94e"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "cannot be read"),
        (b"[]", "no CloudEvent"),
        (json.dumps(cloud_event(id="")).encode(), "has no id"),
        (json.dumps(cloud_event(id="x" * 400)).encode(), "too long"),
        (json.dumps(cloud_event(data=None)).encode(), "names no SalesOrder"),
        (json.dumps(cloud_event(data={"SalesOrder": 1})).encode(), "names no SalesOrder"),
        (b'{"id":"1","id":"2"}', "twice"),
    ],
)
def test_what_is_no_event_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        events.parse(request(body, content_type="application/cloudevents+json"))


def test_the_handshake_answers_the_origin_that_asked() -> None:
    reply = events.greeting(request(b"", method="OPTIONS", webhook_request_origin=ORIGIN))
    assert reply is not None and dict(reply.headers) == {"WebHook-Allowed-Origin": ORIGIN}
    assert events.greeting(request(b"", method="OPTIONS")) is None
    with pytest.raises(SignatureInvalid):
        events.greeting(request(b"", method="OPTIONS", webhook_request_origin="a\r\nSet-Cookie: x"))


@pytest.mark.skipif(not SPECS.is_dir(), reason="SAP's event definitions are not on this machine")
def test_the_types_are_those_of_sap() -> None:
    text = "".join(path.read_text() for path in sorted(SPECS.glob("*vents*.json")) + sorted(SPECS.glob("CE_*EVENTS*")))
    for type_ in events.KINDS:
        assert type_.removeprefix("sap.s4.beh.") in text.replace("/", ".") or type_ in text, type_
