"""Whatever a record holds, an expression gives a value or an error of ours: never a Python exception, never a float."""

from decimal import Decimal
from typing import Any

from evaluate import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.errors import DataError, ExpressionError
from flowrun.expressions.jinja_filters import FILTERS, SPECIAL
from flowrun.expressions.jinja_tests import TESTS
from flowrun.expressions.text import bounded_text, json_text, quick_json, sorted_json, to_text

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["10", "-1.50", "", " ", "a.b", "abc", "\x00\x7f\u2028", Decimal("1E+50"), 0, -1, 10**400]),
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from("abc"), v, max_size=3), max_leaves=12
)
names = sorted(set(FILTERS) | set(SPECIAL))
arguments = st.sampled_from(
    [
        "",
        "o.x",
        "o.y",
        "o.x, o.y",
        "1",
        "'a'",
        "-1",
        "none",
        "'a', 'b'",
        "2, 'a'",
        "true",
        "attribute='a'",
        "[1]",
        "2.5",
    ]
)


def holds_float(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(holds_float(each) for each in value)
    if isinstance(value, dict):
        return any(holds_float(each) for each in value.values())
    return isinstance(value, float)


def settled(expression: str, record: Any) -> None:
    try:
        found = evaluate("calc", expression, o=record)
    except (ExpressionError, DataError) as error:
        assert error.message
        return
    assert not holds_float(found), found


records = st.fixed_dictionaries({"v": values, "x": values, "y": values})


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(names), arguments, records)
def test_filters(name: str, given_: str, record: Any) -> None:
    settled(f"o.v | {name}({given_})" if given_ else f"o.v | {name}", record)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(name for name in TESTS if name.isalpha())), arguments, records)
def test_tests(name: str, given_: str, record: Any) -> None:
    settled(f"o.v is {name}({given_})" if given_ else f"o.v is {name}", record)


@settings(max_examples=3000, deadline=None)
@given(
    st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "<", "<=", ">", ">=", "==", "!=", "in", "not in", "and", "or"]),
    st.sampled_from(["o.v", "o.x", "2", "'3'", "-1.5", "[1]", "none", "true"]),
    records,
)  # fmt: skip
def test_operators(sign: str, right: str, record: Any) -> None:
    settled(f"o.v {sign} {right}", record)
    settled(f"{right} {sign} o.v", record)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["o.v[o.x]", "o.v[1:]", "o.v[o.x:o.y]", "o.v[::-1]", "o.v.a.b", "o.v[0].a", "-o.v", "+o.v", "not o.v", "range(o.v)",
                     "o.v if o.x else o.y", "{o.v: 1}", "[o.v, o.x]", "o.v | map('upper')", "o.v | select('gt', o.x)",
                     "o.v | selectattr('a', 'eq', o.x)", "o.v | groupby('a')", "o.v | sort(attribute='a,b')", "o.v | sum(start=o.x)",
                     "1 < o.v < 3", "o.v | first | default(o.x)", "(o.v | items | first)[0]", "o.v | round(o.x)", "o.v | round(1, o.x)"]),
    records,
)  # fmt: skip
def test_shapes(expression: str, record: Any) -> None:
    settled(expression, record)


@settings(max_examples=300, deadline=None)
@given(records)
def test_templates_give_text(record: Any) -> None:
    template = "{{ o.v }}{% for e in [o.v, o.x] %}{% for f in [e, 1] %}{{ f }}{{ loop.index }}{% endfor %}{% endfor %}{% set k = o.y %}{{ k ~ o.x }}"
    try:
        assert type(evaluate("template", template, o=record)) is str
    except DataError as error:
        assert error.message


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8) | st.decimals(-1000, 1000, places=2),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=4), v, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(plain)
def test_the_quick_writers_write_the_same(value: Any) -> None:
    assert quick_json(value) == json_text(value)
    assert sorted_json(value) == json_text(value, comma=", ", colon=": ", sort=True)
    assert to_text(value) == bounded_text(value)
