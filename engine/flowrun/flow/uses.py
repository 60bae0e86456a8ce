"""Every expression of a flow, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator

from flowrun.expressions import parse
from flowrun.flow.model import Expr, Flow, Value, conditions_of, maps_of, targets_of
from flowrun.flow.needs import parts, parts_of_map


def values_of(flow: Flow) -> Iterator[Value]:
    """The right-hand sides that stand outside ``map``."""
    source, target = flow.source, flow.target
    yield from (one for one in (source.key, source.version, source.keep_order_by) if one is not None)
    yield from (one.value for one in flow.vars)
    yield from (one.on_miss.use for one in flow.lookups.values() if one.on_miss.use is not None)
    for one in targets_of(flow.steps) if flow.steps else (target,):
        if one.idempotency_key is not None:
            yield one.idempotency_key
        for save in one.save:
            yield from (save.source_id, save.target_id)


def expressions_of(flow: Flow) -> Iterator[Expr]:
    source = flow.source
    yield from (one for one in (source.only_when, source.group_by) if one is not None)
    for requirement in flow.require:
        yield from (requirement.rule, requirement.message)
    yield from (rule.when for rule in flow.rules)
    for value in values_of(flow):
        yield from (part for part in parts(value) if isinstance(part, Expr))
    for fields in maps_of(flow.steps) if flow.steps else (flow.map,):
        yield from (part for part in parts_of_map(fields) if isinstance(part, Expr))
    yield from conditions_of(flow.steps)


def env_uses(flow: Flow) -> dict[str, Expr]:
    """Names of the environment's values that the flow reads, each with the first place."""
    found: dict[str, Expr] = {}
    for expr in expressions_of(flow):
        for use in parse(expr.language, expr.text).names:
            if use.name == "env":
                for name in (str(use.path[0]),) if use.path else flow.env_names:
                    found.setdefault(name, expr)
    return found
