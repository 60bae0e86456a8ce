"""A simulated S/4HANA: Gateway's envelope, sessions, ETags and errors, over a small company.

It refuses what the real one refuses: unknown and read-only fields, texts that are too long, JSON numbers for V2
decimals, unknown customers and materials, a missing token or cookie, a missing or stale ETag, a service the user may
not call. ``$batch`` and function imports are not offered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from flowrun.contract import Shape
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import Secret, decode_json
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape
from flowrun_connectors.s4hana.simulator.filters import compile_filter, sort
from flowrun_connectors.s4hana.simulator.gate import CLIENT_ID, CLIENT_SECRET, PASSWORD, USER, Gate
from flowrun_connectors.s4hana.simulator.metadata import metadata
from flowrun_connectors.s4hana.simulator.v4view import from_v4, to_v4
from flowrun_connectors.s4hana.simulator.wire import (
    UNKNOWN_PROPERTY,
    Row,
    Stop,
    Tree,
    Version,
    key_uri,
    read_body,
    refuse,
    render,
)
from flowrun_connectors.s4hana.simulator.world import Rejected, World

_OPTIONS = frozenset(
    {"$filter", "$top", "$skip", "$orderby", "$expand", "$format", "$select", "$inlinecount", "$count", "$skiptoken"}
)
_INTERNAL = "https://s4app01.internal.example:44300/"  # V2 links name a host that nobody outside can reach
_KEY_PART = re.compile(r"\s*(?:(\w+)\s*=\s*)?'((?:[^']|'')*)'\s*(?:,|$)")


class S4HanaSimulator(Simulator):
    """page_limit: the most entities a page holds before the server pages by itself.

    Switches for what releases differ in: ``strict_decimals`` (V2 refuses JSON numbers), ``ignore_read_only`` (fields
    that cannot be written are left out instead of refused), ``deliveries_filter`` (delivery sets take $filter).
    """

    name: ClassVar[str] = "s4hana"

    def __init__(
        self, *, token_secs: int = 3600, session_secs: int = 1800, page_limit: int = 1000, **more: Any
    ) -> None:
        super().__init__(**more)
        self.world = World(lambda: self.now())
        self.gate = Gate(lambda: self.now(), token_secs, session_secs)
        self.page_limit = page_limit
        self.strict_decimals = True
        self.ignore_read_only = False
        self.deliveries_filter = True

    def connection_settings(self) -> dict[str, Any]:
        return {"base_url": self.base_url, "auth": {"basic": {"user": USER, "password": PASSWORD}}}

    def oauth_settings(self) -> dict[str, Any]:
        client = {"client_id": CLIENT_ID, "client_secret": Secret(CLIENT_SECRET)}
        auth = {"token_url": f"{self.base_url}/oauth/token", **client}
        return {"base_url": self.base_url, "auth": {"oauth2_client_credentials": auth}}

    def furnish(self) -> None:
        """A customer, one for guests, and the stock of two materials in two plants; any material may be ordered."""
        self.add_customer("17100001", "Ann Lee")
        self.add_customer("17100099", "Guests of the shop")
        self.add_stock("MUG-1", "1710", "20.000")
        self.add_stock("MUG-1", "1720", "5.000")
        self.add_stock("CUP-1", "1710", "48.000")

    def dump(self) -> Any:
        return self.world.dump()

    def load(self, state: Any) -> None:
        if state:
            self.world.load(state)

    # -- changing the system, from Python --------------------------------------------------------------------------

    @property
    def orders(self) -> list[Row]:
        """Sales orders in the names of V2, oldest first, whichever service made them."""
        return self.world.data["A_SalesOrder"]

    def add_customer(
        self,
        number: str,
        name: str = "Customer",
        *,
        areas: Sequence[tuple[str, str, str]] = (),
        blocked: str = "",
        credit_limit: str | None = None,
        country: str = "US",
    ) -> None:
        """areas: (organization, channel, division) it may order in; none: all. blocked: an order block's name."""
        with self.lock:
            self.world.add_customer(number, name, areas, blocked, credit_limit, country)

    def add_material(self, number: str, *, unit: str = "PC", description: str = "") -> None:
        """While there is none, any material is accepted."""
        with self.lock:
            self.world.add_material(number, unit, description or number)

    def add_stock(
        self, material: str, plant: str, quantity: str, *, location: str = "171A", kind: str = "01", unit: str = "PC"
    ) -> None:
        """kind: ``01`` unrestricted. Sets the quantity of that place; "0" takes its row away."""
        with self.lock:
            self.world.add_stock(material, plant, quantity, location, kind, unit)

    def deliver(self, order: str, *, tracking: str = "", carrier: str = "01", goods_issue: bool = True) -> str:
        """An outbound delivery with all items of an order. Returns its number."""
        with self.lock:
            return self.world.deliver(order, tracking, carrier, goods_issue)

    def post_goods_issue(self, delivery: str) -> None:
        with self.lock:
            self.world.post_goods_issue(delivery)

    def bill(self, delivery: str) -> str:
        """An invoice over a delivery. Returns its number."""
        with self.lock:
            return self.world.bill(delivery)

    def change_order(self, number: str, **fields: Any) -> None:
        """Somebody in SAP changes an order, so its ETag is a new one."""
        with self.lock:
            self.world.patch_order(self.world.order(number), fields)

    def hold(self, number: str, times: int = 1) -> None:
        """Somebody works on a customer or document: the next ``times`` writes to it meet a lock."""
        with self.lock:
            self.world.locked[number] = times

    def revoke(self, service: str) -> None:
        """Take the user's authorisation for a service, such as API_SALES_ORDER_SRV."""
        self.gate.revoked.add(service)

    def deactivate(self, service: str) -> None:
        self.gate.inactive.add(service)

    def expire_tokens(self) -> None:
        self.gate.tokens.clear()

    def expire_sessions(self) -> None:
        self.gate.sessions.clear()

    # -- answering -------------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path == "/oauth/token":
            return self.gate.oauth(request)
        cookies: tuple[str, ...] = ()
        try:
            self.gate.authenticate(request)
            root, rest = _route(request.raw_path.lstrip("/"))
            service = next(s for s in SERVICES.values() if s.root == root)
            self.gate.authorise(service.name, service.v4)
            session, cookies = self.gate.session(request.headers)
            if request.method in ("GET", "HEAD"):
                answer = self._reading(request, service.v4, root, rest)
            else:
                self.gate.check_token(request.headers, session, bool(cookies))
                answer = self._changing(request, service.v4, root, rest)
            if request.headers.get("x-csrf-token", "").lower() == "fetch":
                answer.headers["x-csrf-token"] = self.gate.sessions[session].token
        except Stop as stop:
            answer = stop.response
        answer.cookies = (*answer.cookies, *cookies)
        answer.headers["dataserviceversion"] = "2.0"
        return answer

    def _version(self, request: SimRequest, v4: bool) -> Version:
        header = "accept" if request.method in ("GET", "HEAD") else "content-type"
        exact = "ieee754compatible=true" in request.headers.get(header, "").lower()
        return Version(v4, exact, self.strict_decimals, self.ignore_read_only)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _reading(self, request: SimRequest, v4: bool, root: str, rest: str) -> SimResponse:
        sets = [name for name, service in SERVICES.items() if service.root == root]
        if rest == "":
            listed = (
                {"value": [{"name": n, "kind": "EntitySet", "url": n} for n in sets]}
                if v4
                else {"d": {"EntitySets": sets}}
            )
            return json_response(listed)
        if rest == "$metadata":
            return SimResponse(200, metadata(root), {"content-type": "application/xml"})
        if not v4 and "json" not in (request.headers.get("accept", "") + request.query.get("$format", "")):
            return SimResponse(200, b"<feed/>", {"content-type": "application/atom+xml"})  # the default is XML
        for option in request.query:
            if option.startswith("$") and option not in _OPTIONS:
                raise refuse(v4, 400, "/IWBEP/CM_MGW_RT/022", f"Invalid query option '{option}'")
        name, key, path = _segments(rest, v4, sets)
        service, contract = SERVICES[name], shape(name)
        version = self._version(request, v4)
        if key is None:
            rows = [to_v4(row) for row in self.world.data["A_SalesOrder"]] if v4 else self.world.data[name]
            if path == "$count":
                found = [r for r in rows if compile_filter(request.query.get("$filter", ""), contract, v4)(r)]
                return SimResponse(200, str(len(found)).encode(), {"content-type": "text/plain"})
            return self._list(request, name, contract, rows, version, root, rest)
        row = self._by_key(service, name, key)
        if path:
            field = contract.get(path)
            if field is None or field.item is None or field.item.shape is None:
                raise refuse(v4, 404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{path}'")
            return self._list(request, "", field.item.shape, row.get(path) or [], version, root, rest)
        tree = _tree(request.query, contract, v4)
        entity = render(row, contract, tree, version, self._uri(root, name, row), self._etag(service, row))
        return json_response(entity if v4 else {"d": entity})

    def _list(
        self,
        request: SimRequest,
        name: str,
        contract: Shape,
        rows: Sequence[Row],
        version: Version,
        root: str,
        rest: str,
    ) -> SimResponse:
        """name: of the entity set, "" for a navigation's target."""
        v4, query = version.v4, request.query
        can = self.deliveries_filter or not name.startswith("A_OutbDelivery")
        test = compile_filter(query.get("$filter", ""), contract, v4, filterable=can)
        found = [row for row in rows if test(row)]
        sort(found, query.get("$orderby", ""), contract, v4, sortable=can)
        total = len(found)
        at = _count(query, "$skiptoken", v4) if "$skiptoken" in query else _count(query, "$skip", v4)
        top = _count(query, "$top", v4) if "$top" in query else total
        wanted = found[at : at + top]
        page = wanted[: self.page_limit]
        tree = _tree(query, contract, v4)
        entities = [
            render(r, contract, tree, version, self._uri(root, name, r), self._etag(SERVICES[name], r) if name else "")
            for r in page
        ]
        link = ""
        if len(page) < len(wanted):
            kept = {n: query[n] for n in ("$filter", "$orderby", "$expand", "$select", "$format") if n in query}
            kept |= {"$skiptoken": str(at + len(page)), "$top": str(len(wanted) - len(page))}
            link = f"{rest}?" + "&".join(f"{n}={quote(text)}" for n, text in kept.items())
        if v4:
            body: Row = {"@odata.count": total} if query.get("$count") == "true" else {}
            body["value"] = entities
            if link:
                body["@odata.nextLink"] = link  # relative to the service
            return json_response(body)
        inner: Row = {"results": entities}
        if query.get("$inlinecount") == "allpages":
            inner["__count"] = str(total)
        if link:
            inner["__next"] = f"{_INTERNAL}{root}{link}"
        return json_response({"d": inner})

    def _by_key(self, service: Service, name: str, key: str) -> Row:
        wanted = _key(service, key)
        row = self.world.find("A_SalesOrder" if service.v4 else name, wanted) if wanted else None
        if row is None:
            raise refuse(service.v4, 404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{name}Type'")
        return to_v4(row) if service.v4 else row

    def _uri(self, root: str, name: str, row: Mapping[str, Any]) -> str:
        base = f"{self.base_url}/{root}"
        return key_uri(base, name, {key: row.get(key) for key in SERVICES[name].keys}) if name else base

    @staticmethod
    def _etag(service: Service, row: Mapping[str, Any]) -> str:
        if not service.etag:
            return ""
        if service.stamp is None:
            return f"W/\"'{row.get('DeliveryVersion', '0001')}'\""
        at = str(row.get(service.stamp) or "")
        if service.v4:
            digits = re.sub(r"\D", "", at)
            return f'W/"SADL-{digits}C~{digits[:14]}.{digits[14:]}"'
        return f"W/\"datetimeoffset'{at.replace(':', '%3A')}'\""

    # -- writing ---------------------------------------------------------------------------------------------------

    def _changing(self, request: SimRequest, v4: bool, root: str, rest: str) -> SimResponse:
        sets = [name for name, service in SERVICES.items() if service.root == root]
        name, key, path = _segments(rest, v4, sets)
        service = SERVICES[name]
        method = request.headers.get("x-http-method", request.method) if request.method == "POST" else request.method
        patching = method == "PATCH" or (method == "MERGE" and not v4)
        if (
            not service.info.actions
            or path
            or (key is None) != (method == "POST")
            or not (patching or method == "POST")
        ):
            raise refuse(v4, 405, "/IWBEP/CM_MGW_RT/044", f"Method {method} is not allowed here")
        version = self._version(request, v4)
        body = _json(request, v4)
        try:
            if key is None:
                return self._create(service, name, root, read_body(body, shape(name), version, creating=True), version)
            return self._patch(request, service, name, key, read_body(body, shape(name), version, creating=False))
        except Rejected as error:
            raise refuse(v4, 400, error.code, error.text, error.field, more=error.more) from None

    def _create(self, service: Service, name: str, root: str, body: Row, version: Version) -> SimResponse:
        order, messages = self.world.create_order(from_v4(body) if service.v4 else body)
        row = to_v4(order) if service.v4 else order
        sent = Tree(below=_sent(body, shape(name)))
        entity = render(row, shape(name), sent, version, self._uri(root, name, row), self._etag(service, row))
        answer = json_response(entity if service.v4 else {"d": entity}, 201)
        if service.v4:
            numbers = {"info": 2, "warning": 3}
            listed = [{**one, "numericSeverity": numbers[one["severity"]]} for one in messages]
            answer.headers["sap-messages"] = json.dumps(listed)
        else:
            answer.headers["sap-message"] = json.dumps({**messages[0], "details": messages[1:]})
        answer.headers["location"] = self._uri(root, name, row)
        return answer

    def _patch(self, request: SimRequest, service: Service, name: str, key: str, changes: Row) -> SimResponse:
        row = self._by_key(service, name, key)
        given = request.headers.get("if-match", "")
        if not given:
            raise refuse(
                service.v4, 428, "/IWBEP/CM_MGW_RT/428", "Precondition required: If-Match is missing"
            )  # made up
        if given not in ("*", self._etag(service, row)):
            raise refuse(service.v4, 412, "/IWBEP/CM_MGW_RT/412", "Precondition failed")  # made up
        nested = next((n for n, value in changes.items() if isinstance(value, list | dict)), "")
        if nested:
            raise refuse(service.v4, 400, "/IWBEP/CM_MGW_RT/024", f"Deep update is not supported: '{nested}'", nested)
        self.world.patch_order(self.world.order(row["SalesOrder"]), changes)
        return SimResponse(204)


def _route(path: str) -> tuple[str, str]:
    """(service root, what follows it, still encoded). Raises Stop."""
    for service in SERVICES.values():
        if path.startswith(service.root):
            return service.root, path[len(service.root) :]
    v4 = path.startswith("sap/opu/odata4/")
    raise refuse(v4, 403, "/IWFND/MED/170", "No service found for namespace '', name '', version '0001'")


def _segments(rest: str, v4: bool, sets: Sequence[str]) -> tuple[str, str | None, str]:
    """``A_SalesOrder('1')/to_Item`` → (set, key or None, navigation or ""). Raises Stop."""
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?(?:/(\$?\w+))?", rest)
    if not found or found.group(1) not in sets:
        raise refuse(v4, 404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{rest[:40]}'")
    key = found.group(2)
    return found.group(1), None if key is None else unquote(key), found.group(3) or ""


def _key(service: Service, text: str) -> dict[str, str] | None:
    """The key's parts by name, None when it is no key of this set."""
    found, at, parts = {}, 0, 0
    while at < len(text):
        part = _KEY_PART.match(text, at)
        if not part or parts >= len(service.keys):
            return None
        found[part.group(1) or service.keys[parts]] = part.group(2).replace("''", "'")
        at, parts = part.end(), parts + 1
    return found if set(found) == set(service.keys) else None


def _count(query: Mapping[str, str], option: str, v4: bool) -> int:
    text = query.get(option, "0")
    if not text.isdigit():
        raise refuse(v4, 400, "/IWBEP/CM_MGW_RT/023", f"Invalid value for {option}")
    return int(text)


def _tree(query: Mapping[str, str], contract: Shape, v4: bool) -> Tree:
    """$expand and $select. Raises Stop for what does not exist."""
    tree = Tree()
    for path in _v4_paths(query.get("$expand", "")) if v4 else query.get("$expand", "").split(","):
        at, inner = tree, contract
        for name in filter(None, path.strip().split("/")):
            field = inner.get(name)
            below = (field.item.shape if field.item is not None else field.shape) if field is not None else None
            if below is None:
                raise refuse(v4, 400, UNKNOWN_PROPERTY, f"Navigation '{name}' not found in type '{inner.name}Type'")
            at, inner = at.below.setdefault(name, Tree()), below
    for path in filter(None, (part.strip() for part in query.get("$select", "").split(","))):
        if contract.get(path.split("/")[0]) is None:
            raise refuse(v4, 400, UNKNOWN_PROPERTY, f"Property '{path}' not found in type '{contract.name}Type'")
        if "/" not in path:
            tree.select.add(path)
    return tree


def _v4_paths(text: str, above: str = "") -> list[str]:
    """``_Item($expand=_ScheduleLine)`` → ["_Item", "_Item/_ScheduleLine"]."""
    found: list[str] = []
    for part in re.findall(r"(\w+)(?:\(\$expand=((?:[^()]|\([^()]*\))*)\))?", text):
        found += [f"{above}{part[0]}", *(_v4_paths(part[1], f"{above}{part[0]}/") if part[1] else [])]
    return found


def _sent(body: Row, contract: Shape) -> dict[str, Tree]:
    """A create answers with the children that were sent, expanded."""
    trees: dict[str, Tree] = {}
    for name, value in body.items():
        field = contract.get(name)
        inner = (field.item.shape if field.item is not None else field.shape) if field is not None else None
        if inner is not None:
            below: dict[str, Tree] = {}
            for row in value if isinstance(value, list) else [value]:
                below.update(_sent(row, inner))
            trees[name] = Tree(below=below)
    return trees


def _json(request: SimRequest, v4: bool) -> Any:
    if "json" not in request.headers.get("content-type", ""):
        raise refuse(v4, 415, "/IWBEP/CM_MGW_RT/415", "Unsupported media type")
    try:
        return decode_json(request.body)
    except ValueError:
        raise refuse(v4, 400, "/IWBEP/CM_MGW_RT/001", "The request body is no JSON") from None


__all__ = ["CLIENT_ID", "CLIENT_SECRET", "PASSWORD", "USER", "S4HanaSimulator"]
