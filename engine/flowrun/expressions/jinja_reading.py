"""Jinja's names and paths → Python: key access only, and what is not there is an error unless it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from jinja2 import nodes

from flowrun.diagnostics import near
from flowrun.errors import ExpressionError
from flowrun.expressions import numbers
from flowrun.expressions.code import Code
from flowrun.expressions.jinja_parse import constant_key, static_path
from flowrun.expressions.jinja_rows import MISSING, lookup
from flowrun.expressions.jinja_values import (
    found,
    item,
    slice_of,
)
from flowrun.expressions.parsed import Parsed
from flowrun.expressions.reads import Path, read
from flowrun.expressions.runtime import check_there, is_missing, spell_path
from flowrun.expressions.text import bounded_text, number_text, to_text

Kind = Literal["any", "text", "number", "decimal", "count", "boolean", "list", "null"]
"""What is certain of a value: number is int or Decimal and never a boolean, decimal is Decimal, count is an int that
counts rows, or a small multiple of one."""

NUMERIC = ("number", "decimal", "count")


class Value(NamedTuple):
    """text: Python expression text, a local or a literal when it stands more than once."""

    text: str
    kind: Kind = "any"
    known: Any = ...  # the constant, when it is one


class Variable(NamedTuple):
    """A name of the template's own: its local, and whether it may hold MISSING."""

    local: str
    unsure: bool = False


class Reading:
    """Emits what reads a name or a path; the kinds of node are added by those that inherit.

    names: scope name → local. ``own``: names that the template sets, innermost meaning.
    """

    def __init__(self, parsed: Parsed, code: Code, names: Mapping[str, str]) -> None:
        self.parsed = parsed
        self.code = code
        self.names = names
        self.own: dict[str, Variable] = {}
        self.loop: dict[str, str] | None = None
        self.frugal = len(parsed.text) < 400  # a short template without loops cannot build much text
        # Lists of lists that the template builds may print as far more than they hold.
        self.to_text = bounded_text if parsed.builds else to_text

    # -- plumbing --------------------------------------------------------------------------------------------------

    def fn(self, function: Callable[..., Any]) -> str:
        return self.code.bind(function, function.__name__)

    def local(self, text: str, hint: str = "v") -> str:
        if text.isidentifier() and text not in ("None", "True", "False"):
            return text
        name = self.code.temp(hint)
        self.code.line(f"{name} = {text}")
        return name

    def held(self, value: Value) -> Value:
        """The value, safe to write down more than once."""
        return value if value.known is not ... else value._replace(text=self.local(value.text))

    def fail(self, node: nodes.Node, message: str, code: str, *, word: str = "", help: str = "") -> ExpressionError:
        at = node.lineno or 0
        if word:
            found = self.parsed.text.find(word, at)
            at = found if found >= 0 else at
        return ExpressionError(message, offset=at, length=len(word) or 1, code=code, help=help)

    def expr(self, node: nodes.Node) -> Value:
        emit = getattr(self, "_" + type(node).__name__.lower(), None)
        if emit is None:
            raise self.fail(node, f"{type(node).__name__} is not part of the language", "FR117")
        value: Value = emit(node)
        return value

    def texts(self, node: nodes.Node) -> str:
        """Expression text that gives str, as a template prints the value."""
        value = self.expr(node)
        if value.kind == "text":
            return value.text
        if value.known is not ...:
            return self.code.bind(to_text(value.known))
        if value.kind in NUMERIC:
            return f"{self.fn(number_text)}({value.text})"
        if value.kind != "any":
            return f"{self.fn(self.to_text)}({value.text})"
        local = self.local(value.text)
        if self.code.fact(local).text:
            return local
        return f"({local} if type({local}) is str else {self.fn(self.to_text)}({local}))"

    def number(self, node: nodes.Node, what: str) -> Value:
        """The value as int or Decimal, text read as a plain decimal; a local."""
        path = self._scope_path(node)
        if path is not None:
            kinds: tuple[Kind, ...] = ("count", "number")
            for kind in kinds:
                known = self.code.known(path[0], path[1], kind)
                if known is not None:
                    return Value(known, kind)
        value = self.held(self.expr(node))
        if value.kind in NUMERIC:
            return value
        if value.known is not ... and value.kind != "any":
            try:
                constant = numbers.number(value.known, what)
            except Exception as error:
                raise self.fail(node, str(error), "FR113", help=getattr(error, "help", "")) from None
            return Value(self.code.bind(constant), "number", constant)
        result = self.code.temp("n")
        slow = f"{self.fn(numbers.number)}({value.text}, {what!r})"
        fast = f"type({value.text}) is Decimal or type({value.text}) is int"
        self.code.line(f"{result} = {value.text} if {fast} else {slow}")
        if path is not None:
            self.code.remember(path[0], path[1], result, "number")
        return Value(result, "number")

    # -- names and paths -------------------------------------------------------------------------------------------

    def _scope_path(self, node: nodes.Node) -> tuple[str, Path] | None:
        """The root local and path, when the node reads the record by a plain path."""
        path = static_path(node)
        if path is None or path[0].name in self.own or path[0].name not in self.names:
            return None
        return self.names[path[0].name], path[1]

    def root(self, name: nodes.Name) -> str:
        if name.name in self.own:
            own = self.own[name.name]
            if own.unsure:
                self.code.line(f"{self.fn(found)}({own.local}, {self.code.bind(name.name)})")
            return own.local
        if name.name not in self.names:
            known = [*self.names, *self.own]
            mean = near(name.name, known)
            raise self.fail(
                name,
                f"unknown name {name.name!r}",
                "FR104",
                word=name.name,
                help=f"did you mean {mean!r}?" if mean else "",
            )
        return self.names[name.name]

    def _name(self, node: nodes.Name) -> Value:
        return self._path(node, ())

    def _path(self, name: nodes.Name, path: Path) -> Value:
        if name.name == "loop" and self.loop is not None:
            return self._loop_fact(name, path)
        root = self.root(name)
        if not path:
            if self.code.explain and name.name not in self.own:
                self.code.event("read", self.code.bind(name.name), root)
            return Value(root)
        value = read(self.code, root, path)
        if self.code.explain and name.name not in self.own:
            self.code.event("read", self.code.bind(spell_path(name.name, path)), value)
        if self.code.known(root, path, "there") is None and not self.code.fact(value).said:
            check = f"{self.fn(check_there)}({root}, {path!r}, {self.code.bind(name.name)})"
            with self.code.block(f"if {value} is None:"):
                self.code.line(check)
            self.code.remember(root, path, value, "there")
        return Value(value)

    def _loop_fact(self, name: nodes.Name, path: Path) -> Value:
        assert self.loop is not None
        fact = path[0] if len(path) == 1 else None
        if not isinstance(fact, str) or fact not in self.loop:
            raise self.fail(name, f"a loop has {', '.join(sorted(self.loop))}", "FR108", word="loop")
        kind: Kind = (
            "boolean" if fact in ("first", "last") else "number" if fact not in ("previtem", "nextitem") else "any"
        )
        return Value(self.local(self.loop[fact]), kind)

    def _getattr(self, node: nodes.Getattr) -> Value:
        return self._getitem(node)

    def _getitem(self, node: nodes.Getattr | nodes.Getitem) -> Value:
        path = static_path(node)
        if path is not None:
            return self._path(*path)
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            parts = [
                self.expr(part).text if part is not None else "None"
                for part in (node.arg.start, node.arg.stop, node.arg.step)
            ]
            return Value(f"{self.fn(slice_of)}(fuel, {self.expr(node.node).text}, {', '.join(parts)})")
        base = self.local(self.expr(node.node).text)
        return Value(f"{self.fn(item)}({base}, {self._key(node)})")

    def _key(self, node: nodes.Getattr | nodes.Getitem) -> str:
        if isinstance(node, nodes.Getattr):
            return self.code.bind(node.attr)
        key = constant_key(node.arg)
        return self.code.bind(key) if key is not None else self.expr(node.arg).text

    def maybe(self, node: nodes.Node) -> tuple[str, str]:
        """A value that may not be there: a local (None or MISSING when it is not), and the condition that says so."""
        path = static_path(node)
        missing = self.code.bind(MISSING, "MISSING")
        if path is not None and not (path[0].name == "loop" and self.loop is not None):
            name, parts = path
            own = self.own.get(name.name)
            root = own.local if own is not None else self.root(name)
            value = read(self.code, root, parts)
            if self.code.explain and own is None:
                self.code.event("read", self.code.bind(spell_path(name.name, parts)), value)
            if not parts:
                return value, f"{value} is {missing}"
            return value, f"({value} is None and {self.fn(is_missing)}({root}, {parts!r}))"
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not isinstance(getattr(node, "arg", None), nodes.Slice):
            base, _ = self.maybe(node.node)
            value = self.local(f"{self.fn(lookup)}({base}, {self._key(node)})")
            return value, f"{value} is {missing}"
        value = self.local(self.expr(node).text)
        return value, "False"
