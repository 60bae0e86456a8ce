"""Reading a set that changes while it is read: whatever stands in it all the time is read, whatever moves is read anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowrun.errors import PagingLoop, Unavailable
from flowrun_connectors._odata.paging import Rows, Walk, walk


class Table:
    """Rows of (key, stamp); ``moves`` happen before the page with that number is answered."""

    def __init__(self, stamps: list[int], moves: dict[int, list[tuple[str, int]]], limit: int = 1000) -> None:
        self.rows = {f"{key:03}": stamp for key, stamp in enumerate(stamps)}
        self.moves = moves
        self.limit = limit  # the most rows of one answer, before the server pages by itself
        self.asked = self.links = 0
        self.rest: list[dict[str, str]] = []
        self.clock = max(stamps, default=0)

    def _answer(self, found: list[dict[str, str]], top: int) -> Rows:
        page, self.rest = found[: min(top, self.limit)], found[min(top, self.limit) : top]
        self.links += 1
        return Rows(page, f"link-{self.links}" if self.rest else "")

    def ask(self, stamp: str | None, top: int, since: str | None, skip: int) -> Rows:
        for kind, key in self.moves.pop(self.asked, []):
            self._move(kind, key)
        self.asked += 1
        rows = [{"K": key, "S": f"{at:06}"} for key, at in self.rows.items()]
        rows.sort(key=lambda row: (row["S"], row["K"]) if stamp else row["K"])  # type: ignore[arg-type,return-value]
        return self._answer([row for row in rows if since is None or row["S"] >= since][skip:], top)

    def follow(self, link: str) -> Rows:
        return self._answer(self.rest, len(self.rest))

    def _move(self, kind: str, key: int) -> None:
        keys = sorted(self.rows)
        if kind == "change" and keys:
            self.clock += 1
            self.rows[keys[key % len(keys)]] = self.clock
        elif kind == "delete" and keys:
            del self.rows[keys[key % len(keys)]]
        elif kind == "add":
            self.clock += 1
            self.rows[f"{key % 1000:03}x"] = self.clock


def read(table: Table, stamp: str | None, top: int, since: str | None = None) -> list[Any]:
    way = Walk(("K",), stamp, top, lambda at, skip: table.ask(stamp, top, at, skip), table.follow)
    return [row for rows in walk(way, since) for row in rows]


MOVES = st.dictionaries(
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from(["change", "delete", "add"]), st.integers(0, 60)), min_size=1, max_size=3),
    max_size=5,
)


@settings(max_examples=400, deadline=None)
@example([1, 1, 1], {1: [("delete", 0), ("delete", 0)]}, 2, 2, False)  # the row of overlap went, and all before it
@given(st.lists(st.integers(1, 6), max_size=40), MOVES, st.integers(2, 9), st.sampled_from([2, 3, 1000]), st.booleans())
def test_nothing_that_stands_is_lost(
    stamps: list[int], moves: dict[int, list[tuple[str, int]]], top: int, limit: int, by_stamp: bool
) -> None:
    """Stamps repeat (many rows of one stamp), rows change, go and come between pages, the server pages or does not."""
    table = Table(stamps, dict(moves), limit)
    before = dict(table.rows)
    found = read(table, "S" if by_stamp else None, top)
    seen = {(row["K"], row["S"]) for row in found}
    stayed = {key for key, at in table.rows.items() if before.get(key) == at}
    assert {key for key, _ in seen} >= stayed
    if by_stamp:  # what changed while we read comes with its new stamp, so the cursor may move past it
        last = max((row["S"] for row in found), default="")
        assert {(key, f"{at:06}") for key, at in table.rows.items() if f"{at:06}" <= last} <= seen
        assert [row["S"] for row in found] == sorted(row["S"] for row in found)


@given(st.lists(st.integers(1, 4), max_size=60), st.integers(2, 9), st.booleans())
def test_a_set_at_rest_is_read_once_each(stamps: list[int], top: int, by_stamp: bool) -> None:
    table = Table(stamps, {})
    found = read(table, "S" if by_stamp else None, top)
    assert len(found) == len(stamps) == len({row["K"] for row in found})


def test_reading_from_a_cursor_is_inclusive() -> None:
    found = read(Table([1, 2, 2, 3], {}), "S", 2, since="000002")
    assert [row["K"] for row in found] == ["001", "002", "003"]


def test_a_source_that_repeats_itself_is_told_so() -> None:
    def same(since: str | None, skip: int) -> Rows:
        return Rows([{"K": "1", "S": "1"}, {"K": "2", "S": "1"}])

    with pytest.raises(PagingLoop):
        list(walk(Walk(("K",), "S", 2, same, lambda link: Rows([])), None))
    with pytest.raises(PagingLoop):
        ring = Rows([{"K": "1", "S": "1"}], "again")
        list(
            walk(
                Walk(("K",), "S", 2, lambda since, skip: ring, lambda link: Rows([{"K": "2", "S": "1"}], "again")), None
            )
        )


def test_a_set_that_never_stands_still_is_given_up() -> None:
    state = {"n": 0}

    def ever_new(since: str | None, skip: int) -> Rows:
        state["n"] += 2
        return Rows([{"K": str(state["n"])}, {"K": str(state["n"] + 1)}])

    with pytest.raises((Unavailable, PagingLoop)):
        for rows in walk(Walk(("K",), None, 2, ever_new, lambda link: Rows([])), None):
            assert state["n"] < 10_000, rows
