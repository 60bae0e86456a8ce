"""Jinja's filters, tests and calls → Python; with the operators, every expression of a template or calc."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from jinja2 import nodes

from flowrun.diagnostics import near
from flowrun.expressions import filters_lists, filters_numbers, filters_text
from flowrun.expressions import jinja_filters as filters
from flowrun.expressions import jinja_tests as tests
from flowrun.expressions.jinja_operators import Operators
from flowrun.expressions.jinja_reading import Kind, Value
from flowrun.expressions.jinja_rows import MISSING
from flowrun.expressions.jinja_values import bounded_range, found
from flowrun.expressions.text import to_text

_KINDS: dict[str, Kind] = {
    "text": "text",
    "integer": "number",
    "decimal": "number",
    "list": "list",
    "boolean": "boolean",
}

METHODS = {
    "items": "| items", "keys": "| list", "values": "| map(attribute=…)", "strip": "| trim", "upper": "| upper",
    "lower": "| lower", "replace": "| replace(a, b)", "title": "| title", "capitalize": "| capitalize",
    "get": "| default(…)", "format": "~", "join": "| join(…)",
}  # fmt: skip
"""Python methods people write, and what to write instead."""


class Expressions(Operators):
    """Emits any expression; what the language does not have is an ExpressionError at its place."""

    # -- filters, tests, calls -------------------------------------------------------------------------------------

    def _filter(self, node: nodes.Filter) -> Value:
        if node.name in ("d", "default"):
            return self._default(node)
        return self.call_filter(node, strict=True)

    def _default(self, node: nodes.Filter) -> Value:
        value, missing = self.maybe(self._subject(node))
        args = self._arguments(node, default_signature)
        fallback = self.expr(args[0]) if isinstance(args[0], nodes.Node) else Value("''", "text", "")
        falsy = args[1]
        result = self.code.temp("v")
        condition = missing
        if isinstance(falsy, nodes.Node):
            condition = f"({missing} or ({self.expr(falsy).text} and not {value}))"
        self.code.line(f"{result} = {fallback.text} if {condition} else {value}")
        return Value(result)

    def _subject(self, node: nodes.Filter | nodes.Test) -> nodes.Expr:
        if node.node is None:
            raise self.fail(node, "a filter needs a value in front", "FR101")
        return node.node

    def _arguments(self, node: nodes.Filter | nodes.Test, function: Callable[..., Any], skip: int = 0) -> list[Any]:
        """The argument nodes in the function's order, its own defaults for those not written."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.fail(node, "'*' and '**' are not part of the language", "FR112")
        named: dict[str, Any] = {str(keyword.key): keyword.value for keyword in node.kwargs}
        try:
            bound = inspect.signature(function).bind(*[None] * (2 + skip), *node.args, **named)
        except TypeError as error:
            what = "filter" if isinstance(node, nodes.Filter) else "test"
            raise self.fail(node, f"the {what} {node.name!r}: {error}", "FR112", word=node.name) from None
        bound.apply_defaults()
        return list(bound.args[2 + skip :])

    def _emitted(self, arguments: list[Any]) -> list[str]:
        return [
            self.expr(each).text if isinstance(each, nodes.Node) else self.code.bind(each, "given")
            for each in arguments
        ]

    def maybe(self, node: nodes.Node) -> tuple[str, str]:
        if isinstance(node, nodes.Filter) and node.name in ("first", "last", "min", "max"):
            value = self.local(self.call_filter(node, strict=False).text)
            return value, f"{value} is {self.code.bind(MISSING, 'MISSING')}"
        return super().maybe(node)

    def call_filter(self, node: nodes.Filter, *, strict: bool) -> Value:
        name = node.name
        if name in ("map", "select", "reject", "selectattr", "rejectattr"):
            return self._rows_filter(node)
        function, gives = self.known_filter(node, name)
        subject = self.expr(self._subject(node))
        arguments = self._arguments(node, function)
        if not arguments or all(each is None for each in arguments):
            short = self._short(name, subject)
            if short is not None:
                return short
        if name == "tojson" and self.to_text is to_text:
            function = filters_text.f_tojson_quick
        if name == "sum" and isinstance(arguments[0], nodes.Const) and arguments[1] == 0:
            field = arguments[0].value
            if isinstance(field, str) and field.isidentifier():
                return Value(
                    f"{self.code.bind(filters_numbers.sum_of(field, 0), 'sum_of')}(fuel, {subject.text})", "number"
                )
        call = f"{self.fn(function)}({', '.join(['fuel', subject.text, *self._emitted(arguments)])})"
        if strict and name in ("first", "last", "min", "max"):
            value = self.local(call)
            missing = self.code.bind(MISSING, "MISSING")
            with self.code.block(f"if {value} is {missing}:"):
                self.code.line(f"{self.fn(found)}({missing}, {self.code.bind(f'the {name} of an empty list')})")
            return Value(value)
        return Value(call, _KINDS.get(gives, "any"))

    def _short(self, name: str, subject: Value) -> Value | None:
        """The commonest filters, inline for the commonest type."""
        if name in ("upper", "lower", "trim") and self.frugal:
            value = self.local(subject.text)
            method = "strip" if name == "trim" else name
            slow = f"{self.fn(filters.FILTERS[name][0])}(fuel, {value})"
            return Value(f"({value}.{method}() if type({value}) is str else {slow})", "text")
        if name in ("length", "count"):
            value = self.local(subject.text)
            return Value(
                f"(len({value}) if type({value}) is list else {self.fn(filters_lists.f_length)}(fuel, {value}))",
                "number",
            )
        return None

    def known_filter(self, node: nodes.Node, name: str) -> tuple[Callable[..., Any], str]:
        if name in filters.FILTERS:
            return filters.FILTERS[name]
        if name in filters.REFUSED_FILTERS:
            raise self.fail(
                node,
                f"the filter {name!r} is not part of the language",
                "FR111",
                word=name,
                help=filters.REFUSED_FILTERS[name],
            )
        mean = near(name, [*filters.FILTERS, *filters.SPECIAL])
        raise self.fail(
            node, f"unknown filter {name!r}", "FR111", word=name, help=f"did you mean {mean!r}?" if mean else ""
        )

    def known_test(self, node: nodes.Node, name: str) -> Callable[..., bool]:
        if name in tests.TESTS:
            return tests.TESTS[name]
        if name in tests.REFUSED_TESTS:
            raise self.fail(
                node,
                f"the test {name!r} is not part of the language",
                "FR111",
                word=name,
                help=tests.REFUSED_TESTS[name],
            )
        mean = near(name, tests.TESTS)
        raise self.fail(
            node, f"unknown test {name!r}", "FR111", word=name, help=f"did you mean {mean!r}?" if mean else ""
        )

    def _rows_filter(self, node: nodes.Filter) -> Value:
        """map, select, reject, selectattr, rejectattr: filters and tests are named by a text written out."""
        subject = self.expr(self._subject(node)).text
        named: dict[str, Any] = {str(keyword.key): keyword.value for keyword in node.kwargs}
        args = list(node.args)
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.fail(node, "'*' and '**' are not part of the language", "FR112")
        if node.name == "map" and not args and "attribute" in named:
            given = self._emitted(self._arguments(node, filters_lists.f_map_attribute))
            return Value(f"{self.fn(filters_lists.f_map_attribute)}({', '.join(['fuel', subject, *given])})", "list")
        if named:
            raise self.fail(node, f"{node.name!r} takes no {next(iter(named))!r} here", "FR112", word=node.name)
        attribute = "None"
        if node.name.endswith("attr"):
            if not args:
                raise self.fail(node, f"{node.name!r} needs the name of a field", "FR112", word=node.name)
            attribute = self.expr(args.pop(0)).text
        function: Callable[..., Any] | None = None
        if args:
            first = args.pop(0)
            if not isinstance(first, nodes.Const) or not isinstance(first.value, str):
                raise self.fail(
                    node, f"{node.name!r} needs its filter or test written out as text", "FR112", word=node.name
                )
            function = (
                self.known_filter(first, first.value)[0] if node.name == "map" else self.known_test(first, first.value)
            )
            try:
                inspect.signature(function).bind(None, None, *args)
            except TypeError as error:
                raise self.fail(node, f"{first.value!r}: {error}", "FR112", word=node.name) from None
        elif node.name == "map":
            raise self.fail(node, "'map' needs a filter or attribute=", "FR112", word="map")
        chosen = self.fn(function) if function is not None else "None"
        given = [self.expr(each).text for each in args]
        if node.name == "map":
            return Value(
                f"{self.fn(filters_lists.f_map_filter)}({', '.join(['fuel', subject, chosen, *given])})", "list"
            )
        wanted = "True" if node.name.startswith("select") else "False"
        parts = ["fuel", subject, wanted, attribute, chosen, *given]
        return Value(f"{self.fn(filters_lists.f_select)}({', '.join(parts)})", "list")

    def _test(self, node: nodes.Test) -> Value:
        function = self.known_test(node, node.name)
        subject = self._subject(node)
        if node.name in tests.ABOUT_ABSENCE:
            self._arguments(node, function)
            value, missing = self.maybe(subject)
            if node.name == "missing":
                return Value(f"({value} is None or {missing})", "boolean")
            return Value(f"(not {missing})" if node.name == "defined" else missing, "boolean")
        arguments = self._arguments(node, function)
        value = self.expr(subject).text
        return Value(f"{self.fn(function)}({', '.join(['fuel', value, *self._emitted(arguments)])})", "boolean")

    def _call(self, node: nodes.Call) -> Value:
        callee = node.node
        if isinstance(callee, nodes.Name) and callee.name == "range" and "range" not in self.names:
            if node.kwargs or node.dyn_args or node.dyn_kwargs or not 1 <= len(node.args) <= 3:
                raise self.fail(node, "range() takes one to three numbers", "FR112")
            given = [self.expr(each).text for each in node.args]
            return Value(f"{self.fn(bounded_range)}({', '.join(['fuel', *given])})", "list")
        if isinstance(callee, nodes.Getattr):
            name = callee.attr
            if (
                isinstance(callee.node, nodes.Name)
                and callee.node.name == "loop"
                and self.loop is not None
                and name == "cycle"
                and node.args
            ):
                turns = ", ".join(self.expr(each).text for each in node.args)
                return Value(f"({turns},)[{self.loop['index0']} % {len(node.args)}]")
            instead = METHODS.get(name)
            help = f"write {instead}" if instead else "values have fields and no methods; filters stand behind |"
            raise self.fail(callee, f"nothing can be called: {name}()", "FR110", word=name, help=help)
        if isinstance(callee, nodes.Name):
            mean = near(callee.name, ["range"])
            raise self.fail(
                callee,
                f"unknown function {callee.name}()",
                "FR110",
                word=callee.name,
                help=f"did you mean {mean!r}?" if mean else "filters stand behind the value: value | upper",
            )
        raise self.fail(node, "nothing can be called", "FR110")


def default_signature(fuel: Any, value: Any, default_value: Any = "", boolean: Any = False) -> None:
    """How ``default`` may be written."""
