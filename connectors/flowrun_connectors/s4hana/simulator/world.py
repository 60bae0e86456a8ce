"""The simulated company: customers, products, stock, orders, deliveries, bills. No HTTP here.

Rows are canonical, in the field names of V2. Codes of business messages that SAP's catalogues do not confirm are marked
"made up"; nothing may depend on them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from flowrun.values import Clock
from flowrun_connectors.s4hana.objects import SERVICES
from flowrun_connectors.s4hana.simulator.wire import Row, stamp, ticks

Reason = tuple[str, str, str]
"""(code, text, field)"""

AREA = ("SalesOrganization", "DistributionChannel", "OrganizationDivision")


class Rejected(Exception):
    """A business check failed. reasons: the first is the answer's own code; severity is error for all of them."""

    def __init__(self, code: str, text: str, field: str = "", *, more: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(text)
        self.code, self.text, self.field, self.more = code, text, field, tuple(more)


class World:
    def __init__(self, now: Clock) -> None:
        self._now = now
        self.data: dict[str, list[Row]] = {name: [] for name in SERVICES if name != "SalesOrder"}
        self.customers: dict[str, Row] = {}
        self.materials: set[str] = set()
        self.locked: dict[str, int] = {}
        self._next = {"order": 1, "delivery": 80000000, "bill": 90000000}
        self._last = 0

    # -- state -----------------------------------------------------------------------------------------------------

    def dump(self) -> Row:
        return {
            "data": self.data, "customers": self.customers, "materials": sorted(self.materials), "next": self._next,
            "last": self._last,
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        self.data = {name: [dict(row) for row in state["data"].get(name, [])] for name in self.data}
        held = state["customers"]
        self.customers = dict(held) if isinstance(held, Mapping) else {number: {"areas": []} for number in held}
        self.materials = set(state["materials"])
        self._next.update(state["next"])
        self._last = int(state.get("last", 0))

    def stamp(self) -> str:
        """The moment, later than any given before, in hundreds of nanoseconds."""
        self._last = max(ticks(self._now().isoformat()), self._last + 1)
        return stamp(self._last)

    def day(self) -> str:
        return self._now().date().isoformat()

    # -- master data -----------------------------------------------------------------------------------------------

    def add_customer(
        self,
        number: str,
        name: str,
        areas: Sequence[tuple[str, str, str]],
        blocked: str,
        credit_limit: str | None,
        country: str,
    ) -> None:
        number = number.lstrip("0")
        self.customers[number] = {"areas": [list(area) for area in areas], "blocked": blocked, "credit": credit_limit}
        sales = [
            {"Customer": number, "SalesOrganization": a, "DistributionChannel": b, "Division": c} for a, b, c in areas
        ]
        self.data["A_Customer"].append(
            {"Customer": number, "CustomerName": name, "CreationDate": self.day(), "to_CustomerSalesArea": sales}
        )
        self.data["A_BusinessPartner"].append(
            {
                "BusinessPartner": number, "Customer": number, "BusinessPartnerName": name,
                "BusinessPartnerFullName": name,
                "OrganizationBPName1": name, "BusinessPartnerCategory": "2", "CreationDate": self.day(),
                "LastChangeDate": None,
                "to_BusinessPartnerAddress": [{"BusinessPartner": number, "AddressID": "1", "Country": country}],
                "to_BusinessPartnerRole": [{"BusinessPartner": number, "BusinessPartnerRole": "FLCU01"}],
            }
        )  # fmt: skip

    def add_material(self, number: str, unit: str, description: str) -> None:
        self.materials.add(number)
        self.data["A_Product"].append(
            {
                "Product": number, "BaseUnit": unit, "CreationDate": self.day(), "LastChangeDateTime": self.stamp(),
                "to_Description": [{"Product": number, "Language": "EN", "ProductDescription": description}],
            }
        )  # fmt: skip

    def add_stock(self, material: str, plant: str, quantity: str, location: str, kind: str, unit: str) -> None:
        """A quantity for one place; a second call for the same place replaces it, none left takes the row away."""
        row = {
            "Material": material, "Plant": plant, "StorageLocation": location, "Batch": "", "Supplier": "",
            "Customer": "",
            "WBSElementInternalID": "0", "SDDocument": "", "SDDocumentItem": "0", "InventorySpecialStockType": "",
            "InventoryStockType": kind, "MaterialBaseUnit": unit,
            "MatlWrhsStkQtyInMatlBaseUnit": f"{Decimal(quantity):.14f}",
        }  # fmt: skip
        place = ("Material", "Plant", "StorageLocation", "InventoryStockType")
        rows = [r for r in self.data["A_MatlStkInAcctMod"] if any(r[name] != row[name] for name in place)]
        self.data["A_MatlStkInAcctMod"] = [*rows, row] if Decimal(quantity) else rows

    # -- orders ----------------------------------------------------------------------------------------------------

    def find(self, name: str, key: Mapping[str, str]) -> Row | None:
        for row in self.data[name]:
            if all(_external(row.get(field)) == _external(value) for field, value in key.items()):
                return row
        return None

    def order(self, number: str) -> Row:
        found = self.find("A_SalesOrder", {"SalesOrder": number})
        assert found is not None, f"no sales order {number}"
        return found

    def create_order(self, body: Row) -> tuple[Row, list[Row]]:
        """All or nothing: the order as it stands, and messages beside it. Raises Rejected."""
        self._check_order(body)
        number = str(self._next["order"])
        items = self._items(number, body)
        net = sum((Decimal(item["NetAmount"]) for item in items), Decimal(0))
        head = [{**one, "SalesOrder": number} for one in body.get("to_PricingElement", [])]
        net += sum((_rate(one) for one in head if one.get("ConditionCurrency")), Decimal(0))
        self._next["order"] += 1
        customer = _external(body["SoldToParty"])
        order = {
            **body, "SalesOrder": number, "SoldToParty": customer, "CreationDate": self.day(), "LastChangeDate": None,
            "SalesOrderDate": body.get("SalesOrderDate") or self.day(), "LastChangeDateTime": self.stamp(),
            "TotalNetAmount": f"{net:.2f}", "OverallSDProcessStatus": "A", "OverallDeliveryStatus": "A",
            "OverallTotalDeliveryStatus": "A", "OverallSDDocumentRejectionSts": "A", "TotalCreditCheckStatus": "",
            "to_Item": items, "to_PricingElement": head, "to_SubsequentProcFlowDoc": [],
            "to_Partner": [{**one, "SalesOrder": number,
            "Customer": _external(one.get("Customer"))} for one in body.get("to_Partner", [])],
            "to_Text": [{**one, "SalesOrder": number} for one in body.get("to_Text", [])],
        }  # fmt: skip
        messages = [_message("V4/233", f"Standard Order {number} has been saved.", "info")]
        wished = body.get("RequestedDeliveryDate")
        if wished and wished < self.day():
            messages.append(_message("V1/555", "Requested date cannot be met.", "warning", "RequestedDeliveryDate"))
        limit = self.customers[customer].get("credit")
        if limit is not None and net > Decimal(limit):
            order["TotalCreditCheckStatus"] = "B"
            messages.append(_message("VKM/061", "Credit check: the limit is exceeded.", "warning"))  # made up
        self.data["A_SalesOrder"].append(order)
        return order, messages

    def _check_order(self, body: Row) -> None:
        if not body.get("SalesOrderType"):
            raise Rejected("V1/311", "Enter a sales document type", "SalesOrderType")  # made up
        for name in AREA:
            if not body.get(name):
                raise Rejected("V1/312", f"Enter a value for {name}", name)  # made up
        area = [body[name] for name in AREA]
        self._check_customer(body.get("SoldToParty"), area, "Sold-to party", "SoldToParty")
        for partner in body.get("to_Partner", []):
            if partner.get("Customer"):
                self._check_customer(partner["Customer"], area, "Partner", "to_Partner")
        for item in body.get("to_Item", []):
            material = item.get("Material", "")
            if self.materials and material not in self.materials:
                words = (
                    f"Material {material} is not defined for sales org. {area[0]}, distr. chan. {area[1]}, language EN"
                )
                raise Rejected("V1/382", words, "to_Item", more=[("V1/555", "Some earlier warning", "warning")])
            if Decimal(item.get("RequestedQuantity") or 0) <= 0:
                raise Rejected("V1/346", "Enter a quantity", "to_Item")  # made up

    def _check_customer(self, number: Any, area: Sequence[str], role: str, field: str) -> None:
        known = self.customers.get(_external(number))
        allowed = known is not None and (not known["areas"] or list(area) in [list(a) for a in known["areas"]])
        if known is None or not allowed:
            words = f"{role} {_external(number)} not maintained for sales area {' '.join(area)}"
            raise Rejected("VP/196", words, field, more=[("V1/555", "Some earlier warning", "warning")])
        if known.get("blocked"):
            raise Rejected("VU/013", f"Customer has been assigned Order block: {known['blocked']}", field)  # made up
        self.check_lock(_external(number), f"Customer {_external(number)}")

    def check_lock(self, number: str, what: str) -> None:
        if self.locked.get(number, 0) > 0:
            self.locked[number] -= 1
            raise Rejected("VL/045", f"{what} is currently being processed by user MILLER")

    def _items(self, number: str, body: Row) -> list[Row]:
        items, taken = [], set()
        for index, item in enumerate(body.get("to_Item", []), 1):
            own = _external(item.get("SalesOrderItem") or str(index * 10))
            if own in taken:
                raise Rejected("V1/347", f"Item {own} exists already", "to_Item")  # made up
            taken.add(own)
            ids = {"SalesOrder": number, "SalesOrderItem": own}
            prices = [{**one, **ids} for one in item.get("to_PricingElement", [])]
            quantity = Decimal(item.get("RequestedQuantity") or 0)
            net = Decimal(0)
            if prices:  # the first is the price, the others are amounts for the whole item
                net = _rate(prices[0]) * quantity / (Decimal(prices[0].get("ConditionQuantity") or 1) or 1)
                net += sum((_rate(one) for one in prices[1:]), Decimal(0))
            lines = item.get("to_ScheduleLine") or [{"ScheduleLineOrderQuantity": str(quantity)}]
            items.append(
                {
                    **item, **ids, "HigherLevelItem": item.get("HigherLevelItem") or "0", "NetAmount": f"{net:.2f}",
                    "SDProcessStatus": "A", "DeliveryStatus": "A", "to_PricingElement": prices,
                    "to_ScheduleLine": [{**line, **ids, "ScheduleLine": str(n)} for n, line in enumerate(lines, 1)],
                }
            )  # fmt: skip
        return items

    def touch(self, order: Row) -> None:
        order["LastChangeDateTime"], order["LastChangeDate"] = self.stamp(), self.day()

    def patch_order(self, order: Row, changes: Row) -> None:
        self.check_lock(order["SalesOrder"], f"Sales document {order['SalesOrder']}")
        order.update({name: value for name, value in changes.items() if name != "SalesOrder"})
        self.touch(order)

    # -- what follows an order -------------------------------------------------------------------------------------

    def deliver(self, order_number: str, tracking: str, carrier: str, issue: bool) -> str:
        order = self.order(order_number)
        number = str(self._next["delivery"])
        self._next["delivery"] += 1
        items = [
            {
                "DeliveryDocument": number, "DeliveryDocumentItem": item["SalesOrderItem"],
                "Material": item.get("Material", ""),
                "ActualDeliveryQuantity": str(item.get("RequestedQuantity") or "0"),
                "Plant": item.get("ProductionPlant", ""),
                "DeliveryQuantityUnit": item.get("RequestedQuantityUnit", ""),
                "ReferenceSDDocument": order["SalesOrder"],
                "ReferenceSDDocumentItem": item["SalesOrderItem"], "GoodsMovementStatus": "A",
            }
            for item in order["to_Item"]
        ]  # fmt: skip
        self.data["A_OutbDeliveryHeader"].append(
            {
                "DeliveryDocument": number, "OverallGoodsMovementStatus": "A", "OverallSDProcessStatus": "A",
                "BillOfLading": tracking,
                "ShippingType": carrier, "SoldToParty": order.get("SoldToParty", ""), "CreationDate": self.day(),
                "LastChangeDate": None, "DeliveryVersion": "0001", "to_DeliveryDocumentItem": items,
            }
        )  # fmt: skip
        self.data["A_OutbDeliveryItem"].extend(items)
        self._follows(order, number, "J")
        order["OverallDeliveryStatus"] = order["OverallTotalDeliveryStatus"] = "C"
        self.touch(order)
        if issue:
            self.post_goods_issue(number)
        return number

    def post_goods_issue(self, number: str) -> None:
        """The goods leave: stock falls where there is stock, the version counts up."""
        delivery = self.find("A_OutbDeliveryHeader", {"DeliveryDocument": number})
        assert delivery is not None, f"no delivery {number}"
        for item in delivery["to_DeliveryDocumentItem"]:
            item["GoodsMovementStatus"] = "C"
            self._take_stock(item["Material"], Decimal(item["ActualDeliveryQuantity"]))
        delivery.update(OverallGoodsMovementStatus="C", ActualGoodsMovementDate=self.day(), LastChangeDate=self.day())
        delivery["DeliveryVersion"] = f"{int(delivery['DeliveryVersion']) + 1:04}"

    def _take_stock(self, material: str, quantity: Decimal) -> None:
        for row in self.data["A_MatlStkInAcctMod"]:
            if row["Material"] == material and row["InventoryStockType"] == "01" and quantity > 0:
                there = Decimal(row["MatlWrhsStkQtyInMatlBaseUnit"])
                taken = min(there, quantity)
                row["MatlWrhsStkQtyInMatlBaseUnit"] = f"{there - taken:.14f}"
                quantity -= taken

    def bill(self, delivery_number: str) -> str:
        delivery = self.find("A_OutbDeliveryHeader", {"DeliveryDocument": delivery_number})
        assert delivery is not None, f"no delivery {delivery_number}"
        order = self.order(delivery["to_DeliveryDocumentItem"][0]["ReferenceSDDocument"])
        number = str(self._next["bill"])
        self._next["bill"] += 1
        prices = {item["SalesOrderItem"]: item["NetAmount"] for item in order["to_Item"]}
        items = [
            {
                "BillingDocument": number, "BillingDocumentItem": item["DeliveryDocumentItem"],
                "Material": item["Material"],
                "BillingQuantity": item["ActualDeliveryQuantity"], "ReferenceSDDocument": delivery_number,
                "ReferenceSDDocumentItem": item["DeliveryDocumentItem"], "SalesDocument": order["SalesOrder"],
                "SalesDocumentItem": item["ReferenceSDDocumentItem"],
                "NetAmount": prices[item["ReferenceSDDocumentItem"]],
            }
            for item in delivery["to_DeliveryDocumentItem"]
        ]  # fmt: skip
        self.data["A_BillingDocument"].append(
            {
                "BillingDocument": number, "BillingDocumentType": "F2", "SDDocumentCategory": "M",
                "CreationDate": self.day(),
                "BillingDocumentDate": self.day(), "LastChangeDateTime": self.stamp(),
                "SoldToParty": order["SoldToParty"],
                "TransactionCurrency": order.get("TransactionCurrency", ""),
                "PurchaseOrderByCustomer": order.get("PurchaseOrderByCustomer", ""),
                "TotalNetAmount": f"{sum((Decimal(i['NetAmount']) for i in items), Decimal(0)):.2f}", "to_Item": items,
            }
        )  # fmt: skip
        self.data["A_BillingDocumentItem"].extend(items)
        self._follows(order, number, "M")
        self.touch(order)
        return number

    def _follows(self, order: Row, number: str, category: str) -> None:
        order.setdefault("to_SubsequentProcFlowDoc", []).append(
            {"SalesOrder": order["SalesOrder"], "SubsequentDocument": number, "SubsequentDocumentCategory": category,
             "DocRelationshipUUID": f"00000000-0000-0000-0000-{number:>012}"}
        )  # fmt: skip


def _external(value: Any) -> str:
    """Digits lose their leading zeros outside SAP; anything with a letter keeps every character."""
    text = str(value or "")
    return text.lstrip("0") if text.isdigit() else text


def _rate(element: Mapping[str, Any]) -> Decimal:
    return Decimal(element.get("ConditionRateValue") or 0)


def _message(code: str, text: str, severity: str, target: str = "") -> Row:
    return {"code": code, "message": text, "severity": severity, "target": target}
