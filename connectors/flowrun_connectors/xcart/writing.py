"""What can be written: an order's statuses (and what a compat module adds), a product's stock, price and switch.

Source: X-Cart 5.5 order status and product resources (fact sheet, sections 3, 4.1, 4.2 and 4.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flowrun.connector import Receipt
from flowrun.errors import Refused
from flowrun_connectors.xcart.api import Api
from flowrun_connectors.xcart.normal import number, product_input
from flowrun_connectors.xcart.shapes import COMPAT_ONLY

LONGEST_CODE = 4  # characters of a status code
STATUSES = ("payment_status", "shipping_status")
_ORDER_FIELDS = frozenset({"id", "status", *STATUSES, *COMPAT_ONLY})
_PRODUCT = {"quantity": "amount", **{name: name for name in ("enabled", "price", "name", "sku", "weight")}}
"""Contract field → X-Cart's."""


def row_id(value: Any, field: str = "id") -> str:
    """An X-Cart row id as part of a path. Raises Refused for anything but digits."""
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"'{text[:40]}' is no X-Cart id", field=field)
    return text


def update_order(api: Api, body: Mapping[str, Any], compat: bool) -> Receipt:
    """Statuses are read first and left alone when equal: setting one sends e-mails and moves stock.

    Raises Refused before anything is sent when a part of the body cannot be written.
    """
    number = row_id(body.get("id"))
    _refuse_others(body, _ORDER_FIELDS, "orders")
    extra = {name: body[name] for name in COMPAT_ONLY if body.get(name) not in (None, "")}
    if extra and not compat:
        raise Refused(
            f"X-Cart's own API takes statuses only, not {', '.join(extra)}",
            field=next(iter(extra)),
            help="use the compat profile if the store has the module, or leave these fields out",
        )
    codes = _codes(body)
    there = api.one(f"api/orders/{number}")
    change: dict[str, Any] = {name: code for name, code in codes.items() if code != (there.get(name) or {}).get("code")}
    if not compat:
        for name, code in change.items():
            api.put(f"api/orders/{number}/{name}", {"code": code})
    else:
        known = {str(t.get("value")) for t in there.get("tracking_numbers") or ()}
        for name, value in extra.items():
            if (str(value) not in known) if name == "tracking_number" else there.get(name) != value:
                change[name] = value
        if "carrier" in extra and "tracking_number" in change:
            change["carrier"] = extra["carrier"]  # it belongs to the number
        if change:
            api.put(f"api/v2/orders/{number}/status", change)
    return Receipt(number, response={"id": int(number), "changed": sorted(change)})


def _codes(body: Mapping[str, Any]) -> dict[str, str]:
    """``status`` is another name of payment_status. Merchants have codes of their own, so only the form is checked."""
    found: dict[str, str] = {}
    for name in ("status", *STATUSES):
        code = body.get(name)
        if code in (None, ""):
            continue
        if not isinstance(code, str) or len(code) > LONGEST_CODE:
            raise Refused(f"'{str(code)[:40]}' is no status code (1 to {LONGEST_CODE} characters)", field=name)
        target = "payment_status" if name == "status" else name
        if found.get(target, code) != code:
            raise Refused("status and payment_status are one field and differ", field=name)
        found[target] = code
    return found


def update_product(api: Api, body: Mapping[str, Any]) -> Receipt:
    """Read, change, write back whole, because a PUT resets what it leaves out. Nothing is sent when nothing differs.

    X-Cart has no compare-and-set: a sale between the read and the write is lost, so the two stand side by side.
    """
    number = row_id(body.get("product_id"), "product_id")
    _refuse_others(body, frozenset({"product_id", *_PRODUCT}), "products")
    change = {theirs: body[ours] for ours, theirs in _PRODUCT.items() if ours in body}
    _check_product(change)
    there = api.one(f"api/products/{number}")
    changed = sorted(name for name, value in change.items() if not _equal(there.get(name), value))
    if changed:
        api.put(f"api/products/{number}", {**product_input(there), **change})
    return Receipt(number, response={"product_id": int(number), "changed": changed})


def _equal(there: Any, wanted: Any) -> bool:
    """Amounts as numbers, without the noise of the store's binary ones."""
    if isinstance(wanted, Decimal) and not isinstance(there, bool):
        return number(there) == wanted
    return bool(there == wanted)


def _check_product(change: Mapping[str, Any]) -> None:
    amount, enabled = change.get("amount", 0), change.get("enabled", True)
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
        raise Refused(f"a quantity is a whole number from 0, not '{str(amount)[:40]}'", field="quantity")
    if not isinstance(enabled, bool):
        raise Refused(f"enabled is true or false, not '{str(enabled)[:40]}'", field="enabled")
    for name in ("price", "weight"):
        value = change.get(name, 0)
        if not isinstance(value, int | Decimal) or isinstance(value, bool) or value < 0:
            raise Refused(f"{name} is a number from 0, not '{str(value)[:40]}'", field=name)
    for name in ("sku", "name"):
        if name in change and not change[name]:
            raise Refused(f"a product needs a {name}", field=name)


def _refuse_others(body: Mapping[str, Any], known: frozenset[str], object_: str) -> None:
    """A field that would be dropped in silence is refused instead."""
    other = sorted(name for name in body if name not in known)
    if other:
        raise Refused(
            f"X-Cart's API does not write {', '.join(other)} of {object_}",
            field=other[0],
            help=f"it writes {', '.join(sorted(known))}",
        )
