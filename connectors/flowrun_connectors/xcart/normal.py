"""X-Cart's own shapes → the one contract that flows see, whatever the profile; and products back again.

Source: X-Cart 5.5 order, item, surcharge, address, profile and product resources (fact sheet, section 4). Fields that a
store's modules add are handed on under their own names; none of them is needed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from flowrun.errors import ConnectorError

HALF_CENT = Decimal("0.005")
DOUBLE_DIGITS = 15  # that a binary float of PHP keeps; what stands behind them is noise
_DOUBLE = Context(prec=DOUBLE_DIGITS)
OWN_FIELDS = {
    "payment_method": "payment_method_code",
    "payment_terms": "payment_terms",
    "sku_group": "sku_group",
    "unit": "unit",
    "company": "company",
    "sap_partner": "sap_partner",
}
"""Contract field → how a store's module names it; the last two are custom fields of addresses."""


@dataclass(frozen=True, slots=True)
class Words:
    """What differs from store to store. states: row id → code. zone: of dates without an offset."""

    states: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=lambda: OWN_FIELDS)
    zone: tzinfo = UTC


def moment(value: Any, zone: tzinfo = UTC) -> str | None:
    """``2024-06-19T22:54:28+0000`` or ``…+00:00`` → ISO 8601 in UTC with Z. Raises ConnectorError for no time."""
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo is not None else found.replace(tzinfo=zone)
        return found.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except (TypeError, ValueError, OverflowError):
        raise ConnectorError(f"the store says '{str(value)[:40]}' where a time belongs") from None


def changed(found: Mapping[str, Any], zone: tzinfo = UTC) -> str:
    """When a row last changed. Raises ConnectorError: without it nothing can be read since."""
    at = moment(found.get("update_date"), zone) or moment(found.get("create_date"), zone)
    if at is None:
        raise ConnectorError(f"row {found.get('id')} has neither update_date nor create_date")
    return at


def _seconds(value: str | None) -> int | None:
    return int(datetime.fromisoformat(value).timestamp()) if value is not None else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    if not found.is_finite():
        return None
    if len(found.as_tuple().digits) > DOUBLE_DIGITS:  # the store computes in binary: 64.480000000000004
        found = _DOUBLE.plus(found).normalize(_DOUBLE)
        return found.quantize(Decimal(1)) if found == found.to_integral_value() else found
    return found


def _zero(value: Any) -> Decimal:
    return number(value) or Decimal(0)


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, Sequence) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _code(value: Any) -> str | None:
    """Of a status; null and the merchant's own codes are as good as the stock ones."""
    return _text(_object(value).get("code"))


def _rest(found: Mapping[str, Any], stock: frozenset[str], made: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """What a module added and nobody has named: neither stock nor ours."""
    known = {*stock, *made, *words.own.values()}
    return {name: value for name, value in found.items() if name not in known and not name.startswith("@")}


# -- orders --------------------------------------------------------------------------------------------------------

_ORDER = frozenset(
    {
        "id", "order_number", "total", "sub_total", "currency", "email", "customer_id", "order_profile_id",
        "create_date", "update_date", "payment_status", "shipping_status", "shipping_id", "shipping_method_name",
        "notes", "admin_notes", "stock_status", "items", "billing_address", "shipping_address", "surcharges",
        "tracking_numbers",
    }
)  # fmt: skip
_ITEM = frozenset(
    {
        "id", "product_id", "sku", "name", "price", "item_net_price", "discounted_subtotal", "amount",
        "backordered_amount", "update_date", "surcharges",
    }
)  # fmt: skip


def order(found: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """total_difference: the total less its parts, 0 when they agree to half a cent. A missing address is the other one;
    with neither both are null."""
    own = words.own
    surcharges = [s for s in _rows(found.get("surcharges")) if s.get("available", True)]
    total, subtotal = number(found.get("total")), number(found.get("sub_total"))
    email = found.get("email")
    first, second = _object(found.get("billing_address")), _object(found.get("shipping_address"))
    billing, shipping = address(first or second, words, email), address(second or first, words, email)
    listed = [("B", first or second)] if billing else []
    listed += [("S", second)] if second else []
    created = moment(found.get("create_date"), words.zone)
    made = {
        "order_id": str(found["id"]),
        "order_number": _text(found.get("order_number")),
        "status": _code(found.get("payment_status")),
        "shipping_status": _code(found.get("shipping_status")),
        "created_at": created,
        "updated_at": changed(found, words.zone),
        "date": _seconds(created),
        "customer_id": _text(found.get("customer_id")),
        "email": email,
        "currency": found.get("currency"),
        "subtotal": subtotal,
        "total_amount": total,
        "total_difference": _difference(total, subtotal, surcharges),
        "payment_method": found.get(own["payment_method"]),
        "payment_terms": found.get(own["payment_terms"]),
        "notes": found.get("notes") or "",
        "items": [_item(item, words) for item in _rows(found.get("items"))],
        "taxes": [_surcharge(s) for s in surcharges if s.get("type") == "tax"],
        "discounts": [_surcharge(s) for s in surcharges if s.get("type") == "discount"],
        "shipping": {
            "method": found.get("shipping_method_name"),
            "cost": sum((_zero(s.get("value")) for s in surcharges if s.get("type") == "shipping"), Decimal(0)),
        },
        "billing": billing,
        "shipping_address": shipping,
        "addresses": [_typed(kind, one, words, email) for kind, one in listed if one],
        "tracking_numbers": [
            {"id": _text(t.get("id")), "number": t.get("value"), "date": moment(t.get("date"), words.zone)}
            for t in _rows(found.get("tracking_numbers"))
        ],
    }
    return {**made, **_rest(found, _ORDER, made, words)}


def _difference(
    total: Decimal | None, subtotal: Decimal | None, surcharges: Sequence[Mapping[str, Any]]
) -> Decimal | None:
    """``total = sub_total + Σ value of available, not included surcharges``; floats may be off by a little."""
    if total is None or subtotal is None:
        return None
    extra = sum((_zero(s.get("value")) for s in surcharges if not s.get("include")), Decimal(0))
    found = total - subtotal - extra
    return found if abs(found) > HALF_CENT else Decimal(0)


def _item(found: Mapping[str, Any], words: Words) -> dict[str, Any]:
    amount, price = number(found.get("amount")), number(found.get("price"))
    whole = price * amount if price is not None and amount is not None else None
    line = number(found.get("discounted_subtotal"))
    line = line if line is not None else whole
    made = {
        "line_id": _text(found.get("id")),
        "product_id": _text(found.get("product_id")),  # may point to nothing: deleted products stay in old orders
        "sku": found.get("sku"),
        "name": found.get("name"),
        "sku_group": found.get(words.own["sku_group"]),
        "unit": found.get(words.own["unit"]),
        "amount_ordered": found.get("amount"),
        "price": price,
        "amount": line,
        "discount": whole - line if whole is not None and line is not None else None,
    }
    return {**made, **_rest(found, _ITEM, made, words)}


def _surcharge(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": found.get("code"),
        "name": found.get("name"),
        "amount": _zero(found.get("value")),
        "included": bool(found.get("include")),
    }


def payment_method(transactions: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of the last transaction that succeeded, else of the last one that may, else of the last one."""
    for wanted in ("S", "PWI", ""):
        for one in reversed(_rows(transactions)):
            if one.get("name") and (not wanted or str(one.get("status")) in wanted):
                return str(one["name"])
    return None


# -- addresses and customers ---------------------------------------------------------------------------------------


def address(found: Mapping[str, Any], words: Words, email: Any) -> dict[str, Any] | None:
    """state: the code of its row in the connection's table, else the free text of countries without such a list."""
    if not found:
        return None
    state = words.states.get(str(found.get("state")))
    return {
        "firstname": found.get("firstname") or "",
        "lastname": found.get("lastname") or "",
        "company": _custom(found, words.own["company"]) or "",
        "street": found.get("street") or "",
        "city": found.get("city") or "",
        "zip": found.get("zipcode") or "",
        "state": state if state is not None else found.get("state_name") or "",
        "country": found.get("country_code") or "",
        "phone": found.get("phone") or "",
        "email": email or "",
    }


def _typed(kind: str, found: Mapping[str, Any], words: Words, email: Any) -> dict[str, Any]:
    made = address(found, words, email) or {}
    return {"type": kind, **made, "sap_partner": _custom(found, words.own["sap_partner"])}


def _custom(found: Mapping[str, Any], name: str) -> Any:
    for one in _rows(found.get("custom_fields")):
        if str(one.get("name", "")).lower() == name.lower():
            return one.get("value")
    return None


def customer(found: Mapping[str, Any], addresses: Sequence[Mapping[str, Any]] | None, words: Words) -> dict[str, Any]:
    """addresses: None when they were not asked for; then there are no names either, they stand only there."""
    email = found.get("login")
    made = {
        "customer_id": str(found["id"]),
        "email": email,
        "enabled": found.get("status") == "E",
        "language": found.get("language"),
        "created_at": moment(found.get("create_date"), words.zone),
    }
    if addresses is None:
        return made
    listed = [_typed("B" if one.get("is_billing") else "S", one, words, email) for one in _rows(addresses)]
    main = next((one for one in listed if one["type"] == "B"), listed[0] if listed else {})
    return {
        **made,
        "firstname": main.get("firstname", ""),
        "lastname": main.get("lastname", ""),
        "addresses": listed,
    }


# -- products ------------------------------------------------------------------------------------------------------


def product(found: Mapping[str, Any], words: Words) -> dict[str, Any]:
    return {
        "product_id": found["id"],
        "sku": found.get("sku"),
        "name": found.get("name"),
        "price": number(found.get("price")),
        "quantity": found.get("amount"),
        "enabled": found.get("enabled"),
        "weight": number(found.get("weight")),
        "created_at": moment(found.get("create_date"), words.zone),
        "updated_at": moment(found.get("update_date"), words.zone),
    }


_OUTPUT_ONLY = frozenset({"id", "create_date", "update_date", "images"})
_NAMED = ("product_class", "tax_class")


def product_input(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, as the body of a PUT: whatever a PUT leaves out goes back to its default (stock to 1000).

    Classes and memberships are read as objects and written as names. Lists and objects of modules have no known way
    back and are left out.
    """
    body: dict[str, Any] = {}
    for name, value in found.items():
        if name in _OUTPUT_ONLY or name.startswith("@"):
            continue
        if name in _NAMED:
            body[name] = value.get("name") if isinstance(value, Mapping) else value
        elif name == "memberships":
            body[name] = [m.get("name") if isinstance(m, Mapping) else m for m in value or ()]
        elif not isinstance(value, Mapping | list):
            body[name] = value
    body.setdefault("meta_description_type", meta_description_type(found))
    return body


def meta_description_type(found: Mapping[str, Any]) -> str:
    """C (written by the merchant) or A (made by X-Cart from the description): it is not in the output, and a PUT
    without it resets it to A. A text that the description does not begin with was written by somebody."""
    text = _words(found.get("meta_description"))
    if not text:
        return "A"
    sources = (_words(found.get("brief_description")), _words(found.get("description")))
    return "A" if any(source.startswith(text.rstrip(".…")) for source in sources) else "C"


def _words(value: Any) -> str:
    """Text without tags and double spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", str(value or ""))).split())
