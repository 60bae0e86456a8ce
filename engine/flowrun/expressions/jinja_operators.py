"""Jinja's values and operators → Python: exact arithmetic, comparison by the table of the language, key access only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from jinja2 import nodes

from flowrun.diagnostics import near
from flowrun.errors import ExpressionError
from flowrun.expressions import numbers
from flowrun.expressions.code import Code
from flowrun.expressions.jinja_parse import constant_key, static_path
from flowrun.expressions.jinja_rows import MISSING, lookup
from flowrun.expressions.jinja_values import (
    concat,
    found,
    item,
    slice_of,
    without_else,
)
from flowrun.expressions.parsed import Parsed
from flowrun.expressions.reads import Path, read
from flowrun.expressions.runtime import TEXT_MAX, check_there, is_missing, spell_path, too_long, within
from flowrun.expressions.text import bounded_text, number_text, to_text

Kind = Literal["any", "text", "number", "decimal", "count", "boolean", "list", "null"]
"""What is certain of a value: number is int or Decimal and never a boolean, decimal is Decimal, count is an int that
counts rows, or a small multiple of one."""

NUMERIC = ("number", "decimal", "count")
_SMALL = 10**6
_OPERATORS = {
    nodes.Add: "+",
    nodes.Sub: "-",
    nodes.Mul: "*",
    nodes.Div: "/",
    nodes.FloorDiv: "//",
    nodes.Mod: "%",
    nodes.Pow: "**",
}
_HELPERS: dict[type, Callable[..., Any]] = {
    nodes.Div: numbers.divide,
    nodes.FloorDiv: numbers.floor_divide,
    nodes.Mod: numbers.modulo,
    nodes.Pow: numbers.power,
}
_SIGNS = {"gt": ">", "gteq": ">=", "lt": "<", "lteq": "<="}


class Value(NamedTuple):
    """text: Python expression text, a local or a literal when it stands more than once."""

    text: str
    kind: Kind = "any"
    known: Any = ...  # the constant, when it is one


class Variable(NamedTuple):
    """A name of the template's own: its local, and whether it may hold MISSING."""

    local: str
    unsure: bool = False


class Operators:
    """Emits expressions but for filters, tests and calls, which ``Expressions`` adds.

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
            for kind in ("count", "number"):
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
        if isinstance(node, nodes.Filter) and node.name in ("first", "last", "min", "max"):
            value = self.local(self.call_filter(node, strict=False).text)
            return value, f"{value} is {missing}"
        value = self.local(self.expr(node).text)
        return value, "False"

    # -- literals --------------------------------------------------------------------------------------------------

    def _const(self, node: nodes.Const) -> Value:
        known = node.value
        kind: Kind = "any"
        if isinstance(known, bool):
            kind = "boolean"
        elif known is None:
            kind = "null"
        elif isinstance(known, (int, Decimal)):
            kind = "decimal" if isinstance(known, Decimal) else "number"
            numbers.number(known)
        elif isinstance(known, str):
            kind = "text"
        return Value(self.code.bind(known), kind, known)

    def _templatedata(self, node: nodes.TemplateData) -> Value:
        return Value(self.code.bind(node.data), "text", node.data)

    def _list(self, node: nodes.List) -> Value:
        made = "[" + ", ".join(self.expr(each).text for each in node.items) + "]"
        return Value(self.measured(made, node.items), "list")

    def measured(self, made: str, items: list[nodes.Expr]) -> str:
        """A list or object that a calc makes of two or more others must be writable within the fuel."""
        if self.parsed.language == "template" or sum(not isinstance(each, nodes.Const) for each in items) < 2:
            return made
        return f"{self.fn(within)}({made}, fuel)"

    def _tuple(self, node: nodes.Tuple) -> Value:
        return self._list(nodes.List(node.items))

    def _dict(self, node: nodes.Dict) -> Value:
        pairs = [f"{self.texts(pair.key)}: {self.expr(pair.value).text}" for pair in node.items]
        return Value(self.measured("{" + ", ".join(pairs) + "}", [pair.value for pair in node.items]))

    # -- operators -------------------------------------------------------------------------------------------------

    def _add(self, node: nodes.Add) -> Value:
        left, right = self.held(self.expr(node.left)), self.held(self.expr(node.right))
        if left.kind in NUMERIC and right.kind in NUMERIC:
            return Value(f"({left.text} + {right.text})", "number")
        if left.kind in NUMERIC or right.kind in NUMERIC:  # so it cannot be two lists
            a, b = self.number(node.left, "+") if left.kind not in NUMERIC else left, right
            b = self.number(node.right, "+") if right.kind not in NUMERIC else right
            return Value(f"({a.text} + {b.text})", "number")
        for value, side in ((left, node.left), (right, node.right)):
            if value.kind == "text" and value.known is not ...:
                self.number(side, "+")  # says that + never joins text
        fast = f"type({left.text}) is Decimal and type({right.text}) is Decimal"
        return Value(
            f"({left.text} + {right.text} if {fast} else {self.fn(numbers.add)}({left.text}, {right.text}, fuel))"
        )

    def _sub(self, node: nodes.Sub) -> Value:
        return Value(f"({self.number(node.left, '-').text} - {self.number(node.right, '-').text})", "number")

    def _mul(self, node: nodes.Mul) -> Value:
        a, b = self.number(node.left, "*"), self.number(node.right, "*")
        if "decimal" in (a.kind, b.kind):
            return Value(f"({a.text} * {b.text})", "decimal")
        if type(b.known) is int and abs(b.known) <= _SMALL and self.code.known(a.text, (), "count"):
            return Value(f"({a.text} * {b.text})", "count")
        fast = " or ".join(f"type({each.text}) is Decimal" for each in (a, b) if each.known is ...)
        slow = f"{self.fn(numbers.multiply)}({a.text}, {b.text})"
        return Value(f"({a.text} * {b.text} if {fast} else {slow})" if fast else slow, "number")

    def _arithmetic(self, node: nodes.BinExpr) -> Value:
        sign = _OPERATORS[type(node)]
        a, b = self.number(node.left, sign), self.number(node.right, sign)
        kind: Kind = "decimal" if sign == "/" else "number"
        return Value(f"{self.fn(_HELPERS[type(node)])}({a.text}, {b.text})", kind)

    _div = _floordiv = _mod = _pow = _arithmetic

    def _neg(self, node: nodes.Neg) -> Value:
        if (
            isinstance(node.node, nodes.Const)
            and isinstance(node.node.value, (int, Decimal))
            and not isinstance(node.node.value, bool)
        ):
            known = numbers.negate(node.node.value)
            return Value(self.code.bind(known), "decimal" if isinstance(known, Decimal) else "number", known)
        return Value(f"{self.fn(numbers.negate)}({self.expr(node.node).text})", "number")

    def _pos(self, node: nodes.Pos) -> Value:
        return self.number(node.node, "+")

    def _concat(self, node: nodes.Concat) -> Value:
        return Value(self.joined(node.nodes), "text")

    def joined(self, pieces: list[nodes.Expr]) -> str:
        """The pieces' texts, one after the other."""
        parts = [self.texts(piece) for piece in pieces]
        if not parts:
            return "''"
        if len(parts) == 1:
            return parts[0]
        if len(parts) > 8 or not self.frugal:
            return f"{self.fn(concat)}(fuel, ({', '.join(parts)}))"
        text = self.code.temp("t")
        if len(parts) == 2:
            self.code.line(f"{text} = {parts[0]} + {parts[1]}")
        else:
            fields = "".join(
                piece.data.replace("{", "{{").replace("}", "}}")
                if isinstance(piece, nodes.TemplateData)
                else "{" + self.local(part) + "}"
                for piece, part in zip(pieces, parts, strict=True)
            )
            self.code.line(f"{text} = f{fields!r}")  # as ``bind`` writes a short text
        self.code.learn(text, text=True)
        with self.code.block(f"if len({text}) > {TEXT_MAX}:"):
            self.code.line(f"{self.fn(too_long)}()")
        return text

    def _not(self, node: nodes.Not) -> Value:
        return Value(f"(not {self.expr(node.node).text})", "boolean")

    def _and(self, node: nodes.And) -> Value:
        return self._either(node, "if {}:", "and")

    def _or(self, node: nodes.Or) -> Value:
        return self._either(node, "if not {}:", "or")

    def _either(self, node: nodes.BinExpr, header: str, word: str) -> Value:
        left = self.expr(node.left)
        with self.code.aside() as lines:
            right = self.expr(node.right)
        kind: Kind = left.kind if left.kind == right.kind else "any"
        if not lines:
            return Value(f"({left.text} {word} {right.text})", kind)
        result = self.code.temp("b")
        self.code.line(f"{result} = {left.text}")
        with self.code.block(header.format(result)):
            self.code.insert(lines)
            self.code.line(f"{result} = {right.text}")
        return Value(result, kind)

    def _condexpr(self, node: nodes.CondExpr) -> Value:
        result = self.code.temp("c")
        condition = self.expr(node.test).text
        with self.code.block(f"if {condition}:"):
            one = self.expr(node.expr1)
            self.code.line(f"{result} = {one.text}")
        with self.code.block("else:"):
            if node.expr2 is None:
                self.code.line(f"{self.fn(without_else)}()")
                return Value(result, one.kind)
            two = self.expr(node.expr2)
            self.code.line(f"{result} = {two.text}")
        return Value(result, one.kind if one.kind == two.kind else "any")

    # -- comparison ------------------------------------------------------------------------------------------------

    def _compare(self, node: nodes.Compare) -> Value:
        left_node: nodes.Expr = node.expr
        result = ""
        for place, operand in enumerate(node.ops):
            if place == 0:
                text = self._compared(left_node, operand)
                if len(node.ops) == 1:
                    return Value(text, "boolean")
                result = self.code.temp("b")
                self.code.line(f"{result} = {text}")
            else:
                with self.code.block(f"if {result}:"):
                    self.code.line(f"{result} = {self._compared(left_node, operand)}")
            left_node = operand.expr
        return Value(result, "boolean")

    def _compared(self, left: nodes.Expr, operand: nodes.Operand) -> str:
        if operand.op in _SIGNS:
            sign = _SIGNS[operand.op]
            return f"({self.number(left, sign).text} {sign} {self.number(operand.expr, sign).text})"
        if operand.op in ("in", "notin"):
            return ("(not {})" if operand.op == "notin" else "{}").format(self._within(left, operand.expr))
        return ("(not {})" if operand.op == "ne" else "{}").format(self._equal(left, operand.expr))

    def _equal(self, left: nodes.Expr, right: nodes.Expr) -> str:
        a, b = self.held(self.expr(left)), self.held(self.expr(right))
        if a.known is not ... and b.known is ...:
            a, b = b, a
        plain = f"{a.text} == {b.text}"
        slow = f"{self.fn(numbers.equal)}({a.text}, {b.text})"
        if b.kind == "null":
            return f"({a.text} is None)"
        if b.kind == "text" and b.known is not ... and numbers.plain_decimal(b.known) is None:
            return f"({plain})"
        if a.kind == b.kind == "text" or (a.kind in NUMERIC and b.kind in NUMERIC):
            return f"({plain})"
        if b.kind in NUMERIC and b.known is not ...:
            return f"({plain} if type({a.text}) is Decimal else {slow})"
        if b.kind == "text":
            return f"({plain} if type({a.text}) is str else {slow})"
        return f"({plain} if type({a.text}) is type({b.text}) else {slow})"

    def _within(self, left: nodes.Expr, right: nodes.Expr) -> str:
        value = self.expr(left)
        if isinstance(right, (nodes.List, nodes.Tuple)) and all(
            isinstance(each, nodes.Const) and isinstance(each.value, str) and numbers.plain_decimal(each.value) is None
            for each in right.items
        ):
            known = tuple(each.value for each in right.items)  # type: ignore[attr-defined]
            return f"({value.text} in {self.code.bind(known, 'words')})"
        return f"{self.fn(numbers.contains)}({self.expr(right).text}, {value.text}, fuel)"

    def call_filter(self, node: nodes.Filter, *, strict: bool) -> Value:
        """Overridden where filters are known; here only so that ``maybe`` can ask."""
        raise NotImplementedError
