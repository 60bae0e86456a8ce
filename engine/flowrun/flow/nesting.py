"""How deep values may lie in each other: a plan is one function, and Python bounds what a function may nest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flowrun.diagnostics import Span
from flowrun.flow.model import Each, Expr, FieldMap, First, Items, Key, Literal_, Lookup, Nested, Value
from flowrun.flow.reading import Reader

DEPTH_MAX = 30
"""Python allows 100 levels of indentation and 20 loops in each other; an expression may take 60 and 6 of them."""
CHAIN_MAX = 200  # variables, rules and tables that need each other one after the other
_LOOP, _BRANCH = 3, 1
_HELP = "name parts of it under vars:"


class Nesting:
    """Lookups must not go round in a circle; that is said before (FR186)."""

    def __init__(self, reader: Reader, lookups: Mapping[str, Lookup]) -> None:
        self.reader = reader
        self.lookups = lookups

    def check(self, values: Iterable[Value]) -> None:
        for value in values:
            if self._depth(value) > DEPTH_MAX:
                self.reader.say("FR118", "loops, cases and tables are nested too deep here", value.span, help=_HELP)

    def _depth(self, value: Value, above: int = 0) -> int:
        if above > DEPTH_MAX:
            return above
        if type(value.origin) in (Expr, Literal_) and value.default is None and value.lookup is None:
            return above + (value.when is not None)  # most of them
        here = above + _BRANCH * ((value.when is not None) + (value.default is not None))
        inside = here + _LOOP * isinstance(value.origin, Each | First)
        lookup = self.lookups.get(value.lookup or "")
        use = lookup.on_miss.use if lookup is not None else None
        found = max((self._depth(one, inside) for one in _inside(value)), default=inside)
        if value.default is not None:
            found = max(found, self._depth(value.default, here))
        return max(found, self._depth(use, here + _LOOP)) if use is not None else found


def _inside(value: Value) -> Iterator[Value]:
    origin = value.origin
    if isinstance(origin, First):
        yield from (case.value for case in origin.cases)
    elif isinstance(origin, Each | Nested):
        yield from values_of(origin.map)
        yield from (bound for _, bound in origin.bindings) if isinstance(origin, Nested) else ()
    elif isinstance(origin, Items):
        yield from origin.values
    elif isinstance(origin, Key):
        yield from origin.parts


def values_of(fields: FieldMap) -> Iterator[Value]:
    yield from (one.value for one in fields.fields)


def check_chains(reader: Reader, graph: Mapping[str, tuple[set[str], Span]]) -> None:
    """graph: without circles; what each variable, rule and table needs, and where it stands."""
    depth: dict[str, int] = {}
    for start in graph:
        waiting = [start]
        while waiting:
            name = waiting[-1]
            below = [one for one in graph[name][0] if one in graph]
            open_ = [one for one in below if one not in depth]
            if open_ and name not in depth:
                waiting += open_
                continue
            depth.setdefault(name, 1 + max((depth[one] for one in below), default=0))
            waiting.pop()
    longest = max(depth, key=depth.__getitem__, default=None)
    if longest is not None and depth[longest] > CHAIN_MAX:
        message = f"'{longest}' rests on more than {CHAIN_MAX} others, one on the other"
        reader.say("FR118", message, graph[longest][1], help="compute it in fewer steps")
