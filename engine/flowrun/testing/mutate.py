"""Which change of a flow would no test notice? Each condition is turned round, each default, constant, converter and
table row changed, one at a time, and the flow's tests run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from flowrun.diagnostics import Span
from flowrun.flow.model import Branch, Case, ConverterCall, Expr, Flow, Literal_, Requirement, Rule, Step, Value
from flowrun.plan import compile_plan
from flowrun.testing.flow_tests import run_test


@dataclass(frozen=True, slots=True)
class Survivor:
    span: Span
    change: str


def survivors(flow: Flow, env: Mapping[str, Any]) -> Iterator[Survivor]:
    """Changes that leave every test of the flow passing."""
    for span, change, mutant in mutants(flow):
        plan = compile_plan(mutant, env)
        if all(run_test(plan, test, env, explain=False).passed for test in mutant.tests):
            yield Survivor(span, change)


def mutants(flow: Flow) -> Iterator[tuple[Span, str, Flow]]:
    for box in ("source", "require", "rules", "vars", "steps" if flow.steps else "map"):
        for span, change, part in _changes(getattr(flow, box)):
            yield span, change, replace(flow, **{box: part})
    for name, lookup in flow.lookups.items():
        if lookup.kind == "file":  # its rows are data of the business: whether any of them is looked at is asked
            rows = {key: f"{row}~" for key, row in lookup.rows.items()}
            changed = replace(flow, lookups={**flow.lookups, name: replace(lookup, rows=rows)})
            yield lookup.span, f"lookup {name}: other rows in {lookup.file}", changed
        for key, row in lookup.rows.items() if lookup.kind == "table" else ():
            changed = replace(
                flow, lookups={**flow.lookups, name: replace(lookup, rows={**lookup.rows, key: f"{row}~"})}
            )
            yield lookup.row_spans[key], f"lookup {name}: another row for {', '.join(key)}", changed
        if lookup.on_miss.use is not None:
            for span, change, use in _changes(lookup.on_miss.use):
                on_miss = replace(lookup.on_miss, use=use)
                yield (
                    span,
                    f"lookup {name}: on_miss: {change}",
                    replace(flow, lookups={**flow.lookups, name: replace(lookup, on_miss=on_miss)}),
                )


def _changes(node: Any) -> Iterator[tuple[Span, str, Any]]:
    """(where, what, the node with that one change) for every place inside the node."""
    if isinstance(node, tuple):
        for index, inner in enumerate(node):
            for span, change, new in _changes(inner):
                yield span, change, (*node[:index], new, *node[index + 1 :])
        return
    if not isinstance(node, Struct) or isinstance(node, Expr):
        return
    yield from _own(node)
    for name in node.__struct_fields__:
        inner = getattr(node, name)
        if name not in ("contract", "shape", "trigger") and not isinstance(inner, Span):
            for span, change, new in _changes(inner):
                yield span, change, replace(node, **{name: new})


def _own(node: Any) -> Iterator[tuple[Span, str, Any]]:
    if isinstance(node, Case | Value | Step | Branch) and node.when is not None:
        yield node.when.span, f"not ({node.when.text})", replace(node, when=_negated(node.when))
    if isinstance(node, Rule):
        yield node.when.span, f"rule {node.name}: not ({node.when.text})", replace(node, when=_negated(node.when))
    if isinstance(node, Requirement) and node.level == "error":
        yield node.rule.span, f"without: {node.rule.text}", replace(node, rule=replace(node.rule, text="true"))
    only_when = getattr(node, "only_when", None)
    if isinstance(only_when, Expr):
        yield only_when.span, f"not ({only_when.text})", replace(node, only_when=_negated(only_when))
    where = getattr(node, "where", None)
    if isinstance(where, Expr):
        yield where.span, f"where not ({where.text})", replace(node, where=_negated(where))
    if isinstance(node, Value):
        for index, call in enumerate(node.converters):
            rest = (*node.converters[:index], *node.converters[index + 1 :])
            yield call.span, f"without: {_spelt(call)}", replace(node, converters=rest)
        if isinstance(node.origin, Literal_) and node.origin.value is not None:
            changed = _other(node.origin.value)
            yield node.span, f"{node.origin.value!r} → {changed!r}", replace(node, origin=Literal_(changed))


def _negated(expr: Expr) -> Expr:
    return replace(expr, text=f"not ({expr.text})")


def _spelt(call: ConverterCall) -> str:
    return " ".join((call.name, *call.args))


def _other(constant: Any) -> Any:
    if isinstance(constant, bool):
        return not constant
    if isinstance(constant, int | Decimal):
        return constant + 1
    return constant[:-1] + ("Y" if constant.endswith("X") else "X") if constant else "X"
