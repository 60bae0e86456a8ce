"""The shape of what is generated: deep expressions, many names, reads done once, nothing pasted."""

from typing import Any

import jmespath
import pytest
from evaluate import build, evaluate, explained

from flowrun.errors import ExpressionError
from flowrun.expressions import Code, compile_jmespath, emit, parse
from flowrun.expressions.jmespath_emit import multiplies
from flowrun.expressions.runtime import Fuel


def nested(depth: int) -> Any:
    value: Any = {"x": 1}
    for _ in range(depth):
        value = {"a": [value, {"a": []}, value]}
    return value


@pytest.mark.parametrize("depth", [1, 4, 5, 6, 9])
def test_projections_in_projections(depth: int) -> None:
    expression = "a[*]." * depth + "x"
    value = nested(depth)
    assert compile_jmespath(expression)(value) == jmespath.search(expression, value)
    assert evaluate("jmespath", f"o.{expression}", o=value) == jmespath.search(expression, value)
    filters = "a[?a || x]." * depth + "x"
    assert compile_jmespath(filters)(value) == jmespath.search(filters, value)


@pytest.mark.parametrize("depth", [5, 28])
def test_and_and_or_in_parentheses(depth: int) -> None:
    expression = "(a && (b || " * depth + "x" + "))" * depth
    for value in ({"a": 1, "b": False, "x": 5}, {"a": 1, "b": 0}, {"a": None}):
        assert compile_jmespath(expression)(value) == jmespath.search(expression, value)
        named = evaluate("jmespath", expression, a=value.get("a"), b=value.get("b"), x=value.get("x"))
        assert named == jmespath.search(expression, value)


def test_deep_and_explained() -> None:
    expression = "(a.k && (b.k || " * 20 + "x.k" + "))" * 20
    found, reads = explained("jmespath", expression, a={"k": 1}, b={"k": False}, x={"k": 5})
    assert found == 5
    assert ("x.k", 5) in reads


def test_a_condition_in_twenty_conditions() -> None:
    template = "{% if o.a %}" * 20 + "{{ o.b }}" + "{% endif %}" * 20
    assert evaluate("template", template, o={"a": 1, "b": "x"}) == "x"
    assert evaluate("calc", "(" * 20 + "o.a" + " if o.a else o.b)" * 20, o={"a": 1, "b": 2}) == 1
    assert evaluate("calc", " and ".join(["o.a > 0"] * 50), o={"a": 1}) is True


def source_of(language: Any, *texts: str) -> str:
    code = Code()
    for text in texts:
        code.line(f"x = {emit(parse(language, text), code, {'order': 'order'})}")
    return code.build("order, fuel").source


def test_a_path_is_read_once() -> None:
    source = source_of("jmespath", "order.billing.country", "order.billing.city", "order.billing.country")
    assert source.count(".get('billing')") == 1
    assert source.count(".get('country')") == 1


def test_what_was_read_inside_a_block_is_not_relied_on_after_it() -> None:
    code = Code()
    names = {"order": "order"}
    with code.block("if order is None:"):
        code.line(f"x = {emit(parse('jmespath', 'order.a'), code, names)}")
    code.line(f"return {emit(parse('jmespath', 'order.a'), code, names)}")
    built = code.build("order, fuel")
    assert built.function({"a": 1}, Fuel()) == 1
    assert built.source.count(".get('a')") == 2


def test_the_text_of_a_flow_is_never_code() -> None:
    for text in ("'); import os; ('", '"; x = 1', "\\", "\n    raise SystemExit", "{x}", "%s"):
        assert evaluate("template", "a" + text + "{{ order.x }}" + text, order={"x": "b"}) == "a" + text + "b" + text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        assert evaluate("jmespath", f'order."{escaped}"', order={text: 5}) == 5
        assert evaluate("calc", f'order["{escaped}"]', order={text: 5}) == 5


def test_a_name_of_the_flow_may_be_a_word_of_python() -> None:
    for name in ("class", "lambda", "fuel", "type", "list", "Decimal", "trace", "len", "record"):
        assert evaluate("jmespath", f"{name}.a", **{name: {"a": 1}}) == 1
        if name not in ("class", "lambda"):
            assert evaluate("calc", f"{name}.a + 1", **{name: {"a": 1}}) == 2


def test_the_same_function_serves_many_records() -> None:
    function = build("calc", "o.a | default(0)", ["o"])
    assert [function({"a": n} if n % 2 else {}, Fuel()) for n in range(4)] == [0, 1, 0, 3]


def test_names_that_are_not_there() -> None:
    for language in ("jmespath", "calc"):
        with pytest.raises(ExpressionError) as caught:
            evaluate(language, "ordr.id", order={})
        assert (caught.value.code, caught.value.offset, caught.value.length) == ("FR104", 0, 4)


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("order.{a: x, b: [y, z]}", 0),
        ("[order.a, order.b]", 0),
        ("order.items[*].{a: x, b: x}", 1),
        ("order.items[*].[@, x]", 1),
        ("order.items[*].[a, a.b]", 1),
        ("[order.a, other.a]", 1),
        ("[vars.a, vars.b]", 1),
        ("order | [@, @] | [@, @]", 2),
        ("map(&[@, @, @], order.x)", 2),
        ("[order.a, `1`, 'x']", 0),
        ("order.[length(a), b]", 1),
    ],
)
def test_what_may_grow(expression: str, times: int) -> None:
    """What grows without bound is measured before it leaves; what cannot grow costs nothing."""
    assert multiplies(parse("jmespath", expression).tree) == times
