"""A polled list misbehaves between two pages: through the inbox and the cursor nothing is skipped, and no read goes on
for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import build
from flowrun.errors import ConnectorError, PagingLoop, Unavailable
from flowrun.project import load_project
from flowrun.runner import Summary
from flowrun.store import open_store
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import system_clock
from flowrun_connectors.http.connector import Http
from tests.runner.test_edges import PROJECT, Bench

SIZE = 3  # things a page; 6 where a page of one moment would be no progress
READS = {
    "page": "{ path: list, records: items, since: after, cursor: at, sorted: true, paging: { style: page, size: 3 } }",
    "offset": "{ path: list, records: items, since: after, cursor: at, sorted: true, paging: { style: offset, size: 3 } }",
    "cursor": "{ path: list, records: items, since: after, cursor: at, sorted: true, paging: { style: cursor } }",
    "next_url": "{ path: list, records: items, since: after, cursor: at, sorted: true, paging: { style: next_url } }",
    "since": "{ path: list, records: items, since: after, cursor: at, paging: { style: since, size: 6 } }",
    "unsorted": "{ path: list, records: items, since: after, cursor: at, paging: { style: next_url } }",
}
FLOW = """
flowrun: 1
flow: polled
source:
  connection: from
  object: things
  record: it
  trigger: { poll: { every: 1m, cursor: it.at, overlap: 0s } }
  key: it.id
  version: it.v
map: { id: it.id, amount: it.amount }
target: { connection: to, object: things, action: update, match: id }
on_error: { other: { dead_letter: polled } }
"""
by_style = pytest.mark.parametrize("style", list(READS))
by_link = pytest.mark.parametrize("style", ["cursor", "next_url", "unsorted"])


class Server(Simulator):
    """A list of things in the order of their change. ``before`` is called with the number of each request."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self.base_url = "http://api.test/base"
        self.style = style
        self.clock = 0
        self.rows: dict[str, dict[str, Any]] = {}
        self.before: Callable[[int], SimResponse | None] = lambda number: None
        self.link: Callable[[int, int | None], int | None] = lambda start, truth: truth
        """(start of the page, where the next one starts) → where it is said to start"""
        self.asked = 0

    def put(self, *ids: int, ticks: int = 1) -> None:
        """Makes or changes things; ticks 0: at the moment of the last change."""
        for number in ids:
            self.clock += ticks
            at = f"2026-05-04T10:{self.clock // 60:02}:{self.clock % 60:02}Z"
            version = self.rows.pop(str(number), {"v": 0})["v"] + 1
            self.rows[str(number)] = {"id": str(number), "at": at, "v": version, "amount": 100 * version + number}

    def handle(self, request: SimRequest) -> SimResponse:
        self.asked += 1
        found = self.before(self.asked)
        if found is not None:
            return found
        query = request.query
        size = 2 * SIZE if self.style == "since" else SIZE
        rows = sorted((row for row in self.rows.values() if row["at"] >= query.get("after", "")), key=lambda r: r["at"])
        if self.style == "unsorted":
            rows.reverse()
        if self.style == "page":
            start = (int(query["page"]) - 1) * SIZE
        else:
            start = int(query.get("offset") or query.get("cursor") or query.get("p") or 0)
        following = self.link(start, start + SIZE if start + SIZE < len(rows) else None)
        after = f"&after={query['after']}" if query.get("after") else ""
        where = None if following is None else following if self.style == "cursor" else f"?p={following}{after}"
        return json_response({"items": rows[start : start + size], "next": where})


class Poll(Bench):
    def __init__(self, root: Path, style: str, place: Path | str) -> None:
        super().__init__(root)
        self.store.close()
        self.store = open_store(place, now=system_clock)
        old = "{ things: { read: { path: a, since: after, cursor: at, filters: [id] } } }"
        assert old in PROJECT
        (root / "flowrun.yaml").write_text(PROJECT.replace(old, f"{{ things: {{ key: id, read: {READS[style]} }} }}"))
        (root / "flows" / "polled.yaml").write_text(FLOW)
        self.project = load_project(root)
        self.server = Server(style)
        settings = {**self.project.connections["from"].settings, "base_url": self.server.base_url}
        self.source = build(Http, "from", settings, now=system_clock, root=root, transport=self.server.transport())

    def poll(self) -> Summary:
        self.server.asked = 0
        return self.run(flow="polled", records=None, source=self.source)

    def has_all(self) -> None:
        """The target holds the newest state of each thing, and each version went once."""
        newest = {id_: row["amount"] for id_, row in self.server.rows.items()}
        assert {id_: body["amount"] for id_, body in self.target.held.items()} == newest
        sent = [body["amount"] for call in self.target.calls for body in call]
        assert len(sent) == len(set(sent)), "something went twice"


@pytest.fixture
def poll(tmp_path: Path, style: str) -> Iterator[Poll]:
    made = Poll(tmp_path, style, tmp_path / "polled.db")
    yield made
    made.store.close()


def down(number: int) -> SimResponse:
    return json_response({"message": "down"}, 503)


@by_style
@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_a_page_that_fails_costs_none_of_the_others(poll: Poll, page: int) -> None:
    poll.server.put(*range(10))
    poll.server.before = lambda number: down(number) if number == page else None
    try:
        poll.poll()
    except Unavailable:
        assert len(poll.target.held) >= (SIZE + page - 2 if page > 1 else 0), "what was read is delivered"
    else:
        assert poll.server.asked < page
    poll.server.before = lambda number: None
    poll.server.put(3)  # and one changes before the next read
    poll.poll()
    poll.has_all()


@by_style
@pytest.mark.parametrize("page", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3])
def test_things_of_one_moment_on_both_sides_of_an_edge(poll: Poll, page: int, size: int) -> None:
    """And the read ends at that edge: the cursor is inclusive, and known versions are not sent again."""
    poll.server.put(0, 1)
    poll.server.put(*range(2, 2 + size), ticks=0)
    poll.server.put(*range(10, 14))
    poll.server.put(*range(14, 14 + size - 1), ticks=0)
    poll.server.before = lambda number: down(number) if number == page + 1 else None
    try:
        poll.poll()
    except (Unavailable, PagingLoop):
        pass
    poll.server.before = lambda number: None
    poll.server.put(20, ticks=0)  # comes later, with a time that was read already
    poll.poll()
    poll.has_all()


@by_style
@pytest.mark.parametrize("changed", [0, 2, 3, 5, 8])
def test_a_thing_that_changes_between_two_pages(poll: Poll, changed: int) -> None:
    """It moves to the end, and all behind it move up: none is lost, and its change arrives."""
    poll.server.put(*range(9))

    def change(number: int) -> None:
        if number == 2:
            poll.server.put(changed, 20)  # and one more, so that the cursor goes past it

    poll.server.before = change
    poll.poll()
    poll.server.before = lambda number: None
    poll.poll()
    poll.has_all()


@by_link
def test_empty_pages_that_name_a_next_one_are_gone_through(poll: Poll) -> None:
    poll.server.put(*range(9))
    empty = 0

    def nothing(number: int) -> SimResponse | None:
        nonlocal empty
        if empty == 10:
            return None
        empty += 1
        start = "00" if empty == 10 else f"{1000 + empty}"
        return json_response({"items": [], "next": start if poll.server.style == "cursor" else f"?p={start}"})

    poll.server.before = nothing
    poll.poll()
    assert empty == 10
    poll.has_all()


@by_link
@pytest.mark.parametrize("kind", ["the same", "back", "endless", "empty for ever"])
def test_a_link_that_goes_round_is_noticed_and_what_was_read_is_kept(
    poll: Poll, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrun_connectors._http.paging.MOST_PAGES", 40)
    poll.server.put(*range(9))
    ahead = iter(range(1000, 10_000))

    def link(start: int, truth: int | None) -> int | None:
        if kind == "the same":
            return 3
        if kind == "back":
            return 3 if start == 0 else 1
        return next(ahead) if kind == "empty for ever" and truth is None else truth

    poll.server.link = link
    if kind == "endless":
        poll.server.before = lambda number: json_response(
            {"items": [{"id": f"e{number}", "at": f"2027-01-01T00:00:{number % 60:02}Z", "v": 1, "amount": number}],
             "next": number if poll.server.style == "cursor" else f"?p={number}"}
        )  # fmt: skip
    with pytest.raises(PagingLoop):
        poll.poll()
    assert poll.server.asked < (14 if kind in ("the same", "back") else 110)
    held = len(poll.target.held)
    told_early = kind in ("the same", "back") and poll.server.style == "unsorted"
    assert held == (40 if kind == "endless" else 6 if told_early else 9), "what was read is delivered"
    poll.server.link, poll.server.before = (lambda start, truth: truth), (lambda number: None)
    poll.poll()
    if kind != "endless":
        poll.has_all()
    elif poll.server.style == "unsorted":  # nothing was at its end: the cursor stayed
        assert len(poll.target.held) == held + 9


@pytest.mark.parametrize("style", ["cursor", "since"])
def test_a_source_whose_time_goes_back(poll: Poll, style: str) -> None:
    """It was restored, or its clock was set: it is told, and what it gave is not forgotten."""
    poll.server.put(*range(6))
    poll.poll()
    saved = poll.store.cursors.current("polled")
    old = poll.server.rows["1"]["at"]
    poll.server.put(8)
    poll.server.before = lambda number: json_response(
        {"items": [poll.server.rows["8"], {**poll.server.rows["0"], "at": old}], "next": None}
    )
    with pytest.raises(ConnectorError):
        poll.poll()
    assert (poll.store.cursors.current("polled") or "") >= (saved or "")
    poll.server.before = lambda number: None
    poll.poll()
    poll.has_all()
