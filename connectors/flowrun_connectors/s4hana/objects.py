"""The objects of S/4HANA that flowrun knows: service, protocol version, what each allows, and its contract.

Source: SAP's published service metadata; change detection as in SAP's API documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from flowrun.connector import ObjectInfo
from flowrun.contract import Field, Shape

_V2 = "sap/opu/odata/sap/"
_V4 = "sap/opu/odata4/sap/"

Kept = Mapping[str, Any]
"""Navigations that a contract keeps, each with those kept below it."""


@dataclass(frozen=True, slots=True)
class Service:
    """root: path below the host, with a slash at its end; ``;v=`` belongs to it. keys: of the entity set.

    stamp: the moment of change, by which pages are ordered (None: there is none).
    day: fields of day precision that together say when; the second stands in while the first is empty.
    etag: changes need If-Match. keeps: navigations in the contract. required: fields that a create must have, beside what the metadata says.
    """

    root: str
    v4: bool
    keys: tuple[str, ...]
    info: ObjectInfo
    stamp: str | None = None
    day: tuple[str, ...] = ()
    etag: bool = False
    keeps: Kept = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``API_SALES_ORDER_SRV``, as an administrator knows it."""
        return self.root.removeprefix(_V2).removeprefix(_V4).split("/")[0]


_STOCK = ("Material", "Plant", "StorageLocation", "Batch", "Supplier", "Customer", "WBSElementInternalID", "SDDocument",
          "SDDocumentItem", "InventorySpecialStockType", "InventoryStockType")  # fmt: skip
_PARTNER: Kept = {"to_Address": {}}
_ORDER_V2: Kept = {
    "to_Partner": _PARTNER, "to_PricingElement": {}, "to_Text": {}, "to_PaymentPlanItemDetails": {}, "to_SubsequentProcFlowDoc": {},
    "to_Item": {"to_Partner": _PARTNER, "to_PricingElement": {}, "to_Text": {}, "to_ScheduleLine": {}},
}  # fmt: skip
_ORDER_V4: Kept = {
    "_Partner": {}, "_PricingElement": {}, "_Text": {},
    "_Item": {"_ItemPartner": {}, "_ItemPricingElement": {}, "_ItemText": {}, "_ScheduleLine": {}},
}  # fmt: skip
_AREA = ("SalesOrderType", "SalesOrganization", "DistributionChannel", "OrganizationDivision", "SoldToParty")
"""Needed by every order, though the metadata marks at most the type: the sales area and who orders."""


def _order(name: str, title: str) -> ObjectInfo:
    return ObjectInfo(
        name, title, by_key=True, actions={"create": "find", "update": "upsert"}, cursors=("LastChangeDateTime",),
        find=("PurchaseOrderByCustomer", "SoldToParty", "SalesOrganization"), match=("SalesOrder",),
        note="header fields are updated; items, partners and prices are written with the create",
    )  # fmt: skip


def _read(name: str, title: str, cursors: tuple[str, ...] = (), note: str = "") -> ObjectInfo:
    return ObjectInfo(name, title, by_key=True, cursors=cursors, note=f"read only{'; ' if note else ''}{note}")


SERVICES: dict[str, Service] = {
    "A_SalesOrder": Service(
        _V2 + "API_SALES_ORDER_SRV/", False, ("SalesOrder",), _order("A_SalesOrder", "Sales orders (V2)"),
        stamp="LastChangeDateTime", etag=True, keeps=_ORDER_V2, required=_AREA,
    ),
    "SalesOrder": Service(
        _V4 + "api_salesorder/srvd_a2x/sap/salesorder/0001/", True, ("SalesOrder",), _order("SalesOrder", "Sales orders (V4)"),
        stamp="LastChangeDateTime", etag=True, keeps=_ORDER_V4, required=_AREA,
    ),
    "A_BusinessPartner": Service(
        _V2 + "API_BUSINESS_PARTNER/", False, ("BusinessPartner",),
        _read("A_BusinessPartner", "Business partners", ("LastChangeDate",), "changes are known to the day"),
        day=("LastChangeDate", "CreationDate"),
        keeps={"to_BusinessPartnerAddress": {"to_EmailAddress": {}, "to_PhoneNumber": {}}, "to_BusinessPartnerRole": {}},
    ),
    "A_Customer": Service(
        _V2 + "API_BUSINESS_PARTNER/", False, ("Customer",), _read("A_Customer", "Customers", note="no change date: full: true"),
        keeps={"to_CustomerSalesArea": {}, "to_CustomerCompany": {}},
    ),
    "A_MatlStkInAcctMod": Service(
        _V2 + "API_MATERIAL_STOCK_SRV/", False, _STOCK,
        _read("A_MatlStkInAcctMod", "Stock per plant and location", note="book stock; no change date: full: true"),
    ),
    "A_OutbDeliveryHeader": Service(
        _V2 + "API_OUTBOUND_DELIVERY_SRV;v=0002/", False, ("DeliveryDocument",),
        _read("A_OutbDeliveryHeader", "Outbound deliveries", ("LastChangeDate",), "changes are known to the day"),
        day=("LastChangeDate", "CreationDate"), etag=True, keeps={"to_DeliveryDocumentItem": {}, "to_DeliveryDocumentPartner": {}},
    ),
    "A_OutbDeliveryItem": Service(
        _V2 + "API_OUTBOUND_DELIVERY_SRV;v=0002/", False, ("DeliveryDocument", "DeliveryDocumentItem"),
        _read("A_OutbDeliveryItem", "Outbound delivery items", note="no change date: full: true"), etag=True,
    ),
    "A_BillingDocument": Service(
        _V2 + "API_BILLING_DOCUMENT_SRV/", False, ("BillingDocument",),
        _read("A_BillingDocument", "Billing documents", ("LastChangeDateTime",)),
        stamp="LastChangeDateTime", etag=True, keeps={"to_Item": {}},
    ),
    "A_BillingDocumentItem": Service(
        _V2 + "API_BILLING_DOCUMENT_SRV/", False, ("BillingDocument", "BillingDocumentItem"),
        _read("A_BillingDocumentItem", "Billing document items", note="no change date: full: true"),
    ),
    "A_Product": Service(
        _V2 + "API_PRODUCT_SRV/", False, ("Product",), _read("A_Product", "Products", ("LastChangeDateTime",)),
        stamp="LastChangeDateTime", keeps={"to_Description": {}, "to_Plant": {}, "to_SalesDelivery": {}},
    ),
}  # fmt: skip


@lru_cache(maxsize=64)
def shape(name: str) -> Shape:
    """The shipped contract of an object."""
    text = (Path(__file__).parent / "contracts" / f"{name}.json").read_text(encoding="utf-8")
    return padded(Shape.from_json(json.loads(text)))


ALPHA = frozenset({
    "SalesOrder", "SoldToParty", "ShipToParty", "Customer", "BusinessPartner", "Supplier", "DeliveryDocument",
    "BillingDocument", "PayerParty", "ReferenceSDDocument", "SDDocument", "AccountingDocument", "CostCenter",
})  # fmt: skip
"""Numbers that S/4HANA keeps with zeros before them and shows without: domains with the conversion exit ALPHA."""


def padded(one: Shape) -> Shape:
    """The contract with those fields marked, nested ones too."""
    return replace(one, fields={name: _padded(field_) for name, field_ in one.fields.items()})


def _padded(one: Field) -> Field:
    inner = padded(one.shape) if one.shape is not None else None
    item = _padded(one.item) if one.item is not None else None
    return replace(one, padded=one.name in ALPHA and one.type == "text", shape=inner, item=item)
