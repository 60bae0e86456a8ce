"""Codes that stand in the project's samples but in no row of the lookup that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowrun.errors import FlowrunError
from flowrun.expressions import compile_jmespath, parse
from flowrun.flow.model import Each, Expr, FieldMap, First, Items, Key, Lookup, Nested, Source, Value, Var
from flowrun.flow.reading import Reader
from flowrun.flow.systems import Systems
from flowrun.flow.tables import normal

Loop = tuple[str, Expr]
MOST = 5  # codes named in one message


def check_codes(
    r: Reader,
    systems: Systems,
    source: Source,
    fields: FieldMap,
    variables: Sequence[Var],
    lookups: Mapping[str, Lookup],
) -> None:
    """Lookups whose key is read straight from the record; keys that are computed are left to the tests."""
    if not any(one.kind in ("table", "file") for one in lookups.values()) or source.group_by is not None:
        return
    records = systems.samples(source.connection, source.object)
    if not records:
        return
    for value, loops, lookup, exprs in looked_up(source, fields, variables, lookups):
        missing = missing_keys(lookup, exprs, loops, source.record, records)
        if missing and value.lookup_span is not None:
            shown = ", ".join(repr(", ".join(key)) for key in missing[:MOST]) + (", …" if len(missing) > MOST else "")
            r.say(
                "FR146",
                f"the samples hold {shown}, which lookup '{lookup.name}' has no row for",
                value.lookup_span,
                severity="lint",
                help=f"add {'it' if len(missing) == 1 else 'them'} to {lookup.file or 'the table'}",
            )


def looked_up(
    source: Source, fields: FieldMap, variables: Sequence[Var], lookups: Mapping[str, Lookup]
) -> Iterator[tuple[Value, tuple[Loop, ...], Lookup, list[Expr]]]:
    """Values that are looked up in a table by what is read straight from the record: with the loops around them and the
    expressions of the key. Not where a miss is meant: ``skip``, and ``use`` without ``warn``."""
    tables = {name: one for name, one in lookups.items() if one.kind in ("table", "file")}
    if not tables or source.group_by is not None:
        return
    for value, loops in (*_values_of(fields, ()), *((v.value, ()) for v in variables)):
        lookup = tables.get(value.lookup or "")
        if lookup is None or lookup.on_miss.action == "skip" or (lookup.on_miss.use and not lookup.on_miss.warn):
            continue
        parts = value.origin.parts if isinstance(value.origin, Key) else (value,)
        exprs = [part.origin for part in parts if isinstance(part.origin, Expr) and part.origin.language == "jmespath"]
        names = {source.record, *(name for name, _ in loops)}
        used = {use.name for expr in (*exprs, *(e for _, e in loops)) for use in parse("jmespath", expr.text).names}
        if len(exprs) == len(parts) and used <= names:
            yield value, loops, lookup, exprs


def missing_keys(
    lookup: Lookup, exprs: Sequence[Expr], loops: Sequence[Loop], record: str, records: Sequence[Any]
) -> list[tuple[str, ...]]:
    """Keys that the records hold and the table does not, each once."""
    found: dict[tuple[str, ...], None] = {}
    for sample in records:
        for scope in _scopes(loops, {record: sample}):
            key = []
            for expr in exprs:
                value = _search(expr, scope)
                if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
                    break
                key.append(str(value))
            else:
                if normal(tuple(key), lookup.ignore_case, lookup.trim) not in lookup.rows:
                    found[tuple(key)] = None
    return list(found)


def _scopes(loops: Sequence[Loop], scope: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not loops:
        yield scope
        return
    (name, items), *rest = loops
    rows = _search(items, scope)
    for row in rows if isinstance(rows, list) else ():
        yield from _scopes(rest, {**scope, name: row})


def _search(expr: Expr, scope: Mapping[str, Any]) -> Any:
    try:
        return compile_jmespath(expr.text)(scope)
    except FlowrunError:
        return None  # this sample does not fit the expression; running it would say so


def _values_of(fields: FieldMap, loops: tuple[Loop, ...]) -> Iterator[tuple[Value, tuple[Loop, ...]]]:
    for one in fields.fields:
        yield from _inside(one.value, loops)


def _inside(value: Value, loops: tuple[Loop, ...]) -> Iterator[tuple[Value, tuple[Loop, ...]]]:
    yield value, loops
    origin = value.origin
    if isinstance(origin, Each):
        yield from _values_of(origin.map, (*loops, (origin.name, origin.items)))
    elif isinstance(origin, Nested):
        if not origin.bindings:
            yield from _values_of(origin.map, loops)
    elif isinstance(origin, Items):
        for item in origin.values:
            yield from _inside(item, loops)
    elif isinstance(origin, First):
        for case in origin.cases:
            yield from _inside(case.value, loops)
