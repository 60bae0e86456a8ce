"""The objects of S/4HANA that flowrun knows: service, protocol version, what each allows, and its contract.

Source: SAP's published service metadata; change detection and actions as in SAP's API documentation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from flowrun.connector import ObjectInfo
from flowrun.contract import Shape

_V2 = "sap/opu/odata/sap/"
_V4 = "sap/opu/odata4/sap/"


@dataclass(frozen=True, slots=True)
class Service:
    """root: path below the host, with a slash at its end. stamp: the field that orders changes. etag: needs If-Match."""

    root: str
    v4: bool
    keys: tuple[str, ...]
    info: ObjectInfo
    stamp: str | None = None
    etag: bool = False


def _read_only(
    name: str, title: str, cursors: tuple[str, ...] = (), note: str = "read only in this version"
) -> ObjectInfo:
    return ObjectInfo(name, title, by_key=True, cursors=cursors, note=note)


SERVICES: dict[str, Service] = {
    "A_SalesOrder": Service(
        _V2 + "API_SALES_ORDER_SRV/", False, ("SalesOrder",),
        ObjectInfo("A_SalesOrder", "Sales orders (V2)", by_key=True, actions={"create": "find", "update": "upsert"},
                   cursors=("LastChangeDateTime",), find=("PurchaseOrderByCustomer",), match=("SalesOrder",)),
        stamp="LastChangeDateTime", etag=True,
    ),
    "SalesOrder": Service(
        _V4 + "api_salesorder/srvd_a2x/sap/salesorder/0001/", True, ("SalesOrder",),
        ObjectInfo("SalesOrder", "Sales orders (V4)", by_key=True, actions={"create": "find", "update": "upsert"},
                   cursors=("LastChangeDateTime",), find=("PurchaseOrderByCustomer",), match=("SalesOrder",)),
        stamp="LastChangeDateTime", etag=True,
    ),
    "A_BusinessPartner": Service(_V2 + "API_BUSINESS_PARTNER/", False, ("BusinessPartner",),
                                 _read_only("A_BusinessPartner", "Business partners", ("LastChangeDate",)), stamp="LastChangeDate"),
    "A_Customer": Service(_V2 + "API_BUSINESS_PARTNER/", False, ("Customer",), _read_only("A_Customer", "Customers")),
    "A_MatlStkInAcctMod": Service(
        _V2 + "API_MATERIAL_STOCK_SRV/", False, ("Material", "Plant", "StorageLocation", "Batch"),
        _read_only("A_MatlStkInAcctMod", "Stock per plant and location", note="read only; it has no change date: full: true"),
    ),
    "A_OutbDeliveryHeader": Service(
        _V2 + "API_OUTBOUND_DELIVERY_SRV;v=0002/", False, ("DeliveryDocument",),
        _read_only("A_OutbDeliveryHeader", "Outbound deliveries", ("LastChangeDate",)), stamp="LastChangeDate", etag=True,
    ),
    "A_BillingDocument": Service(_V2 + "API_BILLING_DOCUMENT_SRV/", False, ("BillingDocument",),
                                 _read_only("A_BillingDocument", "Billing documents", ("LastChangeDateTime",)), stamp="LastChangeDateTime"),
    "A_BillingDocumentItem": Service(_V2 + "API_BILLING_DOCUMENT_SRV/", False, ("BillingDocument", "BillingDocumentItem"),
                                     _read_only("A_BillingDocumentItem", "Billing document items")),
    "A_Product": Service(_V2 + "API_PRODUCT_SRV/", False, ("Product",),
                         _read_only("A_Product", "Products", ("LastChangeDateTime",)), stamp="LastChangeDateTime"),
}  # fmt: skip


@lru_cache(maxsize=64)
def shape(name: str) -> Shape:
    """The shipped contract of an object."""
    text = files("flowrun_connectors.s4hana").joinpath("contracts", f"{name}.json").read_text(encoding="utf-8")
    return Shape.from_json(json.loads(text))
