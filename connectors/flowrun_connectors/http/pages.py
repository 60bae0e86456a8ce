"""Lists of any REST API, page by page: numbers, offsets, tokens, links, or the last record's own time.

A page that is shorter than asked for need not be the last one, since many APIs cap the size in silence; so a read goes
on until nothing new comes, or until the API says that there is no more (``more:``). What repeats itself, gives no
progress or leads to another host ends the read with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from flowrun.errors import ConnectorError, NotFound, PagingLoop, Refused, Unavailable
from flowrun_connectors._http.bodies import read_json
from flowrun_connectors._http.paging import PageGuard
from flowrun_connectors.http.moments import moment, order, wire
from flowrun_connectors.http.objects import Paging
from flowrun_connectors.http.places import at, put, text

Row = dict[str, Any]
Params = dict[str, Any]
_PORTS = {"http": 80, "https": 443}
_STEPS_BACK = 50


class Ask:
    """One request for a list: (path, params) → answer. refuse: raises for an answer that says no with status 200."""

    def __init__(
        self,
        call: Callable[..., httpx.Response],
        what: Mapping[str, Any],
        base: httpx.URL,
        refuse: Callable[[Any, httpx.Response], None],
    ) -> None:
        self._call = call
        self._method = str(what.get("method", "GET")).upper()
        self._body = what.get("body")
        self._in_body = str(what.get("params_in", "query")) == "body"
        self._records = str(what.get("records", "") or "")
        self._refuse = refuse
        self.base = base

    def __call__(self, path: str, params: Params) -> tuple[list[Row], Any, httpx.Response]:
        """The records, the whole answer, and the response. Raises ConnectorError."""
        body, query = self._body, {name: text(value) for name, value in params.items()}
        if self._in_body:
            body, query = dict(body or {}), {}
            for name, value in params.items():
                body = put(body, name, value)
        response = self._call(self._method, path, params=query or None, body=body, writing=False)
        answer = read_json(response)
        self._refuse(answer, response)
        rows = at(answer, self._records)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            where = f"at '{self._records}'" if self._records else "as the answer"
            raise ConnectorError(f"no list of records {where}", help="records: where in the answer the list is")
        return rows, answer, response


def pages(ask: Ask, path: str, how: Paging, params: Params, what: Mapping[str, Any], key: str) -> Iterator[list[Row]]:
    """Pages that are not empty. Raises PagingLoop, Unavailable when the set moves too fast, and what ``ask`` raises."""
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


def _says_end(body: Any, how: Paging) -> bool:
    """``more:`` says that this was the last page. Raises ConnectorError when it says nothing, which would end each read
    after its first page."""
    if not how.more:
        return False
    said = at(body, how.more)
    if said is None:
        raise ConnectorError(
            f"the answer does not say at '{how.more}' whether there is more", help="paging: { more: … }"
        )
    return str(said).lower() in ("false", "0", "")


def _numbered(ask: Ask, path: str, how: Paging, params: Params) -> Iterator[list[Row]]:
    guard, number, before = PageGuard(remember=50), how.first, list[Row]()
    while True:
        try:
            rows, body, _ = ask(path, {**params, how.param: number})
        except NotFound:
            if number == how.first:
                raise
            return  # past the end; some say so
        if rows == before and len(rows) < how.size:
            return  # past the end; some give the last page again
        if guard.page(rows):
            yield rows
        if not rows or _says_end(body, how):
            return
        before = rows
        number += 1


def _offset(ask: Ask, path: str, how: Paging, params: Params, key: str) -> Iterator[list[Row]]:
    """Pages overlap by one row where rows have a key: a set that moves behind us would otherwise hide one."""
    guard, offset, known, steps = PageGuard(), 0, set[str](), 0
    overlap, before = 1 if key and how.size > 1 else 0, list[Row]()
    while True:
        rows, body, _ = ask(path, {**params, how.param: offset})
        if rows == before and len(rows) < how.size:
            return
        guard.page(rows)
        if overlap and offset and len(before) > 1 and rows and str(at(rows[0], key)) not in known:
            steps += 1
            if steps > _STEPS_BACK:
                raise Unavailable("the set changes faster than it can be read", help="read it with a larger page size")
            offset = max(0, offset - how.size)
            continue
        fresh = [row for row in rows if not overlap or str(at(row, key)) not in known] if offset else rows
        known.update(str(at(row, key)) for row in rows if overlap)
        if fresh:
            yield fresh
        if not fresh or _says_end(body, how):
            return
        before = rows
        offset += max(1, len(rows) - overlap)


def _since(ask: Ask, path: str, how: Paging, params: Params, what: Mapping[str, Any], key: str) -> Iterator[list[Row]]:
    """Each request starts at the last record's own time, inclusive; nothing that moves can slip through."""
    field, param, form = str(what["cursor"]), str(what["since"]), str(what.get("since_format", "iso"))
    last: Any = None
    edge: set[str] = set()  # what came with the last time, and comes again
    while True:
        rows, body, _ = ask(path, params)
        fresh = [row for row in rows if identity(row, key, field) not in edge]
        if fresh:
            yield fresh
        whole = len(rows) >= how.size
        if (not fresh and not whole) or _says_end(body, how):
            return
        ending = at(rows[-1], field)
        back = last is not None and order(ending) < order(last)
        if ending in (None, "") or back or (last is not None and whole and order(ending) == order(last)):
            raise PagingLoop(
                f"a whole page of records shares one {field}, or they do not come in its order",
                help="raise paging: size, or use another style",
            )
        last = ending
        edge = {identity(row, key, field) for row in rows if at(row, field) == ending}
        params = {**params, param: wire(moment(ending, form), form)}


def _linked(ask: Ask, path: str, how: Paging, params: Params) -> Iterator[list[Row]]:
    guard = PageGuard(remember=50)
    while True:
        rows, body, response = ask(path, params)
        if guard.page(rows):
            yield rows
        if _says_end(body, how):
            return
        following = response.links.get("next", {}).get("url") if how.style == "link_header" else at(body, how.next)
        if following in (None, "", False):
            return
        if isinstance(following, dict | list | bool):
            raise ConnectorError(
                f"at '{how.next}' of the answer stands no token and no link", help="paging: { next: … }"
            )
        guard.token(str(following))
        if how.style == "cursor":
            params = {**params, how.param: following}
        else:
            path, params = own(ask.base, str(following), response.url), {}


def own(base: httpx.URL, link: str, page: httpx.URL | None = None) -> str:
    """A next link as an address on our own host; page: the address that it stands on. Raises Refused for one that leads
    elsewhere."""
    try:
        whole = (page or base).join(link)
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


def identity(row: Row, key: str, field: str) -> str:
    """One state of a record: when it changed meanwhile, it is another."""
    return f"{at(row, key)} {at(row, field)}" if key else repr(sorted(row.items(), key=lambda pair: pair[0]))
