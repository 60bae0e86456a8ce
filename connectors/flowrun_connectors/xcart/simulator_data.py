"""Rows as X-Cart 5.5 stores them, made up from the fact sheet: orders, products, profiles, statuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Ids = Callable[[], int]

PAYMENT = {
    "Q": "Awaiting payment", "A": "Authorized", "PP": "Partially paid", "P": "Paid", "D": "Declined", "C": "Canceled",
    "R": "Refunded",
}  # fmt: skip
SHIPPING = {
    "N": "New", "P": "Processing", "S": "Shipped", "D": "Delivered", "WND": "Will not deliver", "R": "Returned",
    "WFA": "Waiting for approval", "NBA": "New (backordered)",
}  # fmt: skip

PRODUCT_DEFAULTS: Mapping[str, Any] = {
    "sku": "", "name": "", "description": "", "brief_description": "", "meta_tags": "", "meta_description_type": "A",
    "meta_description": "", "meta_title": "", "price": 0, "enabled": True, "weight": 0, "separate_box": False,
    "width": 0, "length": 0, "height": 0, "free_shipping": False, "taxable": True, "arrival_date": None,
    "inventory_traceable": True, "amount": 1000, "product_class": None, "tax_class": None, "memberships": [],
    "clean_url": "",
}  # fmt: skip
"""What a PUT sets for whatever it leaves out."""

MODULE_FIELDS = ("payment_method_code", "payment_terms", "carrier", "sap_invoice", "sap_order")
MODULE_ITEM_FIELDS = ("sku_group", "unit")
"""What the module of the compat profile adds; a stock store does not show it."""


def number(value: Decimal | str | int) -> Decimal | int:
    """As PHP writes a float: ``10.00`` is ``10``, ``4.50`` is ``4.5``."""
    found = Decimal(value).normalize()
    return int(found) if found == found.to_integral_value() else found


def status(code: str, names: Mapping[str, str]) -> Row:
    """A merchant's own code is its own name."""
    name = names.get(code, code)
    place = list(names).index(code) + 1 if code in names else 100
    return {"id": place, "code": code, "name": name, "customer_name": name}


def address(ids: Ids, *, firstname: str, lastname: str, country: str, company: str = "", **more: Any) -> Row:
    custom = [{"name": "company", "value": company}] if company else []
    return {
        "id": ids(), "is_billing": True, "is_shipping": True, "is_work": False, "type": "R", "title": "",
        "firstname": firstname, "lastname": lastname, "phone": "+1 555 0100", "street": "1 Main St", "zipcode": "94105",
        "city": "San Francisco", "country_code": country, "state": 184, "state_name": "", "custom_fields": custom,
        **more,
    }  # fmt: skip


def item(ids: Ids, sku: str, name: str, quantity: int, price: str, when: str) -> Row:
    return {
        "id": ids(), "product_id": None, "sku": sku, "name": name, "price": number(price),
        "item_net_price": number(price), "discounted_subtotal": number(Decimal(price) * quantity), "amount": quantity,
        "backordered_amount": 0, "update_date": when, "surcharges": [], "sku_group": sku.split("-")[0].upper(),
    }  # fmt: skip


def surcharge(ids: Ids, kind: str, code: str, name: str, value: Decimal, included: bool = False) -> Row:
    return {
        "id": ids(), "type": kind, "code": code, "class": f"XLite\\Logic\\Order\\Modifier\\{kind.capitalize()}",
        "include": included, "available": True, "value": number(value), "name": name, "weight": 0,
    }  # fmt: skip


def transaction(ids: Ids, name: str, total: Decimal, currency: str, when: str, state: str) -> Row:
    return {
        "id": ids(), "public_id": None, "public_txn_id": None, "method_id": 1, "type": "sale", "date": when,
        "status": state, "name": name, "local_name": name, "currency": currency, "value": number(total), "note": "",
        "data": [], "backend_transactions": [],
    }  # fmt: skip


def order(ids: Ids, lines: Sequence[tuple[str, str, int, str]], when: str, given: Mapping[str, Any]) -> Row:
    """given: the arguments of ``XCartSimulator.place_order``."""
    items = [item(ids, *line, when) for line in lines]
    subtotal = sum((Decimal(one["discounted_subtotal"]) for one in items), Decimal(0))
    parts = [
        ("shipping", "SHIPPING", "Shipping cost", Decimal(given["shipping"]), False),
        ("tax", "TAX", "Sales tax", Decimal(given["tax"]), given["tax_included"]),
        ("discount", "DISCOUNT", "Discount", -Decimal(given["discount"]), False),
    ]
    surcharges = [surcharge(ids, *part) for part in parts if part[3]]
    total = subtotal + sum((part[3] for part in parts if not part[4]), Decimal(0))
    place = address(
        ids,
        firstname=given["names"][0],
        lastname=given["names"][1],
        country=given["country"],
        company=given["company"],
    )
    has = given["addresses"]
    return {
        "total": number(total), "sub_total": number(subtotal), "currency": given["currency"], "email": given["email"],
        "customer_id": given["customer_id"], "order_profile_id": ids(), "create_date": when, "update_date": when,
        "payment_status": status(given["status"], PAYMENT), "shipping_status": status("N", SHIPPING), "shipping_id": 3,
        "shipping_method_name": "Ground", "notes": "", "admin_notes": "", "stock_status": "in_stock", "items": items,
        "shipping_address": place if has in ("both", "shipping") else None,
        "billing_address": {**place, "id": ids()} if has in ("both", "billing") else None,
        "surcharges": surcharges, "tracking_numbers": [], "payment_method_code": given["payment_method"],
    }  # fmt: skip


def product_output(row: Mapping[str, Any]) -> Row:
    """As GET gives it: no meta_description_type, and names become objects."""
    found = {name: value for name, value in row.items() if name != "meta_description_type"}
    for name in ("product_class", "tax_class"):
        found[name] = {"id": 1, "name": row[name]} if row[name] is not None else None
    found["memberships"] = [{"id": n, "name": name} for n, name in enumerate(row["memberships"], 1)]
    return found
