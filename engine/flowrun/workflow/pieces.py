"""The plans of a workflow's parts: what one step reads or sends, and what its conditions say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from flowrun.flow.model import (
    Case,
    Choose,
    Expr,
    FieldMap,
    FieldMapping,
    First,
    Flow,
    Literal_,
    Step,
    Target,
    Value,
)
from flowrun.plan import Plan

BESIDE = ("steps",)
"""Names that expressions of steps see beside the record."""


class Pieces:
    """Of one flow in one environment; each part is compiled when it is first needed, and threads may share them."""

    def __init__(self, flow: Flow, env: Mapping[str, Any]) -> None:
        self.flow = flow
        self._env = dict(env)
        self._made: dict[tuple[str, int], Plan] = {}

    @property
    def opening(self) -> Plan:
        """``only_when`` and ``require``; nothing is mapped."""
        return self._plan(("opening", 0), replace(self.flow, map=_no_fields(self.flow), target=_bare(self.flow.target)))

    def step(self, step: Step) -> Plan:
        """What the step sends, or the key of what it reads. Its ``flow`` has the step's target."""
        does = step.does
        assert not isinstance(does, Choose)
        return self._plan(("step", id(step)), self._inside(does.map, does.target))

    def holds(self, when: Expr) -> Plan:
        """A body with ``when``, true or false."""
        return self._first(when, ((when, True),), False)

    def branch(self, choose: Choose) -> Plan:
        """A body with ``when``: the place of the branch to take, -1 for none. Conditions after it are not asked."""
        cases = tuple((one.when, place) for place, one in enumerate(choose.branches))
        return self._first(choose, cases, -1)

    def _first(self, of: Any, cases: tuple[tuple[Expr | None, int], ...], other: int) -> Plan:
        span = self.flow.map.span
        made = [Case(when, Value(Literal_(said), span), span) for when, said in cases]
        if made[-1].when is not None:
            made.append(Case(None, Value(Literal_(other), span), span))
        place = next((one.when.span for one in made if one.when is not None), span)
        fields = FieldMap((FieldMapping(("when",), Value(First(tuple(made)), place), place),), span)
        return self._plan(("first", id(of)), self._inside(fields, _bare(self.flow.target)))

    def _inside(self, fields: FieldMap, target: Target) -> Flow:
        """What the record has to be was asked at the opening, and is not asked again between two steps."""
        source = replace(self.flow.source, only_when=None)
        return replace(self.flow, source=source, require=(), map=fields, target=target)

    def _plan(self, name: tuple[str, int], flow: Flow) -> Plan:
        plan = self._made.get(name)
        if plan is None:
            plan = self._made[name] = Plan(flow, self._env, BESIDE)
        return plan


def _no_fields(flow: Flow) -> FieldMap:
    return FieldMap((), flow.map.span)


def _bare(target: Target) -> Target:
    """Nothing is sent."""
    return Target(target.connection, target.connector, target.object, "", target.span)
