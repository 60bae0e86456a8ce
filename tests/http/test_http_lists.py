"""Lists of any shape: every paging style reads all, and every way of going round in circles ends in an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import build
from flowrun.connector import Cursor, Query
from flowrun.errors import ConnectorError, NotFound, PagingLoop, ProjectError, RateLimited, Refused
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import decode_json, system_clock
from flowrun_connectors.http.connector import Http

Answer = Callable[[SimRequest], SimResponse]
ROWS = [{"id": str(n), "at": f"2026-05-04T10:00:{n:02}Z"} for n in range(7)]


class Scripted(Simulator):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.script = answer
        self.base_url = "http://api.test/base"

    def handle(self, request: SimRequest) -> SimResponse:
        return self.script(request)


def connect(server: Scripted, objects: Mapping[str, Any], root: Path = Path(), **more: Any) -> Any:
    settings = {"base_url": server.base_url, "objects": objects, **more}
    return build(Http, "api", settings, now=system_clock, root=root, transport=server.transport())


def listed(paging: Any, **more: Any) -> Mapping[str, Any]:
    read = {"path": "list", "records": "items", "paging": paging, **more}
    return {"things": {"key": "id", "read": read}}


def read(server: Scripted, objects: Mapping[str, Any], **query: Any) -> list[str]:
    found = connect(server, objects).read(Query("things", **query))
    return [str(row["id"]) for page in found for row in page.records]


ALL = [row["id"] for row in ROWS]


def part(start: int, size: int, **more: Any) -> SimResponse:
    return json_response({"items": ROWS[start : start + size], **more})


# -- each style reads all, also where the size is capped in silence ------------------------------------------------


@pytest.mark.parametrize("cap", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [2, 3, 7, 100])
def test_page_numbers(cap: int, size: int) -> None:
    def answer(request: SimRequest) -> SimResponse:
        each = min(cap, int(request.query["limit"]))
        return part((int(request.query["page"]) - 1) * each, each)

    assert read(Scripted(answer), listed({"style": "page", "size": size})) == ALL


@pytest.mark.parametrize("cap", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("key", ["id", ""])
def test_offsets(cap: int, size: int, key: str) -> None:
    def answer(request: SimRequest) -> SimResponse:
        return part(int(request.query["skip"]), min(cap, int(request.query["top"])))

    objects = listed({"style": "offset", "size": size, "param": "skip", "size_param": "top"})
    server = Scripted(answer)
    assert list(dict.fromkeys(read(server, {"things": {**objects["things"], "key": key}}))) == ALL
    assert len(server.log) < 20


@pytest.mark.parametrize("cap", [2, 3, 100])
def test_changes_since(cap: int) -> None:
    def answer(request: SimRequest) -> SimResponse:
        rows = [row for row in ROWS if row["at"] >= request.query.get("after", "")]
        return json_response({"items": rows[:cap]})

    objects = listed({"style": "since", "size": 2 if cap == 2 else 100}, since="after", cursor="at")
    assert read(Scripted(answer), objects, cursor="at") == ALL
    assert read(Scripted(answer), objects, cursor="at", since=Cursor("2026-05-04T10:00:05Z")) == ["5", "6"]


@pytest.mark.parametrize("style", ["cursor", "next_url", "link_header"])
@pytest.mark.parametrize("link", ["?p={}", "list?p={}", "/base/list?p={}", "http://api.test/base/list?p={}"])
def test_tokens_and_links_absolute_and_relative(style: str, link: str) -> None:
    def answer(request: SimRequest) -> SimResponse:
        assert request.path == "/base/list", request.path
        start = int(request.query.get("p") or 0)
        following = start + 3 if start + 3 < len(ROWS) else None
        if following is None:
            return part(start, 3, next=None)
        if style == "cursor":
            return part(start, 3, next=following)
        where = link.format(following)
        if style == "next_url":
            return part(start, 3, next=where)
        found = part(start, 3)
        found.headers["link"] = f'<{link.format(0)}>; rel="first", <{where}>; rel="next"'
        return found

    assert read(Scripted(answer), listed({"style": style, "param": "p"})) == ALL


def test_the_last_records_number_is_the_token_and_more_says_when_to_stop() -> None:
    def answer(request: SimRequest) -> SimResponse:
        start = int(request.query.get("starting_after", "-1")) + 1
        return json_response({"data": ROWS[start : start + 3], "has_more": start + 3 < len(ROWS)})

    objects = listed(
        {"style": "cursor", "param": "starting_after", "next": "data[-1].id", "more": "has_more"}, records="data"
    )
    server = Scripted(answer)
    assert read(server, objects) == ALL
    assert len(server.log) == 3


def test_more_saves_the_last_request_and_its_absence_is_told() -> None:
    def answer(request: SimRequest) -> SimResponse:
        start = (int(request.query["page"]) - 1) * 3
        return part(start, 3, meta={"more": start + 3 < len(ROWS)})

    server = Scripted(answer)
    assert read(server, listed({"style": "page", "size": 3, "more": "meta.more"})) == ALL
    assert len(server.log) == 3
    with pytest.raises(ConnectorError, match=r"does not say at 'meta\.mroe' whether there is more"):
        read(Scripted(answer), listed({"style": "page", "size": 3, "more": "meta.mroe"}))


def test_a_list_that_is_asked_for_by_a_body() -> None:
    def answer(request: SimRequest) -> SimResponse:
        assert (request.method, request.query) == ("POST", {})
        body = decode_json(request.body)
        assert body["query"] == {"open": True, "since": "2026-05-04T10:00:00Z"}
        assert body["status"] == "paid"
        assert isinstance(body["limit"], int)
        start = int(body.get("page", {}).get("after") or 0)
        return part(start, 3, next=start + 3 if start + 3 < len(ROWS) else None)

    objects = listed(
        {"style": "cursor", "param": "page.after"}, method="POST", body={"query": {"open": True}}, params_in="body",
        since="query.since", cursor="at",
    )  # fmt: skip
    since = Cursor("2026-05-04T10:00:00Z")
    assert read(Scripted(answer), objects, cursor="at", since=since, filter={"status": "paid"}) == ALL


@pytest.mark.parametrize("past", ["empty", "404", "again"])
def test_past_the_end(past: str) -> None:
    def answer(request: SimRequest) -> SimResponse:
        start = (int(request.query["page"]) - 1) * 3
        if start < len(ROWS):
            return part(start, 3)
        return {"empty": part(99, 3), "404": json_response({"message": "no such page"}, 404), "again": part(6, 3)}[past]

    assert read(Scripted(answer), listed({"style": "page", "size": 3})) == ALL


def test_a_list_that_is_not_there_is_not_the_end_of_it() -> None:
    with pytest.raises(NotFound):
        read(Scripted(lambda request: json_response({"message": "gone"}, 404)), listed({"style": "page"}))


def test_nothing_new_costs_one_request() -> None:
    for style in ("none", "page", "offset", "cursor", "next_url", "link_header"):
        server = Scripted(lambda request: json_response({"items": []}))
        assert read(server, listed(style)) == []
        assert len(server.log) == 1, style


# -- going round in circles --------------------------------------------------------------------------------------


def circling(style: str, kind: str) -> tuple[Scripted, Mapping[str, Any]]:
    count = 0

    def answer(request: SimRequest) -> SimResponse:
        nonlocal count
        count += 1
        token = "same" if kind == "same token" else f"t{count}"
        rows = (
            []
            if kind == "empty pages"
            else ROWS[:2]
            if kind == "same page"
            else [{"id": f"{count}-{n}"} for n in (1, 2)]
        )
        where = token if style == "cursor" else f"http://api.test/base/list?p={token}"
        found = json_response({"items": rows, "next": where})
        if style == "link_header":
            found.headers["link"] = f'<{where}>; rel="next"'
        return found

    return Scripted(answer), listed({"style": style, "size": 2})


@pytest.mark.parametrize("style", ["cursor", "next_url", "link_header"])
@pytest.mark.parametrize(("kind", "most"), [("same token", 3), ("same page", 3), ("empty pages", 102)])
def test_circles_of_tokens_and_links(style: str, kind: str, most: int) -> None:
    server, objects = circling(style, kind)
    with pytest.raises(PagingLoop):
        read(server, objects)
    assert len(server.log) <= most


def test_a_next_link_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrun_connectors._http.paging.MOST_PAGES", 50)
    for style in ("cursor", "next_url", "link_header"):
        server, objects = circling(style, "endless")
        with pytest.raises(PagingLoop, match="more than 50 pages"):
            read(server, objects)


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_full_page_that_comes_for_every_number(style: str) -> None:
    server = Scripted(lambda request: part(0, 2))
    with pytest.raises(PagingLoop):
        read(server, listed({"style": style, "size": 2}))
    assert len(server.log) <= 3


def test_a_circle_of_several_pages() -> None:
    def answer(request: SimRequest) -> SimResponse:
        return part((int(request.query["page"]) % 3) * 2, 2)

    with pytest.raises(PagingLoop):
        read(Scripted(answer), listed({"style": "page", "size": 2}))


def test_a_page_of_one_moment_is_no_progress() -> None:
    rows = [{"id": str(n), "at": "2026-05-04T10:00:00Z"} for n in range(9)]
    server = Scripted(lambda request: json_response({"items": rows[:2]}))
    with pytest.raises(PagingLoop, match="a whole page of records shares one at"):
        read(server, listed({"style": "since", "size": 2}, since="after", cursor="at"), cursor="at")


@pytest.mark.parametrize(
    "link",
    [
        "http://evil.test/base/list", "https://api.test/base/list", "http://api.test:81/base/list", "//evil.test/x",
        "http://api.test@evil.test/", "http://user:pw@api.test/base/list", "http://api.test.evil.test/", "file:///etc/passwd",
        "http://169.254.169.254/latest", "http://[::1", "http://127.0.0.1/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", ["next_url", "link_header"])
def test_a_link_to_another_place_is_refused_and_nothing_is_sent_there(style: str, link: str) -> None:
    def answer(request: SimRequest) -> SimResponse:
        found = part(0, 2, next=link)
        found.headers["link"] = f'<{link}>; rel="next"'
        return found

    server = Scripted(answer)
    with pytest.raises(ConnectorError):
        read(server, listed({"style": style, "size": 2}))
    assert len(server.log) == 1


@pytest.mark.parametrize("following", [{"href": "x"}, ["x"], True])
def test_what_is_no_link_is_told(following: Any) -> None:
    with pytest.raises(ConnectorError, match="no token and no link"):
        read(Scripted(lambda request: part(0, 2, next=following)), listed({"style": "cursor"}))


# -- records and errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [("", ROWS), ("items", {"items": ROWS}), ("a.b[0].c", {"a": {"b": [{"c": ROWS}]}}), ("a[-1]", {"a": [[], ROWS]})],
)
def test_where_the_list_is(path: str, body: Any) -> None:
    assert read(Scripted(lambda request: json_response(body)), listed("none", records=path)) == ALL


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {}}, {"items": [1]}, {"items": "x"}, [], None])
def test_what_is_no_list_is_no_empty_one(body: Any) -> None:
    with pytest.raises(ConnectorError, match="no list of records at 'items'"):
        read(Scripted(lambda request: json_response(body)), listed("none"))


def test_an_error_inside_success_is_none_of_a_list() -> None:
    objects = {"things": {**listed("none")["things"], "errors": {"when": "error", "classes": {"SLOW": "rate_limited"}},
                          "get": {"path": "one/{id}"}}}  # fmt: skip
    answers = iter(
        [{"items": [], "error": {"code": "E1", "message": "no index"}}, {"error": {"code": "SLOW"}}, {"error": "x"}]
    )
    server = Scripted(lambda request: json_response(next(answers)))
    with pytest.raises(ConnectorError, match="no index") as told:
        read(server, objects)
    assert told.value.code == "E1"
    with pytest.raises(RateLimited):
        read(server, objects)
    with pytest.raises(ConnectorError):
        connect(server, objects).get("things", {"id": "1"})


# -- finding -----------------------------------------------------------------------------------------------------


def finding(**more: Any) -> Mapping[str, Any]:
    return {"things": {"key": "id", "find": {"path": "list", "records": "items", **more}}}


def test_a_filter_that_is_ignored_never_means_not_there() -> None:
    """An API that ignores what it is asked gives its first page: taken for 'not there', the record is made twice."""
    server = Scripted(lambda request: part(0, 3))
    with pytest.raises(ConnectorError, match="the API gives 3 other records; is that all it has"):
        connect(server, finding()).find("things", {"id": "6"})
    assert [one.id for one in connect(server, finding()).find("things", {"id": "2"})] == ["2"]
    assert connect(server, finding(paging="none")).find("things", {"id": "6"}) == []


def test_find_goes_through_the_pages_it_is_told_of() -> None:
    def answer(request: SimRequest) -> SimResponse:
        return part((int(request.query["page"]) - 1) * 3, 3)

    api = connect(Scripted(answer), finding(paging={"style": "page", "size": 3}))
    assert [one.id for one in api.find("things", {"id": "6"})] == ["6"]
    assert api.find("things", {"id": "99"}) == []
    with pytest.raises(Refused, match="nothing to search by"):
        api.find("things", {})


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (listed({"style": "pages"}), "there is no paging style 'pages'"),
        (listed({"style": "page", "sise": 3}), "has no word 'sise'"),
        (listed({"style": "page", "size": "many"}), "size and first are whole numbers"),
        (listed({"style": "page", "size": 0}), "size is at least 1"),
        (listed("since"), "needs since"),
        (listed("none", params_in="header"), "params_in is query or body"),
        (listed("none", since_format="rfc"), "since_format is iso"),
        (finding(paging="pages"), "there is no paging style 'pages'"),
        ({"things": {"errors": {"classes": {"E": "slow"}}}}, "there is no class 'slow'"),
        ({"things": {"errors": {"classes": "E"}}}, "classes is a table"),
        ({"things": {"reed": {}}}, "has no word 'reed'"),
        ({"things": {"fields": {"id": "string"}}}, "there is no type 'string'"),
        ({"things": {"read": {"records": "x"}}}, "read lacks 'path'"),
    ],
)
def test_objects_that_make_no_sense(objects: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        connect(Scripted(lambda request: part(0, 1)), objects)


@pytest.mark.parametrize(
    ("path", "body", "there"),
    [
        ("", {"id": "1"}, True), ("data", {"data": {"id": "1"}}, True), ("data[0]", {"data": [{"id": "1"}]}, True),
        ("", None, False), ("data", {"data": None}, False), ("data[0]", {"data": []}, False), ("a.b", {"a": {"b": None}}, False),
        ("data", {"date": {"id": "1"}}, None), ("data", {"data": []}, None), ("", [], None), ("a.b", {"c": 1}, None),
        ("data", [], None), ("", "x", None),
    ],
)  # fmt: skip
def test_a_record_by_its_key_is_there_or_not_or_the_place_is_wrong(path: str, body: Any, there: bool | None) -> None:
    objects = {"things": {"get": {"path": "one/{id}", "record": path}}}
    api = connect(Scripted(lambda request: json_response(body)), objects)
    if there is None:
        with pytest.raises(ConnectorError, match="no record"):
            api.get("things", {"id": "1"})
    else:
        assert (api.get("things", {"id": "1"}) is not None) is there
