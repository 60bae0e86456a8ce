"""Every standard filter and test of Jinja2: the same result for the same value, or a refusal with its reason."""

from __future__ import annotations

import copy
from decimal import Decimal as D
from typing import Any

import jinja2.filters
import jinja2.tests
import pytest
from evaluate import evaluate
from test_jinja_agrees import ENVIRONMENT

from flowrun.errors import FlowrunError
from flowrun.expressions.jinja_filters import FILTERS, REFUSED_FILTERS, SPECIAL
from flowrun.expressions.jinja_tests import REFUSED_TESTS, TESTS

VALUES: list[Any] = [
    None, True, False, 0, 1, -7, 3, D("2.5"), D("-0.05"), D("1234567.891"), 10**19, "", "a", " Pad ded ", "one two  three",
    "ÜBER straße", "<b>x&y</b>", "12", "1.50", "line\nnext\n\nlast", "a,b", [], [3, 1, 2], ["b", "A", "c"], [1, 2.0, D("1.5")][:2],
    ["a", 1], [None], [[1, 2], [3]], {}, {"b": 1, "a": 2}, {"k": "v w", "z": None}, [True, False], ["a", "a", "B", "b"],
    [{"n": 2, "w": "x"}, {"n": 1, "w": "y"}, {"n": 2, "w": "X"}], ["<i>", "é"], "FF", "0x1f", " 7 ", [2, 2, 1], [D("1.5"), D("0.5")],
]  # fmt: skip
ARGUMENTS: dict[str, list[str]] = {
    "batch": ["(2)", "(3, 'x')", "(0)", "(-1)"],
    "center": ["", "(9)", "(1)"],
    "d": ["('d')"],
    "default": ["", "('d')", "('d', true)"],
    "dictsort": ["", "(true)", "(false, 'value')", "(reverse=true)", "(by='x')"],
    "filesizeformat": ["", "(true)"],
    "float": ["", "(1.5)", "('x')"],
    "groupby": ["('n')", "('w')", "('w', case_sensitive=true)", "('q', 'd')"],
    "indent": ["", "(2)", "(2, true)", "(2, false, true)", "('>')"],
    "int": ["", "(5)", "(0, 16)", "(default=7)"],
    "join": ["", "(',')", "('-', 'w')", "(attribute='n')"],
    "map": ["('upper')", "(attribute='n')", "(attribute='q', default=0)", "('string')", "('default', 'x')"],
    "max": ["", "(attribute='n')", "(true)"],
    "min": ["", "(attribute='n')"],
    "reject": ["", "('none')", "('in', ['a', 'b'])"],
    "rejectattr": ["('n')", "('n', 'gt', 1)"],
    "replace": ["('a', 'b')", "('', '-')", "('o', '', 1)", "('a', 'b', 0)"],
    "round": ["", "(1)", "(2, 'floor')", "(2, 'ceil')", "(-1)", "(0, 'x')"],
    "select": ["", "('odd')", "('gt', 1)", "('string')"],
    "selectattr": ["('n')", "('n', 'eq', 2)"],
    "slice": ["(2)", "(3, 'f')", "(0)"],
    "sort": ["", "(true)", "(case_sensitive=true)", "(attribute='n')", "(attribute='n,w')"],
    "sum": ["", "(start=5)", "('n')", "(attribute='n')"],
    "tojson": ["", "(2)"],
    "trim": ["", "('a')"],
    "truncate": ["(5)", "(5, true)", "(9, false, '..', 0)", "(2)"],
    "unique": ["", "(true)", "(attribute='w')"],
    "wordwrap": ["(5)", "(5, false)", "(8, true, '|')"],
}
TEST_ARGUMENTS = {
    "divisibleby": ["(2)", "(0)"],
    "in": ["([1, 'a'])", "('abc')", "(5)"],
    "sameas": ["(true)", "(none)", "(1)"],
    **{name: ["(2)", "('a')", "(none)"] for name in ("eq", "equalto", "ne", "lt", "lessthan", "gt", "greaterthan", "le", "ge")},
}  # fmt: skip
READS_TEXT_AS_NUMBER = {
    "abs", "round", "sum", "max", "min", "odd", "even", "divisibleby", "select", "rejectattr", "selectattr",
    "lt", "lessthan", "gt", "greaterthan", "le", "ge",
}  # fmt: skip
"""Where Jinja refuses a text or null, the language reads it as a number or compares it (language reference)."""
ALSO_MORE = {"tojson": "decimals", "unique": "lists and objects"}
"""Where ours gives more than Jinja, which refuses."""
EXACT = {"float", "round", "filesizeformat"}
"""Numbers beyond a float's digits, which Jinja rounds."""

PRINTS = {name for name, (_, gives) in FILTERS.items() if gives == "text"}


def plain(value: Any) -> Any:
    """Types told apart, numbers by value, iterators and groups as lists."""
    if isinstance(value, dict):
        items = [(key, plain(inner)) for key, inner in value.items()]
        return [inner for _, inner in items] if [key for key, _ in items] == ["grouper", "list"] else dict(items)
    if isinstance(value, bool) or value is None:
        return ("fact", value)
    if isinstance(value, str):
        return ("text", str(value))
    if isinstance(value, int | float | D):
        return ("number", D(repr(value)) if isinstance(value, float) else D(value))
    return [plain(inner) for inner in value]


def differences(word: str, expression: str) -> list[str]:
    found = []
    for value in VALUES:
        try:
            made = ENVIRONMENT.compile_expression(expression, undefined_to_none=False)(o=copy.deepcopy(value))
            if isinstance(made, jinja2.Undefined):
                raise jinja2.UndefinedError
            wanted: Any = plain(made)
        except (
            jinja2.TemplateError,
            TypeError,
            ValueError,
            ArithmeticError,
            AttributeError,
            LookupError,
            AssertionError,
        ):
            wanted = "refused"
        try:
            ours: Any = plain(evaluate("calc", expression, o=value))
        except FlowrunError as error:
            assert error.message, expression
            continue  # refused, with a reason
        if ours == wanted or (wanted == "refused" and (word in READS_TEXT_AS_NUMBER or word in ALSO_MORE)):
            continue
        if word in EXACT and (value == 10**19 or isinstance(value, D)):
            continue
        if word == "float" and isinstance(value, D):  # its test: Decimal is what a number with a point is here
            continue
        if word in ("max", "min") and (isinstance(value, str) or value == [True, False]):  # numbers, always
            continue
        if word in (*PRINTS, "wordcount") and isinstance(value, list) and any(isinstance(one, D) for one in value):
            continue  # Python's own spelling of Decimals in a list
        found.append(f"{expression} of {value!r}: Jinja {wanted!r}, ours {ours!r}")
    return found


@pytest.mark.parametrize("name", sorted(jinja2.filters.FILTERS))
def test_a_filter(name: str) -> None:
    if name in REFUSED_FILTERS:
        with pytest.raises(FlowrunError) as caught:
            evaluate("calc", f"o | {name}", o="x")
        assert REFUSED_FILTERS[name] in caught.value.help
        return
    assert name in FILTERS or name in SPECIAL
    found = [d for arguments in ARGUMENTS.get(name, [""]) for d in differences(name, f"o | {name}{arguments}")]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", sorted(jinja2.tests.TESTS))
def test_a_test(name: str) -> None:
    if name in REFUSED_TESTS:
        with pytest.raises(FlowrunError) as caught:
            evaluate("calc", f"o is {name}", o="x")
        assert REFUSED_TESTS[name] in caught.value.help
        return
    assert name in TESTS
    if not name.isidentifier():
        return  # the sign of another name
    found = [d for arguments in TEST_ARGUMENTS.get(name, [""]) for d in differences(name, f"o is {name}{arguments}")]
    assert not found, "\n".join(found)
