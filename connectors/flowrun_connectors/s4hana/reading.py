"""Reading: what changed, one by key, all that match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from flowrun.connector import Cursor, Page, Query, Record
from flowrun.contract import Shape
from flowrun.errors import Conflict, NotFound, Refused, Unavailable
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._odata.address import conditions, follow, query
from flowrun_connectors._odata.nested import complete
from flowrun_connectors._odata.paging import Row, Rows, Walk, walk
from flowrun_connectors._odata.values import from_wire, key_path, literal, name_of
from flowrun_connectors.s4hana.objects import SERVICES, Service, shape
from flowrun_connectors.s4hana.session import Session

TOP = 200  # records a page; always sent, since many services answer with everything otherwise
_NO_FILTER = "/IWBEP/CM_MGW_RT/021"


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: as a record, as it came, and its ETag, unchanged ("": it has none)."""

    record: Record
    raw: Mapping[str, Any]
    etag: str


class Reader:
    def __init__(self, session: Session, page_size: int) -> None:
        self._session = session
        self._page_size = page_size

    # -- what changed ----------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        service, contract = SERVICES[query.object], shape(query.object)
        since = query.since.value if query.since is not None and query.cursor is not None else None
        fixed = [_since_day(service, contract, since)] if since is not None and query.cursor in service.day else []
        ordered = query.cursor if query.cursor == service.stamp else None
        if query.cursor is not None and ordered is None and query.cursor not in service.day:
            raise Refused(f"{query.object} cannot be read by {query.cursor}", help=_cursors(service))
        asked = list(conditions(fixed, query.filter, contract, v4=service.v4))
        if ordered is not None and len(asked) == 1:
            for rows in self._walk(query, asked[0], ordered, since):
                yield Page(rows, Cursor(str(rows[-1][ordered])))
            return
        # Several requests, or rows without an order: what was read first may have changed behind us. So the cursor
        # comes last, and is the least of what each request saw.
        places: list[str | None] = []
        for one in asked:
            place: str | None = None
            for rows in self._walk(query, one, ordered, since if ordered else None):
                place = max(filter(None, (place, *(_place(service, query.cursor, row) for row in rows))), default=None)
                yield Page(rows)
            places.append(place)
        if query.cursor is not None and places and all(places):
            yield Page([], Cursor(min(filter(None, places))))

    def _walk(self, query_: Query, condition: str, ordered: str | None, since: str | None) -> Iterator[list[Row]]:
        service, contract = SERVICES[query_.object], shape(query_.object)
        top = max(query_.page_size or self._page_size, 2)
        order = ",".join((ordered, *service.keys) if ordered else service.keys)
        field = contract.get(ordered) if ordered else None

        def ask(anchor: str | None, skip: int) -> Rows:
            parts = [f"{ordered} ge {literal(anchor, field, v4=service.v4)}"] if anchor is not None else []
            options = {
                "$filter": " and ".join([*parts, *([condition] if condition else [])]),
                "$orderby": order,
                "$expand": _expand(service, query_.expand),
                "$top": str(top),
                "$skip": str(skip) if skip else "",
            }
            return self._rows(service, contract, service.root + query_.object + query(options))

        def next_page(link: str) -> Rows:
            return self._rows(service, contract, _own(service, link))

        try:
            yield from walk(Walk(service.keys, ordered, top, ask, next_page), since)
        except Refused as error:
            if error.code == _NO_FILTER and service.day:
                error.help = "this release filters deliveries by nothing: read them with full: true, or one by key"
            raise

    def _rows(self, service: Service, contract: Shape, path: str) -> Rows:
        raw, link = _collection(read_json(self._session.get(path)), service.v4)
        return Rows([from_wire(self._whole(service, one), contract) for one in raw], link)

    def _whole(self, service: Service, raw: dict[str, Any]) -> dict[str, Any]:
        """The entity with all of what was expanded, where the server cut it into pages."""
        return complete(raw, lambda link: _collection(read_json(self._session.get(_own(service, link))), service.v4))

    # -- one, and all that match -----------------------------------------------------------------------------------

    def one(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Entity:
        """key: the object's key fields, or others that name just one. Raises NotFound, Conflict, Refused."""
        service, contract = SERVICES[object], shape(object)
        options = {"$expand": _expand(service, expand)}
        awkward = any("/" in str(value) or "\\" in str(value) for value in key.values())
        if awkward or set(key) != set(service.keys):  # some Gateways refuse an encoded slash in a path
            return self._one_by_filter(object, key, options)
        key = {name: key[name] for name in service.keys}
        path = service.root + key_path(object, key, contract, v4=service.v4)
        response = self._session.get(path + query(options))
        body = read_json(response)
        raw = body if service.v4 else body.get("d") if isinstance(body, dict) else None
        if not isinstance(raw, dict):
            raise Unavailable("the answer holds no entity")
        return _entity(self._whole(service, raw), contract, response)

    def _one_by_filter(self, object: str, key: Mapping[str, Any], options: Mapping[str, str]) -> Entity:
        service, contract = SERVICES[object], shape(object)
        if not key:
            raise Refused("nothing to search by")
        path = service.root + object + query({"$filter": _equals(service, contract, key), "$top": "2", **options})
        response = self._session.get(path)
        raw, _ = _collection(read_json(response), service.v4)
        if not raw:
            raise NotFound(f"{object} has no entity with {', '.join(key)} as asked")
        if len(raw) > 1:
            raise Conflict(f"several entities of {object} have {', '.join(key)} as asked")
        return _entity(self._whole(service, raw[0]), contract, None)

    def matching(self, object: str, by: Mapping[str, Any]) -> list[Row]:
        """All entities whose fields equal ``by``, by key."""
        service, contract = SERVICES[object], shape(object)
        condition = _equals(service, contract, by)
        return [row for rows in self._walk(Query(object), condition, None, None) for row in rows]

    def probe(self, object: str) -> None:
        """Can this object be read at all?"""
        service = SERVICES[object]
        self._rows(service, shape(object), service.root + object + query({"$top": "1"}))


def _own(service: Service, link: str) -> str:
    """A next link on our own host; client and language are added to every address anyway."""
    return follow(link, service.root, drop=("sap-client", "sap-language"))


def _entity(raw: Mapping[str, Any], contract: Shape, response: httpx.Response | None) -> Entity:
    metadata = raw.get("__metadata")
    etag = raw.get("@odata.etag") or (metadata.get("etag") if isinstance(metadata, dict) else None)
    if not etag and response is not None:
        etag = response.headers.get("etag")
    return Entity(from_wire(raw, contract), raw, str(etag or ""))


def _collection(body: Any, v4: bool) -> tuple[list[dict[str, Any]], str]:
    """(entities, next link)."""
    inner = body if v4 else body.get("d") if isinstance(body, dict) else None
    rows: Any = None
    link = ""
    if isinstance(inner, list) and not v4:  # old services leave the envelope out
        rows = inner
    elif isinstance(inner, dict):
        rows = inner.get("value" if v4 else "results")
        link = str(inner.get("@odata.nextLink" if v4 else "__next") or "")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable("the answer holds no list of entities")
    return rows, link


def _expand(service: Service, paths: Sequence[str]) -> str:
    """``to_Item/to_ScheduleLine`` in V2, ``_Item($expand=_ScheduleLine)`` in V4."""
    if not service.v4:
        return ",".join(name_of(path) for path in paths)
    tree: dict[str, Any] = {}
    for path in paths:
        at = tree
        for name in name_of(path).split("/"):
            at = at.setdefault(name, {})
    return _nested(tree)


def _nested(tree: Mapping[str, Any]) -> str:
    return ",".join(f"{name}($expand={_nested(below)})" if below else name for name, below in tree.items())


def _equals(service: Service, contract: Shape, by: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{name_of(name)} eq {literal(value, contract.get(name), v4=service.v4)}" for name, value in by.items()
    )


def _since_day(service: Service, contract: Shape, since: str) -> str:
    """A document that was never changed has no day of change, but one of creation."""
    parts = [f"{name} ge {literal(since, contract.get(name), v4=service.v4)}" for name in service.day]
    return f"({' or '.join(parts)})"


def _place(service: Service, cursor: str | None, row: Row) -> str | None:
    names = service.day if cursor in service.day else (cursor,)
    found = [str(row[name]) for name in names if name is not None and row.get(name)]
    return max(found, default=None)


def _cursors(service: Service) -> str:
    fields = ", ".join(service.info.cursors)
    return f"it has: {fields}" if fields else "it has no field that orders changes: full: true"
