"""Our JMESPath against jmespath.py, over generated expressions and values, numbers mapped to its types."""

from decimal import Decimal
from typing import Any

import jmespath
from evaluate import evaluate
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowrun.errors import ExpressionError
from flowrun.expressions import compile_jmespath

FIELDS = ["a", "b", "c", "foo", "items"]
# Without 0 and 1: inside lists Python takes them for false and true, and so does jmespath.py (test_jmespath_spec has them).
quarters = st.integers(-40, 40).map(lambda n: Decimal(n) / 4 if n % 4 else n // 4).filter(lambda n: n not in (0, 1))
scalars = st.one_of(st.none(), st.booleans(), quarters, st.sampled_from(["", "a", "b", "ab", "10", "2.5", "x y"]))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(FIELDS), values, min_size=1, max_size=5)

literals = st.sampled_from(
    [
        "`3`",
        "`2.5`",
        "`-4`",
        "`true`",
        "`false`",
        "`null`",
        '`"a"`',
        "'a'",
        "'10'",
        "`[]`",
        "`[3, 2]`",
        "`{}`",
        "''",
        '`{"a": 5}`',
    ]
)
fields = st.sampled_from([*FIELDS, '"foo"', "@"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    comparator = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    place = st.sampled_from(["[0]", "[-1]", "[1]", "[5]", "[*]", "[]", "[1:]", "[::-1]", "[:2]", "[-2:]", ".*"])
    unary = st.sampled_from(
        ["length", "keys", "values", "type", "to_string", "to_number", "to_array", "not_null", "reverse", "sort", "sum",
         "avg", "min", "max", "abs", "ceil", "floor", "merge"]
    )  # fmt: skip
    return st.one_of(
        st.tuples(inner, fields).map(lambda t: f"{t[0]}.{t[1]}" if t[1] != "@" else t[0]),
        st.tuples(inner, place).map("".join),
        st.tuples(inner, place, fields).map(lambda t: f"{t[0]}{t[1]}.{t[2]}" if t[2] != "@" else f"{t[0]}{t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]} | {t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]} || {t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]} && {t[1]}"),
        st.tuples(inner, comparator, inner).map(" ".join),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[?{t[1]}]"),
        st.tuples(inner, inner, fields).map(lambda t: f"{t[0]}[?{t[1]}].{t[2]}" if t[2] != "@" else f"{t[0]}[?{t[1]}]"),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]}, {t[1]}]"),
        st.tuples(inner, inner).map(lambda t: f"{{x: {t[0]}, y: {t[1]}}}"),
        st.tuples(fields, inner, inner).map(lambda t: f"{t[0]}.[{t[1]}, {t[2]}]" if t[0] != "@" else t[1]),
        inner.map(lambda t: f"!{t}"),
        inner.map(lambda t: f"({t})"),
        st.tuples(unary, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["sort_by", "max_by", "min_by"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, &{t[2]})"
        ),
        st.tuples(inner, inner).map(lambda t: f"map(&{t[0]}, {t[1]})"),
        st.tuples(st.sampled_from(["contains", "starts_with", "ends_with", "join"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
    )


expressions = st.recursive(fields | literals, _grow, max_leaves=6)


def floats(value: Any) -> Any:
    """Decimals as the floats jmespath.py knows."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [floats(each) for each in value]
    if isinstance(value, dict):
        return {key: floats(each) for key, each in value.items()}
    return value


def kinds(value: Any) -> Any:
    """Value and type together, so that true is not 1; a number is a number."""
    if isinstance(value, list):
        return [kinds(each) for each in value]
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return ("number", round(float(value), 9))
    return (type(value).__name__, value)


class Fails(Exception):
    pass


def theirs(expression: str, value: Any) -> Any:
    try:
        return jmespath.search(expression, value)
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        raise Fails(str(error)) from None
    except TypeError:  # text ordered against a number: the specification says null, jmespath.py trips
        assume(False)


@settings(max_examples=1500, deadline=None)
@given(expressions, objects)
def test_same_result_or_both_refuse(expression: str, value: Any) -> None:
    try:
        expected = theirs(expression, floats(value))
    except Fails:
        expected = Fails
    try:
        found = compile_jmespath(expression)(value)
    except ExpressionError:
        found = Fails
    if expected is Fails or found is Fails:
        assert expected is found, (expression, found)
        return
    assert kinds(found) == kinds(expected), expression


@settings(max_examples=300, deadline=None)
@given(expressions, objects)
def test_floats_come_back_as_floats(expression: str, value: Any) -> None:
    plain = floats(value)
    try:
        expected = theirs(expression, plain)
        found = compile_jmespath(expression)(plain)
    except (Fails, ExpressionError):
        return
    assert kinds(found) == kinds(expected)


@settings(max_examples=300, deadline=None)
@given(expressions, objects)
def test_a_flow_reads_the_same_behind_a_name(expression: str, value: Any) -> None:
    """``order | …`` in a flow is the expression over the record."""
    try:
        expected = compile_jmespath(expression)(value)
    except ExpressionError:
        return
    assert evaluate("jmespath", f"order | {expression}", order=value) == expected


@settings(max_examples=200, deadline=None)
@given(expressions, objects)
def test_the_value_is_left_alone(expression: str, value: Any) -> None:
    before = repr(value)
    try:
        compile_jmespath(expression)(value)
    except ExpressionError:
        pass
    assert repr(value) == before
