"""S/4HANA over real sockets: reading, both protocol versions, credentials, contracts, and what trips people up."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from flowrun.connector import Cursor, Item, Query, Receipt
from flowrun.contract import Shape
from flowrun.errors import AuthFailed, Conflict, NotFound, RateLimited, Refused, Unavailable
from flowrun.values import decode_json
from flowrun_connectors.s4hana.connector import S4Hana
from flowrun_connectors.s4hana.objects import SERVICES, shape
from flowrun_connectors.s4hana.simulator import CLIENT_SECRET, PASSWORD
from tests.s4hana.s4kit import AREA, Watched, connect, create, order, system, update


@pytest.fixture
def sim() -> Iterator[Watched]:
    with system() as found:
        yield found


def read(s4: Any, object: str, **more: Any) -> list[dict[str, Any]]:
    return [dict(record) for page in s4.read(Query(object, **more)) for record in page.records]


def v4_order(reference: str = "XC-1", **more: Any) -> dict[str, Any]:
    return {
        "SalesOrderType": "OR", **AREA, "SoldToParty": "17100001", "PurchaseOrderByCustomer": reference,
        "RequestedDeliveryDate": "2026-05-11",
        "_Item": [
            {"Product": "TG11", "RequestedQuantity": Decimal("2.500"), "RequestedQuantitySAPUnit": "PC", "Plant": "1710",
             "_ItemPricingElement": [
                 {"ConditionType": "PPR0", "ConditionRateAmount": Decimal("17.55"), "ConditionCurrency": "USD"}]},
        ],
        "_Partner": [{"PartnerFunction": "SH", "Customer": "17100001", "BusinessPartnerName1": "Ada", "CityName": "Palo Alto"}],
        **more,
    }  # fmt: skip


# -- reading ---------------------------------------------------------------------------------------------------------


def test_changes_come_oldest_first_and_a_cursor_is_inclusive(sim: Watched) -> None:
    s4 = connect(sim)
    for number in range(1, 31):
        create(s4, order(f"XC-{number}"))
    pages = list(s4.read(Query("A_SalesOrder", cursor="LastChangeDateTime", page_size=7)))
    rows = [row for page in pages for row in page.records]
    assert [row["SalesOrder"] for row in rows] == [str(n) for n in range(1, 31)]
    for page in pages:
        assert page.cursor is not None
        rest = read(s4, "A_SalesOrder", cursor="LastChangeDateTime", since=page.cursor)
        seen = {row["SalesOrder"] for p in pages[: pages.index(page) + 1] for row in p.records}
        assert seen | {row["SalesOrder"] for row in rest} == {row["SalesOrder"] for row in rows}
        assert page.records[-1]["SalesOrder"] in {row["SalesOrder"] for row in rest}, (
            "the record at the cursor comes again"
        )


def test_top_is_always_sent_and_so_is_the_language(sim: Watched) -> None:
    s4 = connect(sim, client="100", language="DE")
    read(s4, "A_Product")
    s4.find("A_SalesOrder", {"PurchaseOrderByCustomer": "x"})
    for request in sim.sent("GET"):
        assert request.query["$top"] == "200"
        assert (request.query["sap-language"], request.query["sap-client"]) == ("DE", "100")


def test_a_wrong_client_is_no_way_in(sim: Watched) -> None:
    assert not connect(sim, client="200").check().ok


def test_many_orders_of_one_stamp_are_all_read(sim: Watched) -> None:
    s4 = connect(sim)
    for number in range(20):
        create(s4, order(f"XC-{number}"))
    for row in sim.orders:
        row["LastChangeDateTime"] = "2026-05-04T12:00:00.1234567Z"
    assert len(read(s4, "A_SalesOrder", cursor="LastChangeDateTime", page_size=3)) == 20
    assert len(read(s4, "SalesOrder", cursor="LastChangeDateTime", page_size=3)) == 20


def test_a_day_as_cursor_finds_what_was_never_changed(sim: Watched) -> None:
    """A new business partner or delivery has no day of change yet."""
    s4 = connect(sim)
    create(s4)
    sim.deliver("1", goods_issue=False)
    for object in ("A_OutbDeliveryHeader", "A_BusinessPartner"):
        pages = list(s4.read(Query(object, since=Cursor("2026-05-04"), cursor="LastChangeDate")))
        assert [len(page.records) for page in pages] == [1, 0]
        assert pages[0].cursor is None, "rows of one day have no order: the cursor comes with the last page"
        assert pages[-1].cursor == Cursor("2026-05-04")
        assert read(s4, object, since=Cursor("2026-05-05T00:00:00Z"), cursor="LastChangeDate") == []


def test_nothing_changed_moves_no_cursor(sim: Watched) -> None:
    s4 = connect(sim)
    since = Cursor("2030-01-01T00:00:00Z")
    assert list(s4.read(Query("A_SalesOrder", since=since, cursor="LastChangeDateTime"))) == []
    assert list(s4.read(Query("A_BusinessPartner", since=since, cursor="LastChangeDate"))) == []


def test_stock_is_read_whole_by_its_eleven_keys(sim: Watched) -> None:
    for number in range(50):
        sim.add_material(f"M{number:03}")
        for plant in ("1710", "1720"):
            sim.add_stock(f"M{number:03}", plant, str(number + 1))
    s4 = connect(sim)
    rows = read(s4, "A_MatlStkInAcctMod", page_size=7)
    assert len(rows) == len({(r["Material"], r["Plant"]) for r in rows}) == 100
    assert rows[0]["MatlWrhsStkQtyInMatlBaseUnit"] == "1.00000000000000"
    some = read(s4, "A_MatlStkInAcctMod", filter={"Plant": "1710", "Material": ["M001", "M002"]})
    assert [(r["Material"], r["Plant"]) for r in some] == [("M001", "1710"), ("M002", "1710")]


def test_a_long_list_becomes_several_requests_of_bearable_length(sim: Watched) -> None:
    names = [f"MATERIAL-WITH-A-LONG-NAME-{n:05}" for n in range(400)]
    for name in names:
        sim.add_stock(name, "1710", "1")
    s4 = connect(sim)
    rows = read(s4, "A_MatlStkInAcctMod", filter={"Material": names})
    assert sorted(r["Material"] for r in rows) == names
    lengths = [len(r.raw_path) + len(r.query["$filter"]) * 3 for r in sim.sent("GET")]
    assert len(lengths) > 1
    assert read(s4, "A_MatlStkInAcctMod", filter={"Material": []}) == []


def test_split_requests_give_the_least_cursor_at_the_end(sim: Watched) -> None:
    """What the first request read may change while the second runs."""
    s4 = connect(sim)
    references = [f"REFERENCE-OF-SOME-LENGTH-{n:04}" for n in range(300)]
    for reference in (references[-1], references[0]):
        create(s4, order(reference))
    query = Query("A_SalesOrder", cursor="LastChangeDateTime", filter={"PurchaseOrderByCustomer": references})
    pages = list(s4.read(query))
    assert [len(page.records) for page in pages] == [1, 1], "two of several requests found something"
    assert all(page.cursor is None for page in pages), "a request that saw nothing holds the cursor back"


def test_a_field_that_orders_no_changes_is_refused(sim: Watched) -> None:
    with pytest.raises(Refused) as caught:
        read(connect(sim), "A_Customer", cursor="CustomerName")
    assert "full: true" in caught.value.help


def test_deliveries_that_do_not_filter_say_what_to_do(sim: Watched) -> None:
    sim.deliveries_filter = False
    with pytest.raises(Refused) as caught:
        read(connect(sim), "A_OutbDeliveryHeader", since=Cursor("2026-05-04"), cursor="LastChangeDate")
    assert (caught.value.code, "full: true" in caught.value.help) == ("/IWBEP/CM_MGW_RT/021", True)


def test_custom_fields_survive(sim: Watched) -> None:
    """A tenant's own fields are not in the shipped contract."""
    s4 = connect(sim)
    create(s4)
    real = sim.handle

    def with_custom(request: Any) -> Any:
        answer = real(request)
        if request.method == "GET" and b'"SalesOrderType"' in answer.body:
            answer.body = answer.body.replace(b'"SalesOrderType"', b'"YY1_Loyalty_SDH":"gold","SalesOrderType"', 1)
        return answer

    sim.handle = with_custom  # type: ignore[method-assign]
    assert read(s4, "A_SalesOrder")[0]["YY1_Loyalty_SDH"] == "gold"


# -- one by key ------------------------------------------------------------------------------------------------------


def test_get_by_key_by_an_awkward_key_and_by_other_fields(sim: Watched) -> None:
    sim.add_material("A/1#'%2f")
    s4 = connect(sim)
    create(s4)
    assert s4.get("A_Product", {"Product": "A/1#'%2f"})["Product"] == "A/1#'%2f"
    assert s4.get("A_Product", {"Product": "A#1"}) is None
    assert s4.get("A_SalesOrder", {"SalesOrder": "0000000001"})["SalesOrder"] == "1"
    assert s4.get("A_SalesOrder", {"SalesOrder": "9"}) is None
    assert s4.get("A_SalesOrder", {"PurchaseOrderByCustomer": "XC-1"})["SalesOrder"] == "1"
    create(s4)
    with pytest.raises(Conflict):
        s4.get("A_SalesOrder", {"PurchaseOrderByCustomer": "XC-1"})
    with pytest.raises(Refused):
        s4.get("A_SalesOrder", {})
    with pytest.raises(Refused):
        s4.find("A_SalesOrder", {})


# -- writing ---------------------------------------------------------------------------------------------------------


def test_warnings_of_a_success_come_with_the_receipt(sim: Watched) -> None:
    s4 = connect(sim)
    late = create(s4, order(RequestedDeliveryDate="2020-01-01"))
    assert late.warnings == ("V1/555: Requested date cannot be met.",)
    assert create(s4, v4_order(RequestedDeliveryDate="2020-01-01"), "SalesOrder").warnings == late.warnings
    assert create(s4).warnings == ()


def test_one_bad_item_does_not_hurt_its_neighbours(sim: Watched) -> None:
    bodies = [order("XC-1"), order("XC-2", SoldToParty="99"), order("XC-3")]
    verdicts = connect(sim).deliver(
        [Item("A_SalesOrder", "create", body, body["PurchaseOrderByCustomer"]) for body in bodies]
    )
    assert [type(v) for v in verdicts] == [Receipt, Refused, Receipt]
    assert [o["PurchaseOrderByCustomer"] for o in sim.orders] == ["XC-1", "XC-3"]


def test_what_cannot_be_done_is_said_without_a_call(sim: Watched) -> None:
    s4 = connect(sim)
    cases = [
        Item("A_Product", "create", {}), Item("A_SalesOrder", "delete", {"SalesOrder": "1"}), Item("Nothing", "create", {}),
        Item("A_SalesOrder", "update", {"DeliveryBlockReason": "01"}), Item("A_SalesOrder", "update", {"SalesOrder": "1", "to_Item": []}),
        Item("A_SalesOrder", "create", {"RequestedDeliveryDate": "soon"}),
    ]  # fmt: skip
    assert [type(v) for v in s4.deliver(cases)] == [Refused] * len(cases)
    assert not sim.sent("POST") and not sim.sent("PATCH")


def test_an_update_sends_only_what_differs(sim: Watched) -> None:
    s4 = connect(sim)
    create(s4)
    receipt = update(
        s4,
        {
            "SalesOrder": "1",
            "DeliveryBlockReason": "01",
            "TransactionCurrency": "USD",
            "RequestedDeliveryDate": "2026-05-12",
        },
    )
    assert decode_json(sim.sent("PATCH")[0].body) == {
        "DeliveryBlockReason": "01",
        "RequestedDeliveryDate": "/Date(1778544000000)/",
    }
    assert (receipt.id, receipt.created, receipt.response["DeliveryBlockReason"]) == ("1", False, "01")
    update(s4, {"SalesOrder": "1", "DeliveryBlockReason": ""})
    assert sim.orders[0]["DeliveryBlockReason"] == "", "an empty text clears"
    assert type(update(s4, {"SalesOrder": "77", "DeliveryBlockReason": "01"})) is NotFound


def test_overwrite_is_a_setting(sim: Watched) -> None:
    s4 = connect(sim, overwrite="true")
    create(s4)
    update(s4, {"SalesOrder": "1", "DeliveryBlockReason": "01"})
    assert sim.sent("PATCH")[0].headers["if-match"] == "*"


def test_the_etag_goes_back_unchanged(sim: Watched) -> None:
    s4 = connect(sim)
    create(s4)
    update(s4, {"SalesOrder": "1", "DeliveryBlockReason": "01"})
    assert "%3A" in sim.sent("PATCH")[0].headers["if-match"], "percent-codes included"


def test_v4_end_to_end(sim: Watched) -> None:
    s4 = connect(sim)
    receipt = create(s4, v4_order(), "SalesOrder")
    assert (receipt.id, receipt.created) == ("1", True)
    assert receipt.response["TotalNetAmount"] == Decimal("43.88")
    posted = sim.sent("POST")[0]
    assert posted.headers["content-type"] == "application/json;IEEE754Compatible=true"
    assert decode_json(posted.body)["_Item"][0]["RequestedQuantity"] == "2.500"
    assert [r.id for r in s4.find("SalesOrder", {"PurchaseOrderByCustomer": "XC-1", "SoldToParty": "17100001"})] == [
        "1"
    ]
    record = s4.get("SalesOrder", {"SalesOrder": "1"}, ["_Item/_ItemPricingElement", "_Item/_ScheduleLine", "_Partner"])
    assert (record["_Item"][0]["Product"], record["_Partner"][0]["CityName"]) == ("TG11", "Palo Alto")
    assert record["_Item"][0]["_ItemPricingElement"][0]["ConditionRateAmount"] == Decimal("17.55")
    assert "@odata.etag" not in record
    assert update(s4, {"SalesOrder": "1", "DeliveryBlockReason": "01"}, "SalesOrder").id == "1"
    assert sim.sent("PATCH")[0].headers["if-match"].startswith('W/"SADL-')
    refused = create(s4, v4_order("XC-2", SoldToParty="99"), "SalesOrder")
    assert (type(refused), refused.code, refused.field) == (Refused, "VP/196", "SoldToParty")


def test_v4_pages_by_relative_links() -> None:
    with system(page_limit=3) as sim:
        s4 = connect(sim)
        for number in range(8):
            create(s4, order(f"XC-{number}"))
        rows = read(s4, "SalesOrder", cursor="LastChangeDateTime")
        assert [row["SalesOrder"] for row in rows] == [str(n) for n in range(1, 9)]
        cursor = list(s4.read(Query("SalesOrder", cursor="LastChangeDateTime")))[-1].cursor
        assert [r["SalesOrder"] for r in read(s4, "SalesOrder", cursor="LastChangeDateTime", since=cursor)] == ["8"]


# -- sessions and credentials ----------------------------------------------------------------------------------------


def test_threads_share_one_token(sim: Watched) -> None:
    s4 = connect(sim)
    create(s4, order("XC-0"))
    sim.expire_sessions()
    sim.log.clear()
    verdicts: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: verdicts.append(create(s4, order(f"XC-{n}")))) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(v) for v in verdicts] == [Receipt] * 8
    assert len(sim.orders) == 9
    fetched = [r for r in sim.log if r.headers.get("x-csrf-token") == "Fetch"]
    assert len(fetched) <= 3, "one of them fetches, the others wait for it"


def test_oauth_renews_its_token_and_keeps_the_session(sim: Watched) -> None:
    s4 = connect(sim, oauth=True)
    assert create(s4, order("XC-1")).id == "1"
    sim.expire_tokens()
    assert create(s4, order("XC-2")).id == "2"
    assert len(sim.gate.sessions) == 1


def test_a_token_endpoint_that_fails_leaves_nothing_unknown() -> None:
    with system("503*1;path=/oauth/token") as sim:
        s4 = connect(sim, oauth=True)
        assert type(create(s4)) in (AuthFailed, Unavailable)
        assert not sim.orders
    with system() as sim:
        s4 = connect(sim, oauth=True)
        create(s4, order("XC-1"))
        sim.expire_tokens()
        sim.faults.rules = type(sim.faults).parse("reset_before*1").rules
        sim.faults.path = "/oauth/token"
        assert type(create(s4, order("XC-2"))) is Unavailable, (
            "the write was answered 401, then the token was not to be had"
        )
        assert len(sim.orders) == 1


def test_slower_please(sim: Watched) -> None:
    sim.faults = type(sim.faults).parse("429*1;method=POST;retry_after=120")
    verdict = create(connect(sim))
    assert (type(verdict), getattr(verdict, "retry_after_secs", None)) == (RateLimited, 120.0)


def test_no_secret_in_any_error(sim: Watched) -> None:
    sim.revoke("API_SALES_ORDER_SRV")
    for s4 in (connect(sim), connect(sim, oauth=True)):
        verdict = create(s4)
        said = f"{verdict!r} {verdict.__dict__} {s4.check()} {s4.settings!r}"
        assert PASSWORD not in said and CLIENT_SECRET not in said and "sim-token" not in said


def test_check_says_what_is_wrong(sim: Watched) -> None:
    assert connect(sim).check().ok
    sim.revoke("API_SALES_ORDER_SRV")
    health = connect(sim).check()
    assert not health.ok
    assert "/IWFND/CM_CONSUMER/101" in health.message
    wrong = connect(sim, auth={"basic": {"user": "x", "password": "y"}}).check()
    assert (wrong.ok, "refused" in wrong.message) == (False, True)


# -- contracts -------------------------------------------------------------------------------------------------------


def without_source(one: Shape) -> Shape:
    fields = {}
    for name, field in one.fields.items():
        inner = field.shape and without_source(field.shape)
        item = field.item and dataclasses.replace(
            field.item, shape=field.item.shape and without_source(field.item.shape)
        )
        fields[name] = dataclasses.replace(field, shape=inner, item=item)
    return dataclasses.replace(one, fields=fields, source="")


@pytest.mark.parametrize("object", SERVICES)
def test_a_pulled_contract_is_the_shipped_one_where_the_tenant_has_nothing_of_its_own(
    sim: Watched, object: str
) -> None:
    pulled = connect(sim).pull_contract(object)
    assert without_source(pulled) == without_source(shape(object))
    assert Shape.from_json(pulled.to_json()) == pulled
    assert SERVICES[object].name in pulled.source


@pytest.mark.parametrize("object", SERVICES)
def test_what_an_object_declares_is_in_its_contract(object: str) -> None:
    info, contract = SERVICES[object].info, shape(object)
    for name in (*info.cursors, *info.find, *info.match, *SERVICES[object].keys, *SERVICES[object].day):
        assert contract.get(name) is not None, name
    for name in SERVICES[object].keys:
        assert contract.fields[name].key
    assert S4Hana.describe(object, {}) is contract
    assert contract.closed and contract.text_numbers == (not SERVICES[object].v4)


def test_facts_of_the_order_contract() -> None:
    contract = shape("A_SalesOrder")
    assert {f.name for f in contract.fields.values() if f.required} == {
        "SalesOrderType", "SalesOrganization", "DistributionChannel", "OrganizationDivision", "SoldToParty",
    }  # fmt: skip
    reference = contract.fields["PurchaseOrderByCustomer"]
    assert (reference.max_length, reference.creatable) == (35, True)
    for name in ("SalesOrder", "TotalNetAmount", "ExternalDocumentID", "OverallSDProcessStatus"):
        assert not contract.fields[name].creatable, name
    item = contract.fields["to_Item"].item
    assert item is not None and item.shape is not None
    assert not item.shape.fields["NetAmount"].creatable
    assert (item.shape.fields["RequestedQuantity"].precision, item.shape.fields["RequestedQuantity"].scale) == (15, 3)
    assert not shape("SalesOrder").fields["TotalNetAmount"].creatable
    assert not shape("SalesOrder").fields["SalesOrderType"].updatable
