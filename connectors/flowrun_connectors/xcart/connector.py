"""X-Cart: orders, products and customers read; statuses, stock and prices written; webhooks of the compat profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import httpx

from flowrun.connector import (
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
from flowrun.errors import ConnectorError, ProjectError, Refused, SignatureInvalid
from flowrun.values import Clock
from flowrun_connectors.xcart import webhooks
from flowrun_connectors.xcart.api import Api
from flowrun_connectors.xcart.normal import OWN_FIELDS, Words
from flowrun_connectors.xcart.reading import Reader
from flowrun_connectors.xcart.shapes import shape
from flowrun_connectors.xcart.writing import update_order, update_product

PROFILES = ("native", "compat")


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
    fields: Any = setting(
        "What the store's modules call payment_method, payment_terms, sku_group, unit, company, sap_partner.",
        default=None,
    )
    payments: bool = setting(
        "Ask for the payment transactions of orders that do not name their payment method.", default=True
    )
    timezone: str = setting("Zone of dates that come without an offset.", default="UTC")

    def __post_init__(self) -> None:
        given = self.webhook_secret
        listed = given if isinstance(given, list | tuple) else [] if given in (None, "") else [given]
        secrets = tuple(one if isinstance(one, Secret) else Secret(str(one), "webhook_secret") for one in listed)
        object.__setattr__(self, "webhook_secret", secrets)


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
        {"rate_limited", "network", "auth", "rejected", "not_found", "conflict", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        compat = settings.get("profile") == "compat"
        note = "orders are not created over X-Cart's API" if compat else (
            "X-Cart's own API takes statuses only; tracking numbers need the compat profile, and orders are not created"
        )  # fmt: skip
        return {
            "orders": ObjectInfo(
                "orders", "Orders", by_key=True, actions={"update": "upsert"}, cursors=("updated_at", "created_at"),
                match=("id",), filters=("status", "shipping_status", "email", "created_after"), note=note),
            "products": ObjectInfo(
                "products", "Products and stock", by_key=True, actions={"update": "upsert"}, cursors=("updated_at",),
                match=("product_id",), filters=(), note="every read goes through all products"),
            "customers": ObjectInfo(
                "customers", "Customers", by_key=True, cursors=("created_at",), filters=("email",),
                note="read only; expand: [addresses] brings names and addresses"),
        }  # fmt: skip

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return cls.objects(settings).get(object)

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return shape(object, settings.get("profile") == "compat")

    @classmethod
    def auth(cls, settings: XCartSettings) -> httpx.Auth:
        class Key(httpx.Auth):  # in here, because asking what X-Cart can do should not load an HTTP client
            def auth_flow(self, request: httpx.Request) -> Any:
                request.headers["X-Auth-Token"] = settings.api_key.reveal()
                yield request

        return Key()

    def __init__(self, settings: XCartSettings, http: httpx.Client, now: Clock) -> None:
        """Raises ProjectError for a profile, zone or table that is none."""
        if settings.profile not in PROFILES:
            raise ProjectError(f"X-Cart has no profile '{settings.profile}'", help=" or ".join(PROFILES))
        self.settings = settings
        self.http = http
        self._now = now
        self._compat = settings.profile == "compat"
        self._api = Api(http, settings.language)
        self._reader = Reader(self._api, _words(settings), settings.payments)

    def read(self, query: Query) -> Iterator[Page]:
        """Oldest first. orders: changed since ``updated_at`` (default), or created since ``created_at``; the first is
        held in memory until the watermark is reached. products: changed since ``updated_at``, or all. customers:
        created since ``created_at``, or all.
        """
        return self._reader.read(query)

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        """orders by order_id, id or order_number; products by product_id or sku; customers by customer_id or email."""
        return self._reader.get(object, key)

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        """The fields of ``by`` are those that ``get`` knows."""
        found = self.get(object, by)
        if found is None:
            return []
        names = {"orders": "order_id", "products": "product_id", "customers": "customer_id"}
        return [Receipt(str(found[names[object]]), response=found)]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [self._deliver(item) for item in items]

    def _deliver(self, item: Item) -> Verdict:
        try:
            if item.object not in ("orders", "products") or item.action != "update":
                note = self.objects({"profile": self.settings.profile}).get(item.object)
                raise Refused(f"X-Cart's API cannot {item.action} {item.object}", help=note.note if note else "")
            if item.object == "orders":
                return update_order(self._api, item.body, self._compat)
            return update_product(self._api, item.body)
        except ConnectorError as error:
            return error

    def receive(self, request: Request) -> Sequence[Event]:
        """The event is a hint; the order is read back over the API. Raises SignatureInvalid, Refused."""
        if not self.settings.webhook_secret:
            raise SignatureInvalid("the webhook's signature does not hold")
        return webhooks.parse(request, webhooks.verify(request, self.settings.webhook_secret, request.received_at))

    def check(self) -> Health:
        try:
            _, total = self._api.page("api/orders", {}, 1, 1)
        except ConnectorError as error:
            help_ = f" ({error.help})" if error.help else ""
            return Health(False, f"{error.error_class}: {error.message}{help_}")
        return Health(True, f"{total} orders can be read ({self.settings.profile})")


def _words(settings: XCartSettings) -> Words:
    for name in ("states", "fields"):
        if not isinstance(getattr(settings, name) or {}, Mapping):
            raise ProjectError(f"X-Cart: '{name}' is a table", help=f'{name}: {{ "184": CA }}')
    unknown = sorted(set(settings.fields or {}) - set(OWN_FIELDS))
    if unknown:
        raise ProjectError(f"X-Cart: fields has no '{unknown[0]}'", help=f"it has {', '.join(OWN_FIELDS)}")
    try:
        zone = ZoneInfo(settings.timezone)
    except (KeyError, ValueError, OSError):
        raise ProjectError(f"X-Cart: there is no time zone '{settings.timezone}'", help="Europe/Berlin") from None
    states = {str(number): str(code) for number, code in (settings.states or {}).items()}
    return Words(states, {**OWN_FIELDS, **{k: str(v) for k, v in (settings.fields or {}).items()}}, zone)
