"""``objects:`` of a connection: the words, checked when the connection opens, and what they say an object can do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from flowrun.connector import ObjectInfo, Once
from flowrun.contract import Field, FieldType, Shape
from flowrun.errors import (
    AuthFailed,
    Conflict,
    ConnectorError,
    Duplicate,
    NotFound,
    ProjectError,
    RateLimited,
    Refused,
    Unavailable,
)
from flowrun_connectors.http.places import named

STYLES: Mapping[str, str] = {
    "none": "everything comes in one answer",
    "page": "page numbers, in `param`",
    "offset": "the number of records before the page, in `param`; pages overlap by one record where the object has a `key`",
    "cursor": "a token at `next` of the answer, sent back in `param`",
    "next_url": "a link at `next` of the answer",
    "link_header": "a link in the header `Link`, rel=next",
    "since": "each page starts at the last change seen; nothing that moves can slip through",
}
METHODS = {"create": "POST", "update": "PUT", "upsert": "PUT", "delete": "DELETE"}
CLASSES: Mapping[str, type[ConnectorError]] = {
    "rate_limited": RateLimited,
    "network": Unavailable,
    "auth": AuthFailed,
    "rejected": Refused,
    "duplicate": Duplicate,
    "not_found": NotFound,
    "conflict": Conflict,
}
"""What an API's own codes can mean; an unknown outcome is never told by a code."""
SIZE = 100  # records a page, where nothing is said

_PATH = {"path": "the address below `base_url`; `{id}` is filled from the record, percent-encoded"}
_PARAMS = {"params": "fixed parameters of the query"}
_RECORDS = {"records": "where in the answer the list is: `data.items`; without it the answer is the list"}
_RECORD = {"record": "where in the answer the record is; without it the answer is the record"}
_METHOD = {"method": "another HTTP method than the usual one"}
_ID = {"id": "the field of the record that is its number, default `id`"}
_PAGED = {"paging": "how the list comes, see below"}
_READ = {
    **_PATH, **_METHOD, **_PARAMS, **_RECORDS, **_PAGED,
    "body": "a fixed body, for a list that is asked for by POST",
    "params_in": "`query`, or `body`: paging, filters and `since` are put into the body",
    "since": "the parameter that asks for changes since a moment",
    "since_format": "`iso` (default), `unix` or `unix_ms`",
    "cursor": "the field that `since` compares",
    "sorted": "true: the API gives the oldest change first, so that each page has a cursor that is safe to save",
    "filters": "the names that a flow may filter by, when not any",
}  # fmt: skip
_PAGING = {
    "style": "one of the styles below, default `none`",
    "size": f"records a page, default {SIZE}",
    "size_param": "the parameter of the size, default `limit`; empty when the API takes none",
    "param": "the parameter of the page, offset or token; default `page`, `offset`, `cursor`",
    "first": "the number of the first page, default 1",
    "next": "where in the answer the token or link is, default `next`; `data[-1].id` is the last record's",
    "more": "where in the answer it says whether there is more; false ends the read",
}
_WRITE = {
    **_PATH, **_METHOD, **_RECORD, **_ID,
    "idempotency_header": "the header that carries the idempotency key, when the API keeps it",
    "empty": "true: an empty answer is normal",
    "wrap": "the name that the body is put under",
    "form": "true: the body is sent as a form, not as JSON; inner values are named `lines[0][sku]`",
    "once": "what the API holds, where it is not what the words above say: idempotency_key, upsert, find, none",
}  # fmt: skip
WORDS: Mapping[str, Mapping[str, str]] = {
    "read": _READ,
    "get": {**_PATH, **_PARAMS, **_RECORD},
    "find": {**_PATH, **_PARAMS, **_RECORDS, **_ID, **_PAGED},
    **dict.fromkeys(METHODS, _WRITE),
    "errors": {
        "code": "where in an answer the API's own error code is",
        "message": "where its words are",
        "field": "where the name of the field is that is wrong",
        "when": "what stands only in an answer that says no with status 200",
        "classes": "its codes as classes of `on_error`: `{ TOO_FAST: rate_limited, EXISTS: duplicate }`",
    },
    "paging": _PAGING,
}
"""Block → word → what it says. README.md holds each of them; a test compares."""

OBJECT: Mapping[str, str] = {
    "title": "what people call it",
    "key": "the field that names a record",
    "fields": "`{ id: text, total: decimal }`: what `validate` knows of its fields",
    "read": "the list",
    "get": "one record by key",
    "find": "asking what is there before a repeat",
    **{verb: f"how to {verb}, usually by {method}" for verb, method in METHODS.items()},
    "errors": "how the API tells errors, where it is not told in a usual way",
}
_VERBS = ("read", "get", "find", *METHODS)


@dataclass(frozen=True, slots=True)
class Paging:
    """param: where the page number, offset or token goes. first: number of the first page. next: where the token or the
    link stands in the answer. size_param "": the size is not sent. more: where the answer says that there is more."""

    style: str = "none"
    size: int = SIZE
    size_param: str = "limit"
    param: str = ""
    first: int = 1
    next: str = "next"
    more: str = ""


def check(objects: Mapping[str, Any]) -> None:
    """Raises ProjectError that names the place, the word, and a near one."""
    for name, what in objects.items():
        where = f"objects: {name}"
        _known(where, what, OBJECT)
        for verb in _VERBS:
            if verb not in what:
                continue
            one = what[verb]
            _known(f"{where}: {verb}", one, WORDS[verb])
            if not isinstance(one.get("path"), str):
                raise ProjectError(f"{where}: {verb} lacks 'path'", help=f"{verb}: {{ path: v1/{name} }}")
        if "errors" in what:
            _known(f"{where}: errors", what["errors"], WORDS["errors"])
            _classes(f"{where}: errors", what["errors"].get("classes") or {})
        if "find" in what and "paging" in what["find"]:
            paging(f"{where}: find", what["find"])
        if "read" in what:
            paging(f"{where}: read", what["read"])
            if str(what["read"].get("params_in", "query")) not in ("query", "body"):
                raise ProjectError(f"{where}: read: params_in is query or body")
            if str(what["read"].get("since_format", "iso")) not in ("iso", "unix", "unix_ms"):
                raise ProjectError(f"{where}: read: since_format is iso, unix or unix_ms")
        for field, kind in (what.get("fields") or {}).items():
            if kind not in get_args(FieldType):
                raise ProjectError(f"{where}: fields: {field}: there is no type '{kind}'")


def paging(where: str, read: Mapping[str, Any]) -> Paging:
    """``where`` names the block in messages. Raises ProjectError."""
    given = read.get("paging") or {}
    if isinstance(given, str):
        given = {"style": given}
    _known(f"{where}: paging", given, _PAGING)
    style = str(given.get("style", "none"))
    if style not in STYLES:
        raise ProjectError(f"{where}: there is no paging style '{style}'", help=f"styles: {', '.join(STYLES)}")
    if style == "since" and not (read.get("since") and read.get("cursor")):
        raise ProjectError(f"{where}: paging style 'since' needs since: PARAMETER and cursor: FIELD")
    try:
        size, first = int(given.get("size", SIZE)), int(given.get("first", 1))
    except (TypeError, ValueError):
        raise ProjectError(f"{where}: paging: size and first are whole numbers") from None
    if size < 1:
        raise ProjectError(f"{where}: paging: size is at least 1")
    param = str(given.get("param") or {"page": "page", "offset": "offset", "cursor": "cursor"}.get(style, ""))
    return Paging(
        style,
        size,
        str(given.get("size_param", "limit") or ""),
        param,
        first,
        str(given.get("next", "next")),
        str(given.get("more") or ""),
    )


def _classes(where: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ProjectError(f"{where}: classes is a table from code to class", help="classes: { EXISTS: duplicate }")
    for code, word in given.items():
        if word not in CLASSES:
            raise ProjectError(f"{where}: classes: {code}: there is no class '{word}'", help=", ".join(CLASSES))


def _known(where: str, given: Any, words: Collection[str]) -> None:
    if not isinstance(given, Mapping):
        raise ProjectError(f"{where} needs a block of 'name: …' lines")
    for word in given:
        if word not in words:
            guess = difflib.get_close_matches(str(word), list(words), 1)
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
