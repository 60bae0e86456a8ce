"""Any REST API from YAML settings: paths, paging, where the records are, how to write. See README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from flowrun.connector import (
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
from flowrun.contract import Shape
from flowrun.errors import ConnectorError, DeliveryUnknown, NotFound, Refused
from flowrun.values import Clock, Secret, encode_json
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._http.errors import classify
from flowrun_connectors.http import reading
from flowrun_connectors.http.errors import inside, told
from flowrun_connectors.http.objects import METHODS, check, info, paging, shape
from flowrun_connectors.http.pages import Ask, pages
from flowrun_connectors.http.places import at, filled, form, text


@dataclass(frozen=True)
class HttpSettings:
    base_url: str = setting("Where the API stands.", example="https://api.example.com")
    objects: Any = setting("What can be read and written; see the README.", default=None)
    health: str = setting("A path that answers 2xx when the credentials work.", default="")
    headers: Any = setting("Headers sent with every request.", default=None, example="{ accept-language: en }")


class Http:
    """See README.md in this folder."""

    Settings: ClassVar[type] = HttpSettings
    title: ClassVar[str] = "Any REST API"
    simulator: ClassVar[str] = "flowrun_connectors.http.simulator:HttpSimulator"
    events: ClassVar[Mapping[str, EventInfo]] = {}
    error_classes: ClassVar[frozenset[str]] = frozenset(
        {
            "rate_limited",
            "network",
            "auth",
            "rejected",
            "duplicate",
            "not_found",
            "conflict",
            "unknown_outcome",
            "other",
        }
    )

    @classmethod
    def objects(cls, settings: Mapping[str, Any]) -> Mapping[str, ObjectInfo]:
        given = settings.get("objects")
        return {name: info(name, what or {}) for name, what in given.items()} if isinstance(given, Mapping) else {}

    @classmethod
    def object_info(cls, object: str, settings: Mapping[str, Any]) -> ObjectInfo | None:
        if not settings.get("objects"):
            return ObjectInfo(object, note="described by the connection's objects:") if object == "any" else None
        return cls.objects(settings).get(object)

    @classmethod
    def describe(cls, object: str, settings: Mapping[str, Any]) -> Shape | None:
        what = (settings.get("objects") or {}).get(object)
        return shape(object, what) if isinstance(what, Mapping) else None

    def __init__(self, settings: HttpSettings, http: httpx.Client, now: Clock) -> None:
        """Raises ProjectError for ``objects:`` that make no sense."""
        check(settings.objects or {})
        self.settings = settings
        self.http = http
        self._headers: Mapping[str, Any] = settings.headers or {}

    def _object(self, object: str) -> Mapping[str, Any]:
        found = (self.settings.objects or {}).get(object)
        if not isinstance(found, Mapping):
            known = ", ".join(self.settings.objects or {}) or "none"
            raise Refused(f"the connection describes no object '{object}'", help=f"objects: {known}")
        return found

    def _what(self, object: str, verb: str) -> Mapping[str, Any]:
        found = self._object(object).get(verb)
        if not isinstance(found, Mapping):
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
        writing: bool,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        errors: Mapping[str, Any] | None = None,
        as_form: bool = False,
    ) -> httpx.Response:
        """An answer with a status below 300. Raises ConnectorError."""
        own = {str(n): v.reveal() if isinstance(v, Secret) else str(v) for n, v in self._headers.items()}
        sent = {"accept": "application/json", **own, **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/x-www-form-urlencoded" if as_form else "application/json"
        if any(not value.isprintable() for value in sent.values()):
            raise Refused("a header value holds a control character")
        try:
            content = None if body is None else form(body) if as_form else encode_json(body)
            response = self.http.request(method, path, params=params, headers=sent, content=content)
        except httpx.HTTPError as error:
            raise classify(error, writing=writing) from None
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise Refused("the address or a header holds what neither may hold") from None
        if response.status_code >= 300:
            raise classify(response, lambda found: told(found, errors or {}, writing=writing), writing=writing)
        return response

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, query: Query) -> Iterator[Page]:
        """See ``reading.read`` for when pages carry a cursor. Raises ConnectorError."""
        what = self._what(query.object, "read")
        yield from reading.read(self._asking(query.object, what), what, query, self._key(query.object))

    def _asking(self, object: str, what: Mapping[str, Any]) -> Ask:
        errors = self._object(object).get("errors") or {}

        def call(*args: Any, **more: Any) -> httpx.Response:
            return self._ask(*args, **more, errors=errors)

        return Ask(call, what, self.http.base_url, lambda body, found: inside(body, found, errors, ConnectorError))

    def _key(self, object: str) -> str:
        return str(self._object(object).get("key", ""))

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Record | None:
        what = self._what(object, "get")
        params = {str(name): text(value) for name, value in (what.get("params") or {}).items()}
        errors = self._object(object).get("errors") or {}
        path = filled(str(what["path"]), key)
        try:
            response = self._ask("GET", path, writing=False, params=params or None, errors=errors)
            body = read_json(response)
            inside(body, response, errors, ConnectorError)
        except NotFound:
            return None
        return _record(body, str(what.get("record", "")))

    # -- writing ---------------------------------------------------------------------------------------------------

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        """What equals ``by`` in every field, whatever the API gives: it may only narrow down.

        Raises Refused for an empty ``by``; ConnectorError when what comes is something else and nothing says that it is
        all there is, since a record that is there and not seen would be created again.
        """
        if not by:
            raise Refused("nothing to search by")
        what = self._what(object, "find")
        path = filled(str(what["path"]), by)
        params: dict[str, Any] = {str(name): text(value) for name, value in (what.get("params") or {}).items()}
        if path == str(what["path"]):  # the values do not stand in the path
            params |= {name: text(value) for name, value in by.items()}
        name, found, others = str(what.get("id", "id")), list[Receipt](), 0
        how = paging(f"objects: {object}: find", what)
        if how.style != "none" and how.size_param:
            params[how.size_param] = how.size
        try:
            for rows in pages(self._asking(object, what), path, how, params, what, self._key(object)):
                equal = [row for row in rows if all(text(at(row, n)) == text(v) for n, v in by.items())]
                others += len(rows) - len(equal)
                found += [Receipt(text(at(row, name)), response=row) for row in equal]
        except NotFound:
            return []
        if others and not found and "paging" not in what:
            raise ConnectorError(
                f"asked for {', '.join(by)}, the API gives {others} other records; is that all it has?",
                help="find: { paging: none } when all comes at once, else how it comes in pages",
            )
        return found

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [self._deliver(item) for item in items]

    def _deliver(self, item: Item) -> Verdict:
        try:
            return self._write(item)
        except ConnectorError as error:
            return error

    def _write(self, item: Item) -> Receipt:
        what = self._what(item.object, item.action)
        method = str(what.get("method", METHODS.get(item.action, "POST"))).upper()
        headers = {}
        if what.get("idempotency_header") and item.idempotency_key:
            headers[str(what["idempotency_header"])] = item.idempotency_key
        body: Any = None if method == "DELETE" else dict(item.body)
        if body is not None and what.get("wrap"):
            body = {str(what["wrap"]): body}
        response = self._ask(
            method,
            filled(str(what["path"]), item.body),
            writing=True,
            body=body,
            headers=headers,
            errors=self._object(item.object).get("errors"),
            as_form=str(what.get("form", "")).lower() == "true",
        )
        return self._receipt(item, what, response)

    def _receipt(self, item: Item, what: Mapping[str, Any], response: httpx.Response) -> Receipt:
        """Raises DeliveryUnknown for a success that proves nothing, and for the API's own error inside one."""
        created = item.action == "create"
        name = ", ".join(text(item.body[n]) for n in item.match if n in item.body)
        if not response.content:
            if response.status_code in (204, 205) or str(what.get("empty", "")).lower() == "true":
                return Receipt(name, created=created)
            raise DeliveryUnknown(
                f"status {response.status_code} with an empty answer", help="if that is normal here: empty: true"
            )
        answer = read_json(response, writing=True)
        inside(answer, response, self._object(item.object).get("errors") or {}, Refused)
        found = at(answer, str(what.get("record", "")))
        record = found if isinstance(found, dict) else {"answer": answer}
        number = at(record, str(what.get("id", "id")))
        if number is None and created:
            raise DeliveryUnknown(
                f"the answer names no '{what.get('id', 'id')}'", help="create: { id: where the new number stands }"
            )
        return Receipt(name if number is None else text(number), created=created, response=record)

    def check(self) -> Health:
        path = self.settings.health
        try:
            self._ask("GET", path, writing=False)
        except NotFound as error:
            if not path:
                return Health(True, "it answers; name a path with health: to check the credentials")
            return Health(False, f"{path}: {error.message}")
        except ConnectorError as error:
            return Health(False, f"{error.error_class}: {error.message}")
        return Health(True, "the credentials work" if path else "it answers")


def _record(body: Any, path: str) -> Record | None:
    """None where null (or an empty list) stands. Raises ConnectorError where nothing stands at all: a place that is
    misspelt would otherwise say of every record that it is not there."""
    found = at(body, path)
    if isinstance(found, dict):
        return found
    above, _, last = path.rpartition(".")
    holder = at(body, above)
    if found is None and (not path or "[" in last or (isinstance(holder, dict) and last in holder)):
        return None
    raise ConnectorError(
        f"no record at '{path}' of the answer" if path else "the answer is no record", help="record: …"
    )
