"""What the mapping benchmark maps: orders as the X-Cart connector hands them over, and the shipped flow by hand.

An order is 1.4 KB on average: one to six lines of a catalogue of 1,500 articles, two nested addresses, discounts and
taxes on some. Amounts are sums, so totals hardly repeat; prices do, as in a shop. Some names are not ASCII.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flowrun.expressions.graphemes import cut

ROOT = Path(__file__).parents[2]
FLOW = ROOT / "flows/xcart-s4hana/orders-to-s4.yaml"
ENV = {"sales_org": "1710", "home_country": "US", "guest_customer": "17100099", "price_condition": "PPR0"}
CUSTOMERS = {str(number): f"1710{number:04d}" for number in range(1, 800)}
NEW_YORK = ZoneInfo("America/New_York")

_CATALOGUE = random.Random(7)
ARTICLES = [
    {
        "sku": f" {group[:2].lower()}-{number:04d}" + ("x " if number % 5 == 0 else ""),
        "name": f"{group.title()} no. {number}, {_CATALOGUE.choice(['red', 'blue', 'grün', 'white with a golden edge and a lid'])}",
        "sku_group": group.lower(),
        "price": f"{_CATALOGUE.randint(3, 180)}.{_CATALOGUE.choice(['00', '50', '95', '99', '125', '4950'])}",
        "unit": _CATALOGUE.choice(["each", "piece", None]),
    }
    for number, group in ((n, ["MUGS", "PLATES", "AB"][n % 3]) for n in range(1500))
]  # fmt: skip
PEOPLE = [("Ann", "Lee"), ("Jürgen", "Weiß"), ("María José", "Fernández"), ("Bo", "Nygård"), ("Chidi", "Okafor")]
PLACES = [
    {"street": "1 Main Street, third floor", "city": "San Francisco", "zip": "94105", "state": "CA", "country": "US"},
    {"street": "Lange Straße 12", "city": "Köln", "zip": "50667", "state": None, "country": "DE"},
    {"street": "Karl Johans gate 5", "city": "Oslo", "zip": "0154", "state": "", "country": "NO"},
    {"street": "350 Fifth Avenue, Suite 7510, Empire State Building", "city": "New York", "zip": "10118", "state": "NY", "country": "us"},
]  # fmt: skip


def orders(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """The same orders for the same seed, one at a time."""
    chance = random.Random(seed)
    for number in range(count):
        yield _order(number, chance)


def _order(number: int, chance: random.Random) -> dict[str, Any]:
    lines, subtotal = [], Decimal(0)
    for place in range(1, 1 + chance.randint(1, 6)):
        article = ARTICLES[int(len(ARTICLES) * chance.random() ** 3)]
        ordered = chance.choice([1, 1, 1, 2, 3, 12])
        amount = (Decimal(article["price"] or 0) * ordered).quantize(Decimal("0.01"), ROUND_HALF_UP)
        subtotal += amount
        lines.append({"line_id": f"{number}-{place}", **article, "amount_ordered": ordered, "amount": str(amount)})
    freight = Decimal(chance.choice(["0.00", "4.95", "12.50"]))
    discount = (subtotal / 10).quantize(Decimal("0.01")) if number % 4 == 0 else Decimal(0)
    tax = ((subtotal - discount) * 8 / 100).quantize(Decimal("0.01"))
    first, last = PEOPLE[number % 5]
    who = {"firstname": first, "lastname": last, "phone": "+1 555 0100"}
    at = 1_767_225_600 + number * 97 + chance.randint(0, 96)
    customer = str(chance.randint(1, 799)) if number % 9 else None
    return {
        "order_id": str(100_000 + number), "status": "P" if number % 3 else "A", "updated_at": "2026-05-04T10:00:00Z",
        "date": at, "customer_id": customer, "email": f"{last.lower()}{number}@example.com",
        "currency": "usd", "payment_method": chance.choice(["CC", "CC", "PP", "INV"]), "payment_terms": "0001" if number % 7 == 0 else None,
        "subtotal": str(subtotal), "total_amount": str(subtotal - discount + tax + freight), "total_difference": "0.00",
        "shipping": {"method": "UPS ground", "cost": str(freight)},
        "billing": {**who, **PLACES[number % 4]}, "shipping_address": {**who, **PLACES[chance.randint(0, 3)]},
        "discounts": [{"code": "DISCOUNT", "amount": str(-discount)}] if discount else [],
        "taxes": [{"code": "TAX", "amount": str(tax)}], "notes": "leave it at the door, please", "items": lines,
    }  # fmt: skip


# -- by hand ---------------------------------------------------------------------------------------------------------


def _table(name: str, *columns: str) -> dict[Any, str]:
    with (ROOT / "lookups" / name).open(encoding="utf-8", newline="") as file:
        *find, answer = columns
        return {(row[find[0]] if len(find) == 1 else tuple(row[c] for c in find)): row[answer] for row in csv.DictReader(file)}  # fmt: skip


COUNTRIES = {key.lower(): value for key, value in _table("countries.csv", "alpha2", "sap").items()}
PAYMENT = _table("payment_methods.csv", "xcart", "sap")
PLANTS = _table("plants.csv", "country", "sku_group", "plant")
UNITS = _table("units.csv", "shop", "sap")
CENT, MILLI = Decimal("0.01"), Decimal("0.001")


class Skip(Exception):
    pass


def blank(value: Any) -> bool:
    return value is None or (type(value) is str and (not value or value.isspace()))


def text(record: dict[str, Any], name: str, most: int) -> str:
    """The text that must be there and must fit."""
    value = record.get(name)
    if blank(value):
        raise ValueError(f"{name} has no value")
    if type(value) is not str:
        value = str(value)
    if len(value) > most:
        raise ValueError(f"{name} is longer than {most}")
    return value


def optional(record: dict[str, Any], name: str, most: int) -> str | None:
    return None if blank(record.get(name)) else text(record, name, most)


def short(record: dict[str, Any], name: str, most: int) -> str:
    value = text(record, name, 1_000_000)
    return value if len(value) <= most else cut(value, most)


def number(record: dict[str, Any], name: str) -> Decimal:
    value = record.get(name)
    if blank(value):
        raise ValueError(f"{name} has no value")
    return Decimal(value)


def inner(record: dict[str, Any], name: str, kind: type = dict) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name} is missing")
    return value


def by_hand(order: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """What a careful programmer writes for this one flow: the same values, and a reason for each that is not there or
    does not fit. What is needed several times is computed once."""
    if order.get("status") not in ("P", "A"):
        raise Skip
    items = inner(order, "items", list)
    order_id = text(order, "order_id", 32)
    if not items:
        raise ValueError(f"Order {order_id} has no lines")
    difference = order.get("total_difference")
    if difference is not None and Decimal(difference) != 0:
        raise ValueError(f"the order's parts and its total differ by {difference}")
    lines = sum(number(item, "amount") for item in items).quantize(CENT, ROUND_HALF_UP)  # type: ignore[union-attr]
    if lines != number(order, "subtotal"):
        warnings.append(f"Lines sum up to {lines}, the order says {order['subtotal']}")
    address = inner(order, "shipping_address")
    code = text(address, "country", 1000)
    country = COUNTRIES.get(code.lower())
    if country is None:
        raise ValueError(f"countries has no row for {code}")
    customer = order.get("customer_id")
    if customer is None:
        sold_to = ENV["guest_customer"]
    else:
        found = CUSTOMERS.get(text(order, "customer_id", 1000))
        if found is None:
            raise ValueError(f"customers has no row for {customer}")
        sold_to = found
    sold_to = sold_to.strip()
    if sold_to.isascii() and sold_to.isdigit():
        sold_to = sold_to.zfill(10)
    if len(sold_to) > 10:
        raise ValueError("SoldToParty is longer than 10")
    big = number(order, "total_amount") > 1000
    foreign = text(inner(order, "billing"), "country", 1000) != ENV["home_country"]
    bare = text(order, "currency", 1000).upper()
    currency = bare.strip()
    if len(bare) > 5:
        raise ValueError("TransactionCurrency is longer than 5")
    method = text(order, "payment_method", 1000)
    payment = PAYMENT.get(method)
    if payment is None:
        warnings.append(f"payment has no row for {method}")
        payment = "Z"
    body: dict[str, Any] = {
        "SalesOrderType": "ZEXB" if big and foreign else "ZBIG" if big else "OR",
        "SalesOrganization": ENV["sales_org"],
        "DistributionChannel": "10",
        "OrganizationDivision": "00",
        "SoldToParty": sold_to,
        "PurchaseOrderByCustomer": f"XC-{order_id}",
        "CustomerPurchaseOrderDate": datetime.fromtimestamp(number_of_seconds(order), NEW_YORK).date().isoformat(),
        "TransactionCurrency": currency,
        "PaymentMethod": payment,
    }
    terms = optional(order, "payment_terms", 4)
    if terms is not None:
        body["CustomerPaymentTerms"] = terms
    name = f"{text(address, 'firstname', 1000)} {text(address, 'lastname', 1000)}".strip()
    there: dict[str, Any] = {
        "OrganizationName1": name if len(name) <= 40 else cut(name, 40),
        "StreetName": short(address, "street", 60),
        "CityName": short(address, "city", 40),
    }
    postal = optional(address, "zip", 10)
    if postal is not None:
        there["PostalCode"] = postal
    if not blank(address.get("state")):
        there["Region"] = short(address, "state", 3)
    there["Country"] = country
    email = optional(order, "email", 241)
    if email is not None:
        there["EmailAddress"] = email
    body["to_Partner"] = [{"PartnerFunction": "SH", "Customer": sold_to, "to_Address": [there]}]
    conditions = []
    freight = number(inner(order, "shipping"), "cost")
    if freight > 0:
        conditions.append(
            {
                "ConditionType": "HD00",
                "ConditionRateValue": str(freight.quantize(CENT, ROUND_HALF_UP)),
                "ConditionCurrency": bare,
            }
        )
    discounts = inner(order, "discounts", list)
    if discounts:
        total = sum(number(each, "amount") for each in discounts)
        conditions.append(
            {
                "ConditionType": "HB00",
                "ConditionRateValue": str(total.quantize(CENT, ROUND_HALF_UP)),  # type: ignore[union-attr]
                "ConditionCurrency": bare,
            }
        )
    if conditions:
        body["to_PricingElement"] = conditions
    taxes = inner(order, "taxes", list)
    if taxes:
        total = sum(number(each, "amount") for each in taxes)
        words = f"Shop tax {total} {order['currency']}"
        body["to_Text"] = [{"Language": "EN", "LongTextID": "TX01", "LongText": words}]
    rows = []
    for n, line in enumerate(items, 1):
        row: dict[str, Any] = {
            "SalesOrderItem": str(n * 10),
            "Material": text(line, "sku", 40).strip().upper(),
        }
        if not blank(line.get("name")):
            row["SalesOrderItemText"] = short(line, "name", 40)
        row["RequestedQuantity"] = str(exactly(number(line, "amount_ordered"), MILLI))
        unit = line.get("unit")
        if blank(unit):
            row["RequestedQuantityUnit"] = "PC"
        else:
            row["RequestedQuantityUnit"] = UNITS[unit]
        group = line.get("sku_group")
        group = "none" if blank(group) else group.upper()
        row["ProductionPlant"] = PLANTS.get((country, group), "1710")
        row["to_PricingElement"] = [
            {
                "ConditionType": ENV["price_condition"],
                "ConditionRateValue": str(number(line, "price").quantize(CENT, ROUND_HALF_UP)),
                "ConditionCurrency": bare,
            }
        ]
        rows.append(row)
    body["to_Item"] = rows
    return body


def number_of_seconds(order: dict[str, Any]) -> int:
    value = order.get("date")
    if type(value) is not int:
        raise ValueError("date is no number of seconds")
    return value


def exactly(value: Decimal, place: Decimal) -> Decimal:
    result = value.quantize(place)
    if result != value:
        raise ValueError(f"{value} has too many digits")
    return result
