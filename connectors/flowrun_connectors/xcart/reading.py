"""What can be read: orders by change or creation, products, customers; each also one by one.

The API sorts orders by change but cannot filter by it, so they are read newest first down to the watermark and handed
on oldest first. Creation dates it filters by, but a date it cannot read is ignored in silence and everything comes, so
what comes back is checked. Source: fact sheet, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from flowrun.connector import Cursor, Page, Query
from flowrun.errors import ConnectorError, NotFound, Refused
from flowrun_connectors.xcart import normal
from flowrun_connectors.xcart.api import Api
from flowrun_connectors.xcart.windows import LARGEST, windows
from flowrun_connectors.xcart.writing import row_id

Raw = dict[str, Any]
Made = dict[str, Any]


class Reader:
    """payments: ask for the payment transactions of orders that do not name their payment method."""

    def __init__(self, api: Api, words: normal.Words, payments: bool) -> None:
        self._api = api
        self._words = words
        self._payments = payments
        self._skus: dict[str, str] = {}

    # -- many ------------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        if query.object == "orders" and query.cursor == "created_at":
            return self._by_creation(query)
        if query.object == "orders":
            return self._by_change(query)
        if query.object == "products":
            return self._products(query)
        if query.object == "customers":
            return self._customers(query)
        raise Refused(f"X-Cart has no object '{query.object}'")

    def _by_change(self, query: Query) -> Iterator[Page]:
        """Newest first until a row is older than the watermark; then turned round, oldest change first. The same order
        seen twice counts once, in its newest copy."""
        since = _since(query)
        params = {"order[lastRenewDate]": "desc", **_order_params(query)}
        found: dict[str, Raw] = {}
        for rows in self._windows("api/orders", params, query.page_size):
            self._obeys(rows, query.filter.get("created_after"))
            at = [normal.changed(row, self._words.zone) for row in rows]
            if any(earlier < later for earlier, later in pairwise(at)):
                raise ConnectorError("the store does not sort its orders by last change")
            for row, when in zip(rows, at, strict=True):
                there = found.get(str(row["id"]))
                if (since is None or when >= since) and (
                    there is None or normal.changed(there, self._words.zone) <= when
                ):
                    found[str(row["id"])] = row
            if since is not None and at and at[-1] < since:
                break
        made = [self._order(row) for row in found.values()]
        made.sort(key=lambda one: (one["updated_at"], len(one["order_id"]), one["order_id"]))
        yield from self._handed(made, query, "updated_at")

    def _by_creation(self, query: Query) -> Iterator[Page]:
        """Oldest first as they come: creation dates do not move."""
        since = _since(query)
        asked = max((day for day in (since, _day(query.filter.get("created_after"))) if day), default=None)
        params = {"order[date]": "asc", **_order_params(query), **({"date[after]": asked} if asked else {})}
        seen: set[str] = set()
        last = ""
        for rows in self._windows("api/orders", params, query.page_size):
            self._obeys(rows, asked)
            made = []
            for row in rows:
                if str(row["id"]) not in seen:
                    seen.add(str(row["id"]))
                    made.append(self._order(row))
            at = [one["created_at"] or "" for one in made]
            if any(later < earlier for earlier, later in pairwise([last, *at])):
                raise ConnectorError("the store does not sort its orders by creation")
            last = at[-1] if at else last
            yield from self._handed(made, query, "created_at")

    def _products(self, query: Query) -> Iterator[Page]:
        """All of them: there is no filter by change, so ``updated_at`` is compared here."""
        since = _since(query)
        made = [normal.product(row, self._words) for row in self._all("api/products", {}, query.page_size)]
        if query.cursor is not None:
            made = [one for one in made if since is None or (one["updated_at"] or "") >= since]
            made.sort(key=lambda one: (one["updated_at"] or "", one["product_id"]))
        yield from self._handed(made, query, query.cursor)

    def _customers(self, query: Query) -> Iterator[Page]:
        """``login`` is a contains-filter, so the e-mail is compared again. People of the shop itself are left out."""
        since = _since(query)
        wanted = query.filter.get("email")
        params = {"login": wanted} if isinstance(wanted, str) else {}
        if since is not None:
            params["added[after]"] = since
        rows = list(self._all("api/profiles", params, query.page_size))
        for row in rows:
            created = normal.moment(row.get("create_date"), self._words.zone)
            if since is not None and (created or "") < since:
                raise ConnectorError("the store ignored added[after] and gave older customers")
        with_addresses = "addresses" in query.expand
        made = [self._customer(row, with_addresses) for row in rows if not row.get("access_level")]
        if query.cursor is not None:
            made.sort(key=lambda one: (one["created_at"] or "", len(one["customer_id"]), one["customer_id"]))
        yield from self._handed(made, query, query.cursor)

    def _windows(self, path: str, params: Mapping[str, str], size: int | None) -> Iterator[list[Raw]]:
        return windows(lambda number, rows: self._api.page(path, params, number, rows), size)

    def _all(self, path: str, params: Mapping[str, str], size: int | None) -> Iterator[Raw]:
        seen: set[str] = set()
        for rows in self._windows(path, params, size):
            for row in rows:
                if str(row["id"]) not in seen:
                    seen.add(str(row["id"]))
                    yield row

    def _handed(self, made: Sequence[Made], query: Query, cursor: str | None) -> Iterator[Page]:
        """Pages of what passes the filter. The cursor goes on past what does not."""
        size = max(1, query.page_size or LARGEST)
        for start in range(0, len(made), size):
            part = made[start : start + size]
            place = part[-1].get(cursor) if cursor else None
            passed = [one for one in part if _passes(one, query.filter)]
            if query.object == "orders":
                for one in passed:
                    self._pay(one)
            yield Page(passed, Cursor(place) if place else None)

    def _obeys(self, rows: Sequence[Raw], after: Any) -> None:
        asked = _day(after)
        if asked is None:
            return
        for row in rows:
            created = normal.moment(row.get("create_date"), self._words.zone)
            if created is None or created < asked:
                raise ConnectorError(
                    f"the store ignored date[after] and gave order {row.get('id')} of {created}",
                    help="everything would come; read without the filter, or report the store's version",
                )

    # -- one -------------------------------------------------------------------------------------------------------

    def get(self, object_: str, key: Mapping[str, Any]) -> Made | None:
        """orders by order_id (or id), or order_number; products by product_id, or sku; customers by customer_id, or
        email. The first of these that the key holds is asked."""
        objects: dict[str, dict[str, Callable[[Any], Made | None]]] = {
            "orders": {
                "order_id": lambda v: self._one_order(f"api/orders/{row_id(v)}"),
                "id": lambda v: self._one_order(f"api/orders/{row_id(v)}"),
                "order_number": lambda v: self._one_order(f"api/orders/by_number/{quote(str(v), safe='')}"),
            },
            "products": {
                "product_id": lambda v: normal.product(self._api.one(f"api/products/{row_id(v)}"), self._words),
                "sku": lambda v: self._product_by_sku(str(v)),
            },
            "customers": {
                "customer_id": lambda v: self._customer(self._api.one(f"api/profiles/{row_id(v)}"), True),
                "email": lambda v: self._customer_by_email(str(v)),
            },
        }
        if object_ not in objects:
            raise Refused(f"X-Cart has no object '{object_}'")
        ways = objects[object_]
        for name, ask in ways.items():
            if key.get(name) is not None:
                try:
                    return ask(key[name])
                except NotFound:
                    return None
        raise Refused(f"{object_} are found by {', '.join(ways)}, not by {', '.join(key) or 'nothing'}")

    def _one_order(self, path: str) -> Made:
        return self._pay(self._order(self._api.one(path)))

    def _product_by_sku(self, sku: str) -> Made | None:
        """There is no filter by SKU: a full scan fills a table, which is asked again when it has gone stale."""
        number = self._skus.get(sku)
        if number is not None:
            try:
                found = self._api.one(f"api/products/{number}")
                if found.get("sku") == sku:
                    return normal.product(found, self._words)
            except NotFound:
                pass
        rows = {str(row.get("sku")): row for row in self._all("api/products", {}, None)}
        self._skus = {name: str(row["id"]) for name, row in rows.items()}
        return normal.product(rows[sku], self._words) if sku in rows else None

    def _customer_by_email(self, email: str) -> Made | None:
        for row in self._all("api/profiles", {"login": email}, None):
            if str(row.get("login", "")).lower() == email.lower() and not row.get("access_level"):
                return self._customer(row, True)
        return None

    # -- making ----------------------------------------------------------------------------------------------------

    def _order(self, row: Raw) -> Made:
        if row.get("id") is None:
            raise ConnectorError("the store gave an order without id")
        return normal.order(row, self._words)

    def _pay(self, order: Made) -> Made:
        """Stock orders do not name their payment method; their transactions do."""
        if order["payment_method"] is None and self._payments:
            path = f"api/orders/{order['order_id']}/payment_transactions"
            try:
                rows, _ = self._api.page(path, {"order[date]": "asc"}, 1, LARGEST)
            except NotFound:
                rows = []
            order["payment_method"] = normal.payment_method(rows)
        return order

    def _customer(self, row: Raw, with_addresses: bool) -> Made:
        if row.get("id") is None:
            raise ConnectorError("the store gave a customer without id")
        path = f"api/profiles/{row_id(row['id'])}/addresses"
        return normal.customer(row, list(self._all(path, {}, None)) if with_addresses else None, self._words)


def _since(query: Query) -> str | None:
    """The cursor in the form that our own times have, so that text compares as time. Raises Refused for no time."""
    return _day(query.since.value) if query.since is not None else None


def _day(value: Any) -> str | None:
    """A day or time of the flow as a time in UTC. Checked here: the store ignores one it cannot read."""
    if value is None:
        return None
    try:
        return normal.moment(str(value))
    except ConnectorError:
        raise Refused(f"'{str(value)[:40]}' is no day or time", help="2026-03-01 or 2026-03-01T00:00:00Z") from None


def _order_params(query: Query) -> dict[str, str]:
    """Filters that the store applies itself. A list of values is applied here instead, after the read."""
    names = {"status": "paymentStatus.code", "shipping_status": "shippingStatus.code", "email": "profile.login"}
    found = {names[n]: v for n, v in query.filter.items() if n in names and isinstance(v, str)}
    after = _day(query.filter.get("created_after"))
    return {**found, **({"date[after]": after} if after else {})}


def _passes(row: Mapping[str, Any], filter_: Mapping[str, str | Sequence[str]]) -> bool:
    for name, wanted in filter_.items():
        values = [wanted] if isinstance(wanted, str) else list(wanted)
        if name == "created_after":
            continue
        if name == "email":
            if str(row.get("email") or "").lower() not in [value.lower() for value in values]:
                return False
        elif str(row.get(name)) not in values:
            return False
    return True
