"""Checks a Jinja tree (template or calc) against the names in scope and their contracts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from jinja2 import nodes

from flowrun.contract import Field
from flowrun.errors import ExpressionError
from flowrun.expressions.code import Code
from flowrun.expressions.findings import ANY, WORDS, Findings, Typed, list_of, object_of, plain, union
from flowrun.expressions.jinja_emit import Expressions, default_signature
from flowrun.expressions.jinja_parse import assigned, constant_key, set_names
from flowrun.expressions.jinja_rows import parts_of
from flowrun.expressions.numbers import plain_decimal
from flowrun.expressions.parsed import Parsed

_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
_LOOSE = ("round", "abs", "int", "float")  # filters that people mean for the whole difference
_LOOP = object_of(
    [(name, plain("integer")) for name in ("index", "index0", "length", "revindex", "revindex0", "depth", "depth0")]
    + [(name, plain("boolean")) for name in ("first", "last")]
    + [(name, ANY) for name in ("previtem", "nextitem")]
)


class JinjaAnalysis:
    def __init__(self, parsed: Parsed, findings: Findings) -> None:
        self.parsed = parsed
        self.findings = findings
        self.own: dict[str, Typed] = {}
        self.checker = Expressions(parsed, Code(), dict.fromkeys(findings.scope, "n"))
        self.starts = [start for start, _, _ in parsed.tokens]

    def run(self) -> Typed:
        tree: Any = self.parsed.tree
        if self.parsed.language == "calc":
            before = len(self.findings.found)
            result = self.expr(tree)
            if not self.parsed.names and len(self.findings.found) == before:
                self.findings.add(
                    "FR105",
                    "a constant stands where an expression is expected: it names nothing",
                    0,
                    len(self.parsed.text),
                    help="write `value:` for a constant",
                )
            return result
        for name in set_names(tree.body):
            self.own[name] = Typed()
        for node in tree.body:
            self.statement(node)
        return Typed(plain("text"))

    # -- statements ------------------------------------------------------------------------------------------------

    def statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            for piece in node.nodes:
                self.expr(piece)
        elif isinstance(node, nodes.If):
            self.expr(node.test)
            for each in [*node.body, *node.elif_, *node.else_]:
                self.statement(each)
        elif isinstance(node, nodes.Assign):
            value = self.expr(node.node)
            for name in assigned(node.target):
                self.own[name] = value if isinstance(node.target, nodes.Name) else Typed()
        elif isinstance(node, nodes.AssignBlock):
            for each in node.body:
                self.statement(each)
            for name in assigned(node.target):
                self.own[name] = Typed(plain("text"))
        elif isinstance(node, nodes.For):
            self.loop(node)

    def loop(self, node: nodes.For) -> None:
        items = self.expr(node.iter)
        if items.json in ("number", "boolean"):
            offset = node.iter.lineno or 0
            self.findings.add("FR113", f"{WORDS[items.json]} cannot be looped over", offset, 1)
        outer = dict(self.own)
        for name in assigned(node.target):
            self.own[name] = Typed()
        if isinstance(node.target, nodes.Name):
            self.own[node.target.name] = (
                self.findings.element(items, "*", node.iter.lineno or 0, 1) if items.json == "array" else Typed()
            )
        self.own["loop"] = Typed(_LOOP)
        for name in set_names(node.body):
            self.own.setdefault(name, Typed())
        if node.test is not None:
            self.expr(node.test)
        for each in node.body:
            self.statement(each)
        self.own = outer
        for each in node.else_:
            self.statement(each)

    # -- expressions -----------------------------------------------------------------------------------------------

    def expr(self, node: nodes.Node) -> Typed:
        walk = getattr(self, "_" + type(node).__name__.lower(), None)
        if walk is not None:
            result: Typed = walk(node)
            return result
        for child in node.iter_child_nodes():
            self.expr(child)
        return Typed()

    def _name(self, node: nodes.Name) -> Typed:
        if node.name in self.own:
            return self.own[node.name]
        offset = node.lineno or 0
        if node.name not in self.findings.scope:
            self.findings.unknown_name(node.name, offset, len(node.name), alone=node is self.parsed.tree)
            return Typed()
        return self.findings.root(node.name, offset, len(node.name))

    def _getattr(self, node: nodes.Getattr) -> Typed:
        base = self.expr(node.node)
        return self.field(base, node.attr, node.lineno or 0)

    def field(self, base: Typed, name: str, after: int) -> Typed:
        at = self.parsed.text.find(name, after)
        if base.field.type == "list" and base.field.item is None:
            base = Typed(base.field, base.name, base.path)
        return self.findings.step(base, name, max(at, 0), len(name))

    def _getitem(self, node: nodes.Getitem) -> Typed:
        base = self.expr(node.node)
        if isinstance(node.arg, nodes.Slice):
            for part in (node.arg.start, node.arg.stop, node.arg.step):
                if part is not None:
                    self.expr(part)
            return base
        key = constant_key(node.arg)
        if isinstance(key, str):
            return self.field(base, key, node.lineno or 0)
        if key is None:
            self.expr(node.arg)
        return self.findings.element(base, "*" if key is None else key, node.lineno or 0, 1)

    def _const(self, node: nodes.Const) -> Typed:
        if isinstance(node.value, bool):
            return Typed(plain("boolean"))
        if isinstance(node.value, int):
            return Typed(plain("integer"))
        if isinstance(node.value, Decimal):
            return Typed(plain("decimal"))
        return Typed(plain("text")) if isinstance(node.value, str) else Typed()

    def _list(self, node: nodes.List) -> Typed:
        items = [self.expr(each) for each in node.items]
        same = items[0].field if items and all(each.field.type == items[0].field.type for each in items) else ANY
        return Typed(list_of(same))

    def _tuple(self, node: nodes.Tuple) -> Typed:
        for each in node.items:
            self.expr(each)
        return Typed(list_of(ANY))

    def _dict(self, node: nodes.Dict) -> Typed:
        for pair in node.items:
            self.expr(pair.value)
        return Typed(plain("object"))

    def _concat(self, node: nodes.Concat) -> Typed:
        for each in node.nodes:
            self.expr(each)
        return Typed(plain("text"))

    def _condexpr(self, node: nodes.CondExpr) -> Typed:
        self.expr(node.test)
        one = self.expr(node.expr1)
        return union(one, self.expr(node.expr2)) if node.expr2 is not None else one

    def _and(self, node: nodes.And) -> Typed:
        return union(self.expr(node.left), self.expr(node.right))

    _or = _and

    def _not(self, node: nodes.Not) -> Typed:
        self.expr(node.node)
        return Typed(plain("boolean"))

    # -- arithmetic and comparison ---------------------------------------------------------------------------------

    def _binary(self, node: nodes.BinExpr) -> Typed:
        left, right = self.numeric(node.left, node.operator), self.numeric(node.right, node.operator)
        if isinstance(node.right, nodes.Filter) and node.right.name in _LOOSE and not self.in_parentheses(node.right):
            name = node.right.name
            self.findings.add(
                "FR116",
                f"the filter {name!r} takes only what stands right before it, not the whole 'a {node.operator} b'",
                node.right.lineno or 0,
                len(name),
                severity="lint",
                help=f"write (a {node.operator} b) | {name}, or a {node.operator} (b | {name})",
            )
        whole = {left.field.type, right.field.type} == {"integer"} and not isinstance(node, (nodes.Div, nodes.Pow))
        return Typed(plain("integer" if whole else "decimal"))

    _add = _sub = _mul = _div = _floordiv = _mod = _pow = _binary

    def in_parentheses(self, node: nodes.Filter) -> bool:
        """Whether the filtered operand was put in parentheses: ``a - (b | round)``."""
        first: Any = node
        while True:
            inner = getattr(first, "node", None) or getattr(first, "left", None) or getattr(first, "expr", None)
            if not isinstance(inner, nodes.Node):
                break
            first = inner
        before = [value for start, _, value in self.parsed.tokens if start < (first.lineno or 0)]
        return bool(before) and before[-1] == "("

    def _neg(self, node: nodes.Neg) -> Typed:
        return Typed(self.numeric(node.node, "-").field)

    _pos = _neg

    def numeric(self, node: nodes.Node, what: str) -> Typed:
        value = self.expr(node)
        if value.json in ("array", "object"):
            help = "count with | length, add with | sum('field')" if value.json == "array" else ""
            if not (what == "+" and value.json == "array"):
                self.misfit(node, f"{self.spell(value)} is {WORDS[value.json]}, not a number, in {what!r}", help)
        elif isinstance(node, nodes.Const) and node.value is None:
            code = "FR119" if what in ("<", "<=", ">", ">=") else "FR113"
            self.misfit(node, f"null is not a number, in {what!r}", "ask `… is missing`", code=code)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str) and plain_decimal(node.value) is None:
            help = "join text with ~" if what == "+" else "only == and != compare text"
            self.misfit(node, f"{node.value!r} is text, not a number, in {what!r}", help)
        elif value.field.type in ("date", "datetime", "time"):
            self.misfit(node, f"{self.spell(value)} is a {value.field.type}, not a number, in {what!r}", "")
        return value

    def spell(self, value: Typed) -> str:
        return value.spelled() or "the value"

    def misfit(self, node: nodes.Node, message: str, help: str, *, code: str = "FR113") -> None:
        offset = node.lineno or 0
        word = next((value for start, _, value in self.parsed.tokens if start == offset), "")
        self.findings.add(code, message, offset, len(word) or 1, help=help)

    def _compare(self, node: nodes.Compare) -> Typed:
        left_node: nodes.Node = node.expr
        for operand in node.ops:
            if operand.op in ("eq", "ne", "in", "notin"):
                self.equality(left_node, operand)
            else:
                sign = {"gt": ">", "gteq": ">=", "lt": "<", "lteq": "<="}[operand.op]
                self.numeric(left_node, sign)
                self.numeric(operand.expr, sign)
            left_node = operand.expr
        return Typed(plain("boolean"))

    def equality(self, left: nodes.Node, operand: nodes.Operand) -> None:
        a, b = self.expr(left), self.expr(operand.expr)
        if operand.op in ("in", "notin"):
            if b.json in ("number", "boolean"):
                self.misfit(operand.expr, f"{WORDS[b.json]} holds nothing: 'in' needs a list, an object or text", "")
            return
        for value, other in ((a, operand.expr), (b, left)):
            constant = other.value if isinstance(other, nodes.Const) else None
            if value.json == "number" and isinstance(constant, str) and plain_decimal(constant) is None:
                self.findings.add(
                    "FR114",
                    f"{self.spell(value)} is a number and never equals the text {constant!r}",
                    other.lineno or 0,
                    len(constant) + 2,
                    severity="lint",
                )
            enum = value.field.enum
            if enum and isinstance(constant, str) and constant not in enum:
                self.findings.add(
                    "FR114",
                    f"{self.spell(value)} is never {constant!r}",
                    other.lineno or 0,
                    len(constant) + 2,
                    severity="lint",
                    notes=(f"it is one of: {', '.join(enum[:12])}",),
                )

    # -- filters, tests, calls -------------------------------------------------------------------------------------

    def _filter(self, node: nodes.Filter) -> Typed:
        subject = self.expr(node.node) if node.node is not None else Typed()
        args = [self.expr(each) for each in node.args] + [self.expr(each.value) for each in node.kwargs]
        name = node.name
        try:
            if name in ("d", "default"):
                self.checker._arguments(node, default_signature)
                return union(subject, args[0]) if args else subject
            if name in ("map", "select", "reject", "selectattr", "rejectattr"):
                return self.rows(node, subject)
            function, gives = self.checker.known_filter(node, name)
            self.checker._arguments(node, function)
        except ExpressionError as error:
            self.findings.caught(error)
            return Typed()
        return self.filtered(node, subject, gives)

    def filtered(self, node: nodes.Filter, subject: Typed, gives: str) -> Typed:
        name = node.name
        if name in ("abs", "round") and subject.json in ("array", "object"):
            self.misfit(node, f"{self.spell(subject)} is {WORDS[subject.json]}, not a number, in {name!r}", "")
        if name in ("sum", "min", "max", "join", "first", "last", "sort", "unique") and subject.json in (
            "number",
            "boolean",
        ):
            self.misfit(node, f"{self.spell(subject)} is {WORDS[subject.json]}, not a list, in {name!r}", "")
        column = self.attribute(node)
        if column is not None and subject.json == "array":
            value = self.column(node, subject, column)
            if name == "sum" and value.json in ("array", "object", "boolean"):
                self.misfit(node, f"{self.spell(value)} is {WORDS[value.json]}, not a number, in 'sum'", "")
        item = subject.field.item
        if name in ("first", "last") or (name in ("min", "max") and column is not None):
            return self.findings.element(subject, "*", *self._where(node)) if item is not None else Typed()
        if name in ("sort", "unique", "reverse", "list") and subject.json == "array":
            return subject
        if name in ("abs", "round") and subject.field.type == "integer":
            return Typed(plain("integer"))
        kinds: dict[str, Field] = {
            "text": plain("text"),
            "integer": plain("integer"),
            "decimal": plain("decimal"),
            "list": list_of(ANY),
        }
        return Typed(kinds.get(gives, ANY))

    def _where(self, node: nodes.Filter) -> tuple[int, int]:
        return node.lineno or 0, len(node.name)

    def attribute(self, node: nodes.Filter) -> nodes.Const | None:
        """The argument that names a column, when it is written out."""
        found: Any = next((each.value for each in node.kwargs if each.key == "attribute"), None)
        if found is None and node.name in ("sum", "groupby", "selectattr", "rejectattr") and node.args:
            found = node.args[0]
        return found if isinstance(found, nodes.Const) and isinstance(found.value, str) else None

    def column(self, node: nodes.Filter, rows: Typed, name: nodes.Const) -> Typed:
        value = self.findings.element(rows, "*", *self._where(node))
        for part in parts_of(name.value.split(",")[0]):
            if isinstance(part, int):
                value = self.findings.element(value, part, *self._where(node))
            else:
                at = self.parsed.text.find(part, name.lineno or 0)
                value = self.findings.step(value, part, max(at, 0), len(part))
        return value

    def rows(self, node: nodes.Filter, subject: Typed) -> Typed:
        column = self.attribute(node)
        value = self.column(node, subject, column) if column is not None and subject.json == "array" else Typed()
        names = [each.value for each in node.args if isinstance(each, nodes.Const) and isinstance(each.value, str)]
        if node.name == "map" and names:
            self.checker.known_filter(node, names[0])
        elif node.name in ("select", "reject") and names:
            self.checker.known_test(node, names[0])
        elif node.name in ("selectattr", "rejectattr") and len(names) > 1:
            self.checker.known_test(node, names[1])
        if node.name == "map":
            return Typed(list_of(value.field))
        return subject if subject.json == "array" else Typed(list_of(ANY))

    def _test(self, node: nodes.Test) -> Typed:
        if node.node is not None:
            self.expr(node.node)
        for each in node.args:
            self.expr(each)
        try:
            self.checker._arguments(node, self.checker.known_test(node, node.name))
        except ExpressionError as error:
            self.findings.caught(error)
        return Typed(plain("boolean"))

    def _call(self, node: nodes.Call) -> Typed:
        for each in node.args:
            self.expr(each)
        callee = node.node
        if isinstance(callee, nodes.Name) and callee.name == "range":
            return Typed(list_of(plain("integer")))
        if isinstance(callee, nodes.Getattr) and isinstance(callee.node, nodes.Name) and callee.node.name == "loop":
            return Typed()
        try:
            self.checker._call(node)
        except ExpressionError as error:
            self.findings.caught(error)
        return Typed()
