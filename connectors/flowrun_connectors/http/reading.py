"""Pages of any REST API: page numbers, offsets, tokens, links, or the last record's own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx

from flowrun.connector import Cursor, Page, Query
from flowrun.errors import ConnectorError, PagingLoop, Refused, Unavailable
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._http.paging import PageGuard
from flowrun_connectors.http.objects import Paging, paging
from flowrun_connectors.http.places import at, text

Row = dict[str, Any]
Params = dict[str, str]
_PORTS = {"http": 80, "https": 443}
_STEPS_BACK = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ask:
    """One request for a list: (path, params) → answer."""

    def __init__(self, call: Callable[..., httpx.Response], what: Mapping[str, Any], base: httpx.URL) -> None:
        self._call = call
        self._method = str(what.get("method", "GET")).upper()
        self._body = what.get("body")
        self._records = str(what.get("records", "") or "")
        self.base = base

    def __call__(self, path: str, params: Params) -> tuple[list[Row], Any, httpx.Response]:
        """The records, the whole answer, and the response. Raises ConnectorError."""
        response = self._call(self._method, path, params=params or None, body=self._body, writing=False)
        body = read_json(response)
        rows = at(body, self._records)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            where = f"at '{self._records}'" if self._records else "as the answer"
            raise ConnectorError(f"no list of records {where}", help="records: where in the answer the list is")
        return rows, body, response


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
            if self.value is not None and _order(value) < _order(self.value):
                if in_order:
                    raise PagingLoop(
                        f"records do not come by {self.field}, oldest first", help="leave out: sorted: true"
                    )
                continue
            self.value = value

    def cursor(self) -> Cursor | None:
        return None if self.value is None else Cursor(_moment(self.value, self.form))


def read(ask: Ask, what: Mapping[str, Any], query: Query, key: str) -> Iterator[Page]:
    """Pages, each with the cursor that is safe to save: with the last page only, unless ``sorted: true`` says that the
    API gives the oldest change first."""
    how = paging(query.object, what)
    params = {str(name): text(value) for name, value in (what.get("params") or {}).items()}
    for name, value in query.filter.items():
        params[name] = value if isinstance(value, str) else ",".join(value)
    since = str(what.get("since") or "")
    form = str(what.get("since_format", "iso"))
    seen = _Seen(query.cursor, form) if query.cursor is not None and since else None
    if query.since is not None and since:
        params[since] = _wire(query.since.value, form)
    if query.page_size:
        how = Paging(how.style, query.page_size, how.size_param, how.param, how.first, how.next)
    if how.style != "none" and how.size_param:
        params[how.size_param] = str(how.size)
    in_order = str(what.get("sorted", "")).lower() == "true" or how.style == "since"
    for rows in _pages(ask, str(what["path"]), how, params, what, key):
        if seen is not None:
            seen.take(rows, in_order=in_order)
        yield Page(rows, seen.cursor() if seen is not None and in_order else None)
    if seen is not None and not in_order and seen.value is not None:
        yield Page([], seen.cursor())


def _pages(ask: Ask, path: str, how: Paging, params: Params, what: Mapping[str, Any], key: str) -> Iterator[list[Row]]:
    if how.style == "none":
        yield ask(path, params)[0]
    elif how.style == "page":
        yield from _numbered(ask, path, how, params)
    elif how.style == "offset":
        yield from _offset(ask, path, how, params, key)
    elif how.style == "since":
        yield from _since(ask, path, how, params, what, key)
    else:
        yield from _linked(ask, path, how, params)


def _numbered(ask: Ask, path: str, how: Paging, params: Params) -> Iterator[list[Row]]:
    guard, number = PageGuard(remember=50), how.first
    while True:
        rows = guard.page(ask(path, {**params, how.param: str(number)})[0])
        if rows:
            yield rows
        if len(rows) < how.size:
            return
        number += 1


def _offset(ask: Ask, path: str, how: Paging, params: Params, key: str) -> Iterator[list[Row]]:
    """Pages overlap by one row where rows have a key: a set that moves behind us would otherwise hide one."""
    guard, offset, known, steps = PageGuard(), 0, set[str](), 0
    overlap = 1 if key and how.size > 1 else 0
    while True:
        rows = guard.page(ask(path, {**params, how.param: str(offset)})[0])
        if overlap and offset and rows and str(at(rows[0], key)) not in known:
            steps += 1
            if steps > _STEPS_BACK:
                raise Unavailable("the set changes faster than it can be read", help="read it with a larger page size")
            offset = max(0, offset - how.size)
            continue
        fresh = [row for row in rows if not overlap or str(at(row, key)) not in known] if offset else rows
        known.update(str(at(row, key)) for row in rows if overlap)
        if fresh:
            yield fresh
        if len(rows) < how.size:
            return
        offset += len(rows) - overlap


def _since(ask: Ask, path: str, how: Paging, params: Params, what: Mapping[str, Any], key: str) -> Iterator[list[Row]]:
    """Each request starts at the last record's own time, inclusive; nothing that moves can slip through."""
    field, param, form = str(what["cursor"]), str(what["since"]), str(what.get("since_format", "iso"))
    last: Any = None
    edge: set[str] = set()  # keys (or whole rows) at the last time, which come again
    while True:
        rows = ask(path, params)[0]
        fresh = [row for row in rows if _identity(row, key) not in edge]
        if fresh:
            yield fresh
        if len(rows) < how.size:
            return
        ending = at(rows[-1], field)
        if ending in (None, "") or (last is not None and _order(ending) <= _order(last)):
            raise PagingLoop(
                f"a whole page of records shares one {field}, or they do not come in its order",
                help="raise paging: size, or use another style",
            )
        last = ending
        edge = {_identity(row, key) for row in rows if at(row, field) == ending}
        params = {**params, param: _wire(_moment(ending, form), form)}


def _linked(ask: Ask, path: str, how: Paging, params: Params) -> Iterator[list[Row]]:
    guard = PageGuard(remember=50)
    while True:
        rows, body, response = ask(path, params)
        rows = guard.page(rows)
        if rows:
            yield rows
        if how.style == "link_header":
            following = str(response.links.get("next", {}).get("url", ""))
        else:
            following = str(at(body, how.next) or "")
        if not following:
            return
        guard.token(following)
        if how.style == "cursor":
            params = {**params, how.param: following}
        else:
            path, params = own(ask.base, following), {}


def own(base: httpx.URL, link: str) -> str:
    """A next link as an address on our own host. Raises Refused for one that leads elsewhere."""
    try:
        whole = base.join(link)
        parts = urlsplit(str(whole))
        same = (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)) == (
            base.scheme,
            base.host,
            base.port or _PORTS.get(base.scheme),
        )
    except (httpx.InvalidURL, ValueError):
        raise Refused("the link to the next page is no address") from None
    if not same or parts.username is not None:
        raise Refused("the next page is said to be on another host; it is not followed")
    return str(whole)


def _identity(row: Row, key: str) -> str:
    return str(at(row, key)) if key else repr(sorted(row.items(), key=lambda pair: pair[0]))


def _order(value: Any) -> tuple[int, Decimal, str]:
    """What a cursor value orders by: numbers as numbers, times as moments, other text as text."""
    if isinstance(value, int | Decimal):
        return (0, Decimal(value), "")
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return (1, Decimal(0), str(value))
    return (0, Decimal((_aware(found) - _EPOCH) // timedelta(microseconds=1)), "")


def _moment(value: Any, form: str) -> str:
    """A cursor as flowrun keeps it: ISO in UTC where it is a moment, the plain text otherwise."""
    if form != "iso" and str(value).isdigit():
        secs = Decimal(str(value)) / (1000 if form == "unix_ms" else 1)
        return _utc(_EPOCH + timedelta(microseconds=int(secs * 1_000_000)))
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return _utc(found) if found.tzinfo is not None else str(value)


def _wire(value: str, form: str) -> str:
    """A cursor as the API takes it. Raises Refused when it is no moment and one is asked for."""
    if form == "iso":
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Refused(f"the cursor '{value[:40]}' is no moment", help="since_format: iso") from None
    unit = timedelta(milliseconds=1) if form == "unix_ms" else timedelta(seconds=1)
    return str((_aware(found) - _EPOCH) // unit)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
