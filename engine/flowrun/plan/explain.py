"""Why a field has its value: what the explain mode of a plan records, as a tree per target field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flowrun.diagnostics import Span
from flowrun.expressions.runtime import show
from flowrun.flow.model import Lookup
from flowrun.lookups import MISS
from flowrun.plan.outcomes import Outcome, Rejected

_ABSENT = "ABSENT"


@dataclass(slots=True)
class Why:
    """One target field (or variable, or rule): what was read and done, in order, and what came out.

    steps: lines of words. absent: the field was left out.
    """

    path: str
    span: Span
    steps: list[str] = field(default_factory=list)
    result: Any = None
    absent: bool = False
    failed: str = ""


Event = tuple[Any, ...]
"""What the generated function records: the name of a method of ``_Telling``, then its arguments."""


class Explanation:
    """What came out, and why. The words are made when somebody reads them, from the events in order."""

    def __init__(self, outcome: Outcome, events: list[Event]) -> None:
        self.outcome = outcome
        self._events = events

    @cached_property
    def fields(self) -> tuple[Why, ...]:
        telling = _Telling()
        for word, *parts in self._events:
            getattr(telling, word)(*parts)
        return telling.finish(self.outcome)

    def of(self, path: str) -> Iterator[Why]:
        """The entries of a target path and of what lies inside it."""
        for why in self.fields:
            if why.path == path or why.path.startswith((path + ".", path + "[")):
                yield why


class _Telling:
    """Events → a tree of words."""

    def __init__(self) -> None:
        self._done: list[Why] = []
        self._open: list[Why] = []
        self._rules: dict[str, str] = {}

    def begin(self, path: tuple[str | int, ...], span: Span) -> None:
        why = Why("".join(f"[{part}]" if type(part) is int else str(part) for part in path), span)
        self._done.append(why)
        self._open.append(why)

    def end(self, value: Any) -> None:
        why = self._open.pop()
        why.absent = repr(value) == _ABSENT
        why.result = None if why.absent else value

    def _say(self, words: str) -> None:
        if self._open:
            self._open[-1].steps.append(words)

    def read(self, path: str, value: Any) -> None:
        self._say(self._rules.get(path) or f"read {path} = {_shown(value)}")

    def rule(self, name: str, text: str, value: Any, span: Span) -> None:
        """A condition with a name, and what it saw."""
        seen = [step.removeprefix("read ") for step in self._open[-1].steps] if self._open else []
        inputs = f"; {', '.join(seen)}" if seen else ""
        self._rules[name] = f"{name} = {'true' if value else 'false'} ({text}{inputs})"
        if self._open:
            self._say(self._rules[name])

    def condition(self, text: str, value: Any) -> None:
        self._say(f"when {text}: {'true' if value else 'false'}")

    def computed(self, text: str, value: Any) -> None:
        self._say(f"{text} = {_shown(value)}")

    def constant(self, value: Any) -> None:
        self._say(f"constant {_shown(value)}")

    def converted(self, call: str, before: Any, after: Any) -> None:
        self._say(f"as {call}: {_shown(before)} → {_shown(after)}")

    def looked_up(self, lookup: Lookup, key: Any, answer: Any) -> None:
        shown = ", ".join(map(_shown, key)) if isinstance(key, tuple) else _shown(key)
        if answer is MISS:
            self._say(f"lookup {lookup.name}: no row for {shown}; on_miss: {lookup.on_miss.action}")
            return
        row = lookup.row_spans.get(key if isinstance(key, tuple) else (key,))
        self._say(f"lookup {lookup.name}: {shown} → {_shown(answer)}" + (f"   ({row.file}:{row.line})" if row else ""))

    def default(self, value: Any, where: str) -> None:
        self._say(f"no value; {where} gives {_shown(value)}")

    def left_out(self) -> None:
        self._say("no value; optional: left out")

    def finish(self, outcome: Outcome) -> tuple[Why, ...]:
        if isinstance(outcome, Rejected):
            for why in self._open:
                why.failed = outcome.message
            self._open.clear()
        return tuple(self._done)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    return show(value) if not hasattr(value, "isoformat") else value.isoformat()
