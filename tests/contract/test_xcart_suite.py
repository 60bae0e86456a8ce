"""The suite that every connector passes, for X-Cart in both profiles, with each of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flowrun.connector import Request, Secret
from flowrun.testing.contract_suite import NOW, Reading, Receiving, Writing, contract_tests
from flowrun_connectors.xcart.connector import XCart
from flowrun_connectors.xcart.simulator import WEBHOOK_SECRET, XCartSimulator
from flowrun_connectors.xcart.webhooks import sign

BASE = datetime(2026, 3, 1, tzinfo=UTC)
MANY: Mapping[str, Any] = {"records": 47, "page_size": 10, "keeps_unknown": False}


class Store(XCartSimulator):
    """Native: a stock store, without the module."""

    profile = "native"

    def __init__(self, **more: Any) -> None:
        super().__init__(now=lambda: NOW, **more)
        self.compat = self.profile == "compat"
        self.largest_page = 20  # rows; the least that the connector asks for, so that MANY rows are three pages
        self.count = 0

    def connection_settings(self) -> dict[str, Any]:
        return {**super().connection_settings(), "profile": self.profile}

    def signed_webhook(self, body: bytes, at: datetime) -> Request:
        stamp = str(int(at.timestamp()))
        headers = {
            "x-webhook-id": "evt-1", "x-webhook-timestamp": stamp,
            "x-webhook-signature": sign(Secret(WEBHOOK_SECRET), "evt-1", stamp, body),
        }  # fmt: skip
        return Request("POST", "/hooks/xcart", headers, {}, body, at)


class ModuleStore(Store):
    profile = "compat"


def orders(shop: Store, n: int) -> None:
    for _ in range(n):
        shop.count += 1
        shop.place_order([("AB-1", "Mug", 2, "10.50")], at=BASE + timedelta(minutes=shop.count))


def orders_of_one_moment(shop: Store, n: int) -> None:
    for _ in range(n):
        shop.place_order([("AB-1", "Mug", 2, "10.50")], at=BASE + timedelta(minutes=shop.count, seconds=30))


def touch(shop: Store, key: str) -> None:
    shop.touch(int(key))


def products(shop: Store, n: int) -> None:
    for _ in range(n):
        shop.count += 1
        number = shop.add_product(f"AB-{shop.count}", "Mug", "10.50", quantity=3)
        shop.products[number]["update_date"] = (BASE + timedelta(minutes=shop.count)).strftime("%Y-%m-%dT%H:%M:%S+0000")


def customers(shop: Store, n: int) -> None:
    for _ in range(n):
        shop.count += 1
        shop.add_customer(f"a{shop.count}@example.com", "Ann", "Lee", at=BASE + timedelta(minutes=shop.count))


def shipped(shop: Store, n: int) -> Mapping[str, Any]:
    """The n-th order is shipped; it is there before."""
    if n + 1 not in shop.orders:
        shop.place_order([("AB-1", "Mug", 1, "1.00")], order_id=n + 1, at=BASE)
    return {"id": n + 1, "shipping_status": "S"}


def changes(shop: Store, n: int) -> int:
    """PUTs that changed it: each sends e-mails in a real store, so one is right and two are wrong."""
    return shop.writes.get(n + 1, 0) if shop.orders[n + 1]["shipping_status"]["code"] == "S" else 0


def unknown_status(shop: Store) -> Mapping[str, Any]:
    return {**shipped(shop, 900), "shipping_status": "QQ"}


def stocked(shop: Store, n: int) -> Mapping[str, Any]:
    if n + 1 not in shop.products:
        number = shop.add_product(f"AB-{n}", "Mug", "10.50", quantity=3)
        shop.products[n + 1] = {**shop.products.pop(number), "id": n + 1}
    return {"product_id": n + 1, "quantity": 7}


def stock_changes(shop: Store, n: int) -> int:
    return shop.writes.get(n + 1, 0) if shop.products[n + 1]["amount"] == 7 else 0


def taken_sku(shop: Store) -> Mapping[str, Any]:
    stocked(shop, 901)
    return {**stocked(shop, 900), "sku": "AB-901"}


def placed(shop: Store, at: datetime) -> Request:
    shop.now = lambda: at
    if 1042 not in shop.orders:
        shop.place_order([("TS-RED-M", "T-shirt", 2, "29.99")], order_id=1042)
    headers, body = shop.webhook(1042)
    return Request("POST", "/hooks/xcart", headers, {}, body, at)


ORDERS = Reading(
    "orders", "order_id", orders, cursor="updated_at", touch=touch, same_moment=orders_of_one_moment, **MANY,
)  # fmt: skip
STATUS = Writing("orders", "update", shipped, changes, match=("id",), refused=unknown_status)
WEBHOOK = Receiving(placed, signed=("x-webhook-id", "x-webhook-timestamp", "x-webhook-signature"))

TestNative = contract_tests(XCart, simulator=Store, read=ORDERS, write=STATUS)
TestCompat = contract_tests(XCart, simulator=ModuleStore, read=ORDERS, write=STATUS, receive=WEBHOOK)
TestProducts = contract_tests(
    XCart,
    simulator=Store,
    read=Reading("products", "product_id", products, cursor="updated_at", **MANY),
    write=Writing("products", "update", stocked, stock_changes, match=("product_id",), refused=taken_sku),
)
TestCustomers = contract_tests(
    XCart,
    simulator=Store,
    read=Reading("customers", "customer_id", customers, cursor="created_at", **MANY),
)
