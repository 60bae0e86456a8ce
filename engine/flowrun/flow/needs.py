"""Which rules and variables an expression or a value needs: names of rules, and ``vars.NAME``."""

from __future__ import annotations

from collections.abc import Iterator

from flowrun.expressions import parse
from flowrun.flow.model import Each, Expr, FieldMap, First, Items, Key, Literal_, Nested, Value


def exprs(value: Value) -> Iterator[Expr]:
    """Every expression inside a value."""
    if value.when is not None:
        yield value.when
    if value.default is not None:
        yield from exprs(value.default)
    origin = value.origin
    if isinstance(origin, Expr):
        yield origin
    elif isinstance(origin, First):
        for case in origin.cases:
            if case.when is not None:
                yield case.when
            yield from exprs(case.value)
    elif isinstance(origin, Each):
        yield origin.items
        if origin.where is not None:
            yield origin.where
        yield from exprs_of_map(origin.map)
    elif isinstance(origin, Nested):
        for _, bound in origin.bindings:
            yield from exprs(bound)
        yield from exprs_of_map(origin.map)
    elif isinstance(origin, Items):
        for item in origin.values:
            yield from exprs(item)
    elif isinstance(origin, Key):
        for part in origin.parts:
            yield from exprs(part)
    else:
        assert isinstance(origin, Literal_)


def exprs_of_map(fields: FieldMap) -> Iterator[Expr]:
    for one in fields.fields:
        yield from exprs(one.value)


def needs_of_expr(expr: Expr) -> set[str]:
    found = set()
    for use in parse(expr.language, expr.text).names:
        if use.name == "vars":
            found.add(f"vars.{use.path[0]}" if use.path else "vars")
        else:
            found.add(use.name)
    return found


def needs_of_value(value: Value) -> set[str]:
    return {need for expr in exprs(value) for need in needs_of_expr(expr)}
