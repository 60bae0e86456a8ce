"""A generated Python function in the making: lines, names for constants, and which flow span each line came from."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from flowrun.diagnostics import NOWHERE, Span

_serial = count(1)
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")

Aside = list[tuple[int, str, Span]]
"""Lines kept apart: how much deeper than where they are inserted, the text, the span."""


class Fact(NamedTuple):
    """What is certain of a local. text: it is a str. said: neither None nor blank text. most: its length, at most."""

    text: bool = False
    said: bool = False
    most: int | None = None


_NOTHING = Fact()


@dataclass(slots=True)
class _Loop:
    """Where a loop begins, what was certain there, and the lines that were moved out of it."""

    start: int
    depth: int
    facts: dict[str, Fact]
    moved: list[tuple[int, str, Span]]
    known: dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Built:
    """The function, its text, and per line of that text (index 0 = line 1) the span it speaks for."""

    function: Callable[..., Any]
    source: str
    spans: tuple[Span, ...]
    filename: str

    def span_at(self, line: int) -> Span:
        return self.spans[line - 1] if 0 < line <= len(self.spans) else NOWHERE


class Code:
    """Emitters append lines and return Python expression texts that are valid from there on.

    explain: emit the slower mode that also records why: a local named ``trace`` is in scope then, which takes one
    tuple an event.
    Every generated function has a local named ``fuel`` (see ``runtime.Fuel``).
    Nothing of the flow's text is ever pasted as code: texts and constants go through ``bind``.
    """

    def __init__(self, *, explain: bool = False) -> None:
        self.explain = explain
        self.names: dict[str, Any] = {}
        self._bound: dict[tuple[str, int], str] = {}
        self._keep: list[object] = []
        self._lines: list[tuple[int, str, Span]] = []
        self._depth = 1
        self._span = NOWHERE
        self._temps = count(1)
        self._reads: dict[tuple[str, tuple[str | int, ...], str], str] = {}
        self._facts: dict[str, Fact] = {}
        self._loops: list[_Loop] = []
        self._dicts: set[str] = set()
        self.constants: dict[str, Any] = {}  # roots whose value is the same for every record

    # -- values that were read already --------------------------------------------------------------------------

    def known(self, root: str, path: tuple[str | int, ...], form: str = "value") -> str | None:
        """The local that already holds what ``path`` under the local ``root`` reads, where that is certain here.

        form: "value" (None when absent) or "dict" (the value seen as a dict: empty when it is none).
        """
        return self._reads.get((root, path, form))

    def remember(self, root: str, path: tuple[str | int, ...], local: str, form: str = "value") -> None:
        """Say that ``local`` holds what ``path`` reads. Forgotten at the end of the block that said so, because
        lines after the block cannot rely on lines inside it. ``root`` must not be assigned again before that."""
        self._reads[root, path, form] = local

    def forget(self, root: str) -> None:
        """``root`` was assigned again: what was read from it no longer holds."""
        self._reads = {key: local for key, local in self._reads.items() if key[0] != root}
        self._facts.pop(root, None)

    def fact(self, local: str) -> Fact:
        return self._facts.get(local, _NOTHING)

    def learn(self, local: str, *, text: bool = False, said: bool = False, most: int | None = None) -> None:
        """Add to what is certain of a local, from here to the end of the block. It is not assigned again."""
        known = self.fact(local)
        self._facts[local] = Fact(text or known.text, said or known.said, known.most if most is None else most)

    def bind(self, value: object, hint: str = "k") -> str:
        """A global name for an object. Short plain texts and small whole numbers come back as their own literal."""
        if value is None or value is True or value is False:
            return repr(value)
        if type(value) is str and len(value) <= 200:
            return repr(value)
        if type(value) is int and abs(value) < 2**63:
            return repr(value)
        key = (hint, id(value))
        if key not in self._bound:
            name = f"_{hint}{len(self._bound)}"
            self._bound[key] = name
            self._keep.append(value)  # an id is only unique while its object lives
            self.names[name] = value
        return self._bound[key]

    def temp(self, hint: str = "v") -> str:
        return f"{hint}_{next(self._temps)}"

    @property
    def depth(self) -> int:
        """Steps of indentation of the next line."""
        return self._depth

    def event(self, *parts: str) -> None:
        """Record an event while explaining. parts: its word, then Python expression texts."""
        if self.explain:
            word, *values = parts
            self.line(f"trace(({word!r}, {', '.join(values)}{',' if values else ''}))")

    def line(self, text: str) -> None:
        self._lines.append((self._depth, text, self._span))

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """``with code.block("if x:"):`` — the lines inside are indented one step."""
        self.line(header)
        self._depth += 1
        before = len(self._lines)
        reads, facts = self._reads.copy(), self._facts.copy()
        try:
            yield
        finally:
            if len(self._lines) == before:
                self.line("pass")
            self._depth -= 1
            self._reads = {key: local for key, local in reads.items() if self._reads.get(key) == local}
            self._facts = {local: fact for local, fact in facts.items() if local in self._facts}

    @contextmanager
    def loop(self, header: str) -> Iterator[None]:
        """A block that runs many times; see ``once``."""
        loop = _Loop(len(self._lines), self._depth, self._facts.copy(), [], {})
        self._loops.append(loop)
        try:
            with self.block(header):
                yield
        finally:
            self._loops.pop()
            self._lines[loop.start : loop.start] = loop.moved

    def once(self, root: str, text: str, form: str) -> str | None:
        """A local that is assigned ``text`` before the outermost loop at whose start ``root`` was text already; None
        outside of such loops. text: cheap, made of nothing but ``root``, and never an error. form: names it."""
        for loop in self._loops:
            if loop.facts.get(root, _NOTHING).text:
                if (root, form) not in loop.known:
                    loop.known[root, form] = self.temp()
                    loop.moved.append((loop.depth, f"{loop.known[root, form]} = {text}", self._span))
                return loop.known[root, form]
        return None

    @contextmanager
    def aside(self) -> Iterator[Aside]:
        """Lines emitted inside are kept apart; ``insert`` puts them where it is called (at that depth), or nowhere."""
        start, depth = len(self._lines), self._depth
        reads, facts = self._reads.copy(), self._facts.copy()
        kept: Aside = []
        try:
            yield kept
        finally:
            kept.extend((at - depth, text, span) for at, text, span in self._lines[start:])
            del self._lines[start:]
            self._reads, self._facts = reads, facts

    def insert(self, kept: Aside) -> None:
        self._lines.extend((self._depth + deeper, text, span) for deeper, text, span in kept)

    @contextmanager
    def at(self, span: Span) -> Iterator[None]:
        """Lines emitted inside speak for this place of the flow file."""
        outer, self._span = self._span, span
        try:
            yield
        finally:
            self._span = outer

    def object(self, name: str) -> str:
        """Lines for a dict named so; ``set_`` fills it. What nobody reads as a whole is not made at all."""
        self._dicts.add(name)
        self.line(f"{name} = {{}}")
        return name

    def set_(self, name: str, key: str, local: str) -> None:
        """One entry of such a dict. Whoever knows the local reads that instead."""
        self.line(f"{name}[{self.bind(key)}] = {local}")
        self.remember(name, (key,), local)

    def _used(self) -> Aside:
        lines = self._lines
        for name in self._dicts:
            fills = (f"{name} = {{}}", f"{name}[")
            mentions = re.compile(rf"\b{name}\b")
            bare = [_TEXTS.sub("", text) for _, text, _ in lines if name in text]
            if all(len(mentions.findall(text)) == text.startswith(fills) for text in bare):
                lines = [line for line in lines if not line[1].startswith(fills)]
        return lines

    def build(self, arguments: str, *, name: str = "generated", extra: Mapping[str, Any] | None = None) -> Built:
        """Compile ``def name(arguments): …`` over the bound names. The text is kept for tracebacks."""
        lines = [f"def {name}({arguments}):"]
        spans = [NOWHERE]
        for depth, text, span in self._used() or [(1, "pass", NOWHERE)]:
            lines.append("    " * depth + text)
            spans.append(span)
        source = "\n".join(lines) + "\n"
        filename = f"<flowrun {name} {next(_serial)}>"
        namespace: dict[str, Any] = {**(extra or {}), **self.names}
        exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - our own emitted text; see the class docstring
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        return Built(namespace[name], source, tuple(spans), filename)
