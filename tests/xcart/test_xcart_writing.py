"""Writing to X-Cart over real sockets: nothing is reset, nothing is repeated, nothing is dropped in silence."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import ROOT, connect_shop

from flowrun.connector import Item, Receipt, discover
from flowrun.errors import AuthFailed, ConnectorError, DeliveryUnknown, NotFound, Refused, Unavailable
from flowrun.flow.check import check_project
from flowrun.project import load_project
from flowrun.testing.faults import Faults
from flowrun_connectors.xcart.connector import XCart
from flowrun_connectors.xcart.normal import product_input
from flowrun_connectors.xcart.simulator import XCartSimulator
from flowrun_connectors.xcart.simulator_data import PRODUCT_DEFAULTS, product_output

ONE = [("a", "A", 1, "1.00")]
WHOLE = {
    "description": "<p>Clay.</p>", "brief_description": "Clay", "meta_tags": "mug", "meta_description_type": "C",
    "meta_description": "The best mug in town", "meta_title": "Mug!", "enabled": False, "weight": Decimal("0.4"),
    "separate_box": True, "width": 1, "length": 2, "height": 3, "free_shipping": True, "taxable": False,
    "arrival_date": "2026-04-01T00:00:00+00:00", "inventory_traceable": False, "product_class": "Mugs",
    "tax_class": "Reduced", "memberships": ["Gold", "Silver"], "clean_url": "mug.html",
}  # fmt: skip


def write(connector: Any, object_: str, body: dict[str, Any], action: str = "update") -> Any:
    match = "product_id" if object_ == "products" else "id"
    (verdict,) = connector.deliver([Item(object_, action, body, None, (match,))])
    return verdict


def puts(shop: Any) -> int:
    return sum(request.method == "PUT" for request in shop.log)


# -- products ----------------------------------------------------------------------------------------------------


def test_every_field_of_a_product_outlives_a_change_of_its_stock(shop: Any, tmp_path: Path) -> None:
    number = shop.add_product("AB-1", "Mug", "9.99", quantity=3, **WHOLE)
    assert all(shop.products[number][name] != PRODUCT_DEFAULTS[name] for name in WHOLE), "each would be seen to reset"
    before = dict(shop.products[number])
    receipt = write(connect_shop(shop, tmp_path), "products", {"product_id": number, "quantity": 7})
    assert isinstance(receipt, Receipt)
    after = {name: value for name, value in shop.products[number].items() if name != "update_date"}
    assert after == {**{k: v for k, v in before.items() if k != "update_date"}, "amount": 7}


def test_the_simulated_put_resets_what_is_left_out(shop: Any, tmp_path: Path) -> None:
    number = shop.add_product("AB-1", "Mug", "9.99", quantity=3, **WHOLE)
    connect_shop(shop, tmp_path)._api.put(f"api/products/{number}", {"sku": "AB-1", "name": "Mug"})
    product = shop.products[number]
    assert (product["amount"], product["enabled"], product["meta_description_type"]) == (1000, True, "A")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_is_read_can_be_written_back(data: st.DataObject) -> None:
    simulator = XCartSimulator()
    chosen = data.draw(st.sets(st.sampled_from(sorted(WHOLE))))
    if "meta_description" not in chosen:
        chosen -= {"meta_description_type"}
    given_ = {name: WHOLE[name] for name in chosen}
    if "meta_description" in chosen:
        given_["meta_description_type"] = "C"
    number = simulator.add_product("AB-1", "Mug", "9.99", quantity=data.draw(st.integers(0, 99)), **given_)
    stored = simulator.products[number]
    body = product_input(product_output(stored))
    assert body == {name: stored[name] for name in PRODUCT_DEFAULTS}


def test_equal_values_are_not_written(shop: Any, tmp_path: Path) -> None:
    number = shop.add_product("AB-1", "Mug", "9.90", quantity=3)
    connector = connect_shop(shop, tmp_path)
    for _ in range(3):
        receipt = write(connector, "products", {"product_id": number, "quantity": 5, "price": Decimal("9.90")})
        assert receipt.id == str(number)
    assert shop.writes == {number: 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"quantity": -1}, "quantity"),
        ({"quantity": Decimal("1.5")}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"enabled": "yes"}, "enabled"),
        ({"price": Decimal("-0.01")}, "price"),
        ({"name": ""}, "name"),
        ({"sku": "x" * 33}, "sku"),
        ({"sku": "AB-2"}, "sku"),
        ({"colour": "red"}, "colour"),
        ({"product_id": "1;drop"}, "product_id"),
    ],
)
def test_products_that_are_refused_name_the_field(shop: Any, tmp_path: Path, body: dict[str, Any], field: str) -> None:
    number = shop.add_product("AB-1", "Mug", "9.90")
    shop.add_product("AB-2", "Cup", "1")
    verdict = write(connect_shop(shop, tmp_path), "products", {"product_id": number, **body})
    assert type(verdict) is Refused
    assert verdict.field == field
    assert shop.writes == {}


def test_a_violation_keeps_the_stores_words(shop: Any, tmp_path: Path) -> None:
    number = shop.add_product("AB-1", "Mug", "9.90")
    verdict = write(connect_shop(shop, tmp_path), "products", {"product_id": number, "sku": "x" * 33})
    assert verdict.status == 422
    assert "32 characters or less" in verdict.message
    assert verdict.details[0][0] == "sku"


# -- orders, both profiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["native", "compat"])
def test_statuses_are_written_once(shop: Any, tmp_path: Path, profile: str) -> None:
    number = shop.place_order(ONE)
    shop.compat = profile == "compat"
    connector = connect_shop(shop, tmp_path, profile=profile)
    body = {"id": number, "shipping_status": "S", "payment_status": "R"}
    for _ in range(3):
        assert write(connector, "orders", body).id == str(number)
    order = shop.orders[number]
    assert (order["shipping_status"]["code"], order["payment_status"]["code"]) == ("S", "R")
    assert puts(shop) == (1 if profile == "compat" else 2)


def test_an_order_without_a_status_takes_one(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE)
    shop.orders[number]["shipping_status"] = None
    assert isinstance(write(connect_shop(shop, tmp_path), "orders", {"id": number, "shipping_status": "S"}), Receipt)
    assert shop.orders[number]["shipping_status"]["code"] == "S"


@pytest.mark.parametrize("profile", ["native", "compat"])
def test_a_merchants_own_code_passes_and_an_unknown_one_is_refused(shop: Any, tmp_path: Path, profile: str) -> None:
    number = shop.place_order(ONE)
    shop.custom_statuses = ["OWN"]
    connector = connect_shop(shop, tmp_path, profile=profile)
    assert isinstance(write(connector, "orders", {"id": number, "shipping_status": "OWN"}), Receipt)
    verdict = write(connector, "orders", {"id": number, "shipping_status": "XX"})
    assert (type(verdict), verdict.message, verdict.status) == (Refused, "Status code 'XX' is wrong", 400)


def test_a_tracking_number_is_added_once_and_moves_no_date(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE)
    connector = connect_shop(shop, tmp_path)
    body = {"id": number, "tracking_number": "1Z999", "carrier": "ups", "sap_order": "4711"}
    for _ in range(3):
        assert isinstance(write(connector, "orders", body), Receipt)
    order = shop.orders[number]
    assert [one["value"] for one in order["tracking_numbers"]] == ["1Z999"]
    assert (order["carrier"], order["sap_order"], puts(shop)) == ("ups", "4711", 1)
    moved = order["update_date"]
    shop.now = lambda: (_ for _ in ()).throw(AssertionError("no date is asked for"))  # only the number's own
    shop._moment = lambda at=None: "2030-01-01T00:00:00+0000"
    write(connector, "orders", {"id": number, "tracking_number": "1Z000"})
    assert order["update_date"] == moved
    shop.tracking_moves_update_date = True
    write(connector, "orders", {"id": number, "tracking_number": "1Z001"})
    assert order["update_date"] == "2030-01-01T00:00:00+0000"


@pytest.mark.parametrize("field", ["tracking_number", "carrier", "sap_invoice", "sap_order"])
def test_native_refuses_what_only_the_module_takes_before_sending_anything(
    shop: Any, tmp_path: Path, field: str
) -> None:
    number = shop.place_order(ONE)
    connector = connect_shop(shop, tmp_path, profile="native")
    verdict = write(connector, "orders", {"id": number, "shipping_status": "S", field: "x"})
    assert (type(verdict), verdict.field) == (Refused, field)
    assert "statuses only" in verdict.message
    assert "compat" in verdict.help
    assert not shop.log


def test_validate_says_so_before_any_run(project: Path) -> None:
    """On a native store the shipped delivery flow is refused by the checker, with the same words."""
    text = (project / "flowrun.yaml").read_text()
    assert "profile: compat" in text
    (project / "flowrun.yaml").write_text(text.replace("profile: compat", "profile: native"))
    flow = project / "flows/xcart-s4hana/deliveries-to-xcart.yaml"
    checked = check_project(load_project(project), discover(), [flow])
    said = [d.message for d in checked.diagnostics if d.severity == "error"]
    assert any("tracking_number" in words and "read-only" in words for words in said)
    assert any("carrier" in words and "read-only" in words for words in said)
    good = check_project(load_project(ROOT), discover(), [ROOT / "flows/xcart-s4hana/deliveries-to-xcart.yaml"])
    assert not [d for d in good.diagnostics if d.severity == "error"]
    assert "statuses only" in XCart.objects({})["orders"].note


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"shipping_status": "LONGER"}, "shipping_status"),
        ({"shipping_status": 5}, "shipping_status"),
        ({"status": "P", "payment_status": "R"}, "payment_status"),
        ({"total_amount": 5}, "total_amount"),
        ({"id": None}, "id"),
        ({"id": True}, "id"),
        ({"id": "١٢"}, "id"),
    ],
)
def test_orders_that_cannot_be_written_are_refused_unsent(
    shop: Any, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    number = shop.place_order(ONE)
    verdict = write(connect_shop(shop, tmp_path), "orders", {"id": number, **body})
    assert (type(verdict), verdict.field) == (Refused, field)
    assert not shop.log


@pytest.mark.parametrize("profile", ["native", "compat"])
def test_an_order_that_does_not_exist_is_not_found(shop: Any, tmp_path: Path, profile: str) -> None:
    verdict = write(connect_shop(shop, tmp_path, profile=profile), "orders", {"id": 7, "shipping_status": "S"})
    assert type(verdict) is NotFound


def test_an_order_that_goes_between_read_and_write_is_not_found(shop: Any, tmp_path: Path) -> None:
    """X-Cart answers 400 'Order with ID 7 not found' there, not 404."""
    connector = connect_shop(shop, tmp_path, profile="native")
    with pytest.raises(NotFound, match="Order with ID 7 not found"):
        connector._api.put("api/orders/7/shipping_status", {"code": "S"})


@pytest.mark.parametrize(("object_", "action"), [("orders", "create"), ("customers", "update"), ("orders", "delete")])
def test_what_the_api_cannot_do_is_said(shop: Any, tmp_path: Path, object_: str, action: str) -> None:
    verdict = write(connect_shop(shop, tmp_path), object_, {"id": 1}, action)
    assert type(verdict) is Refused
    assert f"cannot {action} {object_}" in verdict.message


def test_one_bad_item_leaves_the_others_alone(shop: Any, tmp_path: Path) -> None:
    first, last = shop.place_order(ONE), shop.place_order(ONE)
    connector = connect_shop(shop, tmp_path)
    items = [Item("orders", "update", {"id": n, "shipping_status": "S"}, None, ("id",)) for n in (first, 999999, last)]
    assert [type(verdict) for verdict in connector.deliver(items)] == [Receipt, NotFound, Receipt]


def test_the_read_only_key_reads_and_does_not_write(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE)
    shop.read_only = True
    connector = connect_shop(shop, tmp_path)
    assert connector.check().ok
    verdict = write(connector, "orders", {"id": number, "shipping_status": "S"})
    assert type(verdict) is AuthFailed
    assert "read/write key" in verdict.help


# -- faults on the way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", Unavailable), ("503", Unavailable), ("500", DeliveryUnknown), ("500_after", DeliveryUnknown),
        ("reset_after", DeliveryUnknown), ("truncated", DeliveryUnknown), ("garbage_after", DeliveryUnknown),
        ("html200", DeliveryUnknown), ("empty200", DeliveryUnknown), ("timeout_after", DeliveryUnknown),
        ("redirect", Refused), ("401", AuthFailed),
    ],
)  # fmt: skip
def test_faults_on_a_write_and_once_again_it_is_done(shop: Any, tmp_path: Path, fault: str, kind: type) -> None:
    """Whatever the first try ends with, the next one leaves the order as wanted."""
    number = shop.place_order(ONE)
    shop.faults = Faults.parse(f"{fault};method=PUT;hang=5")
    connector = connect_shop(shop, tmp_path, limits={"timeout": "0.4"})
    verdict = write(connector, "orders", {"id": number, "shipping_status": "S", "tracking_number": "1Z"})
    assert isinstance(verdict, ConnectorError)
    assert isinstance(verdict, kind), verdict
    again = write(connector, "orders", {"id": number, "shipping_status": "S", "tracking_number": "1Z"})
    assert isinstance(again, Receipt)
    assert shop.orders[number]["shipping_status"]["code"] == "S"
    assert len(shop.orders[number]["tracking_numbers"]) == 1
    assert shop.writes == {number: 1}


def test_retry_after_is_kept(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order(ONE)
    shop.faults = Faults.parse("429;method=PUT;retry_after=17")
    verdict = write(connect_shop(shop, tmp_path), "orders", {"id": number, "shipping_status": "S"})
    assert (verdict.error_class, verdict.retry_after_secs) == ("rate_limited", 17.0)
