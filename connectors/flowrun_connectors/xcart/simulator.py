"""A simulated X-Cart 5.5 store: native and compat routes over one set of data, refusing what the store refuses."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from flowrun.connector import Secret
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import decode_json, encode_json
from flowrun_connectors.xcart.shapes import PAYMENT, SHIPPING
from flowrun_connectors.xcart.webhooks import sign

KEY, READ_ONLY_KEY, WEBHOOK_SECRET = "sim-xcart-key", "sim-xcart-read-key", "sim-xcart-webhook-secret"
_DEFAULTS = {"amount": 1000, "enabled": True, "price": 0, "weight": 0, "taxable": True, "inventory_traceable": True}
_STATUS_NAMES = {"Q": "Awaiting payment", "P": "Paid", "N": "New", "S": "Shipped", "D": "Delivered", "R": "Refunded"}


class XCartSimulator(Simulator):
    """Python helpers place orders and change the store; everything else goes over HTTP."""

    name: ClassVar[str] = "xcart"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.orders: dict[int, dict[str, Any]] = {}
        self.products: dict[int, dict[str, Any]] = {}
        self.profiles: dict[int, dict[str, Any]] = {}
        self.custom_statuses: list[str] = []
        self._ids = 1000

    def connection_settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "api_key": KEY, "webhook_secret": WEBHOOK_SECRET}

    def dump(self) -> Any:
        return {
            "orders": list(self.orders.values()), "products": list(self.products.values()), "profiles": list(self.profiles.values()),
            "ids": self._ids, "custom_statuses": self.custom_statuses,
        }  # fmt: skip

    def load(self, state: Any) -> None:
        if state:
            self.orders = {o["id"]: o for o in state["orders"]}
            self.products = {p["id"]: p for p in state["products"]}
            self.profiles = {p["id"]: p for p in state["profiles"]}
            self._ids, self.custom_statuses = state["ids"], state["custom_statuses"]

    # -- changing the store ----------------------------------------------------------------------------------------

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    def _moment(self, at: datetime | None = None) -> str:
        return (at or self.now()).strftime("%Y-%m-%dT%H:%M:%S+0000")

    def add_product(self, sku: str, name: str, price: str, quantity: int = 0) -> int:
        number = self._id()
        self.products[number] = {
            **_DEFAULTS, "id": number, "sku": sku, "name": name, "price": Decimal(price), "amount": quantity, "description": "",
            "create_date": self._moment(), "update_date": self._moment(), "images": [], "memberships": [],
            "product_class": None, "tax_class": None,
        }  # fmt: skip
        return number

    def place_order(
        self,
        lines: Sequence[tuple[str, str, int, str]],
        *,
        customer_id: int | None = 42,
        country: str = "US",
        currency: str = "USD",
        shipping: str = "5.00",
        tax: str = "0",
        discount: str = "0",
        status: str = "P",
        payment_method: str = "CC",
        names: tuple[str, str] = ("Ann", "Lee"),
        at: datetime | None = None,
        order_id: int | None = None,
    ) -> int:
        """lines: (sku, name, quantity, price). Returns the order's id."""
        number = order_id if order_id is not None else self._id()
        items: list[dict[str, Any]] = [
            {
                "id": self._id(), "product_id": None, "sku": sku, "name": name, "price": Decimal(price), "item_net_price": Decimal(price),
                "discounted_subtotal": Decimal(price) * quantity, "amount": quantity, "backordered_amount": 0, "surcharges": [],
                "sku_group": sku.split("-")[0].upper(),
            }
            for sku, name, quantity, price in lines
        ]  # fmt: skip
        subtotal = sum((item["discounted_subtotal"] for item in items), Decimal(0))
        surcharges: list[dict[str, Any]] = []
        for kind, code, title, value in (
            ("shipping", "SHIPPING", "Shipping cost", Decimal(shipping)), ("tax", "TAX", "Sales tax", Decimal(tax)),
            ("discount", "DISCOUNT", "Discount", -Decimal(discount)),
        ):  # fmt: skip
            if value:
                surcharges.append(
                    {
                        "id": self._id(),
                        "type": kind,
                        "code": code,
                        "name": title,
                        "include": False,
                        "available": True,
                        "value": value,
                        "weight": 0,
                    }
                )
        place = {
            "id": self._id(), "is_billing": True, "is_shipping": True, "type": "R", "title": "", "firstname": names[0], "lastname": names[1],
            "phone": "+1 555 0100", "street": "1 Main St", "zipcode": "94105", "city": "San Francisco", "country_code": country,
            "state": 184, "state_name": "", "custom_fields": [],
        }  # fmt: skip
        when = self._moment(at)
        self.orders[number] = {
            "id": number, "order_number": f"{number:08d}", "total": subtotal + sum((s["value"] for s in surcharges), Decimal(0)),
            "sub_total": subtotal, "currency": currency, "email": "ann@example.com", "customer_id": customer_id, "order_profile_id": 93,
            "create_date": when, "update_date": when, "payment_status": _status(status), "shipping_status": _status("N"), "shipping_id": 3,
            "shipping_method_name": "Ground", "notes": "", "admin_notes": "", "stock_status": "in_stock", "items": items,
            "shipping_address": place, "billing_address": {**place, "id": self._id()}, "surcharges": surcharges, "tracking_numbers": [],
            "payment_method_code": payment_method,
        }  # fmt: skip
        return number

    def webhook(
        self, number: int, *, event: str = "Order Placed", secret: str = WEBHOOK_SECRET, id_: str = ""
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body as a compat store would send them."""
        order = self.orders[number]
        items = [
            {"sku": i["sku"], "name": i["name"], "price": i["price"], "quantity": i["amount"]} for i in order["items"]
        ]
        body = encode_json(
            {
                "event": event,
                "orderid": number,
                "customerid": order["customer_id"],
                "total_amount": order["total"],
                "items": items,
            }
        )
        stamp = str(int(self.now().timestamp()))
        id_ = id_ or f"evt-{number}"
        return {
            "x-webhook-id": id_,
            "x-webhook-timestamp": stamp,
            "x-webhook-signature": sign(Secret(secret), id_, stamp, body),
        }, body

    # -- answering -------------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        key = request.headers.get("x-auth-token")
        if key is None:
            return json_response({"code": 401, "message": "JWT Token not found"}, 401)
        if key not in (KEY, READ_ONLY_KEY):
            return json_response({"message": "Invalid token"}, 401)
        if request.method != "GET" and key == READ_ONLY_KEY:
            return json_response({"message": "Access Denied."}, 403)
        for pattern, method, handler in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found and request.method == method:
                answer: SimResponse = getattr(self, handler)(request, *(int(g) for g in found.groups() if g.isdigit()))
                return answer
        return SimResponse(404, b"<html>not found</html>", {"content-type": "text/html"})

    def _list(self, request: SimRequest, rows: list[dict[str, Any]]) -> SimResponse:
        size = min(max(int(request.query.get("itemsPerPage", "30")), 1), 100)
        page = max(int(request.query.get("page", "1")), 1)
        part = rows[(page - 1) * size : page * size]
        if "ld+json" in request.headers.get("accept", ""):
            return json_response({"@type": "hydra:Collection", "hydra:totalItems": len(rows), "hydra:member": part})
        return json_response(part)

    def _orders(self, request: SimRequest) -> SimResponse:
        rows = list(self.orders.values())
        for param, name in (("paymentStatus.code", "payment_status"), ("shippingStatus.code", "shipping_status")):
            if param in request.query:
                rows = [o for o in rows if (o[name] or {}).get("code") == request.query[param]]
        order = request.query.get("order[lastRenewDate]")
        if order:
            rows.sort(key=lambda o: (o["update_date"], o["id"]), reverse=order == "desc")
        return self._list(request, rows)

    def _order(self, request: SimRequest, number: int) -> SimResponse:
        if number not in self.orders:
            return _problem(404, "Not Found")
        return json_response(self.orders[number])

    def _put_payment(self, request: SimRequest, number: int) -> SimResponse:
        return self._put_status(request, number, "payment_status", PAYMENT)

    def _put_shipping(self, request: SimRequest, number: int) -> SimResponse:
        return self._put_status(request, number, "shipping_status", SHIPPING)

    def _put_status(self, request: SimRequest, number: int, name: str, known: Sequence[str]) -> SimResponse:
        body = _body(request)
        if number not in self.orders:
            return _problem(400, f"Order with ID {number} not found")
        code = body.get("code") if isinstance(body, dict) else None
        if code not in (*known, *self.custom_statuses):
            return _problem(400, f"Status code '{code}' is wrong")
        self._change(number, {name: _status(str(code))})
        return json_response(_status(str(code)))

    def _change(self, number: int, values: dict[str, Any]) -> None:
        order = self.orders[number]
        order.update(values)
        order["update_date"] = self._moment()
        order["writes"] = order.get("writes", 0) + 1

    def _put_compat(self, request: SimRequest, number: int) -> SimResponse:
        body = _body(request)
        if number not in self.orders:
            return _problem(404, "Not Found")
        if not isinstance(body, dict) or not body:
            return _problem(400, "Syntax error")
        change: dict[str, Any] = {}
        for name, known in (("payment_status", PAYMENT), ("shipping_status", SHIPPING)):
            if name in body:
                if body[name] not in (*known, *self.custom_statuses):
                    return _problem(400, f"Status code '{body[name]}' is wrong")
                change[name] = _status(body[name])
        for name in ("carrier", "sap_invoice", "sap_order"):
            if name in body:
                change[name] = body[name]
        if "tracking_number" in body:
            listed = self.orders[number]["tracking_numbers"]
            if body["tracking_number"] not in [t["value"] for t in listed]:
                listed.append({"id": self._id(), "date": self._moment(), "value": body["tracking_number"]})
        self._change(number, change)
        return json_response({"id": number})

    def _products(self, request: SimRequest) -> SimResponse:
        return self._list(request, list(self.products.values()))

    def _product(self, request: SimRequest, number: int) -> SimResponse:
        return json_response(self.products[number]) if number in self.products else _problem(404, "Not Found")

    def _put_product(self, request: SimRequest, number: int) -> SimResponse:
        body = _body(request)
        if number not in self.products:
            return _problem(404, "Not Found")
        if not isinstance(body, dict):
            return _problem(400, "Syntax error")
        for name in ("sku", "name"):
            if not body.get(name):
                return _violation(name, "This value should not be blank.")
        if len(str(body["sku"])) > 32:
            return _violation("sku", "This value is too long. It should have 32 characters or less.")
        if any(p["sku"] == body["sku"] and p["id"] != number for p in self.products.values()):
            return _violation("sku", "This SKU is used by another product.")
        if not isinstance(body.get("amount", 0), int) or isinstance(body.get("amount", 0), bool):
            return _problem(400, 'The type of the "amount" attribute must be "int".')
        kept = {name: self.products[number][name] for name in ("id", "create_date", "images")}
        # A PUT replaces: what it leaves out goes back to its default.
        self.products[number] = {**_DEFAULTS, **copy.deepcopy(body), **kept, "update_date": self._moment()}
        return json_response(self.products[number])

    def _profiles(self, request: SimRequest) -> SimResponse:
        wanted = request.query.get("login", "")
        return self._list(request, [p for p in self.profiles.values() if wanted in p["login"]])

    def _profile(self, request: SimRequest, number: int) -> SimResponse:
        return json_response(self.profiles[number]) if number in self.profiles else _problem(404, "Not Found")


_ROUTES = (
    (r"/api/orders", "GET", "_orders"),
    (r"/api/orders/(\d+)", "GET", "_order"),
    (r"/api/orders/(\d+)/payment_status", "PUT", "_put_payment"),
    (r"/api/orders/(\d+)/shipping_status", "PUT", "_put_shipping"),
    (r"/api/v2/orders/(\d+)/status", "PUT", "_put_compat"),
    (r"/api/products", "GET", "_products"),
    (r"/api/products/(\d+)", "GET", "_product"),
    (r"/api/products/(\d+)", "PUT", "_put_product"),
    (r"/api/profiles", "GET", "_profiles"),
    (r"/api/profiles/(\d+)", "GET", "_profile"),
)


def _status(code: str) -> dict[str, Any]:
    name = _STATUS_NAMES.get(code, code)
    return {"id": sum(code.encode()) % 97, "code": code, "name": name, "customer_name": name}


def _body(request: SimRequest) -> Any:
    try:
        return decode_json(request.body)
    except ValueError:
        return None


def _problem(status: int, detail: str) -> SimResponse:
    return json_response(
        {"type": "https://tools.ietf.org/html/rfc2616#section-10", "title": "An error occurred", "detail": detail},
        status,
    )


def _violation(path: str, message: str) -> SimResponse:
    return json_response(
        {"@type": "ConstraintViolationList", "hydra:description": f"{path}: {message}", "detail": f"{path}: {message}",
         "violations": [{"propertyPath": path, "message": message}]}, 422,
    )  # fmt: skip
