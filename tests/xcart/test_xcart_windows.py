"""Paging over a list that moves: whatever stays in it is seen, repeats end, nonsense is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.errors import ConnectorError, PagingLoop, Unavailable
from flowrun_connectors.xcart.windows import LARGEST, OVERLAP, SMALLEST, place, windows

Row = dict[str, Any]


class Shop:
    """A list of row ids, newest first, that changes before each answer."""

    def __init__(self, count: int, *, cap: int = LARGEST) -> None:
        self.ids = list(range(count))
        self.cap = cap
        self.asked: list[tuple[int, int]] = []
        self.before: list[Any] = []

    def ask(self, page: int, size: int) -> tuple[list[Row], int]:
        if self.before:
            self.before.pop(0)(self.ids)
        self.asked.append((page, size))
        size = min(size, self.cap)
        return [{"id": n} for n in self.ids[(page - 1) * size : page * size]], len(self.ids)


def read(shop: Shop, size: int | None = None) -> list[int]:
    return [row["id"] for rows in windows(shop.ask, size) for row in rows]


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 99, 100, 101, 103, 197, 200, 1000, 2345])
def test_every_row_of_a_quiet_list_comes_in_order(count: int) -> None:
    shop = Shop(count)
    assert list(dict.fromkeys(read(shop))) == list(range(count))
    assert len(shop.asked) <= count / (LARGEST - 15) + 1, "overlaps cost little"


@pytest.mark.parametrize("most", range(SMALLEST, LARGEST + 1))
def test_a_next_window_always_overlaps_and_always_goes_on(most: int) -> None:
    for reached in range(most, 3000):
        page, size = place(reached - OVERLAP, most)
        assert (page - 1) * size <= reached - OVERLAP < reached < page * size
        assert size <= most


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(0, 700),
    size=st.integers(1, 100),
    steps=st.lists(st.lists(st.tuples(st.sampled_from("imd"), st.integers(0, 699)), max_size=12), max_size=12),
)
def test_rows_that_stay_are_seen_whatever_the_others_do(count: int, size: int, steps: list[Any]) -> None:
    """i: a row is added on top; m: a row moves to the top; d: a row goes. What is neither moved nor deleted is seen."""
    shop = Shop(count)
    touched: set[int] = set()

    def step(changes: list[tuple[str, int]]) -> Any:
        def change(ids: list[int]) -> None:
            for kind, number in changes:
                if kind == "i":
                    ids.insert(0, 10_000 + len(touched) + len(ids))
                elif number in ids:
                    ids.remove(number)
                    touched.add(number)
                    if kind == "m":
                        ids.insert(0, number)

        return change

    shop.before = [lambda ids: None, *(step(changes) for changes in steps)]
    seen = set(read(shop, size))
    assert set(range(count)) - touched <= seen


def test_plain_pages_would_lose_rows_there() -> None:
    """The same without overlap, so that the property above is known to mean something."""
    shop = Shop(300)
    shop.before = [lambda ids: None, lambda ids: ids.__delitem__(slice(0, 2))]
    seen = {row["id"] for page in (1, 2, 3) for row in shop.ask(page, 100)[0]}
    assert {100, 101} - seen


def test_a_window_that_does_not_join_up_is_asked_for_again() -> None:
    shop = Shop(300)
    shop.before = [lambda ids: None, lambda ids: ids.__delitem__(slice(0, 50))]
    assert set(range(50, 300)) <= set(read(shop))


def test_a_store_that_gives_fewer_rows_than_asked_is_read_in_its_own_pace() -> None:
    shop = Shop(200, cap=30)
    assert set(read(shop)) == set(range(200))


def test_a_store_that_ignores_page_is_a_loop() -> None:
    with pytest.raises(PagingLoop):
        list(windows(lambda page, size: ([{"id": n} for n in range(size)], 1000)))


def test_a_list_that_never_joins_up_is_given_up() -> None:
    fresh = iter(range(10**9))

    def ask(page: int, size: int) -> tuple[list[Row], int]:
        return [{"id": next(fresh)} for _ in range(size)], 100_000

    with pytest.raises((Unavailable, PagingLoop)):
        list(windows(ask))


@pytest.mark.parametrize(
    ("rows", "total"),
    [([], 5), ([{"id": n} for n in range(5)], 900), ([{"name": "no id"}], 1)],
)
def test_answers_that_make_no_sense_are_named(rows: list[Row], total: int) -> None:
    with pytest.raises(ConnectorError):
        list(windows(lambda page, size: (rows, total)))


@pytest.mark.parametrize("count", [25, 40, 47, 300])
def test_a_store_that_gives_its_first_page_for_every_page_is_noticed_however_short_the_list(count: int) -> None:
    """With few pages the end seemed reached before the repeat was noticed, and the rest was lost in silence."""
    shop = Shop(count, cap=20)

    def stuck(page: int, size: int) -> tuple[list[Row], int]:
        return shop.ask(1, size)

    with pytest.raises(PagingLoop):
        list(windows(stuck))


def test_the_last_row_moving_to_the_top_is_no_loop() -> None:
    shop = Shop(23, cap=20)
    shop.before = [lambda ids: None, lambda ids: ids.insert(0, ids.pop())]
    assert set(read(shop)) >= set(range(22))
