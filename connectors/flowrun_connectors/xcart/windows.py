"""Reading a list that moves while it is read.

X-Cart pages by number and size only, so a page is a window at an offset: rows that are added or change (sorted newest
first) push the others down and come twice; rows that are deleted or leave a filter pull the others up, and then the
next page would begin too late. So each window overlaps the one before, and a window that does not join up is asked for
again from further ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flowrun.errors import ConnectorError, PagingLoop, Unavailable

LARGEST = 100  # rows; the most that itemsPerPage takes
SMALLEST = 20  # rows; with fewer some offsets cannot be reached with an overlap
OVERLAP = 3  # rows
MOST_RETURNS = 20  # times that a window may fail to join up
MOST_STALE = 3  # windows in a row without a new row
MOST_WINDOWS = 100_000

Ask = Callable[[int, int], tuple[list[dict[str, Any]], int]]
"""(page from 1, rows a page) → the rows, and how many the whole list has."""


def windows(ask: Ask, size: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """Windows from the first row on, repeats included: the caller drops them, and stops when it has enough.

    Raises PagingLoop when the source repeats itself, Unavailable when the list moves faster than it can be read,
    ConnectorError when the answers make no sense.
    """
    most = max(SMALLEST, min(size or LARGEST, LARGEST))
    page, per_page = 1, most
    seen: set[str] = set()
    top: list[str] = []
    returns = stale = 0
    for _ in range(MOST_WINDOWS):
        rows, total = ask(page, per_page)
        offset = (page - 1) * per_page
        ids = {_id(row) for row in rows}
        if offset and not ids & seen:  # rows before this window went away: what followed them has moved up
            returns += 1
            if returns > MOST_RETURNS:
                raise Unavailable("the list changes faster than it can be read")
            page, per_page = place(offset - most, most)
            continue
        if not offset and len(rows) < min(per_page, total):
            if len(rows) < SMALLEST:
                raise ConnectorError(f"the list says it has {total} rows and shows {len(rows)} of them")
            most = per_page = len(rows)  # the store gives fewer rows than asked for
        if not offset:
            top = [_id(row) for row in rows]
        yield rows
        stale = 0 if ids - seen else stale + 1
        seen |= ids
        reached = offset + len(rows)
        if reached >= total:
            if stale and len(seen) < total and _same([_id(row) for row in ask(1, per_page)[0]], top):
                raise PagingLoop(f"the store gives the same rows for every page: {len(seen)} of {total}")
            return  # rows that moved to the top meanwhile are not missing: they come with the next read
        if stale >= MOST_STALE:
            raise PagingLoop("the store gives the same rows again and again")
        if len(rows) < per_page:
            raise ConnectorError(f"the list says it has {total} rows and ends after {reached}")
        page, per_page = place(reached - OVERLAP, most)
    raise PagingLoop(f"more than {MOST_WINDOWS} windows")


def place(start: int, most: int) -> tuple[int, int]:
    """The page and size, at most ``most`` and not under half of it, that begins at or before ``start`` and reaches
    furthest."""
    if start <= 0:
        return 1, most
    sizes = range(most, max(1, most // 2) - 1, -1)
    size = max(sizes, key=lambda s: start // s * s + s)
    return start // size + 1, size


def _same(one: list[str], other: list[str]) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _id(row: dict[str, Any]) -> str:
    found = row.get("id")
    if found is None:
        raise ConnectorError("a row of the list has no id")
    return str(found)
