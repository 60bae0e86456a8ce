"""A simulated S/4HANA whose requests a test can look at and act between, and connectors to it over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrun.connections import build
from flowrun.connector import Item
from flowrun.testing.faults import Faults
from flowrun.testing.simulator import SimRequest, SimResponse
from flowrun_connectors.s4hana.connector import S4Hana
from flowrun_connectors.s4hana.simulator import S4HanaSimulator

SPECS = Path(__file__).parents[3] / "shared" / "specs" / "sap"
SOURCES = {
    "A_SalesOrder": "API_SALES_ORDER_SRV", "SalesOrder": "CE_SALESORDER_0001", "A_BusinessPartner": "API_BUSINESS_PARTNER",
    "A_Customer": "API_BUSINESS_PARTNER", "A_MatlStkInAcctMod": "API_MATERIAL_STOCK_SRV",
    "A_OutbDeliveryHeader": "API_OUTBOUND_DELIVERY_SRV_0002", "A_OutbDeliveryItem": "API_OUTBOUND_DELIVERY_SRV_0002",
    "A_BillingDocument": "API_BILLING_DOCUMENT_SRV", "A_BillingDocumentItem": "API_BILLING_DOCUMENT_SRV", "A_Product": "API_PRODUCT_SRV",
}  # fmt: skip
AREA = {"SalesOrganization": "1710", "DistributionChannel": "10", "OrganizationDivision": "00"}


class Clock:
    """Starts at noon of a day in May; every look at it is a millisecond later."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


class Watched(S4HanaSimulator):
    """before: called with each request just before it is handled."""

    before: Callable[[SimRequest], None] | None = None

    def handle(self, request: SimRequest) -> SimResponse:
        if self.before is not None:
            self.before(request)
        return super().handle(request)

    def sent(self, method: str) -> list[SimRequest]:
        return [request for request in self.log if request.method == method]


@contextmanager
def system(faults: str = "", **more: Any) -> Iterator[Watched]:
    """One customer, two materials, running."""
    sim = Watched(faults=Faults.parse(faults) if faults else None, now=Clock(), **more)
    sim.add_customer("17100001", "Ann Lee")
    sim.add_material("TG11")
    sim.add_material("TG12")
    with sim.running():
        yield sim


def connect(sim: S4HanaSimulator, cls: Any = S4Hana, *, oauth: bool = False, **more: Any) -> Any:
    settings = {**(sim.oauth_settings() if oauth else sim.connection_settings()), **more}
    return build(cls, "s4", settings, now=sim.now, root=Path("."))


def order(reference: str = "XC-1", **more: Any) -> dict[str, Any]:
    """A V2 sales order with everything that nests."""
    return {
        "SalesOrderType": "OR", **AREA, "SoldToParty": "17100001", "PurchaseOrderByCustomer": reference,
        "CustomerPurchaseOrderDate": "2026-05-04", "RequestedDeliveryDate": "2026-05-11", "TransactionCurrency": "USD",
        "to_Partner": [
            {"PartnerFunction": "SH", "Customer": "17100001",
             "to_Address": [{"AddressRepresentationCode": "", "OrganizationName1": "Ada Smith", "StreetName": "Main St",
                             "HouseNumber": "1", "CityName": "Palo Alto", "PostalCode": "94304", "Country": "US"}]},
        ],
        "to_PricingElement": [{"ConditionType": "HD00", "ConditionRateValue": "9.90", "ConditionCurrency": "USD"}],
        "to_Text": [{"Language": "EN", "LongTextID": "TX01", "LongText": "Leave at the door – Grüße 東京"}],
        "to_Item": [
            {"SalesOrderItem": "10", "Material": "TG11", "RequestedQuantity": "2", "RequestedQuantityUnit": "PC",
             "ProductionPlant": "1710",
             "to_ScheduleLine": [{"RequestedDeliveryDate": "2026-05-12", "ScheduleLineOrderQuantity": "2"}],
             "to_PricingElement": [{"ConditionType": "PPR0", "ConditionRateValue": "17.55", "ConditionCurrency": "USD"}]},
            {"Material": "TG12", "RequestedQuantity": "1", "RequestedQuantityUnit": "PC"},
        ],
        **more,
    }  # fmt: skip


def create(connector: Any, body: dict[str, Any] | None = None, object: str = "A_SalesOrder") -> Any:
    """The verdict of one create."""
    (verdict,) = connector.deliver([Item(object, "create", body or order(), "key-1")])
    return verdict


def update(connector: Any, body: dict[str, Any], object: str = "A_SalesOrder") -> Any:
    (verdict,) = connector.deliver([Item(object, "update", body, None, ("SalesOrder",))])
    return verdict
