"""JMESPath's tree → lines of Python. Simple paths, comparisons and projections are inlined; functions are called."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from flowrun.diagnostics import near
from flowrun.errors import ExpressionError
from flowrun.expressions import jmespath_functions as functions
from flowrun.expressions.code import Code
from flowrun.expressions.jmespath_parse import RIGHT_IS_ELEMENT, Node, leading_path
from flowrun.expressions.parsed import Parsed
from flowrun.expressions.reads import Path, read
from flowrun.expressions.runtime import spell_path, within

_LOOPS_MAX = 4  # nested loops in one Python function; Python allows 20, and the plan has loops of its own
_DEPTH_MAX = 30  # steps of indentation; Python allows 100
_FLIPPED = {"lt": "gt", "gt": "lt", "lte": "gte", "gte": "lte"}
_SIGNS = {"lt": "<", "gt": ">", "lte": "<=", "gte": ">="}


class Emitter:
    """names: scope name → local, for identifiers evaluated against the root (element None).

    Methods take ``element``: the local that identifiers and ``@`` mean, or None at the root of a flow's expression.
    """

    def __init__(self, code: Code, names: Mapping[str, str], *, builds: bool) -> None:
        self.code = code
        self.names = names
        self.builds = builds  # lists of several values, so that what is printed may be long
        self._loops = 0

    # -- plumbing --------------------------------------------------------------------------------------------------

    def local(self, text: str, hint: str = "v") -> str:
        """A local holding the value of the expression text."""
        if text.isidentifier() and text not in ("None", "True", "False"):
            return text
        name = self.code.temp(hint)
        self.code.line(f"{name} = {text}")
        return name

    def fn(self, function: Any) -> str:
        return self.code.bind(function, function.__name__)

    def function(self, node: Node, element: str | None) -> str:
        """A call of the node as a Python function of its own: for what nests too deep to stand inline."""
        code = Code(explain=self.code.explain)
        passed = [element] if element is not None else sorted(set(self.names.values()))
        inner = Emitter(code, self.names, builds=self.builds)
        code.line(f"return {inner.node(node, element)}")
        extra = ["fuel", "trace"] if code.explain else ["fuel"]
        parameters = ", ".join(passed + extra)
        built = code.build(parameters, name="part")
        return f"{self.code.bind(built.function, 'part')}({parameters})"

    def key_function(self, node: Node) -> str:
        """``&expr`` as a function of (element, fuel)."""
        code = Code()
        code.line(f"return {Emitter(code, {}, builds=self.builds).node(node, 'e')}")
        return self.code.bind(code.build("e, fuel", name="key").function, "key")

    # -- values ----------------------------------------------------------------------------------------------------

    def node(self, node: Node, element: str | None) -> str:
        """The expression text of the node's value. None stands for JMESPath's null and for what is absent."""
        deep = self.code.depth > _DEPTH_MAX or self._loops > _LOOPS_MAX
        if deep and node["type"] not in ("field", "literal", "current", "identity", "index", "expref"):
            return self.function(node, element)
        return str(getattr(self, "_" + node["type"])(node, element))

    def path(self, first: Node, path: Path, element: str | None) -> str:
        if element is not None:
            return read(self.code, element, (first["value"], *path))
        return read(self.code, self.name(first), path)

    def name(self, node: Node) -> str:
        name = node["value"]
        if name not in self.names:
            raise ExpressionError(
                f"unknown name {name!r}",
                offset=node["start"],
                length=node["length"],
                code="FR104",
                help=_mean(name, self.names),
            )
        return self.names[name]

    def _field(self, node: Node, element: str | None) -> str:
        return self.path(node, (), element)

    def _subexpression(self, node: Node, element: str | None) -> str:
        start = leading_path(node)
        if start is not None and start[2]:
            return self.path(start[0], start[1], element)
        first, *rest = node["children"]
        if _asks_first(rest[0]) and first["type"] in ("projection", "filter_projection") and not calls(first):
            value = getattr(self, "_" + first["type"])(first, element, first=True)
            rest = rest[1:]
        else:
            value = self.node(first, element)
        for child in rest:
            value = self.node(child, self.local(value))
        return str(value)

    _index_expression = _subexpression
    _pipe = _subexpression

    def _current(self, node: Node, element: str | None) -> str:
        if element is None:
            raise ExpressionError("'@' means nothing at the root", offset=node.get("start", 0), length=1, code="FR106")
        return element

    _identity = _current

    def _literal(self, node: Node, element: str | None) -> str:
        return self.code.bind(node["value"])

    def _index(self, node: Node, element: str | None) -> str:
        assert element is not None
        return read(self.code, element, (node["value"],))

    def _slice(self, node: Node, element: str | None) -> str:
        start, end, step = node["children"]
        return f"{self.fn(functions.cut)}({element}, {start}, {end}, {step})"

    def _flatten(self, node: Node, element: str | None) -> str:
        return f"{self.fn(functions.flatten)}({self.node(node['children'][0], element)}, fuel)"

    def _multi_select_list(self, node: Node, element: str | None) -> str:
        return self._select(node["children"], None, element)

    def _multi_select_dict(self, node: Node, element: str | None) -> str:
        pairs = node["children"]
        return self._select([pair["children"][0] for pair in pairs], [pair["value"] for pair in pairs], element)

    def _select(self, children: list[Node], keys: list[str] | None, element: str | None) -> str:
        def build() -> str:
            parts = [self.node(child, element) for child in children]
            if keys is None:
                return f"[{', '.join(parts)}]"
            return "{" + ", ".join(f"{self.code.bind(k)}: {part}" for k, part in zip(keys, parts, strict=True)) + "}"

        if element is None:
            return build()
        value = self.code.temp("m")
        self.code.line(f"{value} = None")
        with self.code.block(f"if {element} is not None:"):
            self.code.line(f"{value} = {build()}")
        return value

    def _or_expression(self, node: Node, element: str | None) -> str:
        return self._either(node, element, "if not ({}):")

    def _and_expression(self, node: Node, element: str | None) -> str:
        return self._either(node, element, "if {}:")

    def _either(self, node: Node, element: str | None, header: str) -> str:
        left, right = node["children"]
        value = self.code.temp("o")
        self.code.line(f"{value} = {self.node(left, element)}")
        with self.code.block(header.format(self._truth_of(value, left))):
            self.code.line(f"{value} = {self.node(right, element)}")
        return value

    def _not_expression(self, node: Node, element: str | None) -> str:
        return f"(not {self.truth(node['children'][0], element)})"

    # -- truth and comparison --------------------------------------------------------------------------------------

    def truth(self, node: Node, element: str | None) -> str:
        return self._truth_of(self.node(node, element), node)

    def _truth_of(self, value: str, node: Node) -> str:
        if node["type"] in ("comparator", "not_expression"):
            return value
        value = self.local(value)
        return f"({value} or {self.fn(functions.is_zero)}({value}))"

    def _comparator(self, node: Node, element: str | None) -> str:
        left, right = node["children"]
        sign = node["value"]
        if left["type"] == "literal" and right["type"] != "literal":
            left, right, sign = right, left, _FLIPPED.get(sign, sign)
        a = self.local(self.node(left, element))
        b = self.node(right, element)
        known = right["value"] if right["type"] == "literal" else ...
        if sign in ("eq", "ne"):
            text = self._equal(a, b, known)
            return text if sign == "eq" else f"(not {text})"
        slow = f"{self.fn(getattr(functions, sign))}({a}, {b})"
        if type(known) in (int, Decimal):
            return f"({a} {_SIGNS[sign]} {b} if type({a}) is Decimal or type({a}) is int else {slow})"
        return slow

    def _equal(self, a: str, b: str, known: Any) -> str:
        if type(known) is str:
            return f"({a} == {b})"
        if known is None or known is True or known is False:
            return f"({a} is {b})"
        slow = f"{self.fn(functions.same)}({a}, {b}, fuel)"
        if type(known) in (int, Decimal):
            return f"({a} == {b} if type({a}) is Decimal or type({a}) is int else {slow})"
        b = self.local(b)
        return f"({a} == {b} if type({a}) is str else {self.fn(functions.same)}({a}, {b}, fuel))"

    # -- projections -----------------------------------------------------------------------------------------------

    def _projection(self, node: Node, element: str | None, *, first: bool = False) -> str:
        base, right = node["children"]
        return self._loop(self.local(self.node(base, element)), None, right, first=first)

    def _filter_projection(self, node: Node, element: str | None, *, first: bool = False) -> str:
        base, right, condition = node["children"]
        return self._loop(self.local(self.node(base, element)), condition, right, first=first)

    def _value_projection(self, node: Node, element: str | None) -> str:
        base, right = node["children"]
        value = self.local(self.node(base, element))
        items = self.code.temp("i")
        slow = f"{self.fn(functions.values_of)}({value})"
        self.code.line(f"{items} = list({value}.values()) if type({value}) is dict else {slow}")
        return self._loop(items, None, right)

    def _loop(self, items: str, condition: Node | None, right: Node, *, first: bool = False) -> str:
        """``first``: only the first result is wanted (``… | [0]``), so the loop stops there."""
        code = self.code
        out, each = code.temp("p"), code.temp("e")
        cost = 1 + size(right) + (size(condition) if condition is not None else 0)
        code.line(f"{out} = None")
        with code.block(f"if isinstance({items}, list):"):
            code.line(f"fuel.left -= len({items}) * {cost}")
            with code.block("if fuel.left < 0:"):
                code.line("fuel.out()")
            if not first:
                code.line(f"{out} = []")
            self._loops += 1
            with code.block(f"for {each} in {items}:"):
                if condition is not None:
                    with code.block(f"if {self.truth(condition, each)}:"):
                        self._keep(self.node(right, each), out, first)
                else:
                    self._keep(self.node(right, each), out, first)
            self._loops -= 1
        return out

    def _keep(self, value: str, out: str, first: bool) -> None:
        value = self.local(value)
        with self.code.block(f"if {value} is not None:"):
            if first:
                self.code.line(f"{out} = {value}")
                self.code.line("break")
            else:
                self.code.line(f"{out}.append({value})")

    # -- functions -------------------------------------------------------------------------------------------------

    def _expref(self, node: Node, element: str | None) -> str:
        raise ExpressionError(
            "'&' makes a function of an element: only sort_by, min_by, max_by and map take one",
            offset=node.get("start", 0),
            length=1,
            code="FR113",
        )

    def _function_expression(self, node: Node, element: str | None) -> str:
        function = check_call(node)
        parts = []
        for place, child in enumerate(node["children"]):
            wanted = function.parameters[min(place, len(function.parameters) - 1)]
            parts.append(self.key_function(child["children"][0]) if wanted == "expref" else self.node(child, element))
        if node["value"] == "length":
            value = self.local(parts[0])
            return f"(len({value}) if type({value}) is list else {self.fn(function.call)}({value}, fuel))"
        call = function.call
        if node["value"] == "to_string" and self.builds:
            call = functions.f_to_string_bounded
        return f"{self.fn(call)}({', '.join([*parts, 'fuel'])})"


def check_call(node: Node) -> functions.Function:
    """The function of a call, its arity and ``&`` arguments checked. Raises ExpressionError."""
    name, given = node["value"], node["children"]
    start, length = node.get("start", 0), node.get("length", 1)
    function = functions.FUNCTIONS.get(name)
    if function is None:
        raise ExpressionError(
            f"unknown function {name}()",
            offset=start,
            length=length,
            code="FR110",
            help=_mean(name, functions.FUNCTIONS),
        )
    wanted = len(function.parameters)
    if len(given) < wanted or (len(given) > wanted and not function.variadic):
        most = "at least " if function.variadic else ""
        raise ExpressionError(
            f"{name}() takes {most}{wanted} argument{'s' if wanted > 1 else ''}, not {len(given)}",
            offset=start,
            length=length,
            code="FR112",
        )
    for place, child in enumerate(given):
        parameter = function.parameters[min(place, wanted - 1)]
        if (parameter == "expref") != (child["type"] == "expref"):
            what = "an expression after '&'" if parameter == "expref" else "a value, not an expression after '&'"
            raise ExpressionError(
                f"argument {place + 1} of {name}() must be {what}",
                offset=child.get("start", start),
                length=child.get("length", length),
                code="FR113",
            )
    return function


def size(node: Node) -> int:
    """Nodes in the tree: what one pass over it costs, in steps."""
    return 1 + sum(size(child) for child in node["children"] if isinstance(child, dict))


def multiplies(node: Node, *, root: bool = True) -> int:
    """How often a value may come to stand beside itself: a bound on the growth of what it prints as.

    Parts of one value that do not overlap (``{a: x, b: [y, z]}``) add nothing. root: identifiers are names in scope.
    """
    kind = node["type"]
    children = [child for child in node["children"] if isinstance(child, dict)]
    if kind in ("multi_select_list", "multi_select_dict"):
        leaves = _leaves(node)
        own = 0 if _disjoint(leaves, root) else len(leaves) - 1
        return own + sum(multiplies(leaf, root=root) for leaf in leaves)
    if kind in RIGHT_IS_ELEMENT:
        return multiplies(children[0], root=root) + sum(multiplies(child, root=False) for child in children[1:])
    return sum(multiplies(child, root=root and kind != "expref") for child in children)


def _leaves(node: Node) -> list[Node]:
    if node["type"] in ("multi_select_list", "multi_select_dict", "key_val_pair"):
        return [leaf for child in node["children"] for leaf in _leaves(child)]
    return [node]


def _disjoint(leaves: list[Node], root: bool) -> bool:
    paths: list[Path] = []
    for leaf in leaves:
        start = leading_path(leaf)
        if start is None:
            if leaf["type"] != "literal":
                return False
            continue
        paths.append((start[0]["value"], *start[1]))
    if root and (len({path[0] for path in paths}) > 1 or any(path[0] in ("vars", "steps") for path in paths)):
        return False  # two names may hold the same value, and vars hold what other vars hold
    paths.sort(key=lambda path: tuple(map(str, path)))
    return all(after[: len(before)] != before for before, after in pairwise(paths))


def calls(node: Node) -> bool:
    """Whether the tree calls a function, which may fail on an element."""
    own = node["type"] == "function_expression"
    return own or any(calls(child) for child in node["children"] if isinstance(child, dict))


def _asks_first(node: Node) -> bool:
    if node["type"] == "index_expression" and node["children"][0]["type"] == "identity" and len(node["children"]) == 2:
        node = node["children"][1]
    return bool(node["type"] == "index" and node["value"] == 0)


def emit_jmespath(parsed: Parsed, code: Code, names: Mapping[str, str], element: str | None = None) -> str:
    """Lines for the tree; returns the expression text of its value. element: the root itself, for plain JMESPath."""
    tree: Node = parsed.tree
    code.names["Decimal"] = Decimal
    emitter = Emitter(code, names, builds=multiplies(tree, root=element is None) > 3)
    if code.explain and element is None:
        for use in parsed.names:
            if use.name in names:
                value = read(code, names[use.name], use.path)
                code.event("read", code.bind(spell_path(use.name, use.path)), value)
    value = emitter.node(tree, element)
    if multiplies(tree, root=element is None):
        return f"{code.bind(within, 'within')}({value}, fuel)"
    return value


def _mean(word: str, known: Mapping[str, Any]) -> str:
    found = near(word, known)
    return f"did you mean {found!r}?" if found else ""
