"""What an expression or a value needs: names of rules, ``vars.NAME``, and ``lookups.NAME`` of the tables it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowrun.expressions import parse
from flowrun.flow.model import Each, Expr, FieldMap, First, Items, Key, Literal_, Lookup, Nested, Value


def parts(value: Value) -> Iterator[Value | Expr]:
    """The value itself, and every value and expression inside."""
    yield value
    if value.when is not None:
        yield value.when
    if value.default is not None:
        yield from parts(value.default)
    origin = value.origin
    if isinstance(origin, Expr):
        yield origin
    elif isinstance(origin, First):
        for case in origin.cases:
            if case.when is not None:
                yield case.when
            yield from parts(case.value)
    elif isinstance(origin, Each):
        yield origin.items
        if origin.where is not None:
            yield origin.where
        yield from parts_of_map(origin.map)
    elif isinstance(origin, Nested):
        for _, bound in origin.bindings:
            yield from parts(bound)
        yield from parts_of_map(origin.map)
    elif isinstance(origin, Items):
        for item in origin.values:
            yield from parts(item)
    elif isinstance(origin, Key):
        for part in origin.parts:
            yield from parts(part)
    else:
        assert isinstance(origin, Literal_)


def parts_of_map(fields: FieldMap) -> Iterator[Value | Expr]:
    for one in fields.fields:
        yield from parts(one.value)


def needs_of_expr(expr: Expr) -> set[str]:
    found = set()
    for use in parse(expr.language, expr.text).names:
        if use.name == "vars":
            found.add(f"vars.{use.path[0]}" if use.path else "vars")
        else:
            found.add(use.name)
    return found


def needs_of_value(value: Value) -> set[str]:
    return _needs(parts(value))


def needs_of_map(fields: FieldMap) -> set[str]:
    return _needs(parts_of_map(fields))


def needs_of_lookup(lookup: Lookup) -> set[str]:
    """What a table's ``on_miss: { use: … }`` needs."""
    return needs_of_value(lookup.on_miss.use) if lookup.on_miss.use is not None else set()


def _needs(found: Iterator[Value | Expr]) -> set[str]:
    needed: set[str] = set()
    for part in found:
        if isinstance(part, Expr):
            needed |= needs_of_expr(part)
        elif part.lookup is not None:
            needed.add(f"lookups.{part.lookup}")
    return needed


def all_needs(needed: set[str], graph: Mapping[str, set[str]]) -> set[str]:
    """With all that the needed rules, variables and tables need in turn."""
    found: set[str] = set()
    waiting = list(needed)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph.get(name, ()))
            if name == "vars":
                waiting.extend(other for other in graph if other.startswith("vars."))
    return found
