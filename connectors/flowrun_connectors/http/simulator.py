"""A simulated REST API that serves what ``objects:`` describes: any paths, any paging style, kept in memory."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import decode_json
from flowrun_connectors.http.objects import METHODS, Paging, paging
from flowrun_connectors.http.places import at

TOKEN, CLIENT_SECRET = "sim-http-token", "sim-http-client-secret"
CLIENT_ID = "sim-http-client"
OBJECTS: Mapping[str, Any] = {
    "orders": {
        "key": "id",
        "read": {
            "path": "v1/orders", "records": "data.items", "since": "updated_since", "cursor": "updated_at",
            "paging": {"style": "page", "size": 50},
        },
        "get": {"path": "v1/orders/{id}", "record": "order"},
        "find": {"path": "v1/orders", "records": "data.items"},
        "create": {"path": "v1/orders", "record": "order"},
        "update": {"path": "v1/orders/{id}", "record": "order"},
        "delete": {"path": "v1/orders/{id}"},
        "fields": {"id": "text", "reference": "text", "total": "decimal", "updated_at": "datetime", "status": "text"},
    }
}  # fmt: skip


class HttpSimulator(Simulator):
    """``rows``: object → its records by id. A body without ``reference`` is refused, as an example of a rule.

    oauth: wants tokens of its own token endpoint instead of the fixed bearer token. token_secs: their life.
    """

    name: ClassVar[str] = "http"

    def __init__(self, objects: Mapping[str, Any] | None = None, *, oauth: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.objects = objects or OBJECTS
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.objects}
        self.oauth = oauth
        self.token_secs = 3600
        self.tokens_given = 0
        self._tokens: dict[str, datetime] = {}
        self._by_key: dict[str, tuple[str, str]] = {}
        self._serial = 0

    @classmethod
    def for_settings(cls, settings: Mapping[str, Any]) -> HttpSimulator:
        return cls(settings.get("objects"))

    def connection_settings(self) -> dict[str, Any]:
        auth: dict[str, Any] = {"bearer": {"token": TOKEN}}
        if self.oauth:
            url = f"{self.base_url}/oauth/token"
            auth = {
                "oauth2_client_credentials": {"token_url": url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
            }
        return {"base_url": self.base_url, "auth": auth, "objects": self.objects, "health": "ping"}

    def dump(self) -> Any:
        return {"rows": self.rows, "serial": self._serial, "by_key": {k: list(v) for k, v in self._by_key.items()}}

    def load(self, state: Any) -> None:
        if state:
            self.rows = {name: state["rows"].get(name, {}) for name in self.objects}
            self._serial = state["serial"]
            self._by_key = {k: (v[0], v[1]) for k, v in state["by_key"].items()}

    def expire_tokens(self) -> None:
        self._tokens.clear()

    # -- changing the system ---------------------------------------------------------------------------------------

    def add(self, object: str, **fields: Any) -> str:
        """A record with a new id, changed one second after the one before it, unless ``updated_at`` is given."""
        self._serial += 1
        at_ = datetime(2026, 5, 4, 10) + timedelta(seconds=self._serial)
        row = {"id": str(1000 + self._serial), "updated_at": at_.isoformat() + "Z", **fields}
        self.rows[object][str(row["id"])] = row
        return str(row["id"])

    def touch(self, object: str, id_: str) -> None:
        self._serial += 1
        at_ = datetime(2026, 5, 4, 10) + timedelta(seconds=self._serial)
        self.rows[object][id_]["updated_at"] = at_.isoformat() + "Z"

    # -- answering -------------------------------------------------------------------------------------------------

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path == "/oauth/token":
            return self._token(request)
        if not self._known(request.headers.get("authorization", "").removeprefix("Bearer ")):
            return json_response({"error": {"code": "unauthorized", "message": "who are you?"}}, 401)
        if request.path == "/ping":
            return json_response({"ok": True})
        for object, what in self.objects.items():
            for verb in ("get", "read", "find", *METHODS):
                found = self._match(request, verb, what)
                if found is not None:
                    return self._do(verb, object, what, found, request)
        return json_response({"error": {"code": "no_route", "message": f"no such address: {request.path}"}}, 404)

    def _token(self, request: SimRequest) -> SimResponse:
        self.tokens_given += 1
        form = dict(parse_qsl(request.body.decode()))
        basic = _basic(request.headers.get("authorization", "")) or (form.get("client_id"), form.get("client_secret"))
        if basic != (CLIENT_ID, CLIENT_SECRET):
            words = f"unknown client, secret {basic[1]}"  # some servers repeat what they were sent
            return json_response({"error": "invalid_client", "error_description": words}, 401)
        token = f"sim-http-access-{self.tokens_given}"
        self._tokens[token] = self.now() + timedelta(seconds=self.token_secs)
        return json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.token_secs})

    def _known(self, token: str) -> bool:
        if not self.oauth:
            return token == TOKEN
        return token in self._tokens and self._tokens[token] > self.now()

    @staticmethod
    def _match(request: SimRequest, verb: str, what: Mapping[str, Any]) -> dict[str, str] | None:
        one = what.get(verb)
        if not isinstance(one, Mapping):
            return None
        default = METHODS.get(verb, "GET")
        if request.method != str(one.get("method", default)).upper():
            return None
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape("/" + str(one["path"]).lstrip("/")))
        found = re.fullmatch(pattern, request.path)
        return found.groupdict() if found else None

    def _do(
        self, verb: str, object: str, what: Mapping[str, Any], named: Mapping[str, str], request: SimRequest
    ) -> SimResponse:
        if verb in ("read", "find"):
            return self._list(object, what, request)
        rows = self.rows[object]
        id_ = next(iter(named.values()), "")
        if verb == "create":
            return self._create(object, what["create"], request)
        if id_ not in rows and verb != "upsert":
            return json_response({"error": {"code": "not_found", "message": f"there is no {id_}"}}, 404)
        if verb == "delete":
            del rows[id_]
            return SimResponse(204)
        if verb in ("update", "upsert"):
            rows[id_] = {**rows.get(id_, {"id": id_}), **_unwrapped(what[verb], _sent(what[verb], request))}
            self.touch(object, id_)
        return json_response(_placed(str(what[verb].get("record", "")), rows[id_]))

    def _create(self, object: str, what: Mapping[str, Any], request: SimRequest) -> SimResponse:
        key = request.headers.get(str(what.get("idempotency_header", "")).lower(), "")
        if key and key in self._by_key:
            known, id_ = self._by_key[key]
            return json_response(_placed(str(what.get("record", "")), self.rows[known][id_]), 200)
        body = _unwrapped(what, _sent(what, request))
        if not isinstance(body, dict) or not body.get("reference"):
            error = {"code": "reference_missing", "message": "an order needs a reference", "field": "reference"}
            return json_response({"error": error}, 422)
        id_ = self.add(object, **body)
        if key:
            self._by_key[key] = (object, id_)
        return json_response(_placed(str(what.get("record", "")), self.rows[object][id_]), 201)

    def _list(self, object: str, what: Mapping[str, Any], request: SimRequest) -> SimResponse:
        read = what.get("read") or what["find"]
        how = paging(object, read)
        query = dict(request.query)
        rows = sorted(self.rows[object].values(), key=lambda r: (str(r.get("updated_at")), str(r.get("id"))))
        since = query.pop(str(read.get("since") or ""), None)
        if since is not None:
            rows = [row for row in rows if str(row.get(str(read.get("cursor", "updated_at")))) >= since]
        own = {how.param, how.size_param, "cursor"}
        for name, value in query.items():
            if name not in own:
                rows = [row for row in rows if str(row.get(name)) in value.split(",")]
        part, more = _cut(copy.deepcopy(rows), how, query)
        body: Any = _placed(str(read.get("records", "")), part)
        answer = json_response(body)
        if more and how.style == "link_header":
            answer.headers["link"] = f'<{self._link(request, more)}>; rel="next"'
        elif more and how.style in ("cursor", "next_url"):
            link = more["cursor"] if how.style == "cursor" else self._link(request, more)
            answer = json_response({**body, **_placed(how.next, link)})
        return answer

    def _link(self, request: SimRequest, more: Mapping[str, str]) -> str:
        return f"{self.base_url}{request.raw_path}?{urlencode({**request.query, **more})}"


def _cut(rows: list[Any], how: Paging, query: Mapping[str, str]) -> tuple[list[Any], dict[str, str]]:
    """One page, and what the next request says; {} after the last."""
    size = int(query.get(how.size_param, how.size) or how.size)
    if how.style == "none":
        return rows, {}
    if how.style == "since":
        return rows[:size], {}
    if how.style == "page":
        start = (int(query.get(how.param, how.first)) - how.first) * size
    elif how.style == "offset":
        start = int(query.get(how.param, "0"))
    else:
        start = int(query.get(how.param or "cursor", query.get("cursor", "0")) or 0)
    more = {"cursor": str(start + size)} if start + size < len(rows) else {}
    return rows[start : start + size], more


def _placed(path: str, value: Any) -> Any:
    """``value`` at ``data.items`` of an answer."""
    for name in reversed([part for part in path.split(".") if part]):
        value = {name: value}
    return value


def _sent(what: Mapping[str, Any], request: SimRequest) -> Any:
    if str(what.get("form", "")).lower() != "true":
        return decode_json(request.body)
    found: dict[str, Any] = {}
    for name, value in parse_qsl(request.body.decode(), keep_blank_values=True):
        inner: Any = found
        *above, last = name.replace("]", "").split("[")
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return _with_lists(found)


def _with_lists(value: Any) -> Any:
    """Objects whose names count from 0 are lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _with_lists(one) for name, one in value.items()}
    return list(inner.values()) if inner and list(inner) == [str(n) for n in range(len(inner))] else inner


def _unwrapped(what: Mapping[str, Any], body: Any) -> Any:
    return at(body, str(what["wrap"])) if what.get("wrap") else body


def _basic(header: str) -> tuple[str, str] | None:
    import base64

    if not header.startswith("Basic "):
        return None
    user, _, password = base64.b64decode(header[6:]).decode().partition(":")
    return user, password
