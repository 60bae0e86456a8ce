"""Reading a set of entities that changes while it is read, and losing none of them.

$skip and $top count rows of a set that moves: a row that is changed (or deleted) behind us pulls the rest one place
forward, and the next page would start one row too far. So every page overlaps the one before by one row. When its
first row is not one we know, the set has moved and we step back until it is. Where rows are ordered by a stamp, the
condition moves along with it, and $skip only counts rows of one stamp.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowrun.errors import ConnectorError, PagingLoop, Unavailable
from flowrun_connectors._http.paging import MOST_PAGES, PageGuard

Row = Mapping[str, Any]
_REMEMBERED = 20  # pages whose rows are known again
_STEPS_BACK = 50
_PATIENCE = 15  # pages in a row that hold nothing new: rows put in before us show some again


@dataclass(frozen=True, slots=True)
class Rows:
    """One answer: entities as records, and the link to the rest of it ("": there is none)."""

    records: Sequence[Row]
    link: str = ""


@dataclass(frozen=True, slots=True)
class Walk:
    """keys: fields that identify a row. stamp: the field that orders them, None: the keys do. top: rows a page.

    ask(since, skip): the page that starts there; since None: from the beginning. follow(link): the rest of a page.
    """

    keys: Sequence[str]
    stamp: str | None
    top: int
    ask: Callable[[str | None, int], Rows]
    follow: Callable[[str], Rows]


def walk(way: Walk, since: str | None) -> Iterator[list[Row]]:
    """New rows, page by page, in order; a row that changed while we read comes again with its later stamp.

    Raises PagingLoop when the source repeats itself, Unavailable when it moves faster than it can be read.
    """
    top = max(way.top, 2)  # one row of overlap, one of progress
    known: deque[set[tuple[Any, ...]]] = deque(maxlen=_REMEMBERED)
    anchor, skip, steps, idle = since, 0, 0, 0
    for _ in range(MOST_PAGES):
        page = way.ask(anchor, skip)
        records = list(page.records)
        if skip > 0 and not (records and _is_known(_identity(way, records[0]), known)):
            steps += 1
            if steps > _STEPS_BACK:
                raise Unavailable("the set changes faster than it can be read", help="read it with a larger page_size")
            skip = max(0, skip - top)
            continue
        count, place = 0, _Place(way.stamp, anchor, skip)
        links = PageGuard()  # of its own: where pages overlap, the end of one may well be the start of the next
        while True:
            fresh = set()
            new = []
            for record in records:
                one = _identity(way, record)
                if one not in fresh and not _is_known(one, known):
                    fresh.add(one)
                    new.append(record)
                place.take(record)
            if fresh:
                known.append(fresh)
            count += len(records)
            idle = 0 if new else idle + 1
            if new:
                yield new
            if not page.link:
                break
            page = way.follow(links.token(page.link))
            records = links.page(list(page.records))
        if count < top:
            return
        if idle > _PATIENCE + steps:  # what we stepped back over is known as well
            raise PagingLoop("the source gives the same rows again")
        anchor, skip = place.next()
    raise PagingLoop(f"more than {MOST_PAGES} pages")


class _Place:
    """Where the page after these rows starts: at the last row again."""

    def __init__(self, stamp: str | None, anchor: str | None, skip: int) -> None:
        self._stamp, self._anchor, self._skip = stamp, anchor, skip
        self._last: str | None = None
        self._same = 0  # rows at the end that have the last stamp
        self._count = 0

    def take(self, record: Row) -> None:
        self._count += 1
        if self._stamp is None:
            return
        at = record.get(self._stamp)
        if not isinstance(at, str) or not at:
            raise ConnectorError(f"a row has no {self._stamp}, by which the rows are ordered")
        self._same = self._same + 1 if at == self._last else 1
        self._last = at

    def next(self) -> tuple[str | None, int]:
        if self._last is None or self._last == self._anchor:
            return self._anchor, self._skip + self._count - 1
        return self._last, self._same - 1


def _identity(way: Walk, record: Row) -> tuple[Any, ...]:
    names = (*way.keys, way.stamp) if way.stamp else tuple(way.keys)
    return tuple(record.get(name) for name in names)


def _is_known(one: tuple[Any, ...], known: Sequence[set[tuple[Any, ...]]]) -> bool:
    return any(one in page for page in known)
