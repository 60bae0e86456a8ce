"""An order's items that the server gives in pages, below an expanded navigation: all of them arrive, or an error does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.contract.test_s4hana import v4_order
from tests.s4hana.s4kit import Clock, connect, create, order, update

from flowrun.connector import Item, Query
from flowrun.errors import Conflict, ConnectorError, PagingLoop
from flowrun.testing.simulator import SimRequest, SimResponse, json_response
from flowrun.values import decode_json
from flowrun_connectors._odata.address import follow
from flowrun_connectors.s4hana.simulator import S4HanaSimulator

ROOT = "sap/opu/odata/sap/API_SALES_ORDER_SRV/"
COUNT = 7


class Cutting(S4HanaSimulator):
    """Expanded items come three at a time. how: ends, or the way in which the links go wrong."""

    how = "ends"

    def handle(self, request: SimRequest) -> SimResponse:
        v4, at = "odata4" in request.path, int(request.query.get("$skiptoken", "0").rpartition("b")[2])
        if request.path.endswith(("/to_Item", "/_Item")):
            rows = self.items[at : at + 3]
            link = self._link(v4, at + 3) if at + 3 < len(self.items) else ""
            link = {"repeats": self._link(v4, 3), "leaves": "http://evil.test/x"}.get(self.how, link)
            if v4:
                return json_response({"value": rows, **({"@odata.nextLink": link} if link else {})})
            return json_response({"d": {"results": rows, **({"__next": link} if link else {})}})
        answer = super().handle(request)
        if request.method != "GET" or "tem" not in request.query.get("$expand", ""):
            return answer
        body = decode_json(answer.body)
        inner = body if v4 else body["d"]
        for entity in inner.get("value" if v4 else "results", [inner]):
            self._cut(entity, v4)
        return SimResponse(answer.status, json_response(body).body, dict(answer.headers), answer.cookies)

    def _cut(self, entity: dict[str, Any], v4: bool) -> None:
        if v4:
            self.items = entity["_Item"]
            entity["_Item"], entity["_Item@odata.nextLink"] = self.items[:3], self._link(v4, 3)
        else:
            self.items = entity["to_Item"]["results"]
            entity["to_Item"] = {"results": self.items[:3], "__next": self._link(v4, 3)}

    def _link(self, v4: bool, at: int) -> str:
        if v4:
            return f"SalesOrder('1')/_Item?sap-client=100&$skiptoken=a+b{at}"
        return f"http://internal.sap:8000/{ROOT}A_SalesOrder('1')/to_Item?sap-client=100&$skiptoken=a+b{at}"


@contextmanager
def system(how: str = "ends") -> Iterator[Cutting]:
    sim = Cutting(now=Clock())
    sim.how = how
    sim.add_customer("17100001")
    for material in ("TG11", "TG12"):
        sim.add_material(material)
    with sim.running():
        yield sim


V2_ITEMS = [{"Material": "TG11", "RequestedQuantity": str(n + 1), "RequestedQuantityUnit": "PC"} for n in range(COUNT)]


def written(sim: Cutting, v4: bool) -> Any:
    connector = connect(sim)
    if v4:
        items = [{**v4_order()["_Item"][0], "SalesOrderItem": str(10 * (n + 1))} for n in range(COUNT)]
        create(connector, v4_order(_Item=items), "SalesOrder")
    else:
        create(connector, order(to_Item=V2_ITEMS))
    assert len(sim.orders) == 1
    return connector


@pytest.mark.parametrize("v4", [False, True])
def test_items_beyond_the_first_page_are_read(v4: bool) -> None:
    object, items = ("SalesOrder", "_Item") if v4 else ("A_SalesOrder", "to_Item")
    with system() as sim:
        connector = written(sim, v4)
        (page,) = connector.read(Query(object, expand=[items]))
        assert [row["SalesOrderItem"] for row in page.records[0][items]] == [str(10 * (n + 1)) for n in range(COUNT)]
        one = connector.get(object, {"SalesOrder": sim.orders[0]["SalesOrder"]}, [items])
        assert len(one[items]) == COUNT
        assert not any("@" in name or name == "__next" for name in one)
        by_reference = connector.get(object, {"PurchaseOrderByCustomer": "XC-1"}, [items])
        assert len(by_reference[items]) == COUNT
        assert len([request for request in sim.log if request.path.endswith("Item")]) == 2 * 3


@pytest.mark.parametrize("v4", [False, True])
@pytest.mark.parametrize(("how", "kind"), [("repeats", PagingLoop), ("leaves", ConnectorError)])
def test_links_inside_go_neither_round_nor_away(v4: bool, how: str, kind: type) -> None:
    object, items = ("SalesOrder", "_Item") if v4 else ("A_SalesOrder", "to_Item")
    with system(how) as sim:
        connector = written(sim, v4)
        with pytest.raises(kind):
            list(connector.read(Query(object, expand=[items])))
        assert len([request for request in sim.log if request.path.endswith("Item")]) <= 3


def test_a_token_stays_as_it_came() -> None:
    for token in ("a+b", "a%2Bb", "it's", "1,2=3/4", "%E6%9D%B1"):
        assert follow(f"http://h/{ROOT}Set?sap-client=1&$skiptoken={token}", ROOT, drop=("sap-client",)) == (
            f"{ROOT}Set?$skiptoken={token}"
        )
    assert follow(f"http://h/{ROOT}Set?$filter=A eq 'ü'", ROOT) == f"{ROOT}Set?$filter=A%20eq%20'%C3%BC'"
    assert follow(f"http://h/{ROOT}Set", ROOT) == f"{ROOT}Set"


def test_an_order_without_an_etag_is_not_overwritten_unasked() -> None:
    """Such an answer gives no right to ``If-Match: *``, which is a setting; the system says what it needs."""
    with system() as sim:
        connector = written(sim, False)
        number = sim.orders[0]["SalesOrder"]

        def without(request: SimRequest, answer: SimResponse) -> SimResponse:
            if request.method != "GET" or "json" not in answer.headers.get("content-type", ""):
                return answer
            body = decode_json(answer.body)
            body.get("d", {}).get("__metadata", {}).pop("etag", None)
            headers = {name: value for name, value in answer.headers.items() if name != "etag"}
            return SimResponse(answer.status, json_response(body).body, headers, answer.cookies)

        sim.mangle = without
        verdict = update(connector, {"SalesOrder": number, "DeliveryBlockReason": "01"})
        assert type(verdict) is Conflict, verdict
        assert verdict.status == 428
        sent = [request for request in sim.log if request.method == "PATCH"]
        assert ["if-match" in request.headers for request in sent] == [False]
        asked = connect(sim, overwrite=True)
        (verdict,) = asked.deliver(
            [Item("A_SalesOrder", "update", {"SalesOrder": number, "DeliveryBlockReason": "01"}, None, ("SalesOrder",))]
        )
        assert not isinstance(verdict, Exception), verdict
