"""Any REST API from YAML settings: paths, paging, where the records are, how to write.

objects:
  orders:
    read: { path: v1/orders, records: data.items, since: updated_after, paging: { style: page, size: 100 } }
    get: { path: "v1/orders/{id}" }
    create: { path: v1/orders, id: data.id, idempotency_header: Idempotency-Key }
    update: { path: "v1/orders/{id}", method: PUT }
    find: { path: v1/orders, records: data.items, id: id }
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from flowrun.connector import (
    Cursor,
    EventInfo,
    Health,
    Item,
    ObjectInfo,
    Once,
    Page,
    Query,
    Receipt,
    Record,
    Verdict,
    setting,
)
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, DeliveryUnknown, NotFound, Refused
from flowrun.values import Clock, encode_json
from flowrun_connectors._http.bodies import parse_json, read_json
from flowrun_connectors._http.errors import from_exception, from_status
from flowrun_connectors._http.paging import PageGuard

STYLES = ("none", "page", "offset", "cursor", "link_header", "next_url")
SIZE = 100


@dataclass(frozen=True)
class HttpSettings:
    base_url: str = setting("Where the API stands.", example="https://api.example.com")
    objects: Any = setting("What can be read and written; see the README.", default=None)
    health: str = setting("A path that answers 2xx when the credentials work.", default="")


class Http:
    """See README.md in this folder."""

    Settings: ClassVar[type] = HttpSettings
    title: ClassVar[str] = "Any REST API"
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "network", "auth", "rejected", "not_found", "conflict", "unknown_outcome", "other"}
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        return {name: cls._info(name, what or {}) for name, what in (settings.get("objects") or {}).items()}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        if not settings.get("objects"):
            return ObjectInfo(object, note="described by the connection's objects:") if object == "any" else None
        return cls.objects(settings).get(object)

    @classmethod
    def _info(cls, name: str, what: Mapping[str, Any]) -> ObjectInfo:
        actions: dict[str, Once] = {}
        for action in ("create", "update", "upsert", "delete"):
            if action in what:
                once: Once = (
                    "upsert" if action in ("update", "upsert", "delete") else "find" if "find" in what else "none"
                )
                actions[action] = "idempotency_key" if what[action].get("idempotency_header") else once
        return ObjectInfo(name, readable="read" in what, by_key="get" in what, actions=actions)

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        return None

    def __init__(self, settings: HttpSettings, http: httpx.Client, now: Clock) -> None:
        self.settings = settings
        self.http = http

    def _what(self, object: str, verb: str) -> Mapping[str, Any]:
        found = (self.settings.objects or {}).get(object, {}).get(verb)
        if not isinstance(found, Mapping) or "path" not in found:
            raise Refused(
                f"the connection does not say how to {verb} '{object}'",
                help=f"objects: {{ {object}: {{ {verb}: {{ path: … }} }} }}",
            )
        return found

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        writing = method not in ("GET", "HEAD")
        sent = {"accept": "application/json", **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
        if any("\r" in v or "\n" in v for v in sent.values()):
            raise Refused("a header value holds a line end")
        try:
            response = self.http.request(
                method, path, params=params, headers=sent, content=encode_json(body) if body is not None else None
            )
        except httpx.HTTPError as error:
            raise from_exception(error, writing=writing) from None
        if response.status_code >= 300:
            raise from_status(response, _words(response), writing=writing)
        return response

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        what = self._what(query.object, "read")
        params = {name: str(value) for name, value in (what.get("params") or {}).items()}
        for name, value in query.filter.items():
            params[name] = value if isinstance(value, str) else ",".join(value)
        if query.since is not None:
            params[str(what.get("since", "since"))] = query.since.value
        for rows in self._pages(what, params, query.page_size):
            cursor = None
            if query.cursor is not None and rows:
                last = max(str(_at(row, query.cursor) or "") for row in rows)
                cursor = Cursor(last) if last else None
            yield Page(rows, cursor)

    def _pages(
        self, what: Mapping[str, Any], params: dict[str, str], page_size: int | None
    ) -> Iterator[list[dict[str, Any]]]:
        paging = what.get("paging") or {}
        style = str(paging.get("style", "none"))
        if style not in STYLES:
            raise Refused(f"there is no paging style '{style}'", help=f"styles: {', '.join(STYLES)}")
        size = int(page_size or paging.get("size") or SIZE)
        guard = PageGuard()
        path, number, offset = str(what["path"]), int(paging.get("first", 1)), 0
        if style != "none" and paging.get("size_param", "limit"):
            params = {**params, str(paging.get("size_param", "limit")): str(size)}
        extra: dict[str, str] = {}
        while True:
            if style == "page":
                extra = {str(paging.get("param", "page")): str(number)}
            elif style == "offset":
                extra = {str(paging.get("param", "offset")): str(offset)}
            response = self._ask("GET", path, params={**params, **extra} or None)
            body = read_json(response)
            rows = _at(body, str(what.get("records", "")))
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ConnectorError(
                    f"no list of records at '{what.get('records', '')}'",
                    help="records: where in the answer the list is",
                )
            if guard.page(rows):
                yield rows
            if style == "none" or (style in ("page", "offset") and len(rows) < size):
                return
            number, offset = number + 1, offset + len(rows)
            if style in ("page", "offset"):
                continue
            following = self._next(style, paging, response, body)
            if not following:
                return
            guard.token(following)
            if style == "cursor":
                extra = {str(paging.get("param", "cursor")): following}
            else:
                path, params, extra = self._own(following), {}, {}

    @staticmethod
    def _next(style: str, paging: Mapping[str, Any], response: httpx.Response, body: Any) -> str:
        if style == "link_header":
            return str(response.links.get("next", {}).get("url", ""))
        return str(_at(body, str(paging.get("next", "next"))) or "")

    def _own(self, url: str) -> str:
        """A next link on our own host; a link that leads elsewhere is refused."""
        parts = urlsplit(url)
        base = self.http.base_url
        if parts.netloc and (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)) != (
            base.scheme, base.host, base.port or _PORTS.get(base.scheme),
        ):  # fmt: skip
            raise Refused("the next page is said to be on another host; it is not followed")
        query = "&".join(f"{quote(k)}={quote(v)}" for k, v in parse_qsl(parts.query, keep_blank_values=True))
        return str(base.join(parts.path + ("?" + query if query else "")))

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        what = self._what(object, "get")
        try:
            body = read_json(self._ask("GET", _filled(str(what["path"]), key)))
        except NotFound:
            return None
        found = _at(body, str(what.get("record", "")))
        return found if isinstance(found, dict) else None

    # -- writing ---------------------------------------------------------------------------------------------------

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        what = self._what(object, "find")
        params = {name: str(value) for name, value in by.items()}
        rows = _at(
            read_json(self._ask("GET", _filled(str(what["path"]), by), params=params)), str(what.get("records", ""))
        )
        found = []
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and all(
                str(row.get(n)) == str(v) for n, v in by.items()
            ):  # the API may only narrow down
                found.append(Receipt(str(_at(row, str(what.get("id", "id"))) or ""), response=row))
        return found

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for item in items:
            try:
                verdicts.append(self._write(item))
            except ConnectorError as error:
                verdicts.append(error)
        return verdicts

    def _write(self, item: Item) -> Receipt:
        what = self._what(item.object, item.action)
        method = str(
            what.get("method", {"create": "POST", "update": "PUT", "upsert": "PUT", "delete": "DELETE"}[item.action])
        )
        headers = {}
        if what.get("idempotency_header") and item.idempotency_key:
            headers[str(what["idempotency_header"])] = item.idempotency_key
        response = self._ask(
            method,
            _filled(str(what["path"]), item.body),
            body=None if method == "DELETE" else dict(item.body),
            headers=headers,
        )
        if not response.content:
            return Receipt(", ".join(str(item.body.get(n)) for n in item.match) or "", created=item.action == "create")
        try:
            body = read_json(response)
        except ConnectorError:
            raise DeliveryUnknown(f"status {response.status_code}, but the answer cannot be read") from None
        answered = body if isinstance(body, dict) else {"answer": body}
        number = _at(body, str(what.get("id", "id")))
        return Receipt("" if number is None else str(number), created=item.action == "create", response=answered)

    def check(self) -> Health:
        try:
            self._ask("GET", self.settings.health or "")
        except ConnectorError as error:
            return Health(False, f"{error.error_class}: {error.message}")
        return Health(True, "it answers")


_PORTS = {"http": 80, "https": 443}


def _at(value: Any, path: str) -> Any:
    """``data.items`` inside an answer; "" is the answer itself."""
    for part in filter(None, path.split(".")):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _filled(path: str, values: Mapping[str, Any]) -> str:
    """``v1/orders/{id}`` with values percent-encoded. Raises Refused when one is missing."""

    def put(match: re.Match[str]) -> str:
        value = values.get(match.group(1))
        if value in (None, ""):
            raise Refused(f"the path needs '{match.group(1)}', which the body lacks", field=match.group(1))
        text = quote(str(value), safe="")
        if text in (".", ".."):
            raise Refused(f"'{value}' cannot stand in a path", field=match.group(1))
        return text

    return re.sub(r"\{(\w+)\}", put, path)


def _words(response: httpx.Response) -> str:
    """The API's own words, when it gives any in JSON."""
    if "json" not in response.headers.get("content-type", ""):
        return ""
    try:
        body = parse_json(response.content)
    except ConnectorError:
        return ""
    for path in ("error.message", "message", "detail", "error_description", "error", "title", "errors"):
        found = _at(body, path)
        if isinstance(found, str) and found:
            return found[:500]
    return ""
