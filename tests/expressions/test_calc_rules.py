"""The table of the language: exact arithmetic, comparison, absence, templates' text."""

from decimal import Decimal
from typing import Any

import pytest
from evaluate import evaluate, explained

from flowrun.errors import BudgetExceeded, DataError, ExpressionError

D = Decimal
ORDER: dict[str, Any] = {
    "total": "1000.00", "amount": D("10.005"), "qty": 3, "sku": "AB-1", "zero": "0", "negative": "-12.50", "none": None, "blank": "",
    "yes": True, "long": "0.1000000000000000000000000000000000000001", "digits": "007", "exp": "1E5", "spaced": " 5 ",
    "items": [{"amount": "20.00", "qty": 1, "name": "Mug"}, {"amount": D("10.01"), "qty": 2, "name": "cup"}],
    "empty": [], "billing": {"country": "US", "zip": None}, "codes": ["10", 5, "x"], "list": [1, 2],
}  # fmt: skip

CASES: list[tuple[str, Any]] = [
    # numbers are Decimal; plain decimal text reads as one
    ("order.total > 1000", False),
    ("order.total >= 1000", True),
    ("order.total + 0.01", D("1000.01")),
    ("order.total * 2", D("2000.00")),
    ("order.qty * 10", 30),
    ("order.qty + 1", 4),
    ("order.total - order.amount", D("989.995")),
    ("0.1 + 0.2 == 0.3", True),
    ("order.long + 1", D("1.1000000000000000000000000000000000000001")),
    ("order.digits + 1", D("8")),
    ("order.negative | abs", D("12.50")),
    ("-order.qty", -3),
    ("- order.negative", D("12.50")),
    ("+order.total", D("1000.00")),
    ("1 / 3", D("0.3333333333333333333333333333")),
    ("10 / 5", D("2")),
    ("order.total / 3", D("333.3333333333333333333333333")),
    ("7 // 2", 3),
    ("-7 // 2", -4),
    ("'-7' // 2", D("-4")),
    ("7.5 // 2", D("3")),
    ("-7 % 3", 2),
    ("'-7' % 3", D("2")),
    ("7.5 % 2", D("1.5")),
    ("2 ** 10", 1024),
    ("1.1 ** 2", D("1.21")),
    ("2 ** -1", D("0.5")),
    ("4 ** 0.5", D("2")),
    ("0 ** 0", 1),
    ("1.23456789012345678901 * 1.23456789012345678901", D("1.5241578753238836750437433565526596567801")),
    # sum min max round abs
    ("order.items | sum('amount')", D("30.01")),
    ("order.items | sum(attribute='amount', start=1)", D("31.01")),
    ("order.items | map(attribute='amount') | sum", D("30.01")),
    ("order.empty | sum", 0),
    ("['9', '10'] | max", D("10")),
    ("['9', '10'] | min", D("9")),
    ("(order.items | max(attribute='amount')).name", "Mug"),
    ("'2.345' | round(2)", D("2.34")),
    ("2.355 | round(2)", D("2.36")),
    ("2.5 | round", D("2")),
    ("2.341 | round(2, 'ceil')", D("2.35")),
    ("2.349 | round(2, 'floor')", D("2.34")),
    ("1234 | round(-2)", D("1200")),
    ("order.amount | round(2, 'common') | string", "10.00"),
    # == != in read text as a number only when exactly one side is one
    ("order.total == 1000", True),
    ("1000 == order.total", True),
    ("order.total == '1000'", False),
    ("order.total == '1000.00'", True),
    ("order.total != 1000", False),
    ("order.amount == '10.0050'", True),
    ("order.sku == 5", False),
    ("order.exp == 100000", False),
    ("order.spaced == 5", False),
    ("order.qty == '3.0'", True),
    ("order.qty in ['3', 'x']", True),
    ("5 in order.codes", True),
    ("10 in order.codes", True),
    ("'10' in order.codes", True),
    ("'5' in order.codes", True),
    ("'5.0' in [5]", True),
    ("'5.0' in ['5']", False),
    ("order.sku in ['AB-1', 'x']", True),
    ("order.sku not in ['AB-1', 'x']", False),
    ("'B-' in order.sku", True),
    ("'country' in order.billing", True),
    ("order.none == none", True),
    ("order.none != none", False),
    ("order.sku == order.sku", True),
    ("order.list == [1, 2]", True),
    ("1 < order.qty <= 3", True),
    ("1 < order.qty < 3", False),
    # ~ joins; + does not
    ("order.sku ~ '-' ~ order.qty", "AB-1-3"),
    ("order.amount ~ ''", "10.005"),
    ("[1] + [2]", [1, 2]),
    # absence
    ("order.nope is missing", True),
    ("order.none is missing", True),
    ("order.blank is missing", False),
    ("order.sku is missing", False),
    ("order.nope.deeper.still is missing", True),
    ("order.none.deeper is missing", True),
    ("order.sku.deeper is missing", True),
    ("order.items[5] is missing", True),
    ("order.items[0].name is missing", False),
    ("order.items[5].name is defined", False),
    ("order.none is defined", True),
    ("order.nope is defined", False),
    ("order.nope is undefined", True),
    ("order.nope is not missing", False),
    ("order.nope | default('x')", "x"),
    ("order.none | default('x')", None),
    ("order.none | default('x', true)", "x"),
    ("order.blank | default('x', true)", "x"),
    ("order.blank | default('x')", ""),
    ("order.billing.state | default(order.billing.country)", "US"),
    ("order.empty | first | default('none left')", "none left"),
    ("order.empty | max | default(0)", 0),
    ("(order.items | first).name", "Mug"),
    ("(order.empty | first).name | default('-')", "-"),
    ("order['billing']['country']", "US"),
    ("order[order.sku] is missing", True),
    ("order.items[order.qty - 2].name", "cup"),
    ("order.items[-1].name", "cup"),
    # logic keeps Jinja's values
    ("order.blank or 'x'", "x"),
    ("order.sku and order.qty", 3),
    ("order.nope is missing or order.nope > 5", True),
    ("order.nope is defined and order.nope > 5", False),
    ("not order.empty", True),
    ("'a' if order.yes else 'b'", "a"),
    ("order.qty if order.zero == 0 else order.nope", 3),
    # a key that is named like a Python method is a key
    ("order.items | length", 2),
    ("order.billing | length", 2),
    ("{'items': 1}.items", 1),
    ("{'keys': {'values': 2}}.keys.values", 2),
]  # fmt: skip

ERRORS: list[tuple[str, str]] = [
    ("order.sku > 5", "'AB-1' is text, not a number, in '>'"),
    ("order.exp > 5", "'1E5' is text, not a number, in '>'"),
    ("order.spaced > 5", "' 5 ' is text, not a number, in '>'"),
    ("order.blank > 5", "'' is text, not a number, in '>'"),
    ("order.sku + 'x'", "'x' is text, not a number, in '+'"),
    ("order.sku + order.sku", "'AB-1' is text, not a number, in '+'"),
    ("order.total * order.sku", "'AB-1' is text, not a number, in '*'"),
    ("order.none > 5", "null is not a number, in '>'"),
    ("5 >= order.none", "null is not a number, in '>='"),
    ("order.none + 1", "null is not a number, in '+'"),
    ("order.items > 1", "a list is not a number, in '>'"),
    ("order.billing - 1", "an object is not a number, in '-'"),
    ("order.nope", "order.nope is missing"),
    ("order.nope > 5", "order.nope is missing"),
    ("order.billing.state", "order.billing.state is missing"),
    ("order.none.x", "order.none.x is missing (order.none is null)"),
    ("order.sku.x", "order.sku.x is missing (order.sku is text)"),
    ("order.nope.x.y", "order.nope.x.y is missing (order.nope is absent)"),
    ("order.items[7].name", "order.items[7].name is missing (order.items[7] is absent)"),
    ("order.items | sum('nope')", "nope is missing in row 1, in 'sum'"),
    ("order.items | sum('name')", "'Mug' is text, not a number, in 'sum'"),
    ("order.empty | first", "the first of an empty list is missing"),
    ("order.none | length", "null has no length"),
    ("order.none | sum", "null is not a list, in 'sum'"),
    ("order.qty | first", "a number is not a list, in 'first'"),
    ("1 / order.zero", "division by zero"),
    ("1 % 0", "division by zero"),
    ("'x' if order.empty", "the condition does not hold and there is no `else`"),
    ("order.sku | round", "'AB-1' is text, not a number, in 'round'"),
    ("order.qty in order.sku", "a number cannot be looked for in text"),
    ("order.sku in order.qty", "a number holds nothing: 'in' needs a list, an object or text"),
    ("order.nope is odd", "order.nope is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), CASES, ids=[case[0] for case in CASES])
def test_calc(expression: str, expected: Any) -> None:
    found = evaluate("calc", expression, order=ORDER)
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)
    assert not isinstance(found, float)


@pytest.mark.parametrize(("expression", "message"), ERRORS, ids=[case[0] for case in ERRORS])
def test_error(expression: str, message: str) -> None:
    with pytest.raises((DataError, ExpressionError)) as caught:
        evaluate("calc", expression, order=ORDER)
    assert caught.value.message == message


def test_plus_between_texts_says_how_to_join() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate("calc", "order.sku + 'x'", order=ORDER)
    assert caught.value.help == "join text with ~"


TEMPLATES: list[tuple[str, str]] = [
    ("", ""),
    ("plain", "plain"),
    ("XC-{{ order.sku }}", "XC-AB-1"),
    ("{{ order.sku }}", "AB-1"),
    ("{{ order.qty }}", "3"),
    ("{{ order.amount }}", "10.005"),
    ("{{ order.amount * 1000000000000 }}", "10005000000000.000"),
    ("{{ 0.0000001 * 1 }}", "0.0000001"),
    ("{{ order.yes }}", "True"),
    ("{{ order.qty }}{{ order.sku }}", "3AB-1"),
    ("{{ 1 + 1 }}-{{ order.total / 4 }}", "2-250.00"),
    ("{{ order.sku | lower }}/{{ order.sku | length }}", "ab-1/4"),
    ("a{# nobody reads this #}b", "ab"),
    ("{% if order.qty > 2 %}many{% elif order.qty %}few{% else %}none{% endif %}", "many"),
    ("{% if order.empty %}x{% endif %}", ""),
    ("{% for i in order.items %}{{ loop.index }}={{ i.amount }};{% endfor %}", "1=20.00;2=10.01;"),
    ("{% for i in order.items if i.qty > 1 %}{{ loop.index }}{{ i.name }}{% endfor %}", "1cup"),
    ("{% for i in order.empty %}x{% else %}nothing{% endfor %}", "nothing"),
    ("{% for k, v in order.billing | items %}{{ k }}:{{ v }} {% endfor %}", "country:US zip:None "),
    ("{% for g in order.items | groupby('qty') %}{{ g.grouper }}:{{ g.list | length }} {% endfor %}", "1:1 2:1 "),
    ("{% for q, l in order.items | groupby('qty') %}{{ q }}{{ l[0].name }}{% endfor %}", "1Mug2cup"),
    ("{% set x = order.qty %}{{ x + 1 }}", "4"),
    ("{% set x = order.billing %}{{ x.country }}{% set x = order.items[0] %}{{ x.name }}", "USMug"),
    ("{% set x = order.billing %}{{ x.country }}{% if order.yes %}{% set x = {'country': 'DE'} %}{% endif %}{{ x.country }}", "USDE"),
    ("{% set x %}a{{ order.qty }}{% endset %}{{ x ~ x }}", "a3a3"),
    ("{% set x | upper %}a{{ order.qty }}b{% endset %}{{ x }}", "A3B"),
    ("{%- if true -%}  x  {%- endif -%}", "x"),
    ("{{ '{{ ' ~ order.sku ~ ' }}' }}", "{{ AB-1 }}"),
    ("{{ order.items | map(attribute='name') | map('upper') | join(', ') }}", "MUG, CUP"),
    ("{{ order.items | tojson }}", '[{"amount": "20.00", "name": "Mug", "qty": 1}, {"amount": 10.01, "name": "cup", "qty": 2}]'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "expected"), TEMPLATES, ids=[case[0] for case in TEMPLATES])
def test_template(template: str, expected: str) -> None:
    assert evaluate("template", template, order=ORDER) == expected


@pytest.mark.parametrize("name", ["order", "loop"])
def test_a_loop_or_set_never_hides_a_name(name: str) -> None:
    for template in (
        f"{{% for {name} in order.items %}}{{% endfor %}}",
        "{% for order in order.items %}x{% endfor %}",
        "{% set order = 1 %}",
    ):
        with pytest.raises(ExpressionError) as caught:
            evaluate("template", template, order=ORDER)
        assert caught.value.code == "FR048"


def test_a_name_set_in_one_branch_only_is_missing_in_the_other() -> None:
    template = "{% if order.qty > 5 %}{% set x = 1 %}{% endif %}{{ x }}"
    with pytest.raises(DataError, match="x is missing"):
        evaluate("template", template, order=ORDER)
    assert evaluate("template", template.replace("> 5", "< 5"), order=ORDER) == "1"


def test_too_much_is_a_budget() -> None:
    with pytest.raises(BudgetExceeded, match="budget_exceeded"):
        evaluate(
            "template", "{% for i in range(100000) %}{% for j in range(100) %}x{% endfor %}{% endfor %}", order=ORDER
        )


@pytest.mark.parametrize(("expression", "expected"), CASES, ids=[case[0] for case in CASES])
def test_explain_gives_the_same(expression: str, expected: Any) -> None:
    found, reads = explained("calc", expression, order=ORDER)
    assert found == expected
    if "order." in expression:
        assert reads


def test_explain_names_what_was_read() -> None:
    assert explained("calc", "order.total > 5 and order.billing.country == 'US'", order=ORDER)[1] == [
        ("order.total", "1000.00"),
        ("order.billing.country", "US"),
    ]
    assert explained("jmespath", "order.items[?qty > `1`].name | [0]", order=ORDER) == (
        "cup",
        [("order.items", ORDER["items"])],
    )
    assert explained("template", "{{ order.nope | default('x') }}", order=ORDER) == ("x", [("order.nope", None)])
