"""X-Cart: what trips people up, as the fact sheet has it, over real sockets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowrun.connector import Cursor, Item, Query, Request
from flowrun.errors import AuthFailed, NotFound, Refused, SignatureInvalid, Unavailable
from flowrun.testing.faults import Faults
from flowrun.values import system_clock
from flowrun_connectors.xcart.simulator import READ_ONLY_KEY, XCartSimulator
from tests.conftest import connect_shop


def read(shop: Any, root: Path, **more: Any) -> list[dict[str, Any]]:
    connector = connect_shop(shop, root)
    return [dict(r) for page in connector.read(Query("orders", cursor="updated_at", **more)) for r in page.records]


def test_orders_come_oldest_first_each_once_with_exact_numbers(shop: Any, tmp_path: Path) -> None:
    for number in range(250):
        shop.place_order(
            [("a", "A", 1, "19.99")],
            order_id=number + 1,
            at=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number % 50),
        )
    found = read(shop, tmp_path)
    assert len({o["order_id"] for o in found}) == len(found) == 250
    assert [o["updated_at"] for o in found] == sorted(o["updated_at"] for o in found)
    assert found[0]["total_amount"] == Decimal("24.99")
    assert not any(isinstance(v, float) for o in found for v in o.values())


def test_reading_from_the_cursor_loses_nothing(shop: Any, tmp_path: Path) -> None:
    base = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(120):
        shop.place_order([("a", "A", 1, "1.00")], order_id=number + 1, at=base + timedelta(minutes=number))
    connector = connect_shop(shop, tmp_path)
    pages = connector.read(Query("orders", cursor="updated_at"))
    first = next(pages)
    rest = read(shop, tmp_path, since=first.cursor)
    ids = {r["order_id"] for r in first.records} | {r["order_id"] for r in rest}
    assert len(ids) == 120
    assert read(shop, tmp_path, since=Cursor("2030-01-01T00:00:00Z")) == []


def test_an_order_that_moves_up_while_we_page_is_not_lost(shop: Any, tmp_path: Path) -> None:
    base = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(150):
        shop.place_order([("a", "A", 1, "1.00")], order_id=number + 1, at=base + timedelta(minutes=number))
    plain = shop.handle
    asked: list[int] = []

    def moving(request: Any) -> Any:
        if request.path == "/api/orders":
            asked.append(1)
            if len(asked) == 2:  # between page 1 and page 2 the oldest order is saved again
                shop.orders[1]["update_date"] = "2026-04-01T00:00:00+0000"
        return plain(request)

    shop.handle = moving
    first = {o["order_id"] for o in read(shop, tmp_path)}
    second = {o["order_id"] for o in read(shop, tmp_path, since=Cursor("2026-03-31T00:00:00Z"))}
    assert len(first | second) == 150


def test_guests_null_addresses_and_custom_statuses(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order([("a", "A", 1, "1.00")], customer_id=None)
    shop.orders[number]["billing_address"] = None
    shop.orders[number]["shipping_status"] = {"code": "XYZ"}
    (order,) = read(shop, tmp_path)
    assert order["customer_id"] is None
    assert order["billing"]["city"] == order["shipping_address"]["city"]
    assert order["shipping_status"] == "XYZ"
    assert order["shipping_address"]["state"] == "CA"  # a row id in the API
    shop.orders[number]["shipping_address"] = None
    (order,) = read(shop, tmp_path)
    assert order["billing"] is None
    assert order["addresses"] == []


@pytest.mark.parametrize(("off", "said"), [("0.01", "0.01"), ("-2", "-2"), ("0.005", "0"), ("0", "0")])
def test_parts_that_do_not_sum_up_are_marked(shop: Any, tmp_path: Path, off: str, said: str) -> None:
    """Marked, not raised: one order whose sums are off would keep all others from being read."""
    shop.place_order([("a", "A", 1, "1.00")], order_id=1)
    shop.place_order([("a", "A", 3, "1.10")], order_id=2, tax="0.30", discount="1")
    shop.orders[1]["total"] += Decimal(off)
    first, second = sorted(read(shop, tmp_path), key=lambda o: o["order_id"])
    assert first["total_difference"] == Decimal(said)
    assert second["total_difference"] == 0


def update(connector: Any, object_: str, body: dict[str, Any], match: str) -> Any:
    (verdict,) = connector.deliver([Item(object_, "update", body, None, (match,))])
    return verdict


def test_a_product_write_resets_nothing(shop: Any, tmp_path: Path) -> None:
    number = shop.add_product("AB-1", "Mug", "9.99", quantity=3)
    shop.products[number].update(enabled=False, weight=Decimal("1.5"))
    update(connect_shop(shop, tmp_path), "products", {"product_id": number, "quantity": 7}, "product_id")
    product = shop.products[number]
    assert (product["amount"], product["enabled"], product["weight"], product["price"]) == (
        7,
        False,
        Decimal("1.5"),
        Decimal("9.99"),
    )


def test_an_equal_status_is_not_written_again(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order([("a", "A", 1, "1.00")])
    connector = connect_shop(shop, tmp_path, profile="native")
    for _ in range(3):
        update(connector, "orders", {"id": number, "shipping_status": "S"}, "id")
    assert shop.writes == {number: 1}


def test_native_takes_no_tracking_number_and_says_so(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order([("a", "A", 1, "1.00")])
    verdict = update(
        connect_shop(shop, tmp_path, profile="native"),
        "orders",
        {"id": number, "shipping_status": "S", "tracking_number": "1Z"},
        "id",
    )
    assert isinstance(verdict, Refused)
    assert verdict.field == "tracking_number"
    assert shop.orders[number]["shipping_status"]["code"] == "N"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({"shipping_status": "QQ"}, Refused, "Status code 'QQ' is wrong"),
        ({"id": "7/../8"}, Refused, "no X-Cart id"),
        ({"id": 99999}, NotFound, ""),
    ],
)
def test_refusals_have_their_class_and_words(
    shop: Any, tmp_path: Path, body: dict[str, Any], kind: type, words: str
) -> None:
    number = shop.place_order([("a", "A", 1, "1.00")])
    verdict = update(
        connect_shop(shop, tmp_path, profile="native"), "orders", {"id": number, "shipping_status": "S", **body}, "id"
    )
    assert type(verdict) is kind
    assert words in verdict.message


def test_keys(shop: Any, tmp_path: Path) -> None:
    number = shop.place_order([("a", "A", 1, "1.00")])
    readonly = connect_shop(shop, tmp_path, api_key=READ_ONLY_KEY)
    assert readonly.check().ok
    assert isinstance(update(readonly, "orders", {"id": number, "shipping_status": "S"}, "id"), AuthFailed)
    wrong = connect_shop(shop, tmp_path, api_key="canary-key-77")
    health = wrong.check()
    assert not health.ok
    assert "canary" not in health.message + repr(wrong.settings)


@pytest.mark.parametrize("fault", ["503*1", "html200*1", "garbage*1", "empty200*1", "truncated*1", "429*1", "500*1"])
def test_what_is_no_answer_is_no_success(shop: Any, tmp_path: Path, fault: str) -> None:
    shop.place_order([("a", "A", 1, "1.00")])
    shop.faults = Faults.parse(fault)
    with pytest.raises(Unavailable):
        read(shop, tmp_path)


# -- webhooks ----------------------------------------------------------------------------------------------------


def request(headers: dict[str, str], body: bytes, at: datetime | None = None) -> Request:
    return Request("POST", "/hooks/xcart", headers, {}, body, at or datetime.now(UTC))


def hooked(tmp_path: Path) -> tuple[XCartSimulator, Any, dict[str, str], bytes]:
    simulator = XCartSimulator()
    simulator.base_url = "http://127.0.0.1:9"
    number = simulator.place_order([("a", "A", 2, "29.99")], order_id=1042)
    headers, body = simulator.webhook(number)
    return simulator, connect_shop(simulator, tmp_path), headers, body


def test_a_signed_webhook_is_a_thin_event(tmp_path: Path) -> None:
    _, connector, headers, body = hooked(tmp_path)
    (event,) = connector.receive(request(headers, body))
    assert (event.name, event.object, event.thin, event.id, event.record["order_id"]) == (
        "order.placed",
        "orders",
        True,
        "evt-placed-1042",
        "1042",
    )


def test_during_rotation_both_secrets_hold(tmp_path: Path) -> None:
    simulator, _, headers, body = hooked(tmp_path)
    assert connect_shop(simulator, tmp_path, webhook_secret=["new-secret", "sim-xcart-webhook-secret"]).receive(
        request(headers, body)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_bit_anywhere_and_it_is_not_theirs(tmp_path: Path, data: st.DataObject) -> None:
    _, connector, headers, body = hooked(tmp_path)
    what = data.draw(st.sampled_from(["body", "x-webhook-id", "x-webhook-timestamp", "x-webhook-signature"]))
    target = body if what == "body" else headers[what].encode()
    place = data.draw(st.integers(0, len(target) * 8 - 1))
    changed = bytearray(target)
    changed[place // 8] ^= 1 << (place % 8)
    if what == "body":
        body = bytes(changed)
    else:
        headers = {**headers, what: changed.decode("latin-1")}
    with pytest.raises(SignatureInvalid):
        connector.receive(request(headers, body))


@pytest.mark.parametrize("minutes", [-6, 6])
def test_old_and_future_webhooks_are_refused(tmp_path: Path, minutes: int) -> None:
    _, connector, headers, body = hooked(tmp_path)
    with pytest.raises(SignatureInvalid):
        connector.receive(request(headers, body, system_clock() + timedelta(minutes=minutes)))


@pytest.mark.parametrize("missing", ["x-webhook-id", "x-webhook-timestamp", "x-webhook-signature"])
def test_unsigned_webhooks_are_refused(tmp_path: Path, missing: str) -> None:
    _, connector, headers, body = hooked(tmp_path)
    with pytest.raises(SignatureInvalid):
        connector.receive(request({k: v for k, v in headers.items() if k != missing}, body))
