"""What is said about an expression before it runs: the code, the words, and the very characters."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.contract import Field, Shape
from flowrun.errors import ExpressionError
from flowrun.expressions import Analysis, analyse, parse

LINE = Shape(
    "line",
    {
        "sku": Field("sku", "text"),
        "price": Field("price", "decimal"),
        "qty": Field("qty", "text"),
        "gift": Field("gift", "boolean"),
        "tags": Field("tags", "list", item=Field("", "text")),
    },
)
ADDRESS = Shape("address", {"country": Field("country", "text")}, closed=False, source="3 samples")
V2 = Shape("v2", {"Quantity": Field("Quantity", "decimal")}, text_numbers=True)
ORDER = Shape(
    "order",
    {
        "id": Field("id", "text"),
        "total": Field("total", "decimal"),
        "count": Field("count", "integer"),
        "status": Field("status", "text", enum=("P", "Q")),
        "day": Field("day", "date"),
        "items": Field("items", "list", item=Field("", "object", shape=LINE)),
        "billing": Field("billing", "object", shape=ADDRESS),
        "stock": Field("stock", "object", shape=V2),
        "extra": Field("extra"),
    },
    source="API",
)
SCOPE = {
    "order": Field("order", "object", shape=ORDER),
    "vars": Field("vars", "object", shape=Shape("vars", {"sum": Field("sum", "decimal")})),
    "env": Field("env", "object", shape=Shape("env", {"org": Field("org", "text")})),
    "big": Field("big", "boolean"),
    "foreign": Field("foreign", "boolean"),
}


def look(language: Any, text: str) -> Analysis:
    return analyse(parse(language, text), SCOPE)


# language, text, then per finding: code, severity, the marked characters, a piece of what is said
FINDINGS: list[tuple[str, str, list[tuple[str, str, str, str]]]] = [
    ("jmespath", "ordr.id", [("FR104", "error", "ordr", "did you mean 'order'?")]),
    ("jmespath", "OR", [("FR104", "error", "OR", "a constant is written { value: OR }")]),
    ("jmespath", "sum(ordr.items[*].price)", [("FR104", "error", "ordr", "'order'")]),
    ("jmespath", "[order.id, ordre.id]", [("FR104", "error", "ordre", "'order'")]),
    ("jmespath", "order.id == other.id", [("FR104", "error", "other", "unknown name")]),
    ("jmespath", "order.id == null", [("FR104", "error", "null", "write `null` in backticks")]),
    ("jmespath", "'OR'", [("FR105", "error", "'OR'", "{ value: OR }")]),
    ("jmespath", "`10`", [("FR105", "error", "`10`", "constant")]),
    ("jmespath", "length('abc')", [("FR105", "error", "length('abc')", "constant")]),
    ("jmespath", "@", [("FR106", "error", "@", "at the root")]),
    ("jmespath", "keys(@)", [("FR106", "error", "@", "at the root")]),
    ("jmespath", "[0].id", [("FR106", "error", "[", "at the root")]),
    ("jmespath", "[?id == 'x']", [("FR106", "error", "[", "at the root")]),
    ("jmespath", "*.id", [("FR106", "error", "*", "at the root")]),
    ("jmespath", "[*].id", [("FR106", "error", "[", "at the root")]),
    ("jmespath", "order.items[?sku == order.id]", [("FR107", "error", "order", "each")]),
    ("jmespath", "order.extra[?sku == vars.sum]", [("FR107", "lint", "vars", "where:")]),
    ("jmespath", "sort_by(order.items, &order.id)", [("FR107", "error", "order", "outer names")]),
    ("jmespath", "order.idd", [("FR108", "error", "idd", "did you mean 'id'?")]),
    ("jmespath", "order.billing.zip", [("FR109", "lint", "zip", "never seen")]),
    ("jmespath", "order.items[*].skuu", [("FR108", "error", "skuu", "'sku'")]),
    ("jmespath", "order.items[0].skuu", [("FR108", "error", "skuu", "'sku'")]),
    ("jmespath", "order.items[?skuu == 'x']", [("FR108", "error", "skuu", "'sku'")]),
    ("jmespath", "order.items[].{a: sku, b: prize}", [("FR108", "error", "prize", "'price'")]),
    ("jmespath", "order.items | [0].skuu", [("FR108", "error", "skuu", "'sku'")]),
    ("jmespath", "sort_by(order.items, &skuu)", [("FR108", "error", "skuu", "'sku'")]),
    ("jmespath", "order.items.sku", [("FR108", "error", "sku", "is a list")]),
    ("jmespath", "order.id.x", [("FR108", "error", "x", "order.id is text")]),
    ("jmespath", "vars.summ", [("FR108", "error", "summ", "'sum'")]),
    ("jmespath", "order.id[*].x", [("FR113", "error", "id", "not a list")]),
    ("jmespath", "lenght(order.id)", [("FR110", "error", "lenght", "'length'")]),
    ("jmespath", "order.items[?contians(sku, 'a')]", [("FR110", "error", "contians", "'contains'")]),
    ("jmespath", "length(order.id, order.id)", [("FR112", "error", "length", "1 argument, not 2")]),
    ("jmespath", "sort_by(order.items)", [("FR112", "error", "sort_by", "2 arguments, not 1")]),
    ("jmespath", "abs(order.id)", [("FR113", "error", "abs", "takes a number, not text")]),
    ("jmespath", "length(order.count)", [("FR113", "error", "length", "not a number")]),
    ("jmespath", "sort_by(order.items, sku)", [("FR104", "error", "sku", ""), ("FR113", "error", "sku", "after '&'")]),
    ("jmespath", "order.items[?qty > `10`]", [("FR114", "lint", ">", "gives null")]),
    ("jmespath", "order.items[?`10` < qty]", [("FR114", "lint", "<", "gives null")]),
    ("jmespath", "order.stock.Quantity > `10`", [("FR114", "lint", ">", "order.stock.Quantity holds text")]),
    ("jmespath", "order.id == `10`", [("FR114", "lint", "==", "never equal")]),
    ("jmespath", "order.items[?price > `10`]", []),
    ("jmespath", "sum(order.items[*].qty)", [("FR114", "error", "sum", "adds numbers")]),
    ("jmespath", "sum(order.items[*].price)", []),
    ("jmespath", "!order.billing.country", [("FR108", "error", "billing", "!(a.b)")]),
    ("jmespath", "order.extra.what.ever[0].x", []),
    ("jmespath", "order.billing.country || env.org", []),
    ("calc", "ordr.total > 5", [("FR104", "error", "ordr", "'order'")]),
    ("calc", "order.total > 5 and oder.count and ordre.id", [("FR104", "error", "oder", ""), ("FR104", "error", "ordre", "")]),
    ("calc", "order.totl > 5", [("FR108", "error", "totl", "'total'")]),
    ("calc", "order['totl'] > 5", [("FR108", "error", "totl", "'total'")]),
    ("calc", "order.billing.zip", [("FR109", "lint", "zip", "")]),
    ("calc", "order.items.sku", [("FR108", "error", "sku", "is a list")]),
    ("calc", "order.items[0].skuu", [("FR108", "error", "skuu", "")]),
    ("calc", "order.items | sum('amount')", [("FR108", "error", "amount", "it has: sku")]),
    ("calc", "order.items | map(attribute='prize') | sum", [("FR108", "error", "prize", "'price'")]),
    ("calc", "order.items | selectattr('gft') | list", [("FR108", "error", "gft", "'gift'")]),
    ("calc", "(order.items | first).skuu", [("FR108", "error", "skuu", "'sku'")]),
    ("calc", "1 + 2", [("FR105", "error", "1 + 2", "constant")]),
    ("calc", "order.id | uper", [("FR111", "error", "uper", "'upper'")]),
    ("calc", "order.id is defned", [("FR111", "error", "defned", "'defined'")]),
    ("calc", "order.id | attr('x')", [("FR111", "error", "attr", "order.name")]),
    ("calc", "order.id | truncate", []),
    ("calc", "order.id | replace('a')", [("FR112", "error", "replace", "new")]),
    ("calc", "order.id | upper(1)", [("FR112", "error", "upper", "too many")]),
    ("calc", "order.id.upper()", [("FR110", "error", "upper", "| upper")]),
    ("calc", "len(order.items)", [("FR110", "error", "len", "unknown function")]),
    ("calc", "order.items > 5", [("FR113", "error", ".", "is a list")]),
    ("calc", "order.id + 'x'", [("FR113", "error", "'x'", "join text with ~")]),
    ("calc", "order.day > 5", [("FR113", "error", ".", "is a date")]),
    ("calc", "order.total > none", [("FR119", "error", "none", "is missing")]),
    ("calc", "order.total == 'x'", [("FR114", "lint", "'x'", "never equals")]),
    ("calc", "order.status == 'Z'", [("FR114", "lint", "'Z'", "never 'Z'")]),
    ("calc", "order.status == 'P'", []),
    ("calc", "order.total - order.count | round(2)", [("FR116", "lint", "round", "(a - b) | round")]),
    ("calc", "order.total - (order.count | round(2))", []),
    ("calc", "(order.total - order.count) | round(2)", []),
    ("calc", "order.total - order.items | sum('price')", []),
    ("template", "XC-{{ ordr.id }}", [("FR104", "error", "ordr", "'order'")]),
    ("template", "{{ order.id }} {{ order.idd }} {{ oder }}", [("FR108", "error", "idd", ""), ("FR104", "error", "oder", "")]),
    ("template", "a\n{{ order.id\n  | uper }}", [("FR111", "error", "uper", "")]),
    ("template", "{% for i in order.items %}{{ i.skuu }}{% endfor %}", [("FR108", "error", "skuu", "'sku'")]),
    ("template", "{% for i in order.items %}{{ loop.indx }}{% endfor %}", [("FR108", "error", "indx", "'index'")]),
    ("template", "{% for order in order.items %}{% endfor %}", [("FR048", "error", "order", "never hides")]),
    ("template", "{% set a = order.id %}{{ a }}{{ b }}", [("FR104", "error", "b", "")]),
    ("template", "no names at all", []),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text", "expected"), FINDINGS, ids=[text for _, text, _ in FINDINGS])
def test_findings(language: str, text: str, expected: list[tuple[str, str, str, str]]) -> None:
    found = look(language, text).findings
    marked = [(each.code, each.severity, text[each.offset : each.offset + each.length]) for each in found]
    assert marked == [case[:3] for case in expected]
    for each, case in zip(found, expected, strict=True):
        assert case[3] in " ".join((each.message, each.label, each.help, *each.notes))


def test_the_note_of_the_language_page() -> None:
    scope = {name: SCOPE[name] for name in ("order", "vars", "env")} | {
        name: Field(name, "boolean") for name in ("big_order", "foreign")
    }
    found = analyse(parse("template", "XC-{{ ordr.order_id }}"), scope).findings
    assert [each.message for each in found] == ["unknown name 'ordr'"]
    assert found[0].notes == ("in scope here: order, vars, env, and the rules big_order, foreign",)
    assert (found[0].offset, found[0].length) == (6, 4)


# text → code, offset, length
SYNTAX: list[tuple[str, str, str, int]] = [
    ("jmespath", "order.", "FR101", 6),
    ("jmespath", "order.items[", "FR101", 12),
    ("jmespath", "order..id", "FR101", 6),
    ("jmespath", "order.id =  'x'", "FR101", 9),
    ("jmespath", "order items", "FR101", 6),
    ("jmespath", "order.items[::0]", "FR113", 12),
    ("calc", "order.total >", "FR101", 13),
    ("calc", "order.total > > 5", "FR101", 14),
    ("calc", "order.total 5", "FR101", 12),
    ("calc", "(order.total", "FR101", 12),
    ("calc", "order.total ! 5", "FR101", 12),
    ("calc", "order.total = 5", "FR101", 12),
    ("calc", "", "FR101", 0),
    ("template", "a {{ order.id", "FR101", 13),
    ("template", "a {{ order.id } b", "FR101", 14),
    ("template", "a {{ }} b", "FR101", 5),
    ("template", "{% if order.id %}x", "FR101", 18),
    ("template", "{% fi %}", "FR101", 3),
    ("template", "{% endif %}", "FR101", 3),
    ("template", "{% for i order.items %}{% endfor %}", "FR101", 9),
    ("template", "ab {% macro m() %}{% endmacro %}", "FR117", 6),
    ("template", "{% include 'x' %}", "FR117", 3),
    ("template", "{% import 'x' as y %}", "FR117", 3),
    ("template", "{% from 'x' import y %}", "FR117", 3),
    ("template", "{% extends 'x' %}", "FR117", 3),
    ("template", "{% call m() %}{% endcall %}", "FR117", 3),
    ("template", "{{ order.id }}{% block b %}{% endblock %}", "FR117", 17),
]


@pytest.mark.parametrize(
    ("language", "text", "code", "offset"), SYNTAX, ids=[text or "empty" for _, text, _, _ in SYNTAX]
)
def test_syntax(language: Any, text: str, code: str, offset: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(language, text)
    assert (caught.value.code, caught.value.offset) == (code, offset)


RESULTS: list[tuple[str, str, str]] = [
    ("jmespath", "order.id", "text"),
    ("jmespath", "order.total", "decimal"),
    ("jmespath", "order.items", "list"),
    ("jmespath", "order.items[0]", "object"),
    ("jmespath", "order.items[0].price", "decimal"),
    ("jmespath", "order.items[?gift].price | [0]", "decimal"),
    ("jmespath", "length(order.items)", "integer"),
    ("jmespath", "order.id == 'x'", "boolean"),
    ("jmespath", "order.id || env.org", "text"),
    ("jmespath", "order.id || order.total", "any"),
    ("jmespath", "{a: order.id}", "object"),
    ("jmespath", "order.extra.x", "any"),
    ("jmespath", "max_by(order.items, &price).sku", "text"),
    ("jmespath", "to_string(order.total)", "text"),
    ("calc", "order.total * 2", "decimal"),
    ("calc", "order.count + 1", "integer"),
    ("calc", "order.count / 2", "decimal"),
    ("calc", "order.total > 2", "boolean"),
    ("calc", "order.items | sum('price')", "decimal"),
    ("calc", "order.items | length", "integer"),
    ("calc", "order.id | upper", "text"),
    ("calc", "order.id ~ order.total", "text"),
    ("calc", "(order.items | first).sku", "text"),
    ("calc", "'a' if big else 'b'", "text"),
    ("calc", "big and foreign", "boolean"),
    ("calc", "order.id | default('x')", "text"),
    ("template", "{{ order.total }}", "text"),
]


@pytest.mark.parametrize(("language", "text", "kind"), RESULTS, ids=[text for _, text, _ in RESULTS])
def test_result(language: str, text: str, kind: str) -> None:
    found = look(language, text)
    assert found.findings == ()
    assert found.result.type == kind


def test_a_projection_is_told() -> None:
    assert look("jmespath", "order.items[*].sku").projects
    assert look("jmespath", "order.items[?gift].sku").projects
    assert not look("jmespath", "order.items[*].sku | [0]").projects
    assert not look("jmespath", "order.items").projects
    item = look("jmespath", "order.items[*].sku").result.item
    assert item is not None and item.type == "text"


def test_reads() -> None:
    def paths(language: str, text: str) -> list[tuple[str, tuple[str | int, ...]]]:
        return [(read.name, read.path) for read in look(language, text).reads]

    assert paths("jmespath", "order.items[?gift].sku | [0]") == [
        ("order", ("items", "*", "gift")),
        ("order", ("items", "*", "sku")),
    ]
    assert paths("jmespath", "order.items[0].sku || env.org") == [("order", ("items", 0, "sku")), ("env", ("org",))]
    assert paths("calc", "order.items | sum('price') > vars.sum") == [
        ("order", ("items", "*", "price")),
        ("vars", ("sum",)),
    ]
    assert paths("template", "{% for i in order.items %}{{ i.sku }}{% endfor %}") == [("order", ("items", "*", "sku"))]


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("jmespath", "order.items[0].sku", [("order", 0, ("items", 0, "sku"))]),
        ("jmespath", "order.items[*].sku", [("order", 0, ("items",))]),
        ("jmespath", "join('-', [a.b, c])", [("a", 11, ("b",)), ("c", 16, ())]),
        ("jmespath", "a[?b == c].d | e", [("a", 0, ())]),
        ("jmespath", '"odd name".x', [("odd name", 0, ("x",))]),
        ("calc", "order.total>big", [("order", 0, ("total",)), ("big", 12, ())]),
        ("calc", "order['a b'][0].c", [("order", 0, ("a b", 0, "c"))]),
        ("template", "x {{ a }}{% for i in b.c %}{{ i.d }}{{ loop.index }}{{ e }}{% endfor %}", [("a", 5, ()), ("b", 21, ("c",)), ("e", 55, ())]),
        ("template", "{% set s = a %}{{ s }}{{ b | default(c) }}", [("a", 11, ()), ("b", 25, ()), ("c", 37, ())]),
        ("template", "{{ range(n) | join }}", [("n", 9, ())]),
    ],
)  # fmt: skip
def test_names(language: Any, text: str, names: list[Any]) -> None:
    assert [(use.name, use.offset, use.path) for use in parse(language, text).names] == names


SOUP = st.lists(
    st.sampled_from(
        ["order", ".", "items", "[", "]", "?", "*", "(", ")", "|", "||", "&&", "&", "==", "<", "'a'", '"b"', "`1`", "@", ",", ":", "{", "}",
         "{{", "}}", "{%", "%}", "if", "for", "in", "set", "=", "+", "-", "~", "not", "is", "missing", "upper", "1.5", " ", "\n", "é", "#", "\\"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["jmespath", "template", "calc"]), SOUP | st.text(max_size=30))
def test_any_text_is_analysed_or_refused_with_a_place(language: Any, text: str) -> None:
    try:
        parsed = parse(language, text)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)
        assert error.offset + error.length <= len(text) + 1
        return
    for use in parsed.names:
        assert use.name in text[use.offset : use.offset + use.length] or "\\" in text
    for finding in analyse(parsed, SCOPE).findings:
        assert 0 <= finding.offset <= len(text)
        assert finding.offset + finding.length <= len(text) + 1
        assert finding.message
