"""X-Cart's own shapes → the one contract that flows see, whatever the profile.

Source: X-Cart 5.5 order, item, surcharge and address resources (fact sheet, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flowrun.errors import Refused

HALF_CENT = Decimal("0.005")


def moment(text: Any) -> str | None:
    """``2024-06-19T22:54:28+0000`` or ``…+00:00`` → ISO 8601 in UTC with Z."""
    if not isinstance(text, str) or not text:
        return None
    found = datetime.fromisoformat(text)
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return found.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def address(found: Mapping[str, Any] | None, states: Mapping[str, str], email: str | None) -> dict[str, Any] | None:
    """state: the code from the connection's table of state row ids; else the free text of countries without a list."""
    if not found:
        return None
    custom = {
        str(f.get("name", f.get("service_name", ""))).lower(): f.get("value") for f in found.get("custom_fields") or ()
    }
    state = found.get("state")
    return {
        "firstname": found.get("firstname") or "",
        "lastname": found.get("lastname") or "",
        "company": custom.get("company") or "",
        "street": found.get("street") or "",
        "city": found.get("city") or "",
        "zip": found.get("zipcode") or "",
        "state": states.get(str(state), found.get("state_name") or ""),
        "country": found.get("country_code") or "",
        "phone": found.get("phone") or "",
        "email": email or "",
    }


def order(found: Mapping[str, Any], states: Mapping[str, str]) -> dict[str, Any]:
    """Raises Refused when the parts do not sum up to the total (by more than half a cent)."""
    surcharges = [s for s in found.get("surcharges") or () if s.get("available", True)]
    total, subtotal = Decimal(found["total"]), Decimal(found["sub_total"])
    extra = sum((Decimal(s["value"]) for s in surcharges if not s.get("include")), Decimal(0))
    if abs(subtotal + extra - total) > HALF_CENT:
        raise Refused(
            f"order {found['order_number']}: the parts sum up to {subtotal + extra}, its total is {total}",
            field="total_amount",
        )
    email = found.get("email")
    billing = address(found.get("billing_address") or found.get("shipping_address"), states, email)
    shipping = address(found.get("shipping_address") or found.get("billing_address"), states, email)
    listed = [{"type": "B", **billing}] if billing else []
    listed += [{"type": "S", **shipping}] if shipping and found.get("shipping_address") else []
    created = moment(found.get("create_date"))
    method = next((t.get("name") for t in found.get("payment_transactions") or ()), None)
    return {
        "order_id": str(found["id"]),
        "order_number": found.get("order_number"),
        "status": (found.get("payment_status") or {}).get("code"),
        "shipping_status": (found.get("shipping_status") or {}).get("code"),
        "created_at": created,
        "updated_at": moment(found.get("update_date")) or created,
        "date": int(datetime.fromisoformat(str(found["create_date"])).timestamp()),
        "customer_id": _text(found.get("customer_id")),
        "email": email,
        "currency": found.get("currency"),
        "subtotal": subtotal,
        "total_amount": total,
        "payment_method": found.get("payment_method_code") or method,
        "payment_terms": found.get("payment_terms"),
        "notes": found.get("notes") or "",
        "items": [_item(item) for item in found.get("items") or ()],
        "taxes": [_surcharge(s) for s in surcharges if s.get("type") == "tax"],
        "discounts": [_surcharge(s) for s in surcharges if s.get("type") == "discount"],
        "shipping": {
            "method": found.get("shipping_method_name"),
            "cost": sum((Decimal(s["value"]) for s in surcharges if s.get("type") == "shipping"), Decimal(0)),
        },
        "billing": billing,
        "shipping_address": shipping,
        "addresses": listed,
        "tracking_numbers": [
            {"id": str(t.get("id")), "number": t.get("value"), "date": moment(t.get("date"))}
            for t in found.get("tracking_numbers") or ()
        ],
    }


def _item(found: Mapping[str, Any]) -> dict[str, Any]:
    amount, price = found.get("amount") or 0, Decimal(found.get("price") or 0)
    line = Decimal(found["discounted_subtotal"]) if found.get("discounted_subtotal") is not None else price * amount
    return {
        "line_id": str(found.get("id")),
        "product_id": _text(found.get("product_id")),
        "sku": found.get("sku"),
        "name": found.get("name"),
        "sku_group": found.get("sku_group"),
        "unit": found.get("unit"),
        "amount_ordered": amount,
        "price": price,
        "amount": line,
        "discount": price * amount - line,
    }


def _surcharge(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": found.get("code"),
        "name": found.get("name"),
        "amount": Decimal(found["value"]),
        "included": bool(found.get("include")),
    }


def product(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "product_id": found["id"],
        "sku": found.get("sku"),
        "name": found.get("name"),
        "price": Decimal(found.get("price") or 0),
        "quantity": found.get("amount"),
        "enabled": bool(found.get("enabled")),
        "weight": Decimal(found.get("weight") or 0),
        "created_at": moment(found.get("create_date")),
        "updated_at": moment(found.get("update_date")),
    }


_OUTPUT_ONLY = ("id", "create_date", "update_date", "images", "@id", "@type", "@context")


def product_input(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, as the body of a PUT: what a PUT leaves out goes back to its default (stock to 1000)."""
    body = {name: value for name, value in found.items() if name not in _OUTPUT_ONLY}
    for name in ("product_class", "tax_class"):
        if isinstance(body.get(name), Mapping):
            body[name] = body[name].get("name")
    if isinstance(body.get("memberships"), list):
        body["memberships"] = [m.get("name") if isinstance(m, Mapping) else m for m in body["memberships"]]
    body.setdefault("meta_description_type", "A")  # it is not in the output; A is what a PUT would reset it to
    return body


def customer(found: Mapping[str, Any], states: Mapping[str, str]) -> dict[str, Any]:
    addresses = found.get("addresses") or ()
    email = found.get("login")
    listed = []
    for one in addresses:
        made = address(one, states, email)
        if made:
            listed.append({"type": "B" if one.get("is_billing") else "S", **made})
    return {
        "customer_id": str(found["id"] if "id" in found else found["profile_id"]),
        "email": email,
        "enabled": found.get("status") == "E",
        "language": found.get("language"),
        "created_at": moment(found.get("create_date")),
        "addresses": listed,
    }
