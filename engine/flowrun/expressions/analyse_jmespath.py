"""Checks a JMESPath tree against the names in scope and their contracts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flowrun.contract import Field
from flowrun.errors import ExpressionError
from flowrun.expressions.findings import ANY, WORDS, Findings, Typed, list_of, object_of, plain, union
from flowrun.expressions.jmespath_emit import check_call
from flowrun.expressions.jmespath_functions import FUNCTIONS
from flowrun.expressions.jmespath_parse import Node
from flowrun.expressions.parsed import Parsed

_WORDS_THAT_ARE_LITERALS = ("null", "true", "false", "none", "None", "True", "False")
_GIVES: dict[str, Field] = {
    "number": plain("decimal"), "string": plain("text"), "boolean": plain("boolean"), "array": list_of(ANY),
    "object": plain("object"), "any": ANY,
}  # fmt: skip


class JmespathAnalysis:
    """``at`` is the current element, or None at the root, where identifiers are names in scope."""

    def __init__(self, parsed: Parsed, findings: Findings) -> None:
        self.parsed = parsed
        self.findings = findings
        self.inside_filter = 0

    def run(self) -> Typed:
        tree: Node = self.parsed.tree
        before = len(self.findings.found)
        result = self.node(tree, None)
        if not self.parsed.names and len(self.findings.found) == before:
            text = self.parsed.text.strip()
            shown = tree["value"] if tree["type"] == "literal" and isinstance(tree["value"], str) else None
            self.findings.add(
                "FR105",
                "a constant stands where a path is expected",
                0,
                len(self.parsed.text),
                help=f"write {{ value: {shown if shown is not None else text} }}",
            )
        return result

    def node(self, node: Node, at: Typed | None) -> Typed:
        result: Typed = getattr(self, "_" + node["type"])(node, at)
        return result

    # -- paths -----------------------------------------------------------------------------------------------------

    def _field(self, node: Node, at: Typed | None) -> Typed:
        name, start, length = node["value"], node["start"], node["length"]
        if at is None:
            if name in self.findings.scope:
                return self.findings.root(name, start, length)
            if name in _WORDS_THAT_ARE_LITERALS:
                self.findings.add(
                    "FR104",
                    f"{name!r} is read as a name",
                    start,
                    length,
                    label=f"write `{name.lower().replace('none', 'null')}` in backticks",
                )
            else:
                self.findings.unknown_name(name, start, length, alone=node is self.parsed.tree)
            return Typed()
        known = at.field.shape.get(name) if at.field.shape is not None else None
        if self.inside_filter and known is None and name in self.findings.scope:
            sure = at.field.type != "any"
            self.findings.add(
                "FR107",
                f"{name!r} means a field of the element here: a filter cannot see outer names",
                start,
                length,
                severity="error" if sure else "lint",
                help="use `each: … in …` with `where:`, which sees every name",
            )
            return Typed()
        help = f"write `{name}` in backticks" if name in _WORDS_THAT_ARE_LITERALS else ""
        return self.findings.step(at, name, start, length, help=help)

    def _sequence(self, node: Node, at: Typed | None) -> Typed:
        first, *rest = node["children"]
        if first["type"] == "not_expression" and rest[0]["type"] == "field" and "start" in rest[0]:
            self.findings.add(
                "FR108",
                "'!' binds before '.': this asks for a field of a boolean",
                rest[0]["start"],
                rest[0]["length"],
                help="write !(a.b)",
            )
            return Typed(plain("boolean"))
        value = self.node(first, at)
        for child in rest:
            value = self.node(child, value)
        return value

    _subexpression = _index_expression = _pipe = _sequence

    def _current(self, node: Node, at: Typed | None) -> Typed:
        if at is None:
            self.findings.add(
                "FR106",
                "'@' and a leading '[', '*' mean nothing at the root: begin with a name",
                node.get("start", 0),
                1,
                notes=(self.findings.scope_note(),),
            )
            return Typed()
        return at

    _identity = _current

    def _index(self, node: Node, at: Typed | None) -> Typed:
        assert at is not None
        return self.findings.element(at, node["value"], *self._place(at))

    def _slice(self, node: Node, at: Typed | None) -> Typed:
        assert at is not None
        return at

    def _place(self, at: Typed) -> tuple[int, int]:
        for read in reversed(self.findings.reads):
            if (read.name, read.path) == (at.name, at.path):
                return read.offset, read.length
        return 0, 0

    # -- projections -----------------------------------------------------------------------------------------------

    def _project(self, base: Typed, right: Node, condition: Node | None = None) -> Typed:
        if base.json not in ("any", "array"):
            offset, length = self._place(base)
            self.findings.add(
                "FR113",
                f"{base.spelled() or 'the value'} is {WORDS[base.json]}, not a list",
                offset,
                length,
                help="without [*] the value itself is read",
            )
            base = Typed()
        each = self.findings.element(base, "*", *self._place(base))
        if condition is not None:
            self.inside_filter += 1
            self.node(condition, each)
            self.inside_filter -= 1
        result = self.node(right, each)
        return Typed(list_of(result.field))

    def _projection(self, node: Node, at: Typed | None) -> Typed:
        base, right = node["children"]
        return self._project(self._base(node, base, at), right)

    def _filter_projection(self, node: Node, at: Typed | None) -> Typed:
        base, right, condition = node["children"]
        return self._project(self._base(node, base, at), right, condition)

    def _value_projection(self, node: Node, at: Typed | None) -> Typed:
        base = self._base(node, node["children"][0], at)
        result = self.node(node["children"][1], Typed())
        return Typed(list_of(result.field)) if base.json in ("any", "object") else Typed()

    def _base(self, node: Node, base: Node, at: Typed | None) -> Typed:
        """The left side; at the root the place of an implied '@' is that of the projection's own sign."""
        if base["type"] in ("identity", "flatten") and "start" not in base and "start" in node:
            base = {**base, "start": node["start"]}
        return self.node(base, at)

    def _flatten(self, node: Node, at: Typed | None) -> Typed:
        inner = node["children"][0]
        if inner["type"] == "identity" and "start" in node:
            inner = {**inner, "start": node["start"]}
        base = self.node(inner, at)
        item = base.field.item if base.field.type == "list" else None
        if item is not None and item.type == "list":
            return Typed(list_of(item.item or ANY), base.name, (*base.path, "*") if base.name else ())
        return base if base.json == "array" else Typed() if base.json == "any" else base

    # -- values ----------------------------------------------------------------------------------------------------

    def _literal(self, node: Node, at: Typed | None) -> Typed:
        value = node["value"]
        if isinstance(value, bool):
            return Typed(plain("boolean"))
        if isinstance(value, str):
            return Typed(plain("text"))
        if isinstance(value, int):
            return Typed(plain("integer"))
        if isinstance(value, Decimal):
            return Typed(plain("decimal"))
        if isinstance(value, list):
            return Typed(list_of(ANY))
        return Typed()

    def _multi_select_list(self, node: Node, at: Typed | None) -> Typed:
        items = [self.node(child, at) for child in node["children"]]
        same = items[0].field if all(each.field.type == items[0].field.type for each in items) else ANY
        return Typed(list_of(same))

    def _multi_select_dict(self, node: Node, at: Typed | None) -> Typed:
        return Typed(
            object_of([(pair["value"], self.node(pair["children"][0], at).field) for pair in node["children"]])
        )

    def _or_expression(self, node: Node, at: Typed | None) -> Typed:
        left, right = (self.node(child, at) for child in node["children"])
        return union(left, right)

    _and_expression = _or_expression

    def _not_expression(self, node: Node, at: Typed | None) -> Typed:
        self.node(node["children"][0], at)
        return Typed(plain("boolean"))

    def _comparator(self, node: Node, at: Typed | None) -> Typed:
        left, right = (self.node(child, at) for child in node["children"])
        kinds = {left.json, right.json}
        start, length = node.get("start", 0), node.get("length", 1)
        if kinds == {"string", "number"}:
            which = left if left.json == "string" else right
            name = which.spelled() or "the text"
            result = "gives null" if node["value"] not in ("eq", "ne") else "is never equal"
            self.findings.add(
                "FR114",
                f"{name} holds text: compared with a number it {result}",
                start,
                length,
                severity="lint",
                help="compare with text ('10'), convert with to_number(…), or use calc, which reads plain decimals",
            )
        elif node["value"] not in ("eq", "ne") and kinds & {"boolean", "array", "object"}:
            what = next(kind for kind in (left.json, right.json) if kind in ("boolean", "array", "object"))
            self.findings.add("FR114", f"the order of {WORDS[what]} is always null", start, length, severity="lint")
        return Typed(plain("boolean"))

    # -- functions -------------------------------------------------------------------------------------------------

    def _expref(self, node: Node, at: Typed | None) -> Typed:
        self.findings.add(
            "FR113", "'&' stands only in sort_by, min_by, max_by and map", node.get("start", 0), node.get("length", 1)
        )
        return Typed()

    def _function_expression(self, node: Node, at: Typed | None) -> Typed:
        name = node["value"]
        function = None
        try:
            function = check_call(node)
        except ExpressionError as error:
            self.findings.caught(error)
        values: list[Typed] = []
        array = Typed()
        for place, child in enumerate(node["children"]):
            if child["type"] == "expref":
                values.append(Typed())
                continue
            value = self.node(child, at)
            values.append(value)
            if value.json == "array":
                array = value
            if function is not None:
                wanted = function.parameters[min(place, len(function.parameters) - 1)]
                if value.json != "any" and wanted not in ("any", "expref") and value.json not in wanted.split("|"):
                    self._misfit(name, wanted, value, child, node)
        for child in node["children"]:
            if child["type"] == "expref":
                element = self.findings.element(array, "*", *self._place(array))
                self.inside_filter += 1
                self.node(child["children"][0], element)
                self.inside_filter -= 1
        if name in ("sum", "avg") and array.field.item is not None:
            inner = self._item(array)
            if inner in ("string", "boolean", "object", "array"):
                offset, length = node["start"], node["length"]
                self.findings.add(
                    "FR114",
                    f"{name}() adds numbers, and the list holds {WORDS[inner]}",
                    offset,
                    length,
                    help="use calc: order.items | sum('…'), which reads plain decimals",
                )
        return self._result(name, values, array)

    def _item(self, array: Typed) -> str:
        item = array.field.item
        return Typed(item, text=array.text).json if item is not None else "any"

    def _misfit(self, name: str, wanted: str, value: Typed, child: Node, node: Node) -> None:
        start, length = self._at(child if "start" in child else node)
        words = " or ".join(WORDS[kind] for kind in wanted.split("|"))
        self.findings.add("FR113", f"{name}() takes {words}, not {WORDS[value.json]}", start, length)

    def _at(self, node: Node) -> tuple[int, int]:
        return node["start"], node["length"]

    def _result(self, name: str, values: list[Typed], array: Typed) -> Typed:
        if name not in FUNCTIONS:
            return Typed()
        if name in ("sort", "sort_by") and array.field.type == "list":
            return Typed(array.field)
        if name == "reverse" and values:
            return Typed(values[0].field)
        if name in ("max", "min", "max_by", "min_by") and array.field.item is not None:
            return Typed(array.field.item)
        if name in ("length", "ceil", "floor"):
            return Typed(plain("integer"))
        if name == "not_null" and values:
            result = values[0]
            for each in values[1:]:
                result = union(result, each)
            return Typed(result.field)
        return Typed(_GIVES[FUNCTIONS[name].gives])


def projects(node: Any) -> bool:
    """Whether the result is a list made by a projection."""
    if node["type"] in ("projection", "filter_projection", "value_projection"):
        return True
    if node["type"] == "subexpression":
        return projects(node["children"][-1])
    return False
