"""SAP S/4HANA: sales orders written with deep insert, the rest read, over OData V2 and V4."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import httpx

from flowrun.connector import (
    Cursor,
    EventInfo,
    Health,
    Item,
    ObjectInfo,
    Page,
    Query,
    Receipt,
    Record,
    Verdict,
    setting,
)
from flowrun.contract import Field, Shape
from flowrun.errors import Conflict, ConnectorError, DeliveryUnknown, NotFound, Refused, Unavailable
from flowrun.values import Clock, encode_json
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._http.paging import PageGuard
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors._odata.values import from_wire, key_path, literal, to_v2
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape
from flowrun_connectors.s4hana.session import Session

TOP = 200  # records a page when the flow does not say
URL_VALUES = 40  # values of one field in one $filter; addresses beyond about 8 kB fail


@dataclass(frozen=True)
class S4Settings:
    base_url: str = setting("The API host.", example="https://my300000-api.s4hana.ondemand.com")
    client: str = setting("SAP client, when the host serves several.", default="", example="100")
    language: str = setting("Language of messages and texts.", default="EN")
    overwrite: bool = setting("true: updates ignore changes made meanwhile (If-Match: *).", default=False)


class S4Hana:
    """See README.md in this folder."""

    Settings: ClassVar[type] = S4Settings
    title: ClassVar[str] = "SAP S/4HANA"
    simulator: ClassVar[str] = "flowrun_connectors.s4hana.simulator:S4HanaSimulator"
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "network", "auth", "rejected", "not_found", "conflict", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return {name: service.info for name, service in SERVICES.items()}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        return SERVICES[object].info if object in SERVICES else None

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return shape(object) if object in SERVICES else None

    def __init__(self, settings: S4Settings, http: httpx.Client, now: Clock) -> None:
        self.settings = settings
        self.http = http
        params = {"sap-language": settings.language}
        if settings.client:
            params["sap-client"] = settings.client
        self._session = Session(http, params)

    def _service(self, object: str) -> Service:
        if object not in SERVICES:
            raise Refused(f"S/4HANA has no object '{object}' here", help=f"it has: {', '.join(SERVICES)}")
        return SERVICES[object]

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        """Pages ordered by the cursor's field and key. $top is always set, and a next link is followed on our own host."""
        service, contract = self._service(query.object), shape(query.object)
        for clause in self._clauses(query, service, contract):
            yield from self._pages(query, service, contract, clause)

    def _clauses(self, query: Query, service: Service, contract: Shape) -> Iterator[str]:
        """$filter texts. There is no ``in``: a long list of values becomes several requests."""
        parts = []
        if query.since is not None and query.cursor is not None:
            parts.append(f"{query.cursor} ge {literal(query.since.value, contract.get(query.cursor), v4=service.v4)}")
        long: tuple[str, Sequence[str]] | None = None
        for name, wanted in query.filter.items():
            field = contract.get(name)
            if isinstance(wanted, str):
                parts.append(f"{name} eq {literal(wanted, field, v4=service.v4)}")
            elif long is None and len(wanted) > URL_VALUES:
                long = (name, wanted)
            else:
                parts.append(self._any_of(name, wanted, field, service))
        if long is None:
            yield " and ".join(parts)
            return
        for start in range(0, len(long[1]), URL_VALUES):
            some = self._any_of(long[0], long[1][start : start + URL_VALUES], contract.get(long[0]), service)
            yield " and ".join([*parts, some])

    @staticmethod
    def _any_of(name: str, values: Sequence[str], field: Field | None, service: Service) -> str:
        return "(" + " or ".join(f"{name} eq {literal(v, field, v4=service.v4)}" for v in values) + ")"

    def _pages(self, query: Query, service: Service, contract: Shape, clause: str) -> Iterator[Page]:
        top = query.page_size or TOP
        order = ",".join(dict.fromkeys((*((query.cursor,) if query.cursor else ()), *service.keys)))
        params = {"$top": str(top), "$orderby": order}
        if clause:
            params["$filter"] = clause
        if query.expand:
            params["$expand"] = ",".join(query.expand)
        if not service.v4:
            params["$format"] = "json"
        guard = PageGuard()
        path, skip = service.root + query.object, 0
        while True:
            body = read_json(self._session.get(path, {**params, **({"$skip": str(skip)} if skip else {})}))
            raw, link = _collection(body, service.v4)
            records = [from_wire(one, contract) for one in guard.page(raw)]
            cursor = None
            if query.cursor is not None and records:
                last = max(str(record.get(query.cursor) or "") for record in records)
                cursor = Cursor(last) if last else None
            if records:
                yield Page(records, cursor)
            if link:
                # Absolute, sometimes with an internal host name: keep path and query, use our own host.
                parts = urlsplit(guard.token(link))
                path = parts.path.lstrip("/") if parts.path.startswith("/") else service.root + parts.path
                params, skip = _query(parts.query), 0
            elif len(raw) < top or not raw:
                return
            else:
                skip += len(raw)

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        service, contract = self._service(object), shape(object)
        try:
            found, _ = self._one(service, contract, object, key, expand)
        except NotFound:
            return None
        record: dict[str, Any] = from_wire(found, contract)
        return record

    def _one(
        self, service: Service, contract: Shape, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()
    ) -> tuple[Any, str]:
        """(the entity as answered, its ETag)."""
        params = {"$expand": ",".join(expand)} if expand else {}
        response = self._session.get(service.root + key_path(object, key, contract, v4=service.v4), params)
        body = read_json(response)
        entity = body if service.v4 else body.get("d") if isinstance(body, dict) else None
        if not isinstance(entity, dict):
            raise Unavailable("the answer holds no entity")
        etag = entity.get("@odata.etag") if service.v4 else (entity.get("__metadata") or {}).get("etag")
        return entity, str(etag or response.headers.get("etag") or "")

    # -- writing ---------------------------------------------------------------------------------------------------

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        """Objects whose fields equal ``by``: asked before a repeat whose outcome is unknown."""
        service, contract = self._service(object), shape(object)
        clause = " and ".join(
            f"{name} eq {literal(value, contract.get(name), v4=service.v4)}" for name, value in by.items()
        )
        params = {"$filter": clause, "$top": "5", **({} if service.v4 else {"$format": "json"})}
        raw, _ = _collection(read_json(self._session.get(service.root + object, params)), service.v4)
        found = [from_wire(one, contract) for one in raw]
        return [Receipt(_number(service, record), response=record) for record in found]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for item in items:
            try:
                if item.action == "create":
                    verdicts.append(self._create(item))
                elif item.action == "update":
                    verdicts.append(self._update(item))
                else:
                    verdicts.append(Refused(f"S/4HANA cannot {item.action} '{item.object}'"))
            except ConnectorError as error:
                verdicts.append(error)
        return verdicts

    def _body(self, service: Service, contract: Shape, body: Mapping[str, Any]) -> bytes:
        return encode_json(dict(body) if service.v4 else to_v2(body, contract))

    def _create(self, item: Item) -> Receipt:
        service, contract = self._service(item.object), shape(item.object)
        headers = {"accept": "application/json", "content-type": "application/json"}
        response = self._session.write(
            "POST", service.root, service.root + item.object, self._body(service, contract, item.body), headers
        )
        try:
            answer = read_json(response)
            entity = answer if service.v4 else answer["d"]
            record = from_wire(entity, contract)
            number = _number(service, record)
        except (ConnectorError, KeyError, TypeError):
            raise DeliveryUnknown(f"status {response.status_code}, but the answer cannot be read") from None
        if not number:
            raise DeliveryUnknown("the answer names no document")
        return Receipt(number, created=True, response=record, warnings=_warnings(response))

    def _update(self, item: Item) -> Receipt:
        """PATCH with the ETag read just before; what changed meanwhile is a conflict, never overwritten."""
        service, contract = self._service(item.object), shape(item.object)
        key = {name: item.body[name] for name in service.keys if name in item.body}
        if len(key) != len(service.keys):
            raise Refused(f"the body lacks {', '.join(set(service.keys) - set(key))}")
        headers = {"accept": "application/json", "content-type": "application/json"}
        if service.etag:
            headers["if-match"] = "*" if self.settings.overwrite else self._one(service, contract, item.object, key)[1]
        change = {name: value for name, value in item.body.items() if name not in service.keys}
        path = service.root + key_path(item.object, key, contract, v4=service.v4)
        try:
            self._session.write("PATCH", service.root, path, self._body(service, contract, change), headers)
        except Conflict as error:
            raise Conflict(
                f"{item.object} {', '.join(map(str, key.values()))} changed meanwhile",
                code=error.code,
                status=error.status,
                help="run again: it is read and decided anew",
            ) from None
        return Receipt(_number(service, dict(key)), response=dict(key))

    # -- looking after ---------------------------------------------------------------------------------------------

    def check(self) -> Health:
        try:
            self._session.get(SERVICES["A_SalesOrder"].root + "A_SalesOrder", {"$top": "1", "$format": "json"})
        except ConnectorError as error:
            return Health(False, f"{error.error_class}: {error.message}")
        return Health(True, "sales orders can be read")

    def pull_contract(self, object: str) -> Shape:
        """The tenant's own $metadata as a Shape, required fields as shipped."""
        service = self._service(object)
        response = self._session.get(service.root + "$metadata", accept="application/xml")
        pulled = Metadata(response.content, f"{service.root}$metadata").shape(object, 3)
        needed = {name for name, field in shape(object).fields.items() if field.required}
        fields = {n: dataclasses.replace(f, required=n in needed) for n, f in pulled.fields.items()}
        return dataclasses.replace(pulled, fields=fields)


def _collection(body: Any, v4: bool) -> tuple[list[Any], str]:
    """(entities, next link)."""
    if v4:
        rows = body.get("value") if isinstance(body, dict) else None
        link = body.get("@odata.nextLink", "") if isinstance(body, dict) else ""
    else:
        inner = body.get("d") if isinstance(body, dict) else None
        rows = inner.get("results") if isinstance(inner, dict) else inner
        link = inner.get("__next", "") if isinstance(inner, dict) else ""
    if not isinstance(rows, list):
        raise Unavailable("the answer holds no list of entities")
    return rows, str(link or "")


def _query(text: str) -> dict[str, str]:

    return dict(parse_qsl(text, keep_blank_values=True))


def _number(service: Service, record: Mapping[str, Any]) -> str:
    return "/".join(str(record.get(name) or "") for name in service.keys).strip("/")


def _warnings(response: httpx.Response) -> tuple[str, ...]:
    """sap-message (V2) and sap-messages (V4): what the system said beside its success."""
    text = response.headers.get("sap-message") or response.headers.get("sap-messages") or ""
    try:
        found = json.loads(text) if text else []
    except ValueError:
        return ()
    listed = found if isinstance(found, list) else [found, *(found.get("details") or ())]
    return tuple(
        f"{one.get('code', '')}: {one.get('message', '')}" for one in listed
        if isinstance(one, dict) and str(one.get("severity", one.get("numericSeverity", ""))) in ("warning", "3")
    )  # fmt: skip
