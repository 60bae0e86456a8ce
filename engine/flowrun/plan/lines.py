"""Lines of the generated function for one value: where they belong, whether there is a value, what a table says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec.structs import replace

from flowrun.contract import Field
from flowrun.diagnostics import Span
from flowrun.expressions import Code, emit_kind, parse
from flowrun.expressions.converters import as_text
from flowrun.flow.model import Expr, Lookup, OnMiss, Value
from flowrun.lookups import MISS
from flowrun.plan.called import NO_ROWS, SkipRecord, no_row, normalised, warned

Names = Mapping[str, str]
Path = tuple[str, ...]
"""Parts of a target path: text, or ``@local`` for the length of the list that local holds."""


class Lines(ABC):
    """text_numbers: the target's decimals travel as text. lookups: the flow's tables by name."""

    def __init__(self, code: Code, lookups: Mapping[str, Lookup], *, text_numbers: bool) -> None:
        self.code = code
        self.lookups = lookups
        self.text_numbers = text_numbers
        self.paths: dict[int, tuple[Span, Path]] = {}  # id of the span that a line carries → its target path

    # -- plumbing ------------------------------------------------------------------------------------------------------

    def at(self, span: Span, path: Path) -> AbstractContextManager[None]:
        """Lines emitted inside speak for this place. Each place has a span object of its own, because one fragment's
        line serves several target paths."""
        own = replace(span)
        self.paths[id(own)] = (own, path)
        return self.code.at(own)

    def fn(self, function: Any, hint: str = "f") -> str:
        return self.code.bind(function, hint)

    def expr(self, expr: Expr, names: Names) -> str:
        return emit_kind(parse(expr.language, expr.text), self.code, names)[0]

    def local(self, text: str, hint: str = "v") -> str:
        name = self.code.temp(hint)
        self.code.line(f"{name} = {text}")
        return name

    def event(self, word: str, *parts: str) -> None:
        self.code.event(word, *parts)

    @abstractmethod
    def value(
        self, value: Value, names: Names, path: Path, contract: Field | None, *, raw: bool = False
    ) -> tuple[str, bool]:
        """Emit a value; returns (local, whether it always has a value). raw: no contract step."""

    # -- is there a value? ---------------------------------------------------------------------------------------------

    def _no_value(self, value: Value, v: str) -> str:
        """The condition that there is none; "" when that is certain."""
        fact = self.code.fact(v)
        if fact.said or (value.keep_blank and fact.text):
            return ""
        if value.keep_blank:
            return f"{v} is None"
        if fact.text:
            bare = self.code.known(v, (), "bare") is not None
            return f"not {v}" if bare else f"not {v} or {v}.isspace()"
        return f"((not {v} or {v}.isspace()) if type({v}) is str else {v} is None)"

    def _unless_said(self, value: Value, v: str, missing: str) -> None:
        test = self._no_value(value, v)
        if test:
            with self.code.block(f"if {test}:"):
                self.code.line(missing)
        if not value.keep_blank:
            self.code.learn(v, said=True)

    # -- lookups -------------------------------------------------------------------------------------------------------

    def _lookup(self, lookup: Lookup, v: str, names: Names, path: Path) -> str:
        code = self.code
        miss = self.fn(MISS, "miss")
        key = v
        if len(lookup.key_columns) <= 1 and not code.fact(v).text:
            key = self.local(f"{v} if type({v}) is str else {self.fn(as_text, 'as_text')}({v})", "key")
        found = code.temp("found")
        certain, most = False, 0
        if lookup.kind in ("table", "file"):
            rows: dict[Any, str | None] = {k[0] if len(k) == 1 else k: row for k, row in lookup.rows.items()}
            certain = all(type(row) is str and row.strip() for row in rows.values())
            most = max((len(row) for row in rows.values() if row is not None), default=0) if certain else 0
            if lookup.trim or lookup.ignore_case:
                if len(lookup.key_columns) <= 1:
                    key = self.local(f"{key}{'.strip()' * lookup.trim}{'.casefold()' * lookup.ignore_case}", "key")
                else:
                    key = self.local(f"{self.fn(normalised(lookup.trim, lookup.ignore_case), 'normal')}({key})", "key")
            code.line(f"{found} = {self.fn(rows, 'table')}.get({key}, {miss})")
        else:
            name = code.bind(lookup.name)
            code.line(f"{found} = look.held.get({name}, {self.fn(NO_ROWS, 'empty')}).get({key}, {miss})")
            with code.block(f"if {found} is {miss}:"):
                code.line(f"{found} = look.get({name}, {key})")
        self.event("looked_up", self.fn(lookup, "lookup"), key, found)
        with code.block(f"if {found} is {miss}:"):
            other = self._miss(lookup, lookup.on_miss, key, found, names, path)
        if certain and other is not None:
            code.learn(found, text=True, said=True, most=max(most, other) if other >= 0 else None)
        return found

    def _miss(self, lookup: Lookup, on_miss: OnMiss, key: str, found: str, names: Names, path: Path) -> int | None:
        """Lines for a key without a row. Returns the length of the text that stands in for it at most (-1: not known);
        None when it is not surely text."""
        code = self.code
        if on_miss.action == "error":
            where = code.bind(_room_for(lookup))
            code.line(f"{self.fn(no_row, 'no_row')}({code.bind(lookup.name)}, {where}, {key})")
            return 0
        if on_miss.action == "skip":
            code.line(f"raise {self.fn(SkipRecord, 'skip')}({code.bind(lookup.name)})")
            return 0
        if on_miss.warn:
            code.line(f"warnings.append({self.fn(warned, 'warned')}({code.bind(lookup.name)}, {key}))")
        assert on_miss.use is not None
        local, _ = self.value(replace(on_miss.use, optional=True), names, path, None, raw=True)
        code.line(f"{found} = {local}")
        self.event("default", found, code.bind("on_miss.use of " + lookup.name))
        fact = code.fact(local)
        if not (fact.text and fact.said):
            return None
        return -1 if fact.most is None else fact.most


def said(value: Value) -> str:
    """What has no value, in the author's own words."""
    origin = value.origin
    if isinstance(origin, Expr):
        return origin.text if origin.language != "template" else f'"{origin.text}"'
    return f"lookup {value.lookup}" if value.lookup else "the field"


def _room_for(lookup: Lookup) -> str:
    """Where a row that is missing would stand: the line after the last one of the table."""
    last = max(lookup.row_spans.values(), key=lambda span: span.line, default=None)
    if last is not None:
        return f" at {last.file}:{last.line + 1}"
    return f" to {lookup.file}" if lookup.file else ""
