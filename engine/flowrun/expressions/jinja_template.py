"""Templates: Jinja's statements (if, for, set) and output around the expressions; gives text."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from jinja2 import nodes

from flowrun.errors import ExpressionError
from flowrun.expressions.code import Code
from flowrun.expressions.jinja_emit import Expressions
from flowrun.expressions.jinja_parse import assigned, set_names
from flowrun.expressions.jinja_reading import Kind, Value, Variable
from flowrun.expressions.jinja_rows import MISSING
from flowrun.expressions.jinja_values import concat, rows, unpack
from flowrun.expressions.parsed import Parsed, too_deep

_LOOPS_MAX = 6  # nested {% for %}; Python allows 20 blocks, and the plan has loops of its own
_RESERVED = ("loop", "range", "true", "false", "none", "True", "False", "None")


def emit_jinja(parsed: Parsed, code: Code, names: Mapping[str, str]) -> tuple[str, Kind]:
    """Lines for a template or a calc; returns the expression text of its value, and what is certain of it."""
    code.names["Decimal"] = Decimal
    if parsed.language == "calc":
        value = Expressions(parsed, code, names).expr(parsed.tree)
        return value.text, value.kind
    body = parsed.tree.body
    if not body:
        return "''", "text"
    template = Template(parsed, code, names)
    if len(body) == 1 and isinstance(body[0], nodes.Output):
        return template.joined(body[0].nodes), "text"
    template.frugal = False
    return template.captured(body), "text"


class Template(Expressions):
    """Statements append their text to the list in the local ``out``."""

    def __init__(self, parsed: Parsed, code: Code, names: Mapping[str, str]) -> None:
        super().__init__(parsed, code, names)
        self.out = ""
        self.loops = 0

    def captured(self, body: list[Any]) -> str:
        """Run the statements with an output of their own; returns the text they print. Opens no scope."""
        outer, self.out = self.out, self.code.temp("out")
        self.code.line(f"{self.out} = []")
        if not outer:
            self.open_scope(body)
        for node in body:
            self.statement(node)
        result = f"{self.fn(concat)}(fuel, {self.out})"
        self.out = outer
        return result

    def open_scope(self, body: list[Any]) -> None:
        """Give every name that is set in this body a local that starts with its outer value, or with nothing."""
        for name in dict.fromkeys(set_names(body)):
            if name in self.names:
                raise self.hides(body, name)
            outer = self.own.get(name)
            local = self.code.temp("s")
            start = outer.local if outer is not None else self.code.bind(MISSING, "MISSING")
            self.code.line(f"{local} = {start}")
            self.own[name] = Variable(local, unsure=outer is None or outer.unsure)

    def hides(self, body: list[Any], name: str) -> ExpressionError:
        place: nodes.Node = body[0]
        for node in body:
            for each in node.find_all(nodes.Name):
                if each.name == name and each.ctx == "store":
                    place = each
                    break
        return self.fail(
            place,
            f"{name!r} is a name of the flow; a template cannot give it another meaning",
            "FR048",
            word=name,
            help="choose another name",
        )

    def statement(self, node: nodes.Node) -> None:
        if self.code.depth > 60:
            raise too_deep(node.lineno or 0)
        if isinstance(node, nodes.Output):
            for piece in node.nodes:
                self.code.line(f"{self.out}.append({self.texts(piece)})")
        elif isinstance(node, nodes.If):
            self.condition(node)
        elif isinstance(node, nodes.For):
            self.repeat(node)
        elif isinstance(node, nodes.Assign):
            self.assign(node.target, self.expr(node.node))
        elif isinstance(node, nodes.AssignBlock):
            value = Value(self.captured(node.body), "text")
            if node.filter is not None:
                value = self.filtered(node.filter, value)
            self.assign(node.target, value)
        else:
            word = type(node).__name__
            raise self.fail(node, f"{word} is not part of the language", "FR117")

    def filtered(self, node: nodes.Filter, value: Value) -> Value:
        """``{% set x | upper %}``: the filter chain around the captured text."""
        inner = node
        while isinstance(inner.node, nodes.Filter):
            inner = inner.node
        local = self.local(value.text)
        hidden = "captured text"  # not a name anybody can write
        inner.node = nodes.Name(hidden, "load", lineno=node.lineno)
        self.own[hidden] = Variable(local)
        try:
            return self.expr(node)
        finally:
            inner.node = None

    def condition(self, node: nodes.If) -> None:
        test = self.expr(node.test).text
        with self.code.block(f"if {test}:"):
            for each in node.body:
                self.statement(each)
        rest: list[Any] = list(node.else_)
        if node.elif_:
            first, *others = node.elif_
            rest = [nodes.If(first.test, first.body, others, node.else_, lineno=first.lineno)]
        if rest:
            with self.code.block("else:"):
                for each in rest:
                    self.statement(each)

    def assign(self, target: nodes.Node, value: Value) -> None:
        if isinstance(target, nodes.Name):
            variable = self.own[target.name]
            self.code.line(f"{variable.local} = {value.text}")
            self.code.forget(variable.local)
            return
        if isinstance(target, nodes.Tuple):
            parts = self.code.temp("t")
            self.code.line(f"{parts} = {self.fn(unpack)}({value.text}, {len(target.items)})")
            for place, each in enumerate(target.items):
                self.assign(each, Value(f"{parts}[{place}]"))
            return
        raise self.fail(target, "only names can be set; a value of a flow never changes", "FR117")

    def repeat(self, node: nodes.For) -> None:
        if node.recursive:
            raise self.fail(node, "a recursive loop is not part of the language", "FR117", word="recursive")
        if self.loops >= _LOOPS_MAX:
            raise self.fail(node, f"loops are nested more than {_LOOPS_MAX} deep", "FR118")
        for name in assigned(node.target):
            if name in self.names or name in self.own or name in _RESERVED:
                raise self.fail(
                    node.target,
                    f"{name!r} has a meaning here already; a loop adds a name, it never hides one",
                    "FR048",
                    word=name,
                    help="choose another name",
                )
        code = self.code
        cost = 2 + sum(1 for each in node.body for _ in each.find_all(nodes.Node))
        items = self.local(f"{self.fn(rows)}(fuel, {self.expr(node.iter).text}, {cost})")
        if node.test is not None:
            items = self.sifted(node, items)
        if node.else_:
            with code.block(f"if not {items}:"):
                for each in node.else_:
                    self.statement(each)
        place, each_ = code.temp("i"), code.temp("e")
        outer, outer_loop = dict(self.own), self.loop
        self.loops += 1
        self.loop = {
            "index": f"({place} + 1)",
            "index0": place,
            "first": f"({place} == 0)",
            "last": f"({place} == len({items}) - 1)",
            "length": f"len({items})",
            "revindex": f"(len({items}) - {place})",
            "revindex0": f"(len({items}) - {place} - 1)",
            "depth": str(self.loops),
            "depth0": str(self.loops - 1),
            "previtem": f"({items}[{place} - 1] if {place} else None)",
            "nextitem": f"({items}[{place} + 1] if {place} < len({items}) - 1 else None)",
        }
        with code.block(f"for {place}, {each_} in enumerate({items}):"):
            self.bind_target(node.target, each_)
            self.open_scope(node.body)
            for statement in node.body:
                self.statement(statement)
        self.loops -= 1
        self.own, self.loop = outer, outer_loop

    def bind_target(self, target: nodes.Node, local: str) -> None:
        if isinstance(target, nodes.Name):
            self.own[target.name] = Variable(local)
        elif isinstance(target, nodes.Tuple):
            parts = [self.code.temp("e") for _ in target.items]
            self.code.line(f"{', '.join(parts)}, = {self.fn(unpack)}({local}, {len(parts)})")
            for each, part in zip(target.items, parts, strict=True):
                self.bind_target(each, part)
        else:
            raise self.fail(target, "a loop gives its elements a name", "FR117")

    def sifted(self, node: nodes.For, items: str) -> str:
        """``for … if …``: the elements that pass, before the loop counts them."""
        assert node.test is not None
        passed, each = self.code.temp("f"), self.code.temp("e")
        outer = dict(self.own)
        self.code.line(f"{passed} = []")
        with self.code.block(f"for {each} in {items}:"):
            self.bind_target(node.target, each)
            with self.code.block(f"if {self.expr(node.test).text}:"):
                self.code.line(f"{passed}.append({each})")
        self.own = outer
        return passed
