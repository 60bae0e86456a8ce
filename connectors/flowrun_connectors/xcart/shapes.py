"""The contracts of X-Cart's objects as flows see them; the same for every profile. Derived facts: names, types, lengths."""

from __future__ import annotations

from flowrun.contract import Field, FieldType, Shape

SOURCE = "X-Cart 5.5 REST API, normalised"
PAYMENT = ("Q", "A", "PP", "P", "D", "C", "R")
SHIPPING = ("N", "P", "S", "D", "WND", "R", "WFA", "NBA")


def _fields(shape: str, *fields: Field) -> Shape:
    return Shape(shape, {f.name: f for f in fields}, source=SOURCE)


def _f(
    name: str, kind: FieldType = "text", *, write: bool = False, length: int | None = None, title: str = ""
) -> Field:
    return Field(name, kind, max_length=length, creatable=False, updatable=write, title=title)


def _list(name: str, shape: Shape) -> Field:
    return Field(name, "list", creatable=False, updatable=False, item=Field("", "object", shape=shape))


def _object(name: str, shape: Shape) -> Field:
    return Field(name, "object", creatable=False, updatable=False, shape=shape)


_PLACE = tuple(
    _f(n) for n in ("firstname", "lastname", "company", "street", "city", "zip", "state", "country", "phone", "email")
)
ADDRESS = _fields("address", *_PLACE)
TYPED_ADDRESS = _fields("address", _f("type", title="B billing, S shipping"), *_PLACE, _f("sap_partner"))
SURCHARGE = _fields("surcharge", _f("code"), _f("name"), _f("amount", "decimal"), _f("included", "boolean"))

ORDERS = _fields(
    "orders",
    Field("id", "integer", creatable=False, updatable=False, key=True, title="names the order in a write"),
    _f("order_id"), _f("order_number"),
    _f("status", write=True, length=4, title="payment status"),
    _f("payment_status", write=True, length=4, title="the same, in a write"),
    _f("shipping_status", write=True, length=4),
    _f("created_at", "datetime"), _f("updated_at", "datetime"), _f("date", "integer", title="created, seconds since 1970"),
    _f("customer_id", title="null for guests"), _f("email"), _f("currency"), _f("subtotal", "decimal"),
    _f("total_amount", "decimal"), _f("payment_method"), _f("payment_terms"), _f("notes"),
    _list("items", _fields(
        "item", _f("line_id"), _f("product_id"), _f("sku"), _f("name"), _f("sku_group"), _f("unit"),
        _f("amount_ordered", "decimal"), _f("price", "decimal"), _f("amount", "decimal"), _f("discount", "decimal"))),
    _list("taxes", SURCHARGE), _list("discounts", SURCHARGE),
    _object("shipping", _fields("shipping", _f("method"), _f("cost", "decimal"))),
    _object("billing", ADDRESS), _object("shipping_address", ADDRESS), _list("addresses", TYPED_ADDRESS),
    _list("tracking_numbers", _fields("tracking", _f("id"), _f("number"), _f("date", "datetime"))),
    _f("tracking_number", write=True, title="compat profile only"), _f("carrier", write=True, title="compat profile only"),
    _f("sap_invoice", write=True, title="compat profile only"), _f("sap_order", write=True, title="compat profile only"),
)  # fmt: skip

PRODUCTS = _fields(
    "products",
    Field("product_id", "integer", creatable=False, updatable=False, key=True),
    _f("sku", write=True, length=32), _f("name", write=True, length=255), _f("price", "decimal", write=True),
    _f("quantity", "integer", write=True), _f("enabled", "boolean", write=True), _f("weight", "decimal", write=True),
    _f("created_at", "datetime"), _f("updated_at", "datetime"),
)  # fmt: skip

CUSTOMERS = _fields(
    "customers", _f("customer_id"), _f("email", length=128), _f("enabled", "boolean"), _f("language"), _f("created_at", "datetime"),
    _list("addresses", TYPED_ADDRESS),
)  # fmt: skip

SHAPES = {"orders": ORDERS, "products": PRODUCTS, "customers": CUSTOMERS}
