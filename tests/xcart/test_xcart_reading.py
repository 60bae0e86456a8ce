"""Reading X-Cart over real sockets: each trap of its API, in both profiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import connect_shop

from flowrun.connector import Cursor, Item, Query
from flowrun.errors import AuthFailed, ConnectorError, ProjectError, Refused
from flowrun.testing.simulator import json_response
from flowrun_connectors.xcart.normal import Words, meta_description_type, moment, order, payment_method
from flowrun_connectors.xcart.shapes import shape
from flowrun_connectors.xcart.simulator import XCartSimulator

BASE = datetime(2026, 3, 1, tzinfo=UTC)
ONE = [("a", "A", 1, "1.00")]


def place(shop: Any, count: int, *, first: int = 1) -> None:
    """Orders a minute apart, the first at BASE."""
    for number in range(count):
        shop.place_order(ONE, order_id=first + number, at=BASE + timedelta(minutes=number))


def pages(shop: Any, root: Path, object_: str = "orders", profile: str = "compat", **query: Any) -> list[Any]:
    query.setdefault("cursor", "updated_at" if object_ == "orders" else None)
    return list(connect_shop(shop, root, profile=profile).read(Query(object_, **query)))


def rows(shop: Any, root: Path, object_: str = "orders", **query: Any) -> list[dict[str, Any]]:
    return [dict(record) for page in pages(shop, root, object_, **query) for record in page.records]


def ids(found: list[dict[str, Any]]) -> list[int]:
    return [int(one["order_id"]) for one in found]


def lists(shop: Any) -> int:
    return sum(1 for request in shop.log if request.path == "/api/orders")


# -- orders by change --------------------------------------------------------------------------------------------


def test_reading_stops_at_the_watermark(shop: Any, tmp_path: Path) -> None:
    place(shop, 950)
    since = BASE + timedelta(minutes=940)
    found = rows(shop, tmp_path, since=Cursor(since.isoformat()))
    assert ids(found) == list(range(941, 951)), "inclusive, oldest first"
    assert lists(shop) == 1


def test_pages_keep_to_the_size_asked_for_and_cursors_rise(shop: Any, tmp_path: Path) -> None:
    place(shop, 250)
    found = pages(shop, tmp_path, page_size=40)
    assert [len(page.records) for page in found] == [40] * 6 + [10]
    cursors = [page.cursor.value for page in found]
    assert cursors == sorted(cursors)
    assert all(page.cursor.value == page.records[-1]["updated_at"] for page in found)


def test_orders_that_move_up_while_we_page_come_once_or_next_time(shop: Any, tmp_path: Path) -> None:
    place(shop, 300)
    shop.moves = [10, 20, 150]
    before = shop.now()
    first = rows(shop, tmp_path)
    assert len(first) == len(set(ids(first)))
    second = rows(shop, tmp_path, since=Cursor(before.isoformat()))
    assert set(ids(first)) | set(ids(second)) == set(range(1, 301))


def test_orders_that_are_deleted_while_we_page_take_no_others_with_them(shop: Any, tmp_path: Path) -> None:
    place(shop, 400)
    gone = [*range(391, 401), *range(300, 306), 250]
    plain, asked = shop.handle, []

    def shrinking(request: Any) -> Any:
        asked.append(request)
        if len(asked) == 2:
            for number in gone:
                del shop.orders[number]
        return plain(request)

    shop.handle = shrinking
    assert set(ids(rows(shop, tmp_path))) >= set(range(1, 401)) - set(gone)


def test_orders_that_leave_the_filter_while_we_page_take_no_others_with_them(shop: Any, tmp_path: Path) -> None:
    place(shop, 300)
    plain, asked = shop.handle, []

    def paying_back(request: Any) -> Any:
        asked.append(request)
        if len(asked) == 2:
            for number in range(280, 290):
                shop.touch(number, payment_status={"id": 7, "code": "R", "name": "Refunded"})
        return plain(request)

    shop.handle = paying_back
    assert set(ids(rows(shop, tmp_path, filter={"status": "P"}))) >= set(range(1, 280))


def test_many_orders_of_one_second_all_come(shop: Any, tmp_path: Path) -> None:
    for number in range(1, 351):
        shop.place_order(ONE, order_id=number, at=BASE)
    assert ids(rows(shop, tmp_path)) == list(range(1, 351))
    assert len(rows(shop, tmp_path, since=Cursor("2026-03-01T00:00:00Z"))) == 350


def test_a_store_that_does_not_sort_is_not_trusted(shop: Any, tmp_path: Path) -> None:
    place(shop, 5)
    shop.sorts = False
    with pytest.raises(ConnectorError, match="does not sort"):
        rows(shop, tmp_path)


def test_a_store_with_small_pages(shop: Any, tmp_path: Path) -> None:
    place(shop, 130)
    shop.largest_page = 30
    assert ids(rows(shop, tmp_path)) == list(range(1, 131))


def test_the_cursor_goes_on_past_what_the_filter_leaves_out(shop: Any, tmp_path: Path) -> None:
    place(shop, 3)
    shop.touch(2, at=BASE + timedelta(hours=1), shipping_status=None)
    found = pages(shop, tmp_path, filter={"shipping_status": ["N", "P"]})
    assert ids([one for page in found for one in page.records]) == [1, 3]
    assert found[-1].cursor == Cursor("2026-03-01T01:00:00Z")


# -- orders by creation ------------------------------------------------------------------------------------------


def test_orders_by_creation_stream_oldest_first(shop: Any, tmp_path: Path) -> None:
    place(shop, 250)
    shop.touch(3)
    found = rows(shop, tmp_path, cursor="created_at", since=Cursor("2026-03-01T00:50:00Z"))
    assert ids(found) == list(range(51, 251))


def test_a_date_that_the_store_ignores_is_noticed(shop: Any, tmp_path: Path) -> None:
    """X-Cart gives everything when it cannot read the date; here, as if it could not read ours."""
    place(shop, 5)
    plain = shop.handle

    def ignoring(request: Any) -> Any:
        query = {name: value for name, value in request.query.items() if not name.startswith("date[")}
        return plain(
            type(request)(request.method, request.path, request.raw_path, query, request.headers, request.body)
        )

    shop.handle = ignoring
    with pytest.raises(ConnectorError, match="ignored date"):
        rows(shop, tmp_path, cursor="created_at", since=Cursor("2026-03-01T00:03:00Z"))
    with pytest.raises(ConnectorError, match="ignored date"):
        rows(shop, tmp_path, filter={"created_after": "2026-03-01T00:03:00Z"})


def test_the_simulated_store_ignores_bad_dates_in_silence(shop: Any, tmp_path: Path) -> None:
    place(shop, 5)
    connector = connect_shop(shop, tmp_path)
    _, total = connector._api.page("api/orders", {"date[after]": "the day before yesterday"}, 1, 100)
    assert total == 5
    _, total = connector._api.page("api/orders", {"date[after]": "2026-03-01T00:03:00Z"}, 1, 100)
    assert total == 2


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_a_date_that_is_none_is_never_sent(shop: Any, tmp_path: Path, text: str) -> None:
    if text:
        with pytest.raises(Refused, match="no day or time"):
            rows(shop, tmp_path, filter={"created_after": text})
        with pytest.raises(Refused, match="no day or time"):
            rows(shop, tmp_path, since=Cursor(text))
        assert not shop.log


# -- what an order says ------------------------------------------------------------------------------------------


def test_both_profiles_give_the_same_record(shop: Any, tmp_path: Path) -> None:
    """The module names the payment method; a stock store's transactions do."""
    shop.place_order(ONE, order_id=1, at=BASE, payment_method="PP")
    (compat,) = rows(shop, tmp_path)
    shop.compat = False
    (native,) = rows(shop, tmp_path, profile="native")
    assert native["payment_method"] == "PP"
    group = [line.pop("sku_group") for line in (*compat["items"], *native["items"])]
    assert group == ["A", None], "stock X-Cart has no groups of articles"
    assert native == compat


def test_a_record_holds_the_fields_of_its_contract_and_no_others(shop: Any, tmp_path: Path) -> None:
    shop.place_order(ONE, tax="1", discount="1", company="Lee & Co")
    shop.add_product("A", "A", "1")
    shop.add_customer("ann@example.com", "Ann", "Lee")
    for name, expand in (("orders", ()), ("products", ()), ("customers", ("addresses",))):
        (record,) = rows(shop, tmp_path, name, expand=expand)
        contract = shape(name, True)
        assert contract is not None
        written = {"id", "payment_status", "tracking_number", "carrier", "sap_invoice", "sap_order"}
        assert set(record) == set(contract.fields) - (written if name == "orders" else set())
        for key, field in contract.fields.items():
            if field.item is not None and field.item.shape is not None:
                for one in record[key]:
                    assert set(one) <= set(field.item.shape.fields), key


def test_fields_of_modules_pass_and_missing_fields_harm_nobody() -> None:
    bare = {"id": 7, "update_date": "2026-03-02T09:16:12+0000", "gift": {"wrap": True}, "@id": "/api/orders/7"}
    made = order(bare, Words())
    assert (made["order_id"], made["updated_at"], made["gift"]) == ("7", "2026-03-02T09:16:12Z", {"wrap": True})
    assert made["items"] == made["taxes"] == made["addresses"] == []
    assert made["total_amount"] is made["total_difference"] is made["billing"] is made["status"] is None
    assert "@id" not in made


@pytest.mark.parametrize(
    ("addresses", "billing", "shipping", "kinds"),
    [("both", "US", "US", ["B", "S"]), ("billing", "US", "US", ["B"]), ("shipping", "US", "US", ["B", "S"]),
     ("none", None, None, [])],
)  # fmt: skip
def test_an_address_that_is_missing_is_the_other_one(
    shop: Any, tmp_path: Path, addresses: Any, billing: str | None, shipping: str | None, kinds: list[str]
) -> None:
    shop.place_order(ONE, addresses=addresses, company="Lee & Co")
    (found,) = rows(shop, tmp_path)
    assert (found["billing"] or {}).get("country") == billing
    assert (found["shipping_address"] or {}).get("country") == shipping
    assert [one["type"] for one in found["addresses"]] == kinds
    assert all(one["company"] == "Lee & Co" for one in found["addresses"])


def test_states_are_row_ids_with_a_table_and_text_without(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE)
    shop.orders[number]["billing_address"].update(state=999, state_name="Uusimaa")
    shop.orders[number]["shipping_address"].update(state=None, state_name="")
    (found,) = rows(shop, tmp_path)
    assert (found["billing"]["state"], found["shipping_address"]["state"]) == ("Uusimaa", "")


def test_the_store_may_name_its_fields_as_it_likes(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE, zahlungsziel="0001")
    shop.orders[number]["billing_address"]["custom_fields"] = [{"name": "Firma", "value": "Lee KG"}]
    connector = connect_shop(shop, tmp_path, fields={"payment_terms": "zahlungsziel", "company": "firma"})
    found = connector.get("orders", {"order_id": number})
    assert (found["payment_terms"], found["billing"]["company"]) == ("0001", "Lee KG")


def test_included_taxes_are_no_part_of_the_sum(shop: Any, tmp_path: Path) -> None:
    shop.place_order([("a", "A", 2, "59.50")], tax="19", tax_included=True, shipping="4.5", discount="10")
    (found,) = rows(shop, tmp_path)
    assert (found["total_amount"], found["total_difference"]) == (Decimal("113.5"), 0)
    assert found["taxes"] == [{"code": "TAX", "name": "Sales tax", "amount": Decimal(19), "included": True}]
    assert found["discounts"][0]["amount"] == Decimal(-10)
    assert found["shipping"] == {"method": "Ground", "cost": Decimal("4.5")}


@pytest.mark.parametrize(
    ("states", "wanted"), [("FS", "2"), ("SF", "1"), ("FW", "2"), ("WF", "1"), ("FC", "2"), ("", None), ("SS", "2")]
)
def test_the_payment_that_succeeded_names_the_method(states: str, wanted: str | None) -> None:
    assert payment_method([{"name": str(n), "status": s} for n, s in enumerate(states, 1)]) == wanted


def test_payments_can_be_left_unread(shop: Any, tmp_path: Path) -> None:
    shop.compat = False
    place(shop, 3)
    connector = connect_shop(shop, tmp_path, profile="native", payments="false")
    assert [one["payment_method"] for page in connector.read(Query("orders")) for one in page.records] == [None] * 3
    assert len(shop.log) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2024-06-19T22:54:28+0000", "2024-06-19T22:54:28Z"), ("2024-06-19T22:54:28+00:00", "2024-06-19T22:54:28Z"),
     ("2024-06-19T22:54:28-0530", "2024-06-20T04:24:28Z"), ("", None), (None, None)],
)  # fmt: skip
def test_moments_in_both_spellings(text: Any, wanted: str | None) -> None:
    assert moment(text) == wanted


@pytest.mark.parametrize("text", ["tomorrow", 1718837668, "2024-02-30T00:00:00+0000", [], "0001-01-01T00:00:00+1400"])
def test_what_is_no_moment_is_said(text: Any) -> None:
    with pytest.raises(ConnectorError):
        moment(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_store_sends_makes_an_order_or_a_named_error(data: st.DataObject) -> None:
    simulator = XCartSimulator()
    number = simulator.place_order(ONE, tax="1", company="x")
    raw = dict(simulator.orders[number])
    for name in data.draw(st.sets(st.sampled_from(sorted(set(raw) - {"id"})), max_size=4)):
        raw[name] = data.draw(json_values)
    try:
        made = order(raw, Words())
    except ConnectorError:
        return
    assert made["order_id"] == str(number)


# -- one by one --------------------------------------------------------------------------------------------------


def test_orders_by_id_and_number(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE, order_id=42)
    connector = connect_shop(shop, tmp_path)
    by_id = connector.get("orders", {"order_id": number})
    assert by_id == connector.get("orders", {"id": "42"}) == connector.get("orders", {"order_number": "00000042"})
    assert by_id["order_id"] == "42"
    assert connector.get("orders", {"order_id": 43}) is None
    assert connector.get("orders", {"order_number": "nosuch"}) is None
    with pytest.raises(Refused, match="not by email"):
        connector.get("orders", {"email": "ann@example.com"})
    with pytest.raises(Refused, match="no X-Cart id"):
        connector.get("orders", {"order_id": "1/../2"})


def test_products_by_sku_although_the_api_has_no_such_filter(shop: Any, tmp_path: Path) -> None:
    first, second = shop.add_product("AB-1", "Mug", "9.99"), shop.add_product("AB-2", "Cup", "5")
    connector = connect_shop(shop, tmp_path)
    assert connector.get("products", {"sku": "AB-2"})["product_id"] == second
    scans = sum(request.path == "/api/products" for request in shop.log)
    assert connector.get("products", {"sku": "AB-1"})["product_id"] == first
    assert sum(request.path == "/api/products" for request in shop.log) == scans, "the table is kept"
    shop.products[first]["sku"] = "AB-9"
    assert connector.get("products", {"sku": "AB-1"}) is None
    assert connector.get("products", {"sku": "AB-9"})["product_id"] == first


def test_customers_with_exact_addresses_although_login_means_contains(shop: Any, tmp_path: Path) -> None:
    shop.add_customer("joann@example.com", "Jo", "Ann")
    ann = shop.add_customer("Ann@example.com", "Ann", "Lee")
    shop.add_customer("boss@example.com", "The", "Boss", access_level=100)
    connector = connect_shop(shop, tmp_path)
    found = connector.get("customers", {"email": "Ann@example.com"})
    assert (found["customer_id"], found["lastname"]) == (str(ann), "Lee")
    assert connector.get("customers", {"customer_id": ann}) == found
    listed = rows(shop, tmp_path, "customers")
    assert [one["email"] for one in listed] == ["joann@example.com", "Ann@example.com"], "people of the shop are none"
    assert "addresses" not in listed[0]
    assert rows(shop, tmp_path, "customers", filter={"email": "ann@example.com"})[0]["customer_id"] == str(ann)


def test_new_customers_since(shop: Any, tmp_path: Path) -> None:
    for hour in range(4):
        shop.add_customer(f"c{hour}@example.com", "C", str(hour), at=BASE + timedelta(hours=hour))
    found = rows(shop, tmp_path, "customers", cursor="created_at", since=Cursor("2026-03-01T02:00:00Z"))
    assert [one["email"] for one in found] == ["c2@example.com", "c3@example.com"]


def test_changed_products_by_comparing_all(shop: Any, tmp_path: Path) -> None:
    for number in range(120):
        row = shop.add_product(f"P-{number}", "P", "1")
        shop.products[row]["update_date"] = (BASE + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    assert len(rows(shop, tmp_path, "products")) == 120
    found = rows(shop, tmp_path, "products", cursor="updated_at", since=Cursor("2026-03-01T01:58:00Z"))
    assert [one["sku"] for one in found] == ["P-118", "P-119"]


# -- answers that are none, settings that are none ---------------------------------------------------------------


def test_a_wrong_address_is_not_an_order_that_does_not_exist(shop: Any, tmp_path: Path) -> None:
    shop.place_order(ONE, order_id=5)
    elsewhere = connect_shop(shop, tmp_path, base_url=shop.base_url + "/shop")
    with pytest.raises(ConnectorError, match="no API at this address"):
        elsewhere.get("orders", {"order_id": 5})


@pytest.mark.parametrize("answer", [[], {"hydra:member": {}}, {"hydra:member": [1]}, {"hydra:member": []}, "x"])
def test_a_list_that_is_none_is_said(shop: Any, tmp_path: Path, answer: Any) -> None:
    shop.handle = lambda request: json_response(answer)
    with pytest.raises(ConnectorError, match="hydra"):
        rows(shop, tmp_path)
    with pytest.raises(ConnectorError):
        connect_shop(shop, tmp_path).get("orders", {"order_id": 1}) if isinstance(answer, dict) else rows(
            shop, tmp_path
        )


def test_a_refused_key_names_the_setting(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(AuthFailed) as caught:
        rows_of = connect_shop(shop, tmp_path, api_key="canary-7f3a")
        rows_of.get("orders", {"order_id": 1})
    assert "api_key" in caught.value.help
    assert "canary" not in repr(caught.value) + caught.value.help
    shop.forbid = True
    assert not connect_shop(shop, tmp_path).check().ok


def test_the_language_is_always_sent(shop: Any, tmp_path: Path) -> None:
    connector = connect_shop(shop, tmp_path, language="de")
    connector.check()
    assert shop.log[-1].headers["accept-language"] == "de"


@pytest.mark.parametrize(
    "wrong",
    [{"profile": "legacy"}, {"states": ["CA"]}, {"fields": {"colour": "x"}}, {"timezone": "Mars/Olympus"}],
)
def test_settings_that_are_none_are_said(shop: Any, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ProjectError):
        connect_shop(shop, tmp_path, **wrong)


@pytest.mark.parametrize(
    ("text", "description", "wanted"),
    [("", "A mug.", "A"), ("A mug", "<p>A  mug</p> of clay", "A"), ("The best mug in town", "A mug.", "C"),
     ("A mug of…", "A mug of clay", "A")],
)  # fmt: skip
def test_a_description_that_somebody_wrote_is_told_from_one_that_x_cart_made(
    text: str, description: str, wanted: str
) -> None:
    assert meta_description_type({"meta_description": text, "description": description}) == wanted


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("64.480000000000004", "64.48"), ("64.47999999999999", "64.48"), ("0.30000000000000004", "0.3"), ("19.99", "19.99"),
        ("100.00000000000001", "100"), ("1.10", "1.10"), ("-4.999999999999999", "-5"), ("123456789012.34", "123456789012.34"),
    ],
)  # fmt: skip
def test_noise_of_binary_amounts_goes(shop: Any, tmp_path: Path, sent: str, meant: str) -> None:
    """PHP adds up in binary, and writes what comes of it with seventeen digits."""
    number = shop.place_order(ONE)
    shop.orders[number]["total"] = Decimal(sent)
    shop.orders[number]["items"][0]["price"] = Decimal(sent)
    (order_,) = rows(shop, tmp_path)
    assert str(order_["total_amount"]) == meant
    product = shop.add_product("AB-1", "Mug", "1", quantity=3)
    shop.products[product]["price"] = Decimal(sent.removeprefix("-"))
    meant = meant.removeprefix("-")
    (read_,) = rows(shop, tmp_path, "products")
    assert str(read_["price"]) == meant
    (verdict,) = connect_shop(shop, tmp_path).deliver(
        [Item("products", "update", {"product_id": product, "price": Decimal(meant)}, None, ("product_id",))]
    )
    assert verdict.response["changed"] == []
