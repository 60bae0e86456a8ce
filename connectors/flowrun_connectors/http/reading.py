"""What a flow asks of a list: changes since a cursor, filters; and the cursor that is safe to save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowrun.connector import Cursor, Page, Query
from flowrun.errors import ConnectorError, PagingLoop
from flowrun_connectors._http import paging as limits
from flowrun_connectors.http.moments import moment, order, wire
from flowrun_connectors.http.objects import Paging, paging
from flowrun_connectors.http.pages import Ask, Params, Row, identity, pages
from flowrun_connectors.http.places import at


@dataclass(slots=True)
class _Seen:
    """The greatest cursor value so far, as it came and as it orders."""

    field: str
    form: str
    value: Any = None

    def take(self, rows: Sequence[Row], *, in_order: bool) -> None:
        for row in rows:
            value = at(row, self.field)
            if value in (None, ""):
                raise ConnectorError(
                    f"a record has no '{self.field}', by which changes are ordered", help="cursor: another field"
                )
            if self.value is not None and order(value) < order(self.value):
                if in_order:
                    raise PagingLoop(
                        f"records do not come by {self.field}, oldest first", help="leave out: sorted: true"
                    )
                continue
            self.value = value

    def cursor(self) -> Cursor | None:
        return None if self.value is None else Cursor(moment(self.value, self.form))


def read(ask: Ask, what: Mapping[str, Any], query: Query, key: str) -> Iterator[Page]:
    """Pages, each with the cursor that is safe to save: with the last page only, unless ``sorted: true`` says that the
    API gives the oldest change first."""
    how = paging(f"objects: {query.object}: read", what)
    params: Params = {str(name): value for name, value in (what.get("params") or {}).items()}
    for name, value in query.filter.items():
        params[name] = value if isinstance(value, str) else ",".join(value)
    since = str(what.get("since") or "")
    form = str(what.get("since_format", "iso"))
    seen = _Seen(query.cursor, form) if query.cursor is not None and since else None
    if query.since is not None and since:
        params[since] = wire(query.since.value, form)
    if query.page_size:
        how = replace(how, size=query.page_size)
    if how.style != "none" and how.size_param:
        params[how.size_param] = how.size
    in_order = str(what.get("sorted", "")).lower() == "true" or how.style == "since"
    if in_order and query.cursor is not None and since and how.style not in ("none", "since"):
        read_pages = _anchored(ask, what, how, params, key, query.cursor)
    else:
        read_pages = pages(ask, str(what["path"]), how, params, what, key)
    for rows in read_pages:
        if seen is not None:
            seen.take(rows, in_order=in_order)
        yield Page(rows, seen.cursor() if seen is not None and in_order else None)
    if seen is not None and not in_order and seen.value is not None:
        yield Page([], seen.cursor())


def _anchored(
    ask: Ask, what: Mapping[str, Any], how: Paging, params: Params, key: str, field: str
) -> Iterator[list[Row]]:
    """A list that comes by its time of change: each page is followed by a new list, which begins near that page's end.

    A record that changes behind us moves to the end, and all others one place forward: the next page of the same list
    would begin one record too far. It begins at the last time but one, so that an API which leaves out the moment it is
    given hides nothing either; a page without two moments is followed by the next of its list. Raises PagingLoop.
    """
    path, param, form = str(what["path"]), str(what["since"]), str(what.get("since_format", "iso"))
    anchor: Any = None
    known: dict[str, Any] = {}  # what came at the anchor or later, and when it changed
    count = 0
    moved = True
    while moved:
        moved = False
        for rows in pages(ask, path, how, params, what, key):
            count += 1
            if count > limits.MOST_PAGES:
                raise PagingLoop(f"more than {limits.MOST_PAGES} pages")
            fresh = [row for row in rows if identity(row, key, field) not in known]
            known.update((identity(row, key, field), at(row, field)) for row in fresh)
            if fresh:
                yield fresh
            following = _last_but_one([at(row, field) for row in rows])
            if following is not None and (anchor is None or order(following) > order(anchor)):
                anchor, moved = following, True
                known = {one: changed for one, changed in known.items() if order(changed) >= order(anchor)}
                params = {**params, param: wire(moment(anchor, form), form)}
                break


def _last_but_one(values: Sequence[Any]) -> Any:
    """The greatest value but the last; None where there are not two."""
    kept = [value for value in values if order(value) < order(values[-1])]
    return max(kept, key=order, default=None)
