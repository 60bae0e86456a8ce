"""Two small systems for the checker's tests: a shop that is read, an ERP that is written, both with closed contracts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flowrun.connector import EventInfo, ObjectInfo, setting
from flowrun.contract import Field, Shape
from flowrun.values import Secret


def text(name: str, length: int | None = None, **more: Any) -> Field:
    return Field(name, "text", max_length=length, **more)


def rows(name: str, *fields: Field) -> Field:
    return Field(name, "list", item=Field("", "object", shape=shape(name, *fields)))


def shape(name: str, *fields: Field, **more: Any) -> Shape:
    return Shape(name, {field.name: field for field in fields}, **more)


ADDRESS = (text("street", 60), text("zip"), text("city"), text("country", 2), text("type"), text("sap_partner"))
ORDER = shape(
    "orders",
    text("order_id"),
    text("status"),
    text("updated_at"),
    Field("date", "integer"),
    text("customer_id"),
    text("currency", 3),
    text("payment_method"),
    text("payment_terms"),
    text("notes", 200),
    Field("subtotal", "decimal"),
    Field("total_amount", "decimal", scale=4),
    Field("paid", "boolean"),
    Field("billing", "object", shape=shape("billing", *ADDRESS)),
    rows("addresses", *ADDRESS),
    rows(
        "items",
        text("sku"),
        text("name", 120),
        text("sku_group"),
        text("unit"),
        Field("amount_ordered", "decimal"),
        Field("price", "decimal"),
        Field("amount", "decimal"),
    ),
    source="the shop's reference",
)
STOCK = shape(
    "A_MatlStkInAcctMod",
    text("Material"),
    text("Plant", 4),
    text("InventoryStockType", 2),
    Field("MatlWrhsStkQtyInMatlBaseUnit", "decimal"),
)
PRICE = rows(
    "to_PricingElement",
    text("ConditionType", 4),
    Field("ConditionRateValue", "decimal", scale=9),
    text("ConditionCurrency", 5),
)
SALES_ORDER = shape(
    "A_SalesOrder",
    text("SalesOrder", 10, key=True, creatable=False, updatable=False, title="set by the system"),
    text("SalesOrderType", 4, required=True),
    text("SalesOrganization", 4, required=True),
    text("DistributionChannel", 2),
    text("OrganizationDivision", 2),
    text("SoldToParty", 10),
    text("PurchaseOrderByCustomer", 35),
    Field("SalesOrderDate", "date"),
    text("TransactionCurrency", 5),
    text("PaymentMethod", 1),
    text("CustomerPaymentTerms", 4),
    text("DeliveryBlockReason", 2, enum=("01", "02")),
    Field("TotalNetAmount", "decimal", scale=2, creatable=False),
    Field("IsComplete", "boolean"),
    Field("Discount", "decimal", scale=2),
    Field("ShipTo", "object", shape=shape("ShipTo", text("StreetName", 60), text("CityName", 40), text("PostalCode", 10), text("Country", 3))),
    rows("to_Partner", text("PartnerFunction", 2, required=True), text("Customer", 10)),
    rows(
        "to_Item",
        text("SalesOrderItem", 6),
        text("Material", 40),
        text("SalesOrderItemText", 40),
        Field("RequestedQuantity", "decimal", scale=3),
        text("RequestedQuantityUnit", 3),
        text("ProductionPlant", 4),
        PRICE,
    ),
    text_numbers=True,
    source="API_SALES_ORDER_SRV",
)  # fmt: skip
PRODUCT = shape(
    "products", Field("product_id", "integer", key=True), Field("quantity", "integer"), Field("enabled", "boolean")
)


class System:
    objects_: ClassVar[Mapping[str, ObjectInfo]]
    shapes: ClassVar[Mapping[str, Shape]]
    error_classes: ClassVar[frozenset[str]] = frozenset({"rate_limited", "network", "auth", "rejected", "not_found"})

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return cls.objects_

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return cls.objects_.get(object)

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return cls.shapes.get(object)


class Shop(System):
    @dataclass(frozen=True)
    class Settings:
        base_url: str = setting("Where the shop answers.", example="{ env: XCART_URL }")
        api_key: Secret = setting("The key of its API.", example="{ secret: xcart_api_key }")
        webhook_secret: Secret | None = setting("What webhooks are signed with.", default=None)
        profile: str = setting("native or compat.", default="native")
        page_size: int = setting("Records a page.", default=100)
        sandboxed: bool = setting("Whether it is a test shop.", default=False)

    title = "A shop"
    events: ClassVar = {"order.placed": EventInfo("order.placed", "orders")}
    objects_: ClassVar = {
        "orders": ObjectInfo(
            "orders", by_key=True, actions={"update": "upsert"}, cursors=("updated_at",), match=("order_id",)
        ),
        "products": ObjectInfo("products", by_key=True, actions={"update": "upsert"}, match=("product_id",)),
        "carts": ObjectInfo("carts", readable=False, note="carts are gone before they can be read"),
    }
    shapes: ClassVar = {"orders": ORDER, "products": PRODUCT}


class Erp(System):
    @dataclass(frozen=True)
    class Settings:
        base_url: str = setting("Where the ERP answers.", example="{ env: S4_URL }")

    title = "An ERP"
    events: ClassVar = {}
    objects_: ClassVar = {
        "A_SalesOrder": ObjectInfo(
            "A_SalesOrder",
            by_key=True,
            actions={"create": "find", "update": "upsert"},
            cursors=("LastChangeDateTime",),
            find=("PurchaseOrderByCustomer",),
            match=("SalesOrder",),
        ),
        "A_MatlStkInAcctMod": ObjectInfo("A_MatlStkInAcctMod", filters=("Plant", "InventoryStockType", "Material")),
        "A_OutbDeliveryHeader": ObjectInfo("A_OutbDeliveryHeader", by_key=True, cursors=("LastChangeDate",)),
        "A_Journal": ObjectInfo("A_Journal", actions={"create": "none"}),
        "A_Ledger": ObjectInfo("A_Ledger", filters=(), cursors=("ChangedOn",)),
    }
    shapes: ClassVar = {"A_SalesOrder": SALES_ORDER, "A_MatlStkInAcctMod": STOCK}


REGISTRY: Any = {"xcart": Shop, "s4hana": Erp}

PROJECT = """\
flowrun: 1
project: shop-to-erp
connections:
  s4:
    connector: s4hana
    base_url: { env: S4_URL }
    auth: { basic: { user: { env: S4_USER }, password: { secret: s4_password } } }
    limits: { rate: 20/s, concurrent: 8, timeout: 30s }
  xcart:
    connector: xcart
    base_url: { env: XCART_URL }
    api_key: { secret: xcart_api_key }
environments:
  dev: { values: { sales_org: "1710", home_country: US }, sandbox: [s4, xcart] }
  test: { values: { sales_org: "1710", home_country: US } }
alerts:
  finance: { url: { secret: finance_webhook } }
  order-desk: { url: { secret: desk_webhook } }
  warehouse: { url: { secret: warehouse_webhook } }
  on-call: { url: { secret: pager_url }, also: [finance] }
"""
TABLES = {
    "lookups/countries.csv": "xcart,sap_iso\nUS,US\nDE,DE\nNO,NO\n",
    "lookups/plants.csv": "country,sku_group,plant\nUS,MUGS,1710\nDE,MUGS,1010\n",
    "lookups/safety_stock.csv": "sku,qty\nAB-1,2\n",
}
GOOD = Path(__file__).parent / "good"


def write_project(root: Path, files: Mapping[str, str]) -> Path:
    """A project in ``root``: flowrun.yaml and tables of above, changed and added to by ``files``."""
    for name, content in {"flowrun.yaml": PROJECT, **TABLES, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(content)
    return root
