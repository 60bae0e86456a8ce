"""A simulated X-Cart 5.5 store: native and compat routes over one set of data, refusing what the store refuses."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal

import httpx

from flowrun.connector import Secret
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator
from flowrun.values import encode_json
from flowrun_connectors.xcart import simulator_answers as say
from flowrun_connectors.xcart import simulator_data as data
from flowrun_connectors.xcart.webhooks import sign

KEY, READ_ONLY_KEY, WEBHOOK_SECRET = "sim-xcart-key", "sim-xcart-read-key", "sim-xcart-webhook-secret"
Row = data.Row
Webhook = tuple[dict[str, str], bytes]


class XCartSimulator(Simulator):
    """Python helpers place orders and change the store; everything else goes over HTTP.

    compat: the module with ``/api/v2`` is installed. read_only: the connection is given the read-only key.
    forbid: every request is answered 403. custom_statuses: the merchant's own codes. moves, deletes: order ids; after
    each page of orders the next of them changes (and so moves to page 1), or goes. largest_page: what itemsPerPage is
    capped at. sorts: False ignores ``order[…]``. tracking_moves_update_date: a new tracking number counts as a change
    of the order (it does not in a real store). writes: order or product id → PUTs that changed it.
    """

    name: ClassVar[str] = "xcart"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.orders: dict[int, Row] = {}
        self.products: dict[int, Row] = {}
        self.profiles: dict[int, Row] = {}
        self.addresses: dict[int, list[Row]] = {}
        self.transactions: dict[int, list[Row]] = {}
        self.custom_statuses: list[str] = []
        self.compat = True
        self.read_only = False
        self.forbid = False
        self.sorts = True
        self.largest_page = 100
        self.tracking_moves_update_date = False
        self.moves: list[int] = []
        self.deletes: list[int] = []
        self.writes: dict[int, int] = {}
        self._ids = 1000

    @classmethod
    def for_settings(cls, settings: Mapping[str, Any]) -> XCartSimulator:
        """A store without the module where the connection says ``native``; with it where nothing is said."""
        made = cls()
        made.compat = settings.get("profile", "compat") == "compat"
        return made

    def connection_settings(self) -> dict[str, Any]:
        key = READ_ONLY_KEY if self.read_only else KEY
        return {"base_url": self.base_url, "api_key": key, "webhook_secret": WEBHOOK_SECRET}

    def furnish(self) -> None:
        """Two products, and three orders of guests: a small one, one from abroad, and a large one with a discount."""
        self.add_product("mug-1", "Mug", "10.00", 12)
        self.add_product("cup-1", "Cup", "4.50", 40)
        self.place_order([("mug-1", "Mug", 2, "10.00")], customer_id=None, order_id=1)
        self.place_order([("cup-1", "Cup", 6, "4.50")], customer_id=None, order_id=2, country="DE", tax="1.20")
        self.place_order([("mug-1", "Mug", 150, "10.00")], customer_id=None, order_id=3, discount="75.00")

    def dump(self) -> Any:
        return {
            "orders": list(self.orders.values()), "products": list(self.products.values()),
            "profiles": list(self.profiles.values()), "addresses": [[k, v] for k, v in self.addresses.items()],
            "transactions": [[k, v] for k, v in self.transactions.items()], "ids": self._ids,
            "custom_statuses": self.custom_statuses,
        }  # fmt: skip

    def load(self, state: Any) -> None:
        if state:
            self.orders = {o["id"]: o for o in state["orders"]}
            self.products = {p["id"]: p for p in state["products"]}
            self.profiles = {p["id"]: p for p in state["profiles"]}
            self.addresses = dict(state.get("addresses", ()))
            self.transactions = dict(state.get("transactions", ()))
            self._ids, self.custom_statuses = state["ids"], state["custom_statuses"]

    # -- changing the store ----------------------------------------------------------------------------------------

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    def _moment(self, at: datetime | None = None) -> str:
        return (at or self.now()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")

    def add_product(self, sku: str, name: str, price: str, quantity: int = 0, **more: Any) -> int:
        """more: fields of the product as a PUT takes them."""
        with self.lock:
            row = self._id()
            when = self._moment()
            self.products[row] = {
                **data.PRODUCT_DEFAULTS, "sku": sku, "name": name, "price": data.number(price), "amount": quantity, **more,
                "id": row, "create_date": when, "update_date": when, "images": [],
            }  # fmt: skip
            return row

    def add_customer(
        self, email: str, firstname: str, lastname: str, *, country: str = "US", at: datetime | None = None, **more: Any
    ) -> int:
        """more: fields of the profile, such as ``access_level``."""
        with self.lock:
            row = self._id()
            self.profiles[row] = {
                "id": row, "login": email, "access_level": 0, "create_date": self._moment(at), "first_login_date": None,
                "last_login_date": None, "status": "E", "status_comment": "", "referer": "", "language": "en",
                "membership_id": None, "pending_membership_id": None, "force_change_password": False, "role_ids": [], **more,
            }  # fmt: skip
            self.addresses[row] = [data.address(self._id, firstname=firstname, lastname=lastname, country=country)]
            return row

    def place_order(
        self,
        lines: Sequence[tuple[str, str, int, str]],
        *,
        customer_id: int | None = 42,
        country: str = "US",
        currency: str = "USD",
        shipping: str = "5.00",
        tax: str = "0",
        tax_included: bool = False,
        discount: str = "0",
        status: str = "P",
        payment_method: str = "CC",
        names: tuple[str, str] = ("Ann", "Lee"),
        company: str = "",
        email: str = "ann@example.com",
        addresses: Literal["both", "billing", "shipping", "none"] = "both",
        at: datetime | None = None,
        order_id: int | None = None,
        **more: Any,
    ) -> int:
        """lines: (sku, name, quantity, price). more: fields of the order as they are sent. Returns the order's id."""
        given = {
            "customer_id": customer_id, "country": country, "currency": currency, "shipping": shipping, "tax": tax,
            "tax_included": tax_included, "discount": discount, "status": status, "payment_method": payment_method,
            "names": names, "company": company, "email": email, "addresses": addresses,
        }  # fmt: skip
        with self.lock:
            row = order_id if order_id is not None else self._id()
            when = self._moment(at)
            made = data.order(self._id, lines, when, given)
            known = {product["sku"]: number for number, product in self.products.items()}
            for item in made["items"]:  # deleted products stay in orders, and their number points to nothing
                item["product_id"] = known.get(item["sku"], 1_000_000 + item["id"])
            self.orders[row] = {"id": row, "order_number": f"{row:08d}", **made, **more}
            state = "S" if status in ("P", "PP") else "I"
            paid = data.transaction(self._id, payment_method, Decimal(made["total"]), currency, when, state)
            self.transactions[row] = [paid]
            return row

    def touch(self, row: int, at: datetime | None = None, **values: Any) -> None:
        """Change an order: it becomes the newest of all, unless ``at`` says when."""
        with self.lock:
            newest = max(say.time(o["update_date"]) for o in self.orders.values()) + timedelta(seconds=1)
            self.orders[row].update(values, update_date=self._moment(at or max(newest, self.now())))

    # -- webhooks (compat) -----------------------------------------------------------------------------------------

    def webhook(self, row: int, *, event: str = "Order Placed", secret: str = WEBHOOK_SECRET, id_: str = "") -> Webhook:
        """Headers and body as a compat store would send them."""
        order = self.orders[row]
        items = [
            {"sku": i["sku"], "name": i["name"], "price": i["price"], "quantity": i["amount"]} for i in order["items"]
        ]
        said = {"event": event, "orderid": row, "customerid": order["customer_id"], "total_amount": order["total"]}
        body = encode_json({**said, "items": items})
        stamp = str(int(self.now().timestamp()))
        id_ = id_ or f"evt-{event.split()[-1].lower()}-{row}"
        signature = sign(Secret(secret), id_, stamp, body)
        return {
            "content-type": "application/json", "x-webhook-id": id_, "x-webhook-timestamp": stamp,
            "x-webhook-signature": signature,
        }, body  # fmt: skip

    def webhooks(
        self,
        rows: Sequence[int],
        *,
        copies: int = 1,
        shuffled: bool = False,
        forged: int = 0,
        seed: int = 0,
        **more: Any,
    ) -> list[Webhook]:
        """One webhook an order, each ``copies`` times under one id, plus ``forged`` ones signed with another secret."""
        chance = random.Random(seed)
        found = [self.webhook(row, **more) for row in rows for _ in range(copies)]
        found += [self.webhook(chance.choice(rows), secret="somebody-else", id_=f"forged-{n}") for n in range(forged)]
        if shuffled:
            chance.shuffle(found)
        return found

    def send_webhooks(self, url: str, rows: Sequence[int], **more: Any) -> list[int]:
        """Post ``webhooks(rows, …)`` to ``url``; the statuses of the answers, in the order sent."""
        with httpx.Client(trust_env=False, timeout=10) as client:
            return [
                client.post(url, content=body, headers=head).status_code for head, body in self.webhooks(rows, **more)
            ]

    # -- answering -------------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        key = request.headers.get("x-auth-token")
        if key is None:
            return say.json({"code": 401, "message": "JWT Token not found"}, 401)
        if key not in (KEY, READ_ONLY_KEY):
            return say.json({"message": "Invalid token"}, 401)
        if self.forbid or (request.method != "GET" and key == READ_ONLY_KEY):
            return say.json({"message": "Access Denied."}, 403)
        known = False
        for pattern, method, name in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found is None or (pattern.startswith("/api/v2") and not self.compat):
                continue
            known = True
            if request.method == method:
                if method != "GET" and "json" not in request.headers.get("content-type", ""):
                    return say.problem(request, 415, 'The content-type "" is not supported.')
                handler: Callable[..., SimResponse] = getattr(self, name)
                return handler(request, *found.groups())
        if known:
            return say.problem(
                request, 405, f'No route found for "{request.method} {request.path}": Method Not Allowed'
            )
        return SimResponse(404, b"<html><h1>Page not found</h1></html>", {"content-type": "text/html; charset=utf-8"})

    def _list(self, request: SimRequest, rows: list[Row], shown: Callable[[Row], Row] | None = None) -> SimResponse:
        try:
            size = min(max(int(request.query.get("itemsPerPage", "30")), 1), self.largest_page)
            page = int(request.query.get("page", "1"))
        except ValueError:
            return say.problem(request, 400, "Page should be an integer")
        if page < 1:
            return say.problem(request, 400, "Page should not be less than 1")
        part = [shown(row) if shown else row for row in rows[(page - 1) * size : page * size]]
        if "ld+json" not in request.headers.get("accept", ""):
            return say.json(part)
        linked = {"@id": request.path, "@type": "hydra:Collection", "hydra:totalItems": len(rows), "hydra:member": part}
        return say.json(linked, hydra=True)

    def _orders(self, request: SimRequest) -> SimResponse:
        rows = list(self.orders.values())
        for param, name in (("paymentStatus.code", "payment_status"), ("shippingStatus.code", "shipping_status")):
            if param in request.query:
                rows = [o for o in rows if (o[name] or {}).get("code") == request.query[param]]
        if "profile.login" in request.query:
            rows = [o for o in rows if request.query["profile.login"].lower() in o["email"].lower()]
        rows = say.between(rows, request.query, "date")
        for param, name in (("order[lastRenewDate]", "update_date"), ("order[date]", "create_date")):
            if param in request.query and self.sorts:
                rows.sort(key=lambda o: (say.time(o[name]), o["id"]), reverse=request.query[param] == "desc")
        answer = self._list(request, rows, self._shown)
        if self.moves:
            self.touch(self.moves.pop(0))
        if self.deletes:
            del self.orders[self.deletes.pop(0)]
        return answer

    def _shown(self, order: Row) -> Row:
        if self.compat:
            return order
        items = [{k: v for k, v in i.items() if k not in data.MODULE_ITEM_FIELDS} for i in order["items"]]
        return {**{k: v for k, v in order.items() if k not in data.MODULE_FIELDS}, "items": items}

    def _order(self, request: SimRequest, row: str) -> SimResponse:
        order = self.orders.get(int(row))
        return say.json(self._shown(order)) if order else say.problem(request, 404, "Not Found")

    def _by_number(self, request: SimRequest, wanted: str) -> SimResponse:
        order = next((o for o in self.orders.values() if o["order_number"] == wanted), None)
        return say.json(self._shown(order)) if order else say.problem(request, 404, "Not Found")

    def _transactions(self, request: SimRequest, row: str) -> SimResponse:
        return self._list(request, self.transactions.get(int(row), []))

    def _status(self, request: SimRequest, row: str, name: str) -> SimResponse:
        order = self.orders.get(int(row))
        return say.json(order[name]) if order else say.problem(request, 404, "Not Found")

    def _put_status(self, request: SimRequest, row: str, name: str) -> SimResponse:
        body = say.body(request)
        if not isinstance(body, dict):
            return say.problem(request, 400, "Syntax error")
        if int(row) not in self.orders:
            return say.problem(request, 400, f"Order with ID {row} not found")
        made = self._status_of(name, body.get("code"))
        if made is None:
            return say.problem(request, 400, f"Status code '{body.get('code')}' is wrong")
        self._write(int(row), {name: made})
        return say.json(made)

    def _status_of(self, name: str, code: Any) -> Row | None:
        known = data.PAYMENT if name == "payment_status" else data.SHIPPING
        return data.status(code, known) if code in (*known, *self.custom_statuses) else None

    def _write(self, row: int, values: Mapping[str, Any], *, moves: bool = True) -> None:
        self.writes[row] = self.writes.get(row, 0) + 1
        self.orders[row].update(values)
        if moves:
            self.orders[row]["update_date"] = self._moment()

    def _put_compat(self, request: SimRequest, row: str) -> SimResponse:
        """The module: statuses, a tracking number with its carrier, numbers of SAP documents. All or nothing."""
        body = say.body(request)
        order = self.orders.get(int(row))
        if order is None:
            return say.problem(request, 404, "Not Found")
        if not isinstance(body, dict) or not body:
            return say.problem(request, 400, "Syntax error")
        change: Row = {name: body[name] for name in ("carrier", "sap_invoice", "sap_order") if name in body}
        for name in ("payment_status", "shipping_status"):
            if name in body:
                made = self._status_of(name, body[name])
                if made is None:
                    return say.problem(request, 400, f"Status code '{body[name]}' is wrong")
                change[name] = made
        moves = bool(change) or self.tracking_moves_update_date
        wanted = body.get("tracking_number")
        if wanted and wanted not in [t["value"] for t in order["tracking_numbers"]]:
            added = {"id": self._id(), "date": self._moment(), "value": wanted}
            change["tracking_numbers"] = [*order["tracking_numbers"], added]
        self._write(int(row), change, moves=moves)
        return say.json({"id": int(row)})

    def _products(self, request: SimRequest) -> SimResponse:
        return self._list(request, list(self.products.values()), data.product_output)

    def _product(self, request: SimRequest, row: str) -> SimResponse:
        found = self.products.get(int(row))
        return say.json(data.product_output(found)) if found else say.problem(request, 404, "Not Found")

    def _put_product(self, request: SimRequest, row: str) -> SimResponse:
        """A PUT replaces: what it leaves out goes back to its default."""
        before = self.products.get(int(row))
        if before is None:
            return say.problem(request, 404, "Not Found")
        return self._save_product(request, int(row), before) or say.json(data.product_output(self.products[int(row)]))

    def _post_product(self, request: SimRequest) -> SimResponse:
        row = self._id()
        before = {"id": row, "create_date": self._moment(), "images": []}
        refused = self._save_product(request, row, before)
        return refused or say.json(data.product_output(self.products[row]), 201)

    def _save_product(self, request: SimRequest, row: int, before: Row) -> SimResponse | None:
        body = say.body(request)
        if not isinstance(body, dict):
            return say.problem(request, 400, "Syntax error")
        for name, given in body.items():
            if name in data.PRODUCT_DEFAULTS and not say.fits(given, data.PRODUCT_DEFAULTS[name]):
                return say.problem(request, 400, f'The type of the "{name}" attribute must be another one.')
        made = {
            **data.PRODUCT_DEFAULTS,
            **{k: body[k] for k in body if k in data.PRODUCT_DEFAULTS},
        }
        for name, most in (("sku", 32), ("name", 255)):
            if not made[name]:
                return say.violation(request, name, "This value should not be blank.")
            if len(made[name]) > most:
                return say.violation(
                    request, name, f"This value is too long. It should have {most} characters or less."
                )
        for name in ("price", "amount", "weight"):
            if made[name] < 0:
                return say.violation(request, name, "This value should be either positive or zero.")
        if any(p["sku"] == made["sku"] and p["id"] != row for p in self.products.values()):
            return say.violation(request, "sku", "This value is already used.")
        kept = {name: before[name] for name in ("id", "create_date", "images")}
        self.products[row] = {**made, **kept, "update_date": self._moment()}
        self.writes[row] = self.writes.get(row, 0) + 1
        return None

    def _profiles(self, request: SimRequest) -> SimResponse:
        wanted = request.query.get("login", "").lower()
        rows = [p for p in self.profiles.values() if wanted in p["login"].lower()]
        return self._list(request, say.between(rows, request.query, "added"))

    def _profile(self, request: SimRequest, row: str) -> SimResponse:
        found = self.profiles.get(int(row))
        return say.json(found) if found else say.problem(request, 404, "Not Found")

    def _addresses(self, request: SimRequest, row: str) -> SimResponse:
        return self._list(request, self.addresses.get(int(row), []))


_ROUTES = (
    (r"/api/orders", "GET", "_orders"),
    (r"/api/orders/(\d+)", "GET", "_order"),
    (r"/api/orders/by_number/([^/]+)", "GET", "_by_number"),
    (r"/api/orders/(\d+)/payment_transactions", "GET", "_transactions"),
    (r"/api/orders/(\d+)/(payment_status|shipping_status)", "GET", "_status"),
    (r"/api/orders/(\d+)/(payment_status|shipping_status)", "PUT", "_put_status"),
    (r"/api/v2/orders/(\d+)/status", "PUT", "_put_compat"),
    (r"/api/products", "GET", "_products"),
    (r"/api/products", "POST", "_post_product"),
    (r"/api/products/(\d+)", "GET", "_product"),
    (r"/api/products/(\d+)", "PUT", "_put_product"),
    (r"/api/profiles", "GET", "_profiles"),
    (r"/api/profiles/(\d+)", "GET", "_profile"),
    (r"/api/profiles/(\d+)/addresses", "GET", "_addresses"),
)
