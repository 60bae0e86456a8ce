"""X-Cart: orders, products and customers read; statuses, stock and prices written; webhooks of the compat profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from flowrun.connector import (
    Cursor,
    Event,
    EventInfo,
    Health,
    Item,
    ObjectInfo,
    Page,
    Query,
    Receipt,
    Record,
    Request,
    Secret,
    Verdict,
    setting,
)
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, NotFound, Refused, SignatureInvalid, Unavailable
from flowrun.values import Clock, encode_json
from flowrun_connectors._http.bodies import parse_json, read_json
from flowrun_connectors._http.errors import from_exception, from_status
from flowrun_connectors._http.paging import PageGuard
from flowrun_connectors.xcart import normal, webhooks
from flowrun_connectors.xcart.shapes import SHAPES

PAGE = 100  # the most that itemsPerPage takes
COMPAT_ONLY = ("tracking_number", "carrier", "sap_invoice", "sap_order")


@dataclass(frozen=True)
class XCartSettings:
    base_url: str = setting("The store's address, without /api.", example="https://shop.example.com")
    api_key: Secret = setting("A key of Settings → API; writing needs a read/write key.")
    profile: str = setting(
        "native (stock X-Cart 5.5) or compat (a module with /api/v2 and webhooks).", default="native"
    )
    webhook_secret: Any = setting("The webhooks' secret; a list while it is rotated (compat).", default=None)
    language: str = setting("Language of names and texts.", default="en")
    states: Any = setting("State row id → code, since the API gives ids.", default=None)


class XCart:
    """See README.md in this folder for what each profile can do."""

    Settings: ClassVar[type] = XCartSettings
    title: ClassVar[str] = "X-Cart 5.5"
    simulator: ClassVar[str] = "flowrun_connectors.xcart.simulator:XCartSimulator"
    events: ClassVar[Mapping[str, EventInfo]] = {
        "order.placed": EventInfo("order.placed", "orders", thin=True, title="an order was placed (compat)"),
        "order.updated": EventInfo("order.updated", "orders", thin=True, title="an order changed (compat)"),
    }
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "network", "auth", "rejected", "not_found", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        compat = settings.get("profile") == "compat"
        note = "" if compat else "X-Cart's own API takes statuses only; tracking numbers need the compat profile"
        return {
            "orders": ObjectInfo("orders", "Orders", by_key=True, actions={"update": "upsert"}, cursors=("updated_at",),
                                 match=("id",), filters=("status", "shipping_status", "email"), note=note),
            "products": ObjectInfo("products", "Products and stock", by_key=True, actions={"update": "upsert"},
                                   match=("product_id",), filters=(), note="there is no change date to read by"),
            "customers": ObjectInfo("customers", "Customers", by_key=True, filters=("email",), note="read only"),
        }  # fmt: skip

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return cls.objects(settings).get(object)

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return SHAPES.get(object)

    @classmethod
    def auth(cls, settings: XCartSettings) -> httpx.Auth:
        class Key(httpx.Auth):  # in here, because asking what X-Cart can do should not load an HTTP client
            def auth_flow(self, request: httpx.Request) -> Any:
                request.headers["X-Auth-Token"] = settings.api_key.reveal()
                yield request

        return Key()

    def __init__(self, settings: XCartSettings, http: httpx.Client, now: Clock) -> None:
        if settings.profile not in ("native", "compat"):
            raise Refused(f"there is no profile '{settings.profile}'", help="native or compat")
        self.settings = settings
        self.http = http
        self._now = now
        self._states = {str(k): str(v) for k, v in (settings.states or {}).items()}

    # -- talking ---------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, *, body: Any = None, params: Mapping[str, str] | None = None, linked: bool = False
    ) -> Any:
        writing = method != "GET"
        headers = {
            "accept": "application/ld+json" if linked else "application/json",
            "accept-language": self.settings.language,
        }
        try:
            content = encode_json(body) if body is not None else None
            if content is not None:
                headers["content-type"] = "application/json"
            response = self.http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise from_exception(error, writing=writing) from None
        if response.status_code >= 300:
            raise self._error(response, writing)
        if writing and "json" not in response.headers.get("content-type", "").lower() and response.status_code != 204:
            raise from_exception(httpx.ReadError("no JSON"), writing=True)
        return read_json(response) if response.content else None

    def _error(self, response: httpx.Response, writing: bool) -> ConnectorError:
        """API Platform's bodies: ``detail`` (JSON), ``hydra:description`` and ``violations`` (JSON-LD)."""
        words, field = "", ""
        if "json" in response.headers.get("content-type", ""):
            try:
                body = parse_json(response.content)
            except ConnectorError:
                body = {}
            if isinstance(body, dict):
                words = str(body.get("detail") or body.get("hydra:description") or body.get("message") or "")
                violations = body.get("violations")
                if isinstance(violations, list) and violations and isinstance(violations[0], dict):
                    field = str(violations[0].get("propertyPath", ""))
        if response.status_code == 400 and "not found" in words:
            return NotFound(words, status=400)
        return from_status(response, words, field=field, writing=writing)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        """orders: changed since the cursor (``updated_at``, ISO in UTC), oldest first. products, customers: all."""
        if query.object == "orders":
            yield from self._orders(query)
            return
        path = {"products": "api/products", "customers": "api/profiles"}.get(query.object)
        if path is None:
            raise Refused(f"X-Cart has no object '{query.object}'")
        params = {"login": _one(query.filter["email"])} if "email" in query.filter else {}
        for found in self._pages(path, params, query.page_size):
            made = [
                normal.product(f) if query.object == "products" else normal.customer(f, self._states) for f in found
            ]
            yield Page(made)

    def _pages(self, path: str, params: Mapping[str, str], size: int | None) -> Iterator[list[dict[str, Any]]]:
        """Pages by JSON-LD, which has totals and a next link; plain JSON has neither."""
        guard = PageGuard()
        number, seen = 1, 0
        per_page = min(size or PAGE, PAGE)
        while True:
            found = self._ask(
                "GET", path, params={**params, "itemsPerPage": str(per_page), "page": str(number)}, linked=True
            )
            members = found.get("hydra:member") if isinstance(found, dict) else None
            if not isinstance(members, list):
                raise Unavailable("the answer holds no list (hydra:member)")
            if not members:
                return
            yield guard.page(members)
            seen += len(members)
            total = found.get("hydra:totalItems")
            if len(members) < per_page or (isinstance(total, int) and seen >= total):
                return
            number += 1

    def _orders(self, query: Query) -> Iterator[Page]:
        """The API sorts by change but cannot filter by it: read newest first down to the watermark, then turn round.

        Orders may move up to page 1 while we page; the same order seen twice counts once, in its newest copy.
        """
        since = query.since.value if query.since is not None else None
        params = {"order[lastRenewDate]": "desc"}
        if "status" in query.filter and isinstance(query.filter["status"], str):
            params["paymentStatus.code"] = query.filter["status"]
        if "shipping_status" in query.filter and isinstance(query.filter["shipping_status"], str):
            params["shippingStatus.code"] = query.filter["shipping_status"]
        found: dict[str, dict[str, Any]] = {}
        for members in self._pages("api/orders", params, query.page_size):
            older = 0
            for raw in members:
                changed = normal.moment(raw.get("update_date")) or normal.moment(raw.get("create_date")) or ""
                if since is not None and changed < since:
                    older += 1
                    continue
                there = found.get(str(raw["id"]))
                if there is None or (normal.moment(there.get("update_date")) or "") < changed:
                    found[str(raw["id"])] = raw
            if older:
                break
        rows = sorted(
            (normal.order(raw, self._states) for raw in found.values()), key=lambda o: (o["updated_at"], o["order_id"])
        )
        rows = [row for row in rows if _passes(row, query.filter)]
        for start in range(0, len(rows), PAGE):
            part = rows[start : start + PAGE]
            yield Page(part, Cursor(part[-1]["updated_at"]))

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        value = next(iter(key.values()))
        try:
            if object == "orders":
                return normal.order(self._ask("GET", f"api/orders/{_id(value)}"), self._states)
            if object == "products":
                return normal.product(self._ask("GET", f"api/products/{_id(value)}"))
            if object == "customers":
                return normal.customer(self._ask("GET", f"api/profiles/{_id(value)}"), self._states)
        except NotFound:
            return None
        raise Refused(f"X-Cart has no object '{object}'")

    # -- writing ---------------------------------------------------------------------------------------------------

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        found = self.get(object, by)
        return [Receipt(str(next(iter(by.values()))), response=found)] if found is not None else []

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for item in items:
            try:
                if item.object == "orders":
                    verdicts.append(self._update_order(item.body))
                elif item.object == "products":
                    verdicts.append(self._update_product(item.body))
                else:
                    verdicts.append(Refused(f"X-Cart's API does not write '{item.object}'"))
            except ConnectorError as error:
                verdicts.append(error)
        return verdicts

    def _update_order(self, body: Mapping[str, Any]) -> Receipt:
        """Statuses are read first and left alone when equal: setting one sends e-mails and moves stock."""
        number = _id(body.get("id"))
        compat = self.settings.profile == "compat"
        extra = {name: body[name] for name in COMPAT_ONLY if body.get(name) not in (None, "")}
        if extra and not compat:
            names = ", ".join(extra)
            raise Refused(
                f"X-Cart's own API takes statuses only, not {names}",
                field=next(iter(extra)),
                help="use the compat profile, or leave these fields out",
            )
        payment = body.get("payment_status", body.get("status"))
        shipping = body.get("shipping_status")
        there = self._ask("GET", f"api/orders/{number}")
        if compat:
            change = {**extra}
            if payment and (there.get("payment_status") or {}).get("code") != payment:
                change["payment_status"] = payment
            if shipping and (there.get("shipping_status") or {}).get("code") != shipping:
                change["shipping_status"] = shipping
            if change:
                self._ask("PUT", f"api/v2/orders/{number}/status", body=change)
        else:
            for name, code in (("payment_status", payment), ("shipping_status", shipping)):
                if code and (there.get(name) or {}).get("code") != code:
                    self._ask("PUT", f"api/orders/{number}/{name}", body={"code": code})
        return Receipt(str(number), response={"id": int(number)})

    def _update_product(self, body: Mapping[str, Any]) -> Receipt:
        """Read, change, write back whole: a PUT resets what it leaves out."""
        number = _id(body.get("product_id"))
        there = self._ask("GET", f"api/products/{number}")
        whole = normal.product_input(there)
        for ours, theirs in (
            ("quantity", "amount"),
            ("enabled", "enabled"),
            ("price", "price"),
            ("name", "name"),
            ("sku", "sku"),
            ("weight", "weight"),
        ):
            if ours in body:
                whole[theirs] = body[ours]
        if all(there.get(name) == value for name, value in whole.items() if name in there):
            return Receipt(str(number), response={"product_id": int(number)})
        self._ask("PUT", f"api/products/{number}", body=whole)
        return Receipt(str(number), response={"product_id": int(number)})

    # -- receiving, checking ---------------------------------------------------------------------------------------

    def receive(self, request: Request) -> Sequence[Event]:
        """Compat only. The event is a hint; the order is read back over the API."""
        secrets = self.settings.webhook_secret
        listed = list(secrets) if isinstance(secrets, list | tuple) else [secrets] if secrets else []
        if not listed:
            raise SignatureInvalid("the webhook's signature does not hold")
        id_ = webhooks.verify(request, [s if isinstance(s, Secret) else Secret(str(s)) for s in listed])
        return webhooks.parse(request, id_)

    def check(self) -> Health:
        try:
            self._ask("GET", "api/orders", params={"itemsPerPage": "1"}, linked=True)
        except ConnectorError as error:
            return Health(False, f"{error.error_class}: {error.message}")
        return Health(True, f"orders can be read ({self.settings.profile})")


def _one(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else next(iter(value), "")


def _id(value: Any) -> str:
    """An X-Cart id as part of a path. Raises Refused for anything but digits."""
    text = str(value)
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"'{text[:40]}' is no X-Cart id", field="id")
    return text


def _passes(row: Mapping[str, Any], filter_: Mapping[str, str | Sequence[str]]) -> bool:
    for name, wanted in filter_.items():
        if str(row.get(name)) not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True
