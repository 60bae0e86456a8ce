"""Why a field is written and why a record is skipped, taken from the plan's own explanation."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flowrun.flow.model import Flow
from flowrun.plan import Skipped
from flowrun.plan.explain import Explanation, Why

_RULE = re.compile(r"\w+ = (true|false) \(")


class Reasons:
    """Target path → steps and place of the mapping that builds it."""

    def __init__(self, explanation: Explanation) -> None:
        self._whys = {why.path: why for why in explanation.fields}

    def of(self, path: str) -> tuple[tuple[str, ...], str]:
        """(steps, ``file:line:column``); of the nearest field around it when the path has none of its own."""
        why = self._nearest(path)
        if why is None:
            return (), ""
        return tuple(self._deep(why, {why.path})), str(why.span)

    def _nearest(self, path: str) -> Why | None:
        while path:
            if path in self._whys:
                return self._whys[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return None

    def _deep(self, why: Why, passed: set[str]) -> list[str]:
        """A field's own steps; where one reads a variable, the variable's own come before it."""
        found: list[str] = []
        for step in why.steps:
            name = step.removeprefix("read ").split(" = ")[0].split("[")[0] if step.startswith("read vars.") else ""
            if name and name in self._whys and name not in passed:
                found += self._deep(self._whys[name], passed | {name})
            found.append(step)
        return found


def deciding(steps: Iterable[str], *, brief: bool) -> list[str]:
    """The steps worth a line, each once: a conversion that changed nothing is not. brief: only rules, conditions,
    lookups and defaults, for values that are new anyway."""
    found: dict[str, None] = {}
    for step in steps:
        before, arrow, after = step.partition(": ")[2].partition(" → ")
        if step.startswith("as ") and (brief or (arrow and before == after)):
            continue
        if brief and not step.startswith(("lookup ", "when ", "no value")) and not _RULE.match(step):
            continue
        found[step] = None
    return list(found)


def of_skip(flow: Flow, explanation: Explanation, outcome: Skipped) -> tuple[str, str]:
    """(the rule or lookup and what it saw, its place)."""
    if outcome.reason == "only_when" and flow.source.only_when is not None:
        steps = [step for why in explanation.fields if why.path == "only_when" for step in why.steps]
        decided = next((step for step in reversed(steps) if step.startswith("only_when = ")), "only_when = false")
        return decided, str(flow.source.only_when.span)
    missed = next(
        (
            s
            for why in reversed(explanation.fields)
            for s in why.steps
            if s.startswith(f"lookup {outcome.reason}: no row")
        ),
        f"lookup {outcome.reason}: no row",
    )
    lookup = flow.lookups.get(outcome.reason)
    return missed, str(lookup.span) if lookup is not None else ""
