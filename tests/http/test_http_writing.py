"""Credentials as they arrive, and what an API's answers to a write mean."""

from __future__ import annotations

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tests.http.test_http_lists import Scripted, connect

from flowrun.connections import build
from flowrun.connector import Item, Query, Receipt
from flowrun.errors import (
    AuthFailed,
    Conflict,
    DeliveryUnknown,
    Duplicate,
    NotFound,
    ProjectError,
    RateLimited,
    Refused,
    Unavailable,
)
from flowrun.testing.simulator import SimRequest, SimResponse, json_response
from flowrun.values import Secret, decode_json, system_clock
from flowrun_connectors.http.connector import Http
from flowrun_connectors.http.simulator import HttpSimulator

OBJECTS: dict[str, Any] = {
    "orders": {
        "read": {"path": "orders"},
        "create": {"path": "orders", "idempotency_header": "Idempotency-Key"},
        "update": {"path": "orders/{id}", "method": "PATCH", "wrap": "order", "record": "order"},
        "delete": {"path": "orders/{id}"},
        "errors": {"code": "error.code", "message": "error.text", "field": "error.field", "when": "error",
                   "classes": {"SLOW": "rate_limited", "DUP": "duplicate", "GONE": "not_found", "STALE": "conflict",
                               "KEY": "auth", "BUSY": "network", "BAD": "rejected"}},
    }
}  # fmt: skip


def write(answer: SimResponse, action: str = "create", body: Any = None, objects: Any = None) -> tuple[Any, SimRequest]:
    server = Scripted(lambda request: answer)
    (verdict,) = connect(server, objects or OBJECTS).deliver(
        [Item("orders", action, body or {"id": "7", "total": "1.10"}, "key-1", ("id",))]
    )
    return verdict, server.log[-1] if server.log else None  # type: ignore[return-value]


# -- credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        (None, {}, {}),
        ({"basic": {"user": "ann", "password": "s:e cret"}},
         {"authorization": "Basic " + base64.b64encode(b"ann:s:e cret").decode()}, {}),
        ({"bearer": {"token": "t-1"}}, {"authorization": "Bearer t-1"}, {}),
        ({"api_key": {"key": "k-1"}}, {"x-api-key": "k-1"}, {}),
        ({"api_key": {"header": "X-Shop-Token", "key": "k-1"}}, {"x-shop-token": "k-1"}, {}),
        ({"api_key": {"query": "key", "key": "k 1&x"}}, {}, {"key": "k 1&x"}),
    ],
)  # fmt: skip
def test_each_scheme_arrives(auth: Any, headers: dict[str, str], query: dict[str, str]) -> None:
    server = Scripted(lambda request: json_response([]))
    more = {"auth": auth} if auth else {}
    list(connect(server, OBJECTS, **more).read(Query("orders")))
    (request,) = server.log
    assert {name: request.headers.get(name) for name in headers} == headers
    assert request.query == query
    if not auth:
        assert "authorization" not in request.headers


def test_a_header_that_is_a_secret_arrives_as_it_is() -> None:
    server = Scripted(lambda request: json_response([]))
    made = connect(server, OBJECTS, headers={"X-Second-Key": Secret("second-key"), "X-Other": 7})
    list(made.read(Query("orders")))
    assert (server.log[0].headers["x-second-key"], server.log[0].headers["x-other"]) == ("second-key", "7")
    assert "second-key" not in repr(vars(made))


@pytest.mark.parametrize("send", ["header", "body"])
def test_client_credentials_are_asked_for_once_and_again_after_a_401(send: str) -> None:
    given: list[str] = []

    def answer(request: SimRequest) -> SimResponse:
        if request.path == "/base/token":
            form = dict(parse_qsl(request.body.decode()))
            assert form["grant_type"] == "client_credentials"
            assert form.get("scope") == "read write"
            pair = base64.b64encode(b"me:pw").decode()
            if send == "header":
                assert request.headers["authorization"] == f"Basic {pair}"
            else:
                assert (form["client_id"], form["client_secret"]) == ("me", "pw")
            given.append(f"t-{len(given)}")
            return json_response({"access_token": given[-1], "token_type": "Bearer", "expires_in": 3600})
        good = given and request.headers.get("authorization") == f"Bearer {given[-1]}" and len(given) != 1
        return json_response([]) if good else json_response({"message": "expired"}, 401)

    auth = {"oauth2_client_credentials": {"token_url": "http://api.test/base/token", "client_id": "me",
                                          "client_secret": "pw", "scope": "read write", "send": send}}  # fmt: skip
    server = Scripted(answer)
    api = connect(server, OBJECTS, auth=auth)
    for _ in range(3):
        list(api.read(Query("orders")))
    assert given == ["t-0", "t-1"]


@pytest.mark.parametrize(
    "auth", [{"digest": {}}, {"basic": {"user": "a"}}, {"bearer": "t"}, {"basic": {}, "bearer": {}}]
)
def test_schemes_that_make_no_sense(auth: Any) -> None:
    with pytest.raises(ProjectError):
        connect(Scripted(lambda request: json_response([])), OBJECTS, auth=auth)


def test_fixed_headers_are_sent_and_none_with_a_line_end() -> None:
    server = Scripted(lambda request: json_response([]))
    list(connect(server, OBJECTS, headers={"accept-language": "en", "x-n": 1}).read(Query("orders")))
    assert (server.log[0].headers["accept-language"], server.log[0].headers["x-n"]) == ("en", "1")
    with pytest.raises(Refused, match="control character"):
        list(connect(server, OBJECTS, headers={"x": "a\r\nb: c"}).read(Query("orders")))
    assert len(server.log) == 1


# -- what is sent ------------------------------------------------------------------------------------------------


def test_a_create_sends_its_key_and_exact_numbers() -> None:
    from decimal import Decimal

    verdict, request = write(json_response({"id": 4711}, 201), body={"total": Decimal("1.10")})
    assert (verdict.id, verdict.created) == ("4711", True)
    assert (request.method, request.path, request.body) == ("POST", "/base/orders", b'{"total":1.10}')
    assert request.headers["idempotency-key"] == "key-1"


def test_an_update_is_wrapped_and_a_delete_has_no_body() -> None:
    verdict, request = write(json_response({"order": {"id": "7"}}), "update")
    assert (request.method, request.path, decode_json(request.body)) == (
        "PATCH", "/base/orders/7", {"order": {"id": "7", "total": "1.10"}},
    )  # fmt: skip
    assert (verdict.id, verdict.created) == ("7", False)
    verdict, request = write(SimResponse(204), "delete")
    assert (request.method, request.body, verdict.id) == ("DELETE", b"", "7")


BODY = {
    "a": "x & y=ü",
    "n": Decimal("1E+2"),
    "yes": True,
    "none": None,
    "lines": [{"sku": "s[1]", "q": 2}, {"sku": "t"}],
    "no": [],
}
FORM = [("a", "x & y=ü"), ("n", "100"), ("yes", "true"), ("none", ""), ("lines[0][sku]", "s[1]"), ("lines[0][q]", "2"),
        ("lines[1][sku]", "t")]  # fmt: skip


@pytest.mark.parametrize("wrap", ["", "order"])
def test_a_body_as_a_form(wrap: str) -> None:
    objects = {"orders": {"create": {"path": "orders", "form": True, **({"wrap": wrap} if wrap else {})}}}
    verdict, request = write(json_response({"id": "7"}), body=BODY, objects=objects)
    assert isinstance(verdict, Receipt) and request.headers["content-type"] == "application/x-www-form-urlencoded"
    named = [
        (f"order[{name.partition('[')[0]}]{name[len(name.partition('[')[0]) :]}" if wrap else name, v)
        for name, v in FORM
    ]
    assert parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True) == named


def test_the_simulator_reads_forms(tmp_path: Path) -> None:
    objects = {"orders": {"key": "id", "create": {"path": "orders", "form": "true"}, "get": {"path": "orders/{id}"}}}
    simulator = HttpSimulator(objects)
    body = {"reference": "R", "lines": [{"sku": "s"}, {"sku": "t"}]}
    with simulator.running():
        settings = {**simulator.connection_settings(), "objects": objects}
        api = build(Http, "api", settings, now=system_clock, root=tmp_path)
        (receipt,) = api.deliver([Item("orders", "create", body, "k", ())])
        assert isinstance(receipt, Receipt), receipt
        found = api.get("orders", {"id": receipt.id})
    assert {name: found[name] for name in body} == body


@pytest.mark.parametrize("value", ["../users", "a/b", "a?b=c", "a%2fb", "ä#", "'", " "])
def test_values_in_a_path_stay_one_part_of_it(value: str) -> None:
    server = Scripted(lambda request: json_response({"order": {"id": "x"}}))
    connect(server, OBJECTS).deliver([Item("orders", "update", {"id": value}, "k", ("id",))])
    (request,) = server.log
    assert request.path == f"/base/orders/{value}"
    assert request.raw_path.count("/") == 3
    assert request.query == {}


@pytest.mark.parametrize("value", ["", None, ".", "..", {"a": 1}, ["a"]])
def test_values_that_cannot_stand_in_a_path(value: Any) -> None:
    server = Scripted(lambda request: json_response({}))
    (verdict,) = connect(server, OBJECTS).deliver([Item("orders", "update", {"id": value}, "k", ("id",))])
    assert type(verdict) is Refused
    assert verdict.field == "id"
    assert not server.log


# -- what the answer means ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused), (401, AuthFailed), (403, AuthFailed), (404, NotFound), (405, Refused), (407, AuthFailed),
        (408, Unavailable), (409, Conflict), (410, NotFound), (412, Conflict), (413, Refused), (415, Refused),
        (422, Refused), (425, Unavailable), (428, Conflict), (429, RateLimited), (500, DeliveryUnknown),
        (502, DeliveryUnknown), (503, Unavailable), (504, DeliveryUnknown), (301, Refused), (307, Refused), (304, Refused),
    ],
)  # fmt: skip
def test_each_status_has_its_class(status: int, kind: type) -> None:
    body = {"error": {"code": "E1", "text": "so it is", "field": "total"}}
    verdict, _ = write(json_response(body, status))
    assert type(verdict) is kind
    assert verdict.status == status
    if status >= 400:
        assert (verdict.message, verdict.code, verdict.field) == ("so it is", "E1", "total")


@pytest.mark.parametrize("status", [200, 400, 422, 500])
@pytest.mark.parametrize(
    ("code", "kind"),
    [("SLOW", RateLimited), ("DUP", Duplicate), ("GONE", NotFound), ("STALE", Conflict), ("KEY", AuthFailed),
     ("BUSY", Unavailable), ("BAD", Refused)],
)  # fmt: skip
def test_the_apis_own_codes_have_classes(status: int, code: str, kind: type) -> None:
    verdict, _ = write(json_response({"error": {"code": code, "text": "words"}}, status, retry_after="9"))
    assert type(verdict) is kind
    assert (verdict.message, verdict.code) == ("words", code)
    if isinstance(verdict, Unavailable):
        assert verdict.retry_after_secs == 9


def test_an_unknown_code_inside_success_is_a_refusal() -> None:
    verdict, _ = write(json_response({"error": {"code": "E9", "text": "no"}}))
    assert type(verdict) is Refused
    assert (verdict.message, verdict.code, verdict.status) == ("no", "E9", 200)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (SimResponse(200, b"", {"content-type": "application/json"}), "empty answer"),
        (SimResponse(201, b"<html>", {"content-type": "text/html"}), "text/html, not JSON"),
        (SimResponse(201, b'{"id":', {"content-type": "application/json"}), "cut short"),
        (json_response({"number": 1}, 201), "the answer names no 'id'"),
    ],
)
def test_a_success_that_proves_nothing_is_an_unknown_outcome(answer: SimResponse, words: str) -> None:
    verdict, _ = write(answer)
    assert type(verdict) is DeliveryUnknown
    assert words in verdict.message


def test_an_empty_answer_can_be_normal() -> None:
    objects = {"orders": {"update": {"path": "orders/{id}", "empty": "true"}}}
    verdict, _ = write(SimResponse(200), "update", objects=objects)
    assert isinstance(verdict, Receipt)
    assert verdict.id == "7"


@pytest.mark.parametrize(
    ("what", "once"),
    [
        ({"create": {"path": "o"}}, "none"),
        ({"create": {"path": "o"}, "find": {"path": "o"}}, "find"),
        ({"create": {"path": "o", "idempotency_header": "K"}}, "idempotency_key"),
        ({"create": {"path": "o/{id}", "method": "PUT"}}, "upsert"),
        ({"create": {"path": "o", "once": "upsert"}}, "upsert"),
        ({"update": {"path": "o/{id}"}}, "upsert"),
        ({"update": {"path": "o/{id}", "method": "POST"}}, "none"),
    ],
)
def test_how_an_effect_stays_one_is_told_from_the_words(what: dict[str, Any], once: str) -> None:
    from flowrun_connectors.http.connector import Http

    info = Http.object_info("orders", {"objects": {"orders": what}})
    assert info is not None
    assert next(iter(info.actions.values())) == once


def test_a_sandboxed_connection_serves_its_own_objects(tmp_path: Path) -> None:
    from flowrun.connections import opened
    from flowrun.connector import discover
    from flowrun.project import load_project
    from flowrun.values import system_clock

    (tmp_path / "flowrun.yaml").write_text(
        "flowrun: 1\nconnections:\n  api:\n    connector: http\n    base_url: https://api.example.com\n"
        "    auth: { bearer: { token: { env: NOT_SET } } }\n    objects:\n      parcels:\n        key: id\n"
        "        read: { path: v2/parcels, records: list, paging: { style: page } }\n"
        "        create: { path: v2/parcels }\n"
        "environments:\n  try: { sandbox: [api] }\n"
    )
    project = load_project(tmp_path)
    for round_ in (1, 2):
        with opened(project, project.environment("try"), ("api",), discover(), now=system_clock) as found:
            (verdict,) = found["api"].deliver([Item("parcels", "create", {"reference": f"R{round_}"}, "k", ())])
            assert isinstance(verdict, Receipt), verdict
            rows = [row for page in found["api"].read(Query("parcels")) for row in page.records]
            assert [row["reference"] for row in rows] == ["R1", "R2"][:round_], "and what it holds is kept"
