"""A simulated S/4HANA: Gateway's envelope, CSRF, ETags and errors, over a small set of data.

It refuses what the real one refuses: unknown and read-only fields, texts that are too long, JSON numbers for V2 decimals,
unknown customers and materials, a missing token or cookie, a stale or missing ETag.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from flowrun.contract import Field, Shape
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import Secret, decode_json, encode_json
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape

USER, PASSWORD = "SIM_USER", "sim-s4-password"
CLIENT_ID, CLIENT_SECRET = "sim-s4-client", "sim-s4-client-secret"
_EDM = {"text": "Edm.String", "integer": "Edm.Int32", "boolean": "Edm.Boolean", "decimal": "Edm.Decimal", "date": "Edm.DateTime",
        "datetime": "Edm.DateTimeOffset", "time": "Edm.Time"}  # fmt: skip


class _Stop(Exception):
    def __init__(self, response: SimResponse) -> None:
        self.response = response


class S4HanaSimulator(Simulator):
    """token_secs: life of an OAuth token. page_limit: the most entities a page holds before the server pages itself."""

    name: ClassVar[str] = "s4hana"

    def __init__(self, *, token_secs: int = 3600, page_limit: int = 1000, **more: Any) -> None:
        super().__init__(**more)
        self.data: dict[str, list[dict[str, Any]]] = {name: [] for name in SERVICES}
        self.customers: set[str] = set()
        self.materials: set[str] = set()
        self.token_secs = token_secs
        self.page_limit = page_limit
        self._next = {"order": 1, "delivery": 80000000}
        self._sessions: dict[str, str] = {}  # session cookie → CSRF token
        self._tokens: dict[str, Any] = {}
        self._serial = 0

    def connection_settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "auth": {"basic": {"user": USER, "password": PASSWORD}}}

    def oauth_settings(self) -> dict[str, Any]:
        return {
            "base_url": self.base_url,
            "auth": {
                "oauth2_client_credentials": {
                    "token_url": f"{self.base_url}/oauth/token", "client_id": CLIENT_ID, "client_secret": Secret(CLIENT_SECRET),
                }
            },
        }  # fmt: skip

    def dump(self) -> Any:
        return {
            "data": self.data,
            "customers": sorted(self.customers),
            "materials": sorted(self.materials),
            "next": self._next,
        }

    def load(self, state: Any) -> None:
        if state:
            self.data = {name: list(state["data"].get(name, [])) for name in SERVICES}
            self.customers, self.materials = set(state["customers"]), set(state["materials"])
            self._next = dict(state["next"])

    # -- changing the system ---------------------------------------------------------------------------------------

    @property
    def orders(self) -> list[dict[str, Any]]:
        return self.data["A_SalesOrder"]

    def add_customer(self, number: str, name: str = "Customer") -> None:
        number = number.lstrip("0")
        self.customers.add(number)
        self.data["A_Customer"].append({"Customer": number, "CustomerName": name})
        self.data["A_BusinessPartner"].append(
            {"BusinessPartner": number, "Customer": number, "BusinessPartnerName": name, "LastChangeDate": self._day()}
        )

    def add_material(self, number: str) -> None:
        self.materials.add(number)
        self.data["A_Product"].append({"Product": number, "BaseUnit": "PC", "LastChangeDateTime": self._stamp()})

    def add_stock(self, material: str, plant: str, quantity: str, *, location: str = "171A", kind: str = "01") -> None:
        self.data["A_MatlStkInAcctMod"].append(
            {
                "Material": material, "Plant": plant, "StorageLocation": location, "Batch": "", "Supplier": "", "Customer": "",
                "WBSElementInternalID": "0", "SDDocument": "", "SDDocumentItem": "0", "InventorySpecialStockType": "",
                "InventoryStockType": kind, "MaterialBaseUnit": "PC", "MatlWrhsStkQtyInMatlBaseUnit": f"{Decimal(quantity):.14f}",
            }
        )  # fmt: skip

    def deliver(self, order: str, *, tracking: str = "", carrier: str = "01") -> str:
        """Goods issue for an order: an outbound delivery with all its items. Returns its number."""
        number = str(self._next["delivery"])
        self._next["delivery"] += 1
        sold = next(o for o in self.orders if o["SalesOrder"] == order)
        items = [
            {
                "DeliveryDocument": number, "DeliveryDocumentItem": item["SalesOrderItem"], "Material": item.get("Material", ""),
                "ActualDeliveryQuantity": str(item.get("RequestedQuantity", "0")), "ReferenceSDDocument": order,
                "ReferenceSDDocumentItem": item["SalesOrderItem"], "GoodsMovementStatus": "C",
            }
            for item in sold["to_Item"]
        ]  # fmt: skip
        self.data["A_OutbDeliveryHeader"].append(
            {
                "DeliveryDocument": number, "OverallGoodsMovementStatus": "C", "BillOfLading": tracking, "ShippingType": carrier,
                "SoldToParty": sold.get("SoldToParty", ""), "LastChangeDate": self._day(), "CreationDate": self._day(),
                "DeliveryVersion": "0001", "to_DeliveryDocumentItem": items,
            }
        )  # fmt: skip
        return number

    def _stamp(self) -> str:
        return self.now().replace(tzinfo=None).isoformat() + "Z"

    def _day(self) -> str:
        return self.now().date().isoformat()

    # -- answering -------------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path == "/oauth/token":
            return self._token(request)
        try:
            self._authenticate(request)
            found = self._route(request.path.lstrip("/"))
            if found is None:
                raise _Stop(
                    _v2_error(403, "/IWFND/MED/170", "No service found for namespace '', name '', version '0001'")
                )
            service, root, rest = found
            cookies = self._session(request)
            answer = (
                self._changing(request, service, rest)
                if request.method not in ("GET", "HEAD")
                else self._reading(request, service, root, rest)
            )
        except _Stop as stop:
            return stop.response
        if request.headers.get("x-csrf-token", "").lower() == "fetch":
            session = cookies[0].split("=", 1)[1].split(";")[0]
            answer.headers["x-csrf-token"] = self._sessions[session]
            answer.cookies = (*answer.cookies, *cookies, "sap-usercontext=sap-client=100; path=/")
        return answer

    def _token(self, request: SimRequest) -> SimResponse:
        form = dict(parse_qsl(request.body.decode()))
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            return json_response({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return json_response({"error": "unsupported_grant_type"}, 400)
        self._serial += 1
        token = f"sim-token-{self._serial}"
        self._tokens[token] = self.now() + timedelta(seconds=self.token_secs)
        return json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.token_secs})

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def expire_sessions(self) -> None:
        self._sessions.clear()

    def _authenticate(self, request: SimRequest) -> None:
        given = request.headers.get("authorization", "")
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given == f"Basic {basic}":
            return
        token = given.removeprefix("Bearer ")
        if token in self._tokens and self._tokens[token] > self.now():
            return
        raise _Stop(
            SimResponse(
                401,
                b"<html>Anmeldung fehlgeschlagen</html>",
                {"content-type": "text/html", "www-authenticate": 'Basic realm="SAP NetWeaver"'},
            )
        )

    @staticmethod
    def _route(path: str) -> tuple[Service, str, str] | None:
        for service in SERVICES.values():
            if path.startswith(service.root):
                rest = path[len(service.root) :]
                name = rest.split("(")[0].split("/")[0]
                own = SERVICES.get(name)
                return (own if own is not None and own.root == service.root else service), service.root, rest
        return None

    def _session(self, request: SimRequest) -> tuple[str, ...]:
        cookie = re.search(r"SAP_SESSIONID_SIM_100=(\w+)", request.headers.get("cookie", ""))
        if cookie and cookie.group(1) in self._sessions:
            return (f"SAP_SESSIONID_SIM_100={cookie.group(1)}; path=/",)
        self._serial += 1
        session = f"s{self._serial}"
        self._sessions[session] = f"token-{self._serial}=="
        return (f"SAP_SESSIONID_SIM_100={session}; path=/",)

    def _check_token(self, request: SimRequest) -> None:
        cookie = re.search(r"SAP_SESSIONID_SIM_100=(\w+)", request.headers.get("cookie", ""))
        held = self._sessions.get(cookie.group(1)) if cookie else None
        if held is None or request.headers.get("x-csrf-token") != held:
            raise _Stop(
                SimResponse(
                    403, b"CSRF token validation failed", {"content-type": "text/plain", "x-csrf-token": "Required"}
                )
            )

    # -- reading ---------------------------------------------------------------------------------------------------

    def _reading(self, request: SimRequest, service: Service, root: str, rest: str) -> SimResponse:
        if rest == "":
            return json_response({"d": {"EntitySets": [n for n, s in SERVICES.items() if s.root == root]}})
        if rest == "$metadata":
            return SimResponse(200, metadata(root), {"content-type": "application/xml"})
        found = re.fullmatch(r"(\w+)(?:\((.*)\))?", rest)
        if not found or found.group(1) not in SERVICES:
            raise _Stop(_error(service, 404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{rest[:40]}'"))
        name, key = found.groups()
        contract = shape(name)
        if key is not None:
            row = self._by_key(service, name, key)
            entity = self._entity(service, name, row, request.query.get("$expand", ""))
            return json_response(entity if service.v4 else {"d": entity})
        for option in request.query:
            if option.startswith("$") and option not in (
                "$filter",
                "$top",
                "$skip",
                "$orderby",
                "$expand",
                "$format",
                "$select",
                "$inlinecount",
                "$count",
                "$skiptoken",
            ):
                raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/022", f"Invalid query option '{option}'"))
        rows = [r for r in self._rows(name) if matches(r, request.query.get("$filter", ""), contract, service)]
        for part in reversed([p.strip() for p in request.query.get("$orderby", "").split(",") if p.strip()]):
            field = part.split(" ")[0]
            if field not in contract.fields:
                raise _Stop(
                    _error(
                        service,
                        400,
                        "005056A509B11EE1B9A8FEA8DE87F78E",
                        f"Property '{field}' not found in type '{name}Type'",
                    )
                )
            rows.sort(key=lambda r, f=field: str(r.get(f) or ""), reverse=part.endswith(" desc"))  # type: ignore[misc]
        skip = int(request.query.get("$skip") or 0) + int(request.query.get("$skiptoken") or 0)
        top = int(request.query.get("$top") or len(rows))
        part_rows = rows[skip : skip + min(top, self.page_limit)]
        entities = [self._entity(service, name, r, request.query.get("$expand", "")) for r in part_rows]
        more = len(part_rows) < min(top, len(rows) - skip)
        link = ""
        if more:
            # The real one names an internal host in its links.
            rest_top = top - len(part_rows)
            link = f"https://internal.sim:44300/{root}{name}?$skiptoken={skip + len(part_rows)}&$top={rest_top}"
            for option in ("$filter", "$orderby", "$expand"):
                if option in request.query:
                    from urllib.parse import quote

                    link += f"&{option}={quote(request.query[option])}"
        if service.v4:
            return json_response({"value": entities, **({"@odata.nextLink": link} if link else {})})
        body: dict[str, Any] = {"results": entities}
        if request.query.get("$inlinecount") == "allpages":
            body["__count"] = str(len(rows))
        if link:
            body["__next"] = link
        return json_response({"d": body})

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return self.data[name]

    def _by_key(self, service: Service, name: str, key: str) -> dict[str, Any]:
        wanted: dict[str, str] = {}
        for index, part in enumerate(re.findall(r"(?:(\w+)=)?'((?:[^']|'')*)'", key)):
            wanted[part[0] or service.keys[index]] = part[1].replace("''", "'")
        for row in self._rows(name):
            if wanted and all(str(row.get(k)) == v for k, v in wanted.items()):
                return row
        raise _Stop(_error(service, 404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{name}Type'"))

    def _entity(self, service: Service, name: str, row: Mapping[str, Any], expand: str) -> dict[str, Any]:
        wanted = {part.split("/")[0] for part in expand.split(",") if part} | set(row.get("_sent", ()))
        entity = _to_wire(row, shape(name), service.v4, wanted)
        if service.etag:
            if service.v4:
                entity["@odata.etag"] = self._etag(service, row)
            else:
                entity.setdefault("__metadata", {})["etag"] = self._etag(service, row)
        return entity

    @staticmethod
    def _etag(service: Service, row: Mapping[str, Any]) -> str:
        if "DeliveryVersion" in row:
            return f"W/\"'{row['DeliveryVersion']}'\""
        return (
            f"W/\"datetimeoffset'{str(row.get('LastChangeDateTime')).replace(':', '%3A')}-{row.get('_version', 0)}'\""
        )

    # -- writing ---------------------------------------------------------------------------------------------------

    def _changing(self, request: SimRequest, service: Service, rest: str) -> SimResponse:
        self._check_token(request)
        found = re.fullmatch(r"(A_SalesOrder|SalesOrder)(?:\((.*)\))?", rest)
        if not found:
            raise _Stop(_error(service, 405, "/IWBEP/CM_MGW_RT/044", f"Method {request.method} is not allowed here"))
        name, key = found.groups()
        try:
            body = decode_json(request.body)
        except ValueError:
            raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/001", "Malformed JSON")) from None
        contract = shape(name)
        self._validate(service, name, body, contract, create=request.method == "POST")
        if request.method == "POST" and key is None:
            return self._create(service, name, _from_wire(body, contract, service.v4))
        if request.method == "PATCH" and key is not None:
            row = self._by_key(service, name, key)
            given = request.headers.get("if-match", "")
            if not given:
                raise _Stop(_error(service, 428, "/IWBEP/CM_MGW_RT/428", "Precondition required"))
            if given not in ("*", self._etag(service, row)):
                raise _Stop(_error(service, 412, "/IWBEP/CM_MGW_RT/412", "Precondition failed"))
            row.update(_from_wire(body, contract, service.v4))
            row["_version"] = row.get("_version", 0) + 1
            row["LastChangeDateTime"] = self._stamp()
            return SimResponse(204)
        raise _Stop(_error(service, 405, "/IWBEP/CM_MGW_RT/044", f"Method {request.method} is not allowed here"))

    def _validate(
        self, service: Service, name: str, body: Any, contract: Shape, *, create: bool, path: str = ""
    ) -> None:
        if not isinstance(body, dict):
            raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/001", "An object is expected"))
        for key, value in body.items():
            field = contract.get(key)
            if field is None:
                raise _Stop(
                    _error(
                        service,
                        400,
                        "005056A509B11EE1B9A8FEA8DE87F78E",
                        f"Property '{key}' not found in type '{contract.name}Type'",
                        key,
                    )
                )
            if not field.creatable and create and field.type not in ("list", "object"):
                raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/017", f"Property '{key}' is read-only", key))
            if field.type == "list":
                rows = value.get("results") if isinstance(value, dict) and not service.v4 else value
                if not isinstance(rows, list):
                    raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/001", f"'{key}' must be a collection", key))
                for row in rows:
                    inner = field.item.shape if field.item else None
                    if inner is not None:
                        self._validate(service, name, row, inner, create=create, path=f"{path}{key}/")
            elif field.type == "object" and field.shape is not None:
                self._validate(service, name, value, field.shape, create=create, path=f"{path}{key}/")
            else:
                self._value(service, path + key, field, value)

    def _value(self, service: Service, path: str, field: Field, value: Any) -> None:
        wrong = ""
        if value is None:
            return
        if field.type == "text":
            if not isinstance(value, str):
                wrong = f"Invalid value for property '{field.name}'"
            elif field.max_length is not None and len(value) > field.max_length:
                wrong = f"Property '{field.name}' has a value longer than {field.max_length} characters"
        elif field.type == "decimal":
            if not service.v4 and not isinstance(value, str):
                wrong = f"Invalid value for property '{field.name}'"
            elif field.scale is not None and -Decimal(str(value)).as_tuple().exponent > field.scale:  # type: ignore[operator]
                wrong = f"Property '{field.name}' has more than {field.scale} decimals"
        elif (
            field.type == "date"
            and not service.v4
            and not re.fullmatch(r"/Date\(-?\d+\)/|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(value))
        ):
            wrong = f"Invalid value for property '{field.name}'"
        if wrong:
            raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/016", wrong, path))

    def _create(self, service: Service, name: str, order: dict[str, Any]) -> SimResponse:
        customer = str(order.get("SoldToParty", "")).lstrip("0")
        items_name = "_Item" if service.v4 else "to_Item"
        if not order.get("SalesOrderType"):
            raise _Stop(_error(service, 400, "V1/301", "Enter a sales document type", "SalesOrderType"))
        if customer not in self.customers:
            area = " ".join(
                str(order.get(n, "")) for n in ("SalesOrganization", "DistributionChannel", "OrganizationDivision")
            )
            raise _Stop(
                _error(service, 400, "VP/196", f"Payer {customer} not maintained for sales area {area}", "SoldToParty")
            )
        for item in order.get(items_name, []):
            material = item.get("Material", item.get("Product", ""))
            if self.materials and material not in self.materials:
                words = f"Material {material} is not defined for sales org. {order.get('SalesOrganization', '')}"
                raise _Stop(_error(service, 400, "V1/384", words, items_name))
        number = str(self._next["order"])
        self._next["order"] += 1
        net = Decimal(0)
        for index, item in enumerate(order.get(items_name, []), 1):
            item["SalesOrder"] = number
            item["SalesOrderItem"] = str(int(item.get("SalesOrderItem") or index * 10))
            prices = item.get("to_PricingElement") or item.get("_PricingElement") or []
            rate = (
                Decimal(str(prices[0].get("ConditionRateValue", prices[0].get("ConditionRateAmount", 0))))
                if prices
                else Decimal(0)
            )
            net += rate * Decimal(str(item.get("RequestedQuantity") or 0))
        sent = [key for key, field in shape(name).fields.items() if field.type in ("list", "object") and key in order]
        row = {
            **order, "SalesOrder": number, "SoldToParty": customer, "LastChangeDateTime": self._stamp(), "CreationDate": self._day(),
            "TotalNetAmount": f"{net:.3f}" if not service.v4 else net, "OverallSDProcessStatus": "A", "_sent": sent, "_version": 0,
        }  # fmt: skip
        self.data[name].append(row)
        if service.v4:
            self.data["A_SalesOrder"].append({**row, "to_Item": row.get("_Item", []), "_sent": []})
        entity = self._entity(service, name, row, "")
        saved = {
            "code": "V4/233",
            "message": f"Standard Order {number} has been saved.",
            "severity": "info",
            "details": [],
        }
        message = encode_json(saved).decode()
        return json_response(entity if service.v4 else {"d": entity}, 201, sap_message=message)


def _to_wire(row: Mapping[str, Any], contract: Shape, v4: bool, expand: set[str]) -> dict[str, Any]:
    entity: dict[str, Any] = {} if v4 else {"__metadata": {"type": f"{contract.name}Type"}}
    for name, field in contract.fields.items():
        value = row.get(name)
        if field.type in ("list", "object"):
            inner = field.item.shape if field.item else field.shape
            if name in expand and value is not None and inner is not None:
                if field.type == "list":
                    rows = [_to_wire(item, inner, v4, set(item)) for item in value]
                    entity[name] = rows if v4 else {"results": rows}
                else:
                    entity[name] = _to_wire(value, inner, v4, set(value))
            elif not v4:
                entity[name] = {"__deferred": {"uri": name}}
            continue
        if value is None:
            entity[name] = None if field.type != "text" else ""
        elif not v4 and field.type in ("date", "datetime"):
            entity[name] = f"/Date({_millis(str(value))}{'+0000' if field.type == 'datetime' else ''})/"
        elif not v4 and field.type == "decimal":
            entity[name] = str(value)
        else:
            entity[name] = value
    return entity


def _from_wire(body: Mapping[str, Any], contract: Shape, v4: bool) -> dict[str, Any]:
    from flowrun_connectors._odata.values import from_wire

    found: dict[str, Any] = from_wire(dict(body), contract)
    return found


def _millis(text: str) -> int:
    from flowrun_connectors._odata.values import to_millis as millis

    return millis(text)


_CLAUSE = re.compile(
    r"\(?\s*(\w+)\s+(eq|ne|gt|ge|lt|le)\s+(datetimeoffset'[^']*'|datetime'[^']*'|'(?:[^']|'')*'|[\w.:+-]+)\s*\)?"
)


def matches(row: Mapping[str, Any], text: str, contract: Shape, service: Service) -> bool:
    """$filter as connectors write it: comparisons joined by and; parentheses around or."""
    if not text:
        return True
    for part in _split(text, " and "):
        if not any(
            _holds(row, one, contract, service)
            for one in _split(part.strip().removeprefix("(").removesuffix(")") if " or " in part else part, " or ")
        ):
            return False
    return True


def _split(text: str, word: str) -> list[str]:
    """Split outside quotes and parentheses."""
    parts, depth, quoted, start, index = [], 0, False, 0, 0
    while index < len(text):
        char = text[index]
        if char == "'":
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
        elif not quoted and char == ")":
            depth -= 1
        elif not quoted and depth == 0 and text.startswith(word, index):
            parts.append(text[start:index])
            index += len(word)
            start = index
            continue
        index += 1
    return [*parts, text[start:]]


def _holds(row: Mapping[str, Any], text: str, contract: Shape, service: Service) -> bool:
    found = _CLAUSE.fullmatch(text.strip())
    if not found:
        raise _Stop(_error(service, 400, "/IWBEP/CM_MGW_RT/021", f"The filter '{text[:60]}' is not supported"))
    name, operator, literal = found.groups()
    if name not in contract.fields:
        raise _Stop(
            _error(
                service,
                400,
                "005056A509B11EE1B9A8FEA8DE87F78E",
                f"Property '{name}' not found in type '{contract.name}Type'",
            )
        )
    wanted = re.sub(r"^datetime(offset)?", "", literal)
    wanted = wanted[1:-1].replace("''", "'") if wanted.startswith("'") else wanted
    have = str(row.get(name) or "")
    kind = contract.fields[name].type
    if kind == "date":
        have, wanted = have[:10], wanted[:10]
    elif kind == "decimal":
        have, wanted = f"{Decimal(have or 0):040.14f}", f"{Decimal(wanted.removesuffix('M')):040.14f}"
    return {
        "eq": have == wanted,
        "ne": have != wanted,
        "gt": have > wanted,
        "ge": have >= wanted,
        "lt": have < wanted,
        "le": have <= wanted,
    }[operator]


def _error(service: Service, status: int, code: str, text: str, target: str = "") -> SimResponse:
    if service.v4:
        body = {
            "error": {
                "code": code,
                "message": text,
                "target": target,
                "@SAP__common.ExceptionCategory": "Client_Error",
                "details": [],
            }
        }
        return json_response(body, status)
    return _v2_error(status, code, text, target)


def _v2_error(status: int, code: str, text: str, target: str = "") -> SimResponse:
    details = [
        {"ContentID": "", "code": code, "message": text, "propertyref": "", "severity": "error", "target": target},
        {"ContentID": "", "code": "V1/555", "message": "Some earlier warning", "propertyref": "", "severity": "warning", "target": "to_Item"},
        {"ContentID": "", "code": "/IWBEP/CX_MGW_BUSI_EXCEPTION", "message": "An exception was raised", "propertyref": "", "severity": "error", "target": ""},
    ]  # fmt: skip
    inner = {
        "transactionid": "5E0F9D2C1A0E00D0E005F1A2B3C4D5E6",
        "timestamp": "20240501080000.1234560",
        "errordetails": details,
    }
    return json_response(
        {"error": {"code": code, "message": {"lang": "en", "value": text}, "innererror": inner}}, status
    )


def metadata(root: str) -> bytes:
    """$metadata of a service, made from the shipped contracts."""
    types: dict[str, str] = {}
    sets = []
    associations: list[str] = []
    v4 = False
    for name, service in SERVICES.items():
        if service.root == root:
            v4 = service.v4
            _type(f"{name}Type", shape(name), types, associations, v4)
            sets.append(f'<EntitySet Name="{name}" EntityType="SIM.{name}Type"/>')
    body = "".join(types.values()) + "".join(associations)
    body += f'<EntityContainer Name="C">{"".join(sets)}</EntityContainer>'
    version = "4.0" if v4 else "1.0"
    text = f'<?xml version="1.0"?><edmx:Edmx Version="{version}" xmlns:edmx="e" xmlns:sap="http://www.sap.com/Protocols/SAPData">'
    return f'{text}<edmx:DataServices><Schema Namespace="SIM" xmlns="s">{body}</Schema></edmx:DataServices></edmx:Edmx>'.encode()


def _type(type_name: str, contract: Shape, types: dict[str, str], associations: list[str], v4: bool) -> None:
    if type_name in types:
        return
    types[type_name] = ""
    out = []
    keys = [f.name for f in contract.fields.values() if f.key]
    if keys:
        out.append("<Key>" + "".join(f'<PropertyRef Name="{k}"/>' for k in keys) + "</Key>")
    for field in contract.fields.values():
        inner = field.item.shape if field.item else field.shape
        if inner is not None:
            target = f"{type_name}_{field.name}"
            _type(target, inner, types, associations, v4)
            many = field.type == "list"
            if v4:
                kind = f"Collection(SIM.{target})" if many else f"SIM.{target}"
                out.append(f'<NavigationProperty Name="{field.name}" Type="{kind}"/>')
            else:
                link = f"assoc_{target}"
                out.append(
                    f'<NavigationProperty Name="{field.name}" Relationship="SIM.{link}" FromRole="f" ToRole="t"/>'
                )
                star = "*" if many else "0..1"
                associations.append(
                    f'<Association Name="{link}"><End Type="SIM.{type_name}" Multiplicity="1" Role="f"/><End Type="SIM.{target}" Multiplicity="{star}" Role="t"/></Association>'
                )
            continue
        extra = ""
        if field.max_length is not None:
            extra += f' MaxLength="{field.max_length}"'
        if field.precision is not None:
            extra += f' Precision="{field.precision}"'
        if field.scale is not None:
            extra += f' Scale="{field.scale}"'
        if field.type == "date" and not v4:
            extra += ' sap:display-format="Date"'
        if not field.creatable:
            extra += ' sap:creatable="false"'
        if not field.updatable and not field.key:
            extra += ' sap:updatable="false"'
        kind = "Edm.Date" if v4 and field.type == "date" else _EDM.get(field.type, "Edm.String")
        out.append(f"<Property Name={quoteattr(field.name)} Type={quoteattr(kind)}{extra}/>")
    types[type_name] = f'<EntityType Name="{type_name}">{"".join(out)}</EntityType>'
