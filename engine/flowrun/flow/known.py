"""What is known of values before the run, and what it forbids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flowrun.contract import Field
from flowrun.document import Node
from flowrun.expressions import parse
from flowrun.expressions.converters import result_field
from flowrun.flow.model import Each, Expr, FieldMapping, First, Items, Literal_, Nested, Origin, Value
from flowrun.flow.reading import Reader, Scope

ANY = Field("")


def static(reader: Reader, value: Value, scope: Scope) -> Field:
    """What is known before the run of a value: its type and, for objects, the fields inside."""
    field = _static_origin(reader, value.origin, scope)
    if value.lookup is not None:
        field = Field("", "text")
    for call in value.converters:
        field = result_field(call.of, call.args, field)
    return replace(field, name="") if field.name else field


def _static_origin(reader: Reader, origin: Origin, scope: Scope) -> Field:
    if isinstance(origin, Literal_):
        constant_ = origin.value
        if isinstance(constant_, bool):
            return Field("", "boolean")
        if isinstance(constant_, str):
            return Field("", "text", max_length=len(constant_))
        return Field("", "integer") if isinstance(constant_, int) else ANY
    if isinstance(origin, Each):
        return Field("", "list")
    if isinstance(origin, Items):
        return Field("", "list")
    if isinstance(origin, Nested):
        return Field("", "object")
    if isinstance(origin, Expr):
        return reader.analysis(parse(origin.language, origin.text), scope).result
    if isinstance(origin, First):
        kinds = {static(reader, case.value, scope).type for case in origin.cases}
        return Field("", kinds.pop()) if len(kinds) == 1 else ANY
    return ANY


def convertible(reader: Reader, value: Value, scope: Scope) -> bool:
    """Converters take one value; only json, list and hash take a list or an object. A project's own may."""
    if not value.converters:
        return True
    given = Field("", "text") if value.lookup is not None else _static_origin(reader, value.origin, scope)
    if given.type not in ("list", "object") and not any(call.of.gives == "list" for call in value.converters):
        return True
    for call in value.converters:
        if given.type in ("list", "object") and call.name not in ("json", "list", "hash") and not call.of.source:
            shown = f"{'a' if given.type == 'list' else 'an'} {given.type}"
            help = "as: json makes text of it" if given.type == "object" else "one element: [0]; each: for all of them"
            reader.say("FR113", f"'{call.name}' takes one value, not {shown}", call.span, help=help)
            return False
        given = result_field(call.of, call.args, given)
    return True


def check_projection(reader: Reader, value: Value, node: Node, scope: Scope) -> None:
    """A projection drops nulls, so the places of a list shift."""
    expr = value.origin
    if not isinstance(expr, Expr) or expr.language != "jmespath" or value.converters or value.lookup is not None:
        return
    if reader.analysis(parse("jmespath", expr.text), scope).projects:
        message = "a projection drops nulls, so the places of this list may shift"
        help = "each: NAME in PATH keeps one output per input"
        reader.say("FR115", message, expr.span, severity="lint", help=help)


def no_overlap(reader: Reader, fields: Sequence[FieldMapping]) -> bool:
    seen: dict[tuple[str, ...], FieldMapping] = {}
    for one in fields:
        for other, mapping in seen.items():
            short = min(len(other), len(one.path))
            if other[:short] == one.path[:short]:
                reader.say(
                    "FR050",
                    f"'{'.'.join(one.path)}' is built already by '{'.'.join(other)}'",
                    one.span,
                    related=(("there", mapping.span),),
                    help="nest it under one map:",
                )
                return False
        seen[one.path] = one
    return True
