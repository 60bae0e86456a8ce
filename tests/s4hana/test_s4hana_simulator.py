"""The simulated Gateway refuses and answers what the real one does, looked at without the connector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.s4hana.s4kit import Watched, order, system

from flowrun.testing.faults import Faults
from flowrun_connectors.s4hana.simulator import CLIENT_ID, CLIENT_SECRET, PASSWORD, USER, S4HanaSimulator

V2 = "/sap/opu/odata/sap/API_SALES_ORDER_SRV/"
V4 = "/sap/opu/odata4/sap/api_salesorder/srvd_a2x/sap/salesorder/0001/"
STOCK = "/sap/opu/odata/sap/API_MATERIAL_STOCK_SRV/A_MatlStkInAcctMod"
DELIVERIES = "/sap/opu/odata/sap/API_OUTBOUND_DELIVERY_SRV;v=0002/A_OutbDeliveryHeader"


class Caller:
    """A plain HTTP client with a token."""

    def __init__(self, sim: Watched) -> None:
        self.sim = sim
        self.http = httpx.Client(base_url=sim.base_url, auth=(USER, PASSWORD), headers={"accept": "application/json"})
        self.token = self.http.get(V2, headers={"x-csrf-token": "Fetch"}).headers["x-csrf-token"]

    def get(self, path: str, **options: str) -> httpx.Response:
        return self.http.get(path + ("?" + "&".join(f"${k}={quote(v)}" for k, v in options.items()) if options else ""))

    def send(self, method: str, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, json=body, headers={"x-csrf-token": self.token, **named})


@pytest.fixture
def sap() -> Iterator[Caller]:
    with system() as sim:
        caller = Caller(sim)
        yield caller
        caller.http.close()


def wire(body: Any) -> Any:
    """An order as V2 wants it."""
    if isinstance(body, list):
        return {"results": [wire(one) for one in body]}
    if isinstance(body, dict):
        return {name: f"{value}T00:00:00" if name.endswith("Date") else wire(value) for name, value in body.items()}
    return body


def code(response: httpx.Response) -> str:
    found: str = response.json()["error"]["code"]
    return found


# -- who may come in -----------------------------------------------------------------------------------------------


def test_a_wrong_password_is_html_and_five_of_them_lock_the_user() -> None:
    with system() as sim, httpx.Client(base_url=sim.base_url) as http:
        for _ in range(5):
            response = http.get(V2, auth=(USER, "wrong"))
            assert (response.status_code, response.headers["content-type"]) == (401, "text/html;charset=utf-8")
            assert "Basic realm" in response.headers["www-authenticate"]
        assert http.get(V2, auth=(USER, PASSWORD)).status_code == 401


def test_the_token_endpoint() -> None:
    with system(token_secs=1) as sim, httpx.Client(base_url=sim.base_url) as http:
        form = {"grant_type": "client_credentials"}
        assert http.post("/oauth/token", data=form, auth=(CLIENT_ID, "x")).json() == {"error": "invalid_client"}
        assert http.post("/oauth/token", data={}, auth=(CLIENT_ID, CLIENT_SECRET)).status_code == 400
        token = http.post("/oauth/token", data=form, auth=(CLIENT_ID, CLIENT_SECRET)).json()["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        assert http.get(V2, headers=bearer).status_code == 200
        for _ in range(1000):
            sim.now()  # a second passes
        assert http.get(V2, headers=bearer).status_code == 401
        assert http.get(V2, headers={"authorization": "Bearer made-up"}).status_code == 401


@pytest.mark.parametrize("wrong", ["no token", "another token", "no cookies", "expired"])
def test_token_and_cookies_belong_together(sap: Caller, wrong: str) -> None:
    if wrong == "no cookies":
        sap.http.cookies.clear()
    if wrong == "expired":
        sap.sim.expire_sessions()
    sap.token = {"no token": "", "another token": "abc=="}.get(wrong, sap.token)
    response = sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    assert (response.status_code, response.headers["x-csrf-token"]) == (403, "Required")
    assert response.text == "CSRF token validation failed"
    assert not sap.sim.orders


def test_a_service_without_its_scenario(sap: Caller) -> None:
    sap.sim.revoke("API_SALES_ORDER_SRV")
    response = sap.get(V2 + "A_SalesOrder")
    assert (response.status_code, code(response)) == (403, "/IWFND/CM_CONSUMER/101")
    assert "x-csrf-token" not in response.headers
    sap.sim.deactivate("API_MATERIAL_STOCK_SRV")
    assert code(sap.get(STOCK)) == "/IWFND/MED/170"
    assert code(sap.get("/sap/opu/odata/sap/API_NOTHING/X")) == "/IWFND/MED/170"


# -- reading -------------------------------------------------------------------------------------------------------


def test_the_envelope_of_v2(sap: Caller) -> None:
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    entity = sap.get(V2 + "A_SalesOrder('1')").json()["d"]
    assert entity["__metadata"]["etag"].startswith("W/\"datetimeoffset'2026-05-04T12%3A00%3A00.")
    assert len(entity["__metadata"]["etag"].partition(".")[2]) == len("1234567Z'\"")
    assert set(entity["to_Item"]) == {"__deferred"}
    assert (entity["TotalNetAmount"], entity["RequestedDeliveryDate"]) == ("45.00", "/Date(1778457600000)/")
    assert entity["LastChangeDateTime"].endswith("+0000)/")
    body = sap.get(V2 + "A_SalesOrder", inlinecount="allpages", expand="to_Item").json()["d"]
    assert body["__count"] == "1"
    assert [i["SalesOrderItem"] for i in body["results"][0]["to_Item"]["results"]] == ["10", "20"]
    assert sap.get(V2 + "A_SalesOrder/$count").text == "1"
    assert (
        sap.get(V2 + "A_SalesOrder('1')/to_Item", filter="Material eq 'TG12'").json()["d"]["results"][0][
            "SalesOrderItem"
        ]
        == "20"
    )


def test_json_only_when_it_is_asked_for(sap: Caller) -> None:
    response = sap.http.get(V2 + "A_SalesOrder", headers={"accept": "*/*"})
    assert "xml" in response.headers["content-type"]


def test_pages_by_the_server_name_an_inner_host(sap: Caller) -> None:
    sap.sim.page_limit = 2
    for number in range(5):
        sap.send("POST", V2 + "A_SalesOrder", wire(order(f"XC-{number}")))
    body = sap.get(V2 + "A_SalesOrder", orderby="SalesOrder", top="4").json()["d"]
    assert body["__next"].startswith(
        "https://s4app01.internal.example:44300/sap/opu/odata/sap/API_SALES_ORDER_SRV/A_SalesOrder?"
    )
    rest = sap.http.get(V2 + "A_SalesOrder?" + body["__next"].partition("?")[2]).json()["d"]
    assert [r["SalesOrder"] for r in body["results"] + rest["results"]] == ["1", "2", "3", "4"]
    assert "__next" not in rest
    v4 = sap.get(V4 + "SalesOrder", count="true", orderby="SalesOrder desc").json()
    assert v4["@odata.nextLink"].startswith("SalesOrder?")
    assert v4["@odata.count"] == 5
    assert [r["SalesOrder"] for r in v4["value"]] == ["5", "4"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("PurchaseOrderByCustomer eq 'XC-1'", ["1"]),
        ("PurchaseOrderByCustomer eq 'xc-1'", []),
        ("SalesOrder eq '0000000002'", ["2"]),
        ("SalesOrder gt '1' and SalesOrder le '3'", ["2", "3"]),
        ("(SalesOrder eq '1' or SalesOrder eq '3') and SoldToParty eq '17100001'", ["1", "3"]),
        ("not (SalesOrder eq '1')", ["2", "3"]),
        ("substringof('C-2',PurchaseOrderByCustomer)", ["2"]),
        ("startswith(PurchaseOrderByCustomer,'XC') eq true and endswith(PurchaseOrderByCustomer,'3')", ["3"]),
        ("TotalNetAmount gt 44.99M", ["1", "2", "3"]),
        ("TotalNetAmount lt 45", []),
        ("RequestedDeliveryDate eq datetime'2026-05-11T00:00:00'", ["1", "2", "3"]),
        ("LastChangeDateTime ge datetimeoffset'2030-01-01T00:00:00Z'", []),
        ("BillingDocumentDate eq null", ["1", "2", "3"]),
        ("CompleteDeliveryIsDefined eq false", ["1", "2", "3"]),
    ],
)
def test_the_filter_language_of_v2(sap: Caller, text: str, found: list[str]) -> None:
    for number in (1, 2, 3):
        sap.send("POST", V2 + "A_SalesOrder", wire(order(f"XC-{number}")))
    assert [r["SalesOrder"] for r in sap.get(V2 + "A_SalesOrder", filter=text).json()["d"]["results"]] == found


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (V2 + "A_SalesOrder", {"filter": "Nope eq 'x'"}),
        (V2 + "A_SalesOrder", {"filter": "SalesOrder eq 5"}),
        (V2 + "A_SalesOrder", {"filter": "SalesOrder eq '5"}),
        (V2 + "A_SalesOrder", {"filter": "SalesOrder in ('1','2')"}),
        (V2 + "A_SalesOrder", {"filter": "contains(SalesOrder,'1')"}),
        (V2 + "A_SalesOrder", {"filter": "RequestedDeliveryDate eq '2026-05-11'"}),
        (V2 + "A_SalesOrder", {"filter": "RequestedDeliveryDate eq 2026-05-11"}),
        (V2 + "A_SalesOrder", {"filter": "LastChangeDateTime ge datetime'2026-05-11T00:00:00'"}),
        (V2 + "A_SalesOrder", {"filter": "TotalNetAmount eq '5'"}),
        (V2 + "A_SalesOrder", {"filter": "SalesOrder eq '1' and"}),
        (V2 + "A_SalesOrder", {"orderby": "Nope"}),
        (V2 + "A_SalesOrder", {"expand": "to_Nothing"}),
        (V2 + "A_SalesOrder", {"select": "Nope"}),
        (V2 + "A_SalesOrder", {"top": "-1"}),
        (V2 + "A_SalesOrder", {"search": "x"}),
        (V4 + "SalesOrder", {"filter": "substringof('1',SalesOrder)"}),
        (V4 + "SalesOrder", {"filter": "not (SalesOrder eq '1')"}),
        (V4 + "SalesOrder", {"filter": "RequestedDeliveryDate eq datetime'2026-05-11T00:00:00'"}),
        (V4 + "SalesOrder", {"filter": "LastChangeDateTime ge 2026-05-11"}),
    ],
)
def test_queries_that_are_refused(sap: Caller, path: str, options: dict[str, str]) -> None:
    response = sap.get(path, **options)
    assert response.status_code == 400, response.text
    assert code(response)


def test_keys(sap: Caller) -> None:
    sap.sim.add_material("A/1'2")
    products = "/sap/opu/odata/sap/API_PRODUCT_SRV/A_Product"
    assert sap.get(products + "('A%2F1''2')").json()["d"]["Product"] == "A/1'2"
    assert sap.get(products + "('tg11')").status_code == 404, "keys are stored in capitals"
    assert code(sap.get(V2 + "A_SalesOrder('99')")) == "/IWBEP/CM_MGW_RT/020"
    assert sap.get(V2 + "A_SalesOrder(99)").status_code == 404


def test_deliveries_may_refuse_filters(sap: Caller) -> None:
    assert sap.get(DELIVERIES, filter="LastChangeDate ge datetime'2026-01-01T00:00:00'").status_code == 200
    sap.sim.deliveries_filter = False
    assert code(sap.get(DELIVERIES, filter="LastChangeDate ge datetime'2026-01-01T00:00:00'")) == "/IWBEP/CM_MGW_RT/021"


# -- writing -------------------------------------------------------------------------------------------------------


def test_both_forms_of_a_collection(sap: Caller) -> None:
    plain = json.loads(json.dumps(wire(order())).replace('{"results": [', "[").replace("]}", "]"))
    assert isinstance(plain["to_Item"], list)
    for body in (wire(order()), plain):
        response = sap.send("POST", V2 + "A_SalesOrder", body)
        assert response.status_code == 201, response.text
        created = response.json()["d"]
        assert [i["SalesOrderItem"] for i in created["to_Item"]["results"]] == ["10", "20"]
        assert response.headers["location"].endswith(f"A_SalesOrder('{created['SalesOrder']}')")
    message = json.loads(response.headers["sap-message"])
    assert (message["severity"], message["details"]) == ("info", [])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"Nonsense": "x"}, "Nonsense"),
        ({"PurchaseOrderByCustomer": "x" * 36}, "PurchaseOrderByCustomer"),
        ({"TotalNetAmount": "5"}, "TotalNetAmount"),
        ({"SoldToParty": 17100001}, "SoldToParty"),
        ({"RequestedDeliveryDate": "2026-05-11"}, "RequestedDeliveryDate"),
        ({"CompleteDeliveryIsDefined": "true"}, "CompleteDeliveryIsDefined"),
        ({"to_Item": {"results": [{"Material": "TG11", "RequestedQuantity": 2}]}}, "to_Item(1)/RequestedQuantity"),
        ({"to_Item": {"results": [{"Material": "TG11", "RequestedQuantity": "2.0001"}]}}, "to_Item(1)/RequestedQuantity"),
        ({"to_Item": {"results": [{"Material": "TG11"}, {"Materiel": "TG11"}]}}, "to_Item(2)/Materiel"),
        ({"to_Item": "TG11"}, "to_Item"),
        ({"SoldToParty": "99"}, "SoldToParty"),
        ({"SalesOrganization": ""}, "SalesOrganization"),
        ({"to_Item": {"results": [{"Material": "NOPE", "RequestedQuantity": "1"}]}}, "to_Item"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused_whole(sap: Caller, change: dict[str, Any], field: str) -> None:
    response = sap.send("POST", V2 + "A_SalesOrder", {**wire(order()), **change})
    assert response.status_code == 400, response.text
    details = response.json()["error"]["innererror"]["errordetails"]
    assert details[0]["target"] == field
    assert details[-1]["code"] == "/IWBEP/CX_MGW_BUSI_EXCEPTION"
    assert not sap.sim.orders


def test_switches_for_what_releases_differ_in(sap: Caller) -> None:
    sap.sim.strict_decimals = False
    sap.sim.ignore_read_only = True
    body = {
        **wire(order()),
        "TotalNetAmount": "5",
        "to_Item": {"results": [{"Material": "TG11", "RequestedQuantity": 2}]},
    }
    assert sap.send("POST", V2 + "A_SalesOrder", body).status_code == 201
    assert sap.sim.orders[0]["TotalNetAmount"] == "9.90"


def test_business_rules(sap: Caller) -> None:
    sap.sim.add_customer("20", areas=[("1010", "10", "00")])
    sap.sim.add_customer("21", blocked="Central block")
    sap.sim.add_customer("22", credit_limit="10.00")
    for customer, words in (("20", "not maintained for sales area 1710 10 00"), ("21", "Order block: Central block")):
        response = sap.send("POST", V2 + "A_SalesOrder", wire(order(SoldToParty=customer)))
        assert words in response.json()["error"]["message"]["value"]
    response = sap.send("POST", V2 + "A_SalesOrder", wire(order(SoldToParty="22")))
    assert response.json()["d"]["TotalCreditCheckStatus"] == "B"
    assert json.loads(response.headers["sap-message"])["details"][0]["severity"] == "warning"


def test_etags(sap: Caller) -> None:
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    path = V2 + "A_SalesOrder('1')"
    etag = sap.get(path).json()["d"]["__metadata"]["etag"]
    block = {"DeliveryBlockReason": "01"}
    assert sap.send("PATCH", path, block).status_code == 428
    assert (
        sap.send("PATCH", path, block, if_match="W/\"datetimeoffset'2020-01-01T00%3A00%3A00.0000000Z'\"").status_code
        == 412
    )
    assert sap.send("PATCH", path, block, if_match=etag).status_code == 204
    assert sap.send("PATCH", path, block, if_match=etag).status_code == 412, "a new stamp, a new tag"
    assert sap.send("POST", path, {"DeliveryBlockReason": ""}, if_match="*", x_http_method="MERGE").status_code == 204
    assert sap.sim.orders[0]["DeliveryBlockReason"] == ""
    v4 = sap.get(V4 + "SalesOrder('1')").json()["@odata.etag"]
    assert v4.startswith('W/"SADL-2026050412')
    assert sap.send("PATCH", V4 + "SalesOrder('1')", block, if_match=v4).status_code == 204
    assert sap.send("POST", V4 + "SalesOrder('1')", block, if_match="*", x_http_method="MERGE").status_code == 405, (
        "gone in V4"
    )
    assert sap.send("PATCH", path, {"to_Text": []}, if_match="*").status_code == 400, "no deep update"


def test_v4_takes_numbers_or_declared_text(sap: Caller) -> None:
    def body(quantity: Any) -> dict[str, Any]:
        area = {"SalesOrganization": "1710", "DistributionChannel": "10", "OrganizationDivision": "00"}
        return {
            "SalesOrderType": "OR",
            "SoldToParty": "17100001",
            **area,
            "_Item": [{"Product": "TG11", "RequestedQuantity": quantity}],
        }

    declared = {"content_type": "application/json;IEEE754Compatible=true"}
    assert sap.send("POST", V4 + "SalesOrder", body(2)).status_code == 201
    assert sap.send("POST", V4 + "SalesOrder", body("2")).status_code == 400
    assert sap.send("POST", V4 + "SalesOrder", body("2"), **declared).status_code == 201
    assert sap.send("POST", V4 + "SalesOrder", body(2), **declared).status_code == 400
    wrapped = {**body(2), "_Item": {"results": [{"Product": "TG11", "RequestedQuantity": 2}]}}
    assert sap.send("POST", V4 + "SalesOrder", wrapped).status_code == 400, "plain arrays only"
    refused = sap.send("POST", V4 + "SalesOrder", {**body(2), "Nope": 1}).json()["error"]
    assert (refused["target"], refused["@SAP__common.ExceptionCategory"]) == ("Nope", "Client_Error")


def test_one_order_is_seen_by_both_services(sap: Caller) -> None:
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    seen = sap.get(V4 + "SalesOrder('1')", expand="_Item($expand=_ItemPricingElement,_ScheduleLine),_Partner").json()
    item = seen["_Item"][0]
    assert (item["Product"], item["Plant"], item["_ItemPricingElement"][0]["ConditionRateAmount"]) == (
        "TG11",
        "1710",
        17.55,
    )
    assert seen["_Partner"][0]["CityName"] == "Palo Alto"
    assert seen["RequestedDeliveryDate"] == "2026-05-11"


# -- what follows an order -----------------------------------------------------------------------------------------


def test_delivery_goods_issue_and_bill(sap: Caller) -> None:
    sap.sim.add_stock("TG11", "1710", "100")
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    number = sap.sim.deliver("1", tracking="1Z9", goods_issue=False)
    delivery = sap.get(f"{DELIVERIES}('{number}')", expand="to_DeliveryDocumentItem").json()["d"]
    assert (delivery["OverallGoodsMovementStatus"], delivery["LastChangeDate"]) == ("A", None)
    assert delivery["__metadata"]["etag"] == "W/\"'0001'\""
    sap.sim.post_goods_issue(number)
    delivery = sap.get(f"{DELIVERIES}('{number}')", expand="to_DeliveryDocumentItem").json()["d"]
    assert (delivery["OverallGoodsMovementStatus"], delivery["__metadata"]["etag"]) == ("C", "W/\"'0002'\"")
    assert delivery["to_DeliveryDocumentItem"]["results"][0]["ReferenceSDDocument"] == "1"
    assert sap.get(STOCK).json()["d"]["results"][0]["MatlWrhsStkQtyInMatlBaseUnit"] == "98.00000000000000"
    bill = sap.sim.bill(number)
    items = "/sap/opu/odata/sap/API_BILLING_DOCUMENT_SRV/A_BillingDocumentItem"
    found = sap.get(items, filter=f"ReferenceSDDocument eq '{number}'").json()["d"]["results"]
    assert {row["BillingDocument"] for row in found} == {bill}
    flow = sap.get(V2 + "A_SalesOrder('1')/to_SubsequentProcFlowDoc").json()["d"]["results"]
    assert [row["SubsequentDocumentCategory"] for row in flow] == ["J", "M"]


def test_the_state_survives_as_json(sap: Caller) -> None:
    sap.sim.add_stock("TG11", "1710", "5")
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    sap.sim.bill(sap.sim.deliver("1"))
    kept = json.loads(json.dumps(sap.sim.dump()))
    other = S4HanaSimulator(now=sap.sim.now)
    other.load(kept)
    assert other.dump() == kept
    with other.running():
        again = Caller(other)  # type: ignore[arg-type]
        assert again.send("POST", V2 + "A_SalesOrder", wire(order("XC-2"))).json()["d"]["SalesOrder"] == "2"
        again.http.close()


def test_locks_vanish(sap: Caller) -> None:
    sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    sap.sim.hold("1", times=2)
    said = [
        sap.send("PATCH", V2 + "A_SalesOrder('1')", {"DeliveryBlockReason": "01"}, if_match="*").status_code
        for _ in range(3)
    ]
    assert said == [400, 400, 204]


def test_a_create_may_succeed_while_the_connection_drops(sap: Caller) -> None:
    sap.sim.faults = Faults.parse("reset_after*1;method=POST")
    with pytest.raises(httpx.HTTPError):
        sap.send("POST", V2 + "A_SalesOrder", wire(order()))
    assert len(sap.sim.orders) == 1
