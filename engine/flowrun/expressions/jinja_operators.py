"""Jinja's literals and operators → Python: exact arithmetic, comparison by the table of the language."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from jinja2 import nodes

from flowrun.expressions import numbers
from flowrun.expressions.jinja_reading import NUMERIC, Kind, Reading, Value
from flowrun.expressions.jinja_values import (
    concat,
    without_else,
)
from flowrun.expressions.memo import Memo
from flowrun.expressions.runtime import TEXT_MAX, too_long, within

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


class Operators(Reading):
    """Emits literals and operators; ``Expressions`` adds filters, tests and calls."""

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
            spelled = self.code.bind(Memo(partial(numbers.equal, b.known)), "spelled")  # which texts spell the number
            return (
                f"({plain} if type({a.text}) is Decimal else {spelled}[{a.text}] if type({a.text}) is str else {slow})"
            )
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
