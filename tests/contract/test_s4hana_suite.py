"""The suite that every connector passes, for S/4HANA in each way it is used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flowrun.testing.contract_suite import Reading, Writing, contract_tests
from flowrun_connectors.s4hana.connector import S4Hana
from flowrun_connectors.s4hana.simulator import S4HanaSimulator
from tests.contract.test_s4hana import v4_order
from tests.s4hana.s4kit import order


def system() -> S4HanaSimulator:
    sim = S4HanaSimulator(now=lambda: datetime(2026, 5, 4, 12, 0, tzinfo=UTC))
    sim.add_customer("17100001")
    return sim


class ByOAuth(S4HanaSimulator):
    """Reached with OAuth2 client credentials instead of a password."""

    def connection_settings(self) -> dict[str, Any]:
        return self.oauth_settings()


def by_oauth() -> S4HanaSimulator:
    sim = ByOAuth(page_limit=3)  # and the server pages by itself
    sim.add_customer("17100001")
    return sim


def orders(sim: S4HanaSimulator, count: int) -> None:
    """Made in SAP, each a moment after the one before."""
    for _ in range(count):
        sim.world.create_order(order("BY-HAND"))


def of_one_moment(sim: S4HanaSimulator, count: int) -> None:
    orders(sim, count)
    for row in sim.orders[-count:]:
        row["LastChangeDateTime"] = sim.orders[-1]["LastChangeDateTime"]


def touch(sim: S4HanaSimulator, key: str) -> None:
    sim.world.touch(sim.world.order(key))


def how_many(sim: S4HanaSimulator, number: int) -> int:
    return sum(row["PurchaseOrderByCustomer"] == f"XC-{number}" for row in sim.orders)


def stock(sim: S4HanaSimulator, count: int) -> None:
    for number in range(count):
        sim.add_stock(f"M{len(sim.world.data['A_MatlStkInAcctMod']) + number:04}", "1710", "5.5")


READ = Reading(
    "A_SalesOrder", "SalesOrder", orders, cursor="LastChangeDateTime", touch=touch, same_moment=of_one_moment,
    get=lambda key: {"SalesOrder": key},
)  # fmt: skip
WRITE = Writing(
    "A_SalesOrder", "create", lambda sim, number: order(f"XC-{number}"), how_many, find=("PurchaseOrderByCustomer",),
    refused=lambda sim: order("XC-99", SoldToParty="99"),
)  # fmt: skip


def change(sim: S4HanaSimulator, number: int) -> dict[str, Any]:
    while len(sim.orders) <= number:
        sim.world.create_order(order("BY-HAND"))
    return {"SalesOrder": sim.orders[number]["SalesOrder"], "CorrespncExternalReference": f"XC-{number}"}


def changed(sim: S4HanaSimulator, number: int) -> int:
    return sum(row.get("CorrespncExternalReference") == f"XC-{number}" for row in sim.orders)


TestV2 = contract_tests(S4Hana, simulator=system, read=READ, write=WRITE)
TestV4ByOAuth = contract_tests(
    S4Hana,
    simulator=by_oauth,
    read=Reading(
        "SalesOrder", "SalesOrder", orders, cursor="LastChangeDateTime", touch=touch, same_moment=of_one_moment,
        get=lambda key: {"SalesOrder": key},
    ),
    write=Writing(
        "SalesOrder", "create", lambda sim, number: v4_order(f"XC-{number}"), how_many, find=("PurchaseOrderByCustomer",),
        refused=lambda sim: v4_order("XC-99", SoldToParty="99"),
    ),
)  # fmt: skip
TestStockAndUpdates = contract_tests(
    S4Hana,
    simulator=system,
    read=Reading("A_MatlStkInAcctMod", "Material", stock),
    write=Writing(
        "SalesOrder", "update", change, changed, match=("SalesOrder",),
        refused=lambda sim: {**change(sim, 0), "CorrespncExternalReference": "x" * 13},
    ),
)  # fmt: skip
