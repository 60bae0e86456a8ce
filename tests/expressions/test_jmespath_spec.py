"""The JMESPath specification case by case: every function, projection rule, literal and error. Our own table."""

import json
from decimal import Decimal
from typing import Any

import pytest
from evaluate import evaluate

from flowrun.errors import DataError, ExpressionError
from flowrun.expressions import compile_jmespath
from flowrun.expressions.jmespath_functions import FUNCTIONS

PEOPLE = [
    {"name": "b", "age": 30, "tags": ["x", "y"], "home": {"city": "Oslo"}},
    {"name": "a", "age": 50, "tags": [], "home": None},
    {"name": "c", "age": 40, "tags": ["z"], "home": {"city": "Rome"}},
]
DATA: dict[str, Any] = {
    "people": PEOPLE,
    "numbers": [3, 4, 8, 9],
    "decimals": [Decimal("1.01"), Decimal("1.2"), Decimal("-1.5")],
    "strings": ["a", "b", "c"],
    "empty": [],
    "nothing": None,
    "zero": 0,
    "no": False,
    "yes": True,
    "text": "Straße",
    "blank": "",
    "object": {"one": 1, "two": {"x": 2}},
    "bare": {},
    "nested": [[0, 1], [2, [3]], 4, None, [[5]]],
    "mixed": ["a", 1],
    "foo bar": {"a.b": "dotted", "é": "accent"},
    "ops": [{"k": 1}, {"k": True}, {"k": "1"}, {"k": None}, {}, {"k": [1]}, {"k": Decimal("1.0")}],
}

CASES: list[tuple[str, Any]] = [
    # identifiers, sub-expressions, indexes
    ("text", "Straße"),
    ("missing", None),
    ("object.two.x", 2),
    ("object.two.x.y", None),
    ("text.length", None),
    ('"foo bar"."a.b"', "dotted"),
    ('"foo bar"."\\u00e9"', "accent"),
    ('"foo bar"."é"', "accent"),
    ("numbers[0]", 3),
    ("numbers[-1]", 9),
    ("numbers[4]", None),
    ("numbers[-5]", None),
    ("text[0]", None),
    ("object[0]", None),
    ("nested[1][1][0]", 3),
    ("@.zero", 0),
    # slices
    ("numbers[1:3]", [4, 8]),
    ("numbers[::2]", [3, 8]),
    ("numbers[::-1]", [9, 8, 4, 3]),
    ("numbers[-2:]", [8, 9]),
    ("numbers[10:]", []),
    ("numbers[:-10]", []),
    ("text[1:2]", None),
    ("people[:2].name", ["b", "a"]),
    # projections: nulls are dropped, a projection stops at a pipe, a non-list gives null
    ("people[*].name", ["b", "a", "c"]),
    ("people[*].home.city", ["Oslo", "Rome"]),
    ("people[*].home", [{"city": "Oslo"}, {"city": "Rome"}]),
    ("people[*].missing", []),
    ("object[*]", None),
    ("missing[*].a", None),
    ("people[*].tags", [["x", "y"], [], ["z"]]),
    ("people[*].tags[0]", ["x", "z"]),
    ("people[*].tags | [0]", ["x", "y"]),
    ("people[*].tags[]", ["x", "y", "z"]),
    ("people[].tags[]", ["x", "y", "z"]),
    ("nested[]", [0, 1, 2, [3], 4, [5]]),
    ("nested[][]", [0, 1, 2, 3, 4, 5]),
    ("object[]", None),
    ("object.*", [1, {"x": 2}]),
    ("object.*.x", [2]),
    ("*.x", []),
    ("text.*", None),
    ("numbers.*", None),
    ("bare.*", []),
    ("people[*].[name, age]", [["b", 30], ["a", 50], ["c", 40]]),
    ("people[*].{n: name, c: home.city}", [{"n": "b", "c": "Oslo"}, {"n": "a", "c": None}, {"n": "c", "c": "Rome"}]),
    ("nothing.[a, b]", None),
    ("nothing.{a: a}", None),
    ("[zero, missing]", [0, None]),
    ("{a: zero, \"b c\": text}", {"a": 0, "b c": "Straße"}),
    # filters
    ("people[?age > `35`].name", ["a", "c"]),
    ("people[?age >= `40` && name != 'a'].name", ["c"]),
    ("people[?age < `35` || name == 'c'].name", ["b", "c"]),
    ("people[?!home].name", ["a"]),
    ("people[?home.city].name", ["b", "c"]),
    ("people[?tags].name", ["b", "c"]),
    ("people[?name == 'c'] | [0].age", 40),
    ("people[?name == 'q'] | [0]", None),
    ("people[?name == 'c'].home | [0].city", "Rome"),
    ("numbers[?@ > `3`]", [4, 8, 9]),
    ("object[?a]", None),
    ("people[?age > name]", []),
    ("people[?name > `10`]", []),
    ("people[?contains(tags, 'x')].name", ["b"]),
    # comparison: by type and value
    ("ops[?k == `1`].k", [1, Decimal("1.0")]),
    ("ops[?k == `true`].k", [True]),
    ("ops[?k == '1'].k", ["1"]),
    ("ops[?k == `null`]", [{"k": None}, {}]),
    ("ops[?k == `[1]`].k", [[1]]),
    ("ops[?k != `1`] | length(@)", 5),
    ("zero == no", False),
    ("`1` == yes", False),
    ("`[1]` == `[true]`", False),
    ('`{"a": [0]}` == `{"a": [false]}`', False),
    ('`{"a": 1, "b": 2}` == `{"b": 2, "a": 1.0}`', True),
    ("text == text", True),
    ("missing == nothing", True),
    ("yes < no", None),
    ("numbers < numbers", None),
    ("text < `1`", None),
    ("nothing > `1`", None),
    ("`1` < `1.5`", True),
    ("decimals[0] <= `1.01`", True),
    # truth: '', [], {}, null and false are false; 0 is true
    ("blank || 'x'", "x"),
    ("empty || 'x'", "x"),
    ("bare || 'x'", "x"),
    ("nothing || 'x'", "x"),
    ("no || 'x'", "x"),
    ("zero || 'x'", 0),
    ("`0.0` || 'x'", Decimal("0.0")),
    ("zero && 'x'", "x"),
    ("blank && 'x'", ""),
    ("!zero", False),
    ("!empty", True),
    ("!nothing", True),
    ("!text", False),
    ("(missing || nothing) || zero", 0),
    ("no && missing.foo || text", "Straße"),
    # literals
    ("`1.10`", Decimal("1.10")),
    ("`123456789012345678901234567890.000000001`", Decimal("123456789012345678901234567890.000000001")),
    ("`\"a\"`", "a"),
    ("`bare`", "bare"),
    ("`\\``", "`"),
    ("`{\"a\": [1, null]}`", {"a": [1, None]}),
    ("` [1] `", [1]),
    ("'it\\'s'", "it's"),
    ("'\\n'", "\\n"),
    ("'a\\\\b'", "a\\\\b"),
    ("'`1`'", "`1`"),
    # pipes and parentheses
    ("people[*].tags | [0] | [1]", "y"),
    ("(people[*].age)[0]", 30),
    ("people[*].age[0]", []),
    ("object | two | x", 2),
    # functions
    ("abs(`-1.5`)", Decimal("1.5")),
    ("abs(zero)", 0),
    ("avg(numbers)", 6),
    ("avg(`[1, 2]`)", Decimal("1.5")),
    ("avg(empty)", None),
    ("ceil(`1.2`)", 2),
    ("ceil(`-1.2`)", -1),
    ("floor(`1.9`)", 1),
    ("floor(`-1.2`)", -2),
    ("contains(strings, 'a')", True),
    ("contains(strings, 'q')", False),
    ("contains(text, 'aß')", True),
    ("contains(text, `1`)", False),
    ("contains(`[1]`, yes)", False),
    ("contains(`[1.0]`, `1`)", True),
    ("contains(nested, `[0, 1]`)", True),
    ("ends_with(text, 'ße')", True),
    ("ends_with(text, 'x')", False),
    ("starts_with(text, 'Str')", True),
    ("starts_with(text, 'str')", False),
    ("join('-', strings)", "a-b-c"),
    ("join('-', empty)", ""),
    ("keys(object)", ["one", "two"]),
    ("keys(bare)", []),
    ("values(object)", [1, {"x": 2}]),
    ("length(text)", 6),
    ("length(blank)", 0),
    ("length(object)", 2),
    ("length(numbers)", 4),
    ("map(&age, people)", [30, 50, 40]),
    ("map(&home.city, people)", ["Oslo", None, "Rome"]),
    ("map(&[], nested)", [[0, 1], [2, 3], None, None, [5]]),
    ("max(numbers)", 9),
    ("max(strings)", "c"),
    ("max(decimals)", Decimal("1.2")),
    ("max(empty)", None),
    ("min(numbers)", 3),
    ("min(strings)", "a"),
    ("min(empty)", None),
    ("max_by(people, &age).name", "a"),
    ("min_by(people, &age).name", "b"),
    ("max_by(people, &name).age", 40),
    ("max_by(empty, &age)", None),
    ("min_by(empty, &age)", None),
    ("merge(object, `{\"one\": 9, \"z\": 0}`)", {"one": 9, "two": {"x": 2}, "z": 0}),
    ("merge(bare)", {}),
    ("not_null(missing, nothing, zero, text)", 0),
    ("not_null(missing)", None),
    ("reverse(numbers)", [9, 8, 4, 3]),
    ("reverse(text)", "eßartS"),
    ("reverse(empty)", []),
    ("sort(numbers)", [3, 4, 8, 9]),
    ("sort(decimals)", [Decimal("-1.5"), Decimal("1.01"), Decimal("1.2")]),
    ("sort(`[\"b\", \"a\", \"B\"]`)", ["B", "a", "b"]),
    ("sort(empty)", []),
    ("sort_by(people, &age)[*].name", ["b", "c", "a"]),
    ("sort_by(people, &name)[*].age", [50, 30, 40]),
    ("sort_by(people, &length(tags))[*].name", ["a", "c", "b"]),
    ("sort_by(empty, &age)", []),
    ("sum(numbers)", 24),
    ("sum(decimals)", Decimal("0.71")),
    ("sum(empty)", 0),
    ("sum(people[*].age)", 120),
    ("to_array(zero)", [0]),
    ("to_array(numbers)", [3, 4, 8, 9]),
    ("to_array(missing)", [None]),
    ("to_number('1.10')", Decimal("1.10")),
    ("to_number('-5')", -5),
    ("to_number('1e3')", 1000),
    ("to_number('x')", None),
    ("to_number('')", None),
    ("to_number('nan')", None),
    ("to_number(zero)", 0),
    ("to_number(yes)", None),
    ("to_number(numbers)", None),
    ("to_number(nothing)", None),
    ("to_string(text)", "Straße"),
    ("to_string(decimals)", "[1.01,1.2,-1.5]"),
    ("to_string(object)", '{"one":1,"two":{"x":2}}'),
    ("to_string(nothing)", "null"),
    ("to_string(yes)", "true"),
    ("to_string(`\"é\"`)", "é"),
    ("to_string(`[\"é\"]`)", '["\\u00e9"]'),
    ("type(zero)", "number"),
    ("type(decimals[0])", "number"),
    ("type(text)", "string"),
    ("type(yes)", "boolean"),
    ("type(numbers)", "array"),
    ("type(object)", "object"),
    ("type(missing)", "null"),
]  # fmt: skip

ERRORS: list[tuple[str, int | None]] = [
    ("", 0), ("foo.", 4), (".foo", 0), ("foo.1", 4), ("foo.`1`", 4), ("foo.-1", 4), ("foo[", 4), ("foo]", 3), ("[a,b", 4),
    ("foo bar", 4), ("foo.'a'", 4), ("a =", 2), ("a = b", 2), ("a === b", 4), ("|", 0), ("a | ", 4), ("a ||", 4), ("|| a", 0),
    ("a &&", 4), ("! ", 2), ("(a", 2), ("a)", 1), ("{a}", 2), ("{a: }", 4), ("{a: b,}", 6), ("{'a': b}", 1), ("{a: b c: d}", 6),
    ("[a b]", 3), ("foo[?]", 5), ("foo[?a", 6), ("foo[a]", 4), ("foo['a']", 4), ("foo[1:2:3:4]", 9), ("foo[::0]", 4), ("foo[1.5]", 5),
    ("'open", 0), ('"open', 0), ("`open", 0), ('"a" ()', 4), ('"abs"(a)', 5), ("`[1`x", 4), ("foo.[]", None), ("foo[*", 5),
    ("abs(a b)", 6), ("abs(a,)", 6), ("abs(,a)", 4), ("abs(a", 5), ("foo..bar", 4), ("**", 1), ("foo.**", 5), ("#", 0), ("a-b", 1),
    ("\\x", 0), ("%", 0), ('"\\x"', 0), ("@foo", 1), ("foo@", 3), ("foo.@", 4),
    # functions: unknown, arity, types
    ("nope(a)", 0), ("foo.nope(@)", 4), ("empty[*].nope(@)", 9), ("abs()", 0), ("abs(zero, zero)", 0), ("length()", 0), ("merge()", 0),
    ("not_null()", 0), ("join('-')", 0), ("sort_by(people)", 0), ("contains(strings)", 0), ("type()", 0), ("to_string(a, b)", 0), ("to_array()", 0), ("to_number()", 0),
    ("sort_by(people, age)", 16), ("sort_by(&age, people)", 8), ("map(people, &age)", 4), ("abs(&zero)", 4), ("type(&a)", 5), ("&foo", 0),
    ("abs(text)", None), ("abs(yes)", None), ("abs(nothing)", None), ("avg(strings)", None), ("avg(zero)", None), ("avg(`[true]`)", None),
    ("ceil('1')", None), ("floor(empty)", None), ("contains(zero, 'a')", None), ("contains(object, 'one')", None), ("ends_with(text, zero)", None),
    ("starts_with(zero, text)", None), ("join(zero, strings)", None), ("join(',', mixed)", None), ("join(',', text)", None),
    ("keys(numbers)", None), ("keys(nothing)", None), ("values(text)", None), ("length(zero)", None), ("length(nothing)", None),
    ("length(yes)", None), ("map(&a, object)", None), ("max(mixed)", None), ("max(object)", None), ("max(nested)", None), ("min(people)", None),
    ("min(`[true]`)", None), ("max_by(people, &tags)", None), ("max_by(people, &missing)", None), ("min_by(text, &a)", None), ("min_by(mixed, &@)", None),
    ("merge(object, empty)", None), ("merge(nothing)", None), ("reverse(zero)", None), ("reverse(object)", None), ("sort(mixed)", None),
    ("sort(object)", None), ("sort(nested)", None), ("sort_by(people, &tags)", None), ("sort_by(people, &home.city)", None), ("sort_by(text, &a)", None),
    ("sort_by(mixed, &@)", None), ("sum(strings)", None), ("sum(mixed)", None), ("sum(zero)", None),
]  # fmt: skip


def exact(value: Any) -> Any:
    """The value with its types, so that True is not 1."""
    if isinstance(value, list):
        return [exact(each) for each in value]
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    return (isinstance(value, bool), value)


@pytest.mark.parametrize(("expression", "expected"), CASES, ids=[case[0] for case in CASES])
def test_case(expression: str, expected: Any) -> None:
    assert exact(compile_jmespath(expression)(DATA)) == exact(expected)
    assert exact(evaluate("jmespath", f"data | ({expression})", data=DATA)) == exact(expected)


@pytest.mark.parametrize(("expression", "offset"), ERRORS, ids=[repr(case[0]) for case in ERRORS])
def test_error(expression: str, offset: int | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_jmespath(expression)(DATA)
    assert isinstance(caught.value, ValueError)
    if offset is not None:
        assert caught.value.offset == offset


def test_a_wrong_type_in_a_flow_is_bad_data() -> None:
    with pytest.raises(DataError) as caught:
        evaluate("jmespath", "abs(data.text)", data=DATA)
    assert caught.value.error_class == "bad_data"
    assert caught.value.message == "abs() takes a number, not a string"


def test_every_function_has_a_case() -> None:
    for name in FUNCTIONS:
        assert any(f"{name}(" in expression for expression, _ in CASES), name
        assert any(f"{name}(" in expression for expression, _ in ERRORS), name


@pytest.mark.parametrize(
    ("expression", "data", "expected"),
    [
        ("[?price > `9.5`].price", [{"price": 9.5}, {"price": 9.75}], [9.75]),
        ("[?price == `1.1`]", [{"price": 1.1}], [{"price": 1.1}]),
        ("contains(@, `1.1`)", [1.1], True),
        ("to_number('1.1')", [0.5], 1.1),
        ("`1.1`", {"a": 0.5}, 1.1),
        ("avg(@)", [1, 2, 3.5], (1 + 2 + 3.5) / 3),
        ("sum(@)", [0.1, 0.2], 0.1 + 0.2),
        ("sum([@, `0.5`][])", [0.25], 0.75),
        ("max(@)", [1, 2.5], 2.5),
        ("sort(@)", [2.5, 1], [1, 2.5]),
        ("to_string(@)", [1.5, 1e16], "[1.5,1e+16]"),
        ("ceil(a)", {"a": 1.2}, 2),
        ("type(@)", 1.5, "number"),
    ],
)
def test_floats_of_plain_json(expression: str, data: Any, expected: Any) -> None:
    found = compile_jmespath(expression)(data)
    assert found == expected
    json.dumps(found)


def test_compiling_twice_is_once() -> None:
    assert compile_jmespath("a.b") is compile_jmespath("a.b")
