"""``objects:`` of a connection: the words, checked when the connection opens, and what they say an object can do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from flowrun.connector import ObjectInfo, Once
from flowrun.contract import Field, FieldType, Shape
from flowrun.errors import ProjectError
from flowrun_connectors.http.places import named

STYLES = ("none", "page", "offset", "cursor", "next_url", "link_header", "since")
METHODS = {"create": "POST", "update": "PUT", "upsert": "PUT", "delete": "DELETE"}
SIZE = 100  # records a page, where nothing is said

_READ = (
    "path",
    "method",
    "params",
    "body",
    "records",
    "since",
    "since_format",
    "cursor",
    "sorted",
    "paging",
    "filters",
)
_PAGING = ("style", "size", "size_param", "param", "first", "next")
_WRITE = ("path", "method", "id", "idempotency_header", "empty", "wrap", "record", "once")
_WORDS: Mapping[str, tuple[str, ...]] = {
    "read": _READ,
    "get": ("path", "params", "record"),
    "find": ("path", "params", "records", "id"),
    **dict.fromkeys(METHODS, _WRITE),
}
_OBJECT = (*_WORDS, "key", "fields", "errors", "title")
_ERRORS = ("code", "message", "field", "when")


@dataclass(frozen=True, slots=True)
class Paging:
    """param: where the page number, offset or token goes. first: number of the first page. next: where the token or the
    link stands in the answer. size_param "": the size is not sent."""

    style: str = "none"
    size: int = SIZE
    size_param: str = "limit"
    param: str = ""
    first: int = 1
    next: str = "next"


def check(objects: Mapping[str, Any]) -> None:
    """Raises ProjectError that names the place, the word, and a near one."""
    for name, what in objects.items():
        where = f"objects: {name}"
        _known(where, what, _OBJECT)
        for verb, words in _WORDS.items():
            if verb not in what:
                continue
            one = what[verb]
            _known(f"{where}: {verb}", one, words)
            if not isinstance(one.get("path"), str):
                raise ProjectError(f"{where}: {verb} lacks 'path'", help=f"{verb}: {{ path: v1/{name} }}")
        if "errors" in what:
            _known(f"{where}: errors", what["errors"], _ERRORS)
        if "read" in what:
            paging(where, what["read"])
            if str(what["read"].get("since_format", "iso")) not in ("iso", "unix", "unix_ms"):
                raise ProjectError(f"{where}: read: since_format is iso, unix or unix_ms")
        for field, kind in (what.get("fields") or {}).items():
            if kind not in get_args(FieldType):
                raise ProjectError(f"{where}: fields: {field}: there is no type '{kind}'")


def paging(where: str, read: Mapping[str, Any]) -> Paging:
    given = read.get("paging") or {}
    _known(f"{where}: read: paging", given, _PAGING)
    style = str(given.get("style", "none"))
    if style not in STYLES:
        raise ProjectError(f"{where}: there is no paging style '{style}'", help=f"styles: {', '.join(STYLES)}")
    if style == "since" and not (read.get("since") and read.get("cursor")):
        raise ProjectError(f"{where}: paging style 'since' needs since: PARAMETER and cursor: FIELD")
    try:
        size, first = int(given.get("size", SIZE)), int(given.get("first", 1))
    except (TypeError, ValueError):
        raise ProjectError(f"{where}: read: paging: size and first are whole numbers") from None
    if size < 1:
        raise ProjectError(f"{where}: read: paging: size is at least 1")
    param = str(given.get("param") or {"page": "page", "offset": "offset", "cursor": "cursor"}.get(style, ""))
    return Paging(
        style, size, str(given.get("size_param", "limit") or ""), param, first, str(given.get("next", "next"))
    )


def _known(where: str, given: Any, words: tuple[str, ...]) -> None:
    if not isinstance(given, Mapping):
        raise ProjectError(f"{where} needs a block of 'name: …' lines")
    for word in given:
        if word not in words:
            guess = difflib.get_close_matches(str(word), words, 1)
            help = f"did you mean '{guess[0]}'?" if guess else f"known here: {', '.join(words)}"
            raise ProjectError(f"{where} has no word '{word}'", help=help)


def info(name: str, what: Mapping[str, Any]) -> ObjectInfo:
    read = what.get("read") or {}
    cursor = read.get("cursor")
    filters = read.get("filters")
    find = what.get("find")
    actions: dict[str, Once] = {action: _once(action, what) for action in METHODS if action in what}
    keys = {key for action in METHODS if action in what for key in named(str(what[action].get("path", "")))}
    return ObjectInfo(
        name,
        title=str(what.get("title", "")),
        readable=bool(read),
        by_key="get" in what,
        actions=actions,
        cursors=(str(cursor),) if cursor and read.get("since") else (),
        find=tuple(what.get("fields") or ()) if find else (),
        match=tuple(sorted(keys)),
        filters=tuple(str(one) for one in filters) if isinstance(filters, list | tuple) else None,
    )


def _once(action: str, what: Mapping[str, Any]) -> Once:
    """How one effect stays one. A PUT or DELETE of one address does by itself; a POST needs help."""
    one = what[action]
    if one.get("once") in ("idempotency_key", "upsert", "find", "none"):
        return cast(Once, one["once"])
    if one.get("idempotency_header"):
        return "idempotency_key"
    if str(one.get("method", METHODS[action])).upper() in ("PUT", "DELETE", "PATCH"):
        return "upsert"
    return "find" if "find" in what else "none"


def shape(name: str, what: Mapping[str, Any]) -> Shape | None:
    """``fields: { id: text, total: decimal }`` as an open shape; None when nothing is said."""
    fields = what.get("fields")
    if not isinstance(fields, Mapping):
        return None
    kinds = get_args(FieldType)
    return Shape(
        name,
        {str(f): Field(str(f), cast(FieldType, k) if k in kinds else "any") for f, k in fields.items()},
        closed=False,
        source="flowrun.yaml",
    )
