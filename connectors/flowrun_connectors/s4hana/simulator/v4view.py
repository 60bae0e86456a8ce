"""The V4 sales order over the same orders: what changed its name between the two services.

Source: the metadata of api_salesorder against that of API_SALES_ORDER_SRV.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrun_connectors.s4hana.simulator.wire import Row

_HEAD = {"_Item": "to_Item", "_Partner": "to_Partner", "_PricingElement": "to_PricingElement", "_Text": "to_Text"}
_ITEM = {
    "Product": "Material", "Plant": "ProductionPlant", "_ItemPartner": "to_Partner",
    "_ItemPricingElement": "to_PricingElement",
    "_ItemText": "to_Text", "_ScheduleLine": "to_ScheduleLine",
}  # fmt: skip
_PRICE = {"ConditionRateAmount": "ConditionRateValue", "ConditionQuantitySAPUnit": "ConditionQuantityUnit"}
_ADDRESS = {
    "BusinessPartnerName1": "OrganizationName1", "StreetName": "StreetName", "HouseNumber": "HouseNumber",
    "PostalCode": "PostalCode", "CityName": "CityName", "Region": "Region", "Country": "Country",
    "EmailAddress": "EmailAddress",
}  # fmt: skip


def from_v4(body: Row) -> Row:
    """A created order in the names of V2."""
    order = _renamed(body, _HEAD)
    order["to_Item"] = [_item(item) for item in order.get("to_Item", [])]
    order["to_Partner"] = [_partner(partner) for partner in order.get("to_Partner", [])]
    order["to_PricingElement"] = [_renamed(one, _PRICE) for one in order.get("to_PricingElement", [])]
    return order


def to_v4(order: Mapping[str, Any]) -> Row:
    """An order in the names of V4. Fields that only V2 has stay; nobody asks for them."""
    found = _renamed(order, _back(_HEAD))
    found["_Item"] = [
        {
            **_renamed(item, _back(_ITEM)),
            "RequestedQuantitySAPUnit": item.get("RequestedQuantitySAPUnit") or item.get("RequestedQuantityUnit"),
            "_ItemPricingElement": [_renamed(one, _back(_PRICE)) for one in item.get("to_PricingElement", [])],
        }
        for item in order.get("to_Item", [])
    ]
    found["_PricingElement"] = [_renamed(one, _back(_PRICE)) for one in order.get("to_PricingElement", [])]
    found["_Partner"] = [
        {**partner, **_renamed((partner.get("to_Address") or [{}])[0], _back(_ADDRESS))}
        for partner in order.get("to_Partner", [])
    ]
    return found


def _item(item: Row) -> Row:
    found = _renamed(item, _ITEM)
    found["RequestedQuantityUnit"] = item.get("RequestedQuantitySAPUnit") or item.get("RequestedQuantityISOUnit") or ""
    found["to_PricingElement"] = [_renamed(one, _PRICE) for one in found.get("to_PricingElement", [])]
    return found


def _partner(partner: Row) -> Row:
    address = {_ADDRESS[name]: value for name, value in partner.items() if name in _ADDRESS}
    rest = {name: value for name, value in partner.items() if name not in _ADDRESS}
    return {**rest, "to_Address": [address]} if address else rest


def _renamed(row: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    return {names.get(name, name): value for name, value in row.items()}


def _back(names: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}
