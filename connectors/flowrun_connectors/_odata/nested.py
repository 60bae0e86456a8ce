"""Lists inside an entity that the server has cut: ``to_Item: {results: […], __next: …}``, ``_Item@odata.nextLink``.

A server that pages does so below an expanded navigation too. Whoever takes what came first for all of it loses the rest
of an order's items without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowrun_connectors._http.paging import PageGuard

_V4_NEXT = "@odata.nextLink"

Fetch = Callable[[str], tuple[list[dict[str, Any]], str]]
"""A next link → the entities there, and the link to those after them ("": there are none)."""


def complete(entity: dict[str, Any], fetch: Fetch) -> dict[str, Any]:
    """The entity with every list in it read to its end; itself when none was cut. Raises what ``fetch`` raises, and
    PagingLoop."""
    found = {}
    for name, value in entity.items():
        if name.endswith(_V4_NEXT):
            continue
        if isinstance(value, dict) and isinstance(value.get("results"), list):
            value = {"results": _whole(value["results"], str(value.get("__next") or ""), fetch)}
        elif isinstance(value, list):
            value = _whole(value, str(entity.get(name + _V4_NEXT) or ""), fetch)
        elif isinstance(value, dict) and "__deferred" not in value and name != "__metadata":
            value = complete(value, fetch)
        found[name] = value
    return found


def _whole(rows: list[Any], link: str, fetch: Fetch) -> list[Any]:
    guard, found = PageGuard(), list(rows)
    while link:
        more, link = fetch(guard.token(link))
        found += guard.page(more)
    return [complete(row, fetch) if isinstance(row, dict) else row for row in found]
