"""No expression, however odd, is less than 2.5 times as fast as the obvious interpreter: jmespath.py or Jinja2 called
for that field. Run with: pytest -m benchmark tests/benchmarks/test_expression_ratio.py -s"""

import timeit
from decimal import Decimal
from typing import Any

import jinja2
import jmespath
import pytest
from figures import figure

from flowrun.expressions import Code, emit, parse
from flowrun.expressions.numbers import exact_numbers
from flowrun.expressions.runtime import Fuel

pytestmark = pytest.mark.benchmark
AT_LEAST = 2.5

ORDER: dict[str, Any] = {
    "order_id": "1001", "status": "P", "total_amount": "1000.01", "currency": "usd", "n": 3, "amt": Decimal("12.5"),
    "billing": {"country": "DE", "city": "Berlin", "name": {"first": "A", "last": "B"}}, "tags": ["a", "b", "c"],
    "lines": [{"sku": f" ab-{i} ", "price": f"10.0{i}", "amount": Decimal(f"20.0{i}"), "group": "MUGS"} for i in range(4)],
    "addresses": [{"type": "B", "city": "x"}, {"type": "S", "city": "y"}],
}  # fmt: skip

JMESPATH = [
    "o.billing.country", "o.lines[*].sku", "o.lines[?group=='MUGS'].price | [0]", "o.addresses[?type=='S'].city | [0]", "o.lines[0].sku",
    "length(o.lines)", "sum(o.lines[*].amount)", "avg(o.lines[*].amount)", "sort_by(o.lines, &price)[-1].sku", "o.billing.{a: country, b: city}",
    "[o.status, o.currency]", "o.missing || o.status", "join('-', o.tags)", "o.lines[].[sku, price][]", "to_string(o.billing)", "keys(o.billing)",
    "max_by(o.lines, &amount).sku", "contains(o.tags, 'b')", "o.lines[::-1].sku", "map(&amount, o.lines)", "o.billing.*",
    "merge(o.billing, {a: o.status})", "o.lines[?contains(sku, 'ab')] | length(@)", "o.lines[?amount > `20.01`].sku", "to_number(o.total_amount)",
    "o.lines | [*].{k: sku, v: [price, amount]}", "not_null(o.nope, o.status)", "reverse(o.tags)", "sort(o.tags)", "type(o.n)",
    "o.lines[*].group | [?@ == 'MUGS'] | length(@)", "!o.missing && o.n == `3`", "values(o.billing)", "o.tags == `[\"a\", \"b\", \"c\"]`",
]  # fmt: skip
TEMPLATES = [
    "XC-{{ o.order_id }}", "{{ o.billing.name.first }} {{ o.billing.name.last }}, {{ o.billing.city }}", "{{ o.status | lower }}-{{ o.n }}",
    "{% for i in o.lines %}{{ i.sku }}{% if not loop.last %},{% endif %}{% endfor %}", "{{ o.lines | map(attribute='sku') | join(',') }}",
    "{{ o.status | truncate(20) | title }}", "{{ o.amt | round(1) }}", "{{ o.billing | tojson }}", "{{ o.billing }}", "{{ o.tags | sort | join }}",
    "{{ o.status | replace('P', 'Q') }}", "{% set x = o.n %}{{ x }}{{ x }}", "{{ o.lines | groupby('group') | length }}", "{{ o.tags | unique | list }}",
    "{% if o.n > 2 %}a{% elif o.n %}b{% endif %}", "{{ o.billing | dictsort }}", "{{ o.currency | center(20) | trim | wordwrap(5) }}", "{{ range(9) | batch(2) | list }}",
    "{{ o.lines | selectattr('group', 'eq', 'MUGS') | map(attribute='sku') | map('trim') | join('/') }}", "{{ '%s' }}{{ o.currency | urlencode }}",
]  # fmt: skip
CALC = [
    "o.amt * 2 > 20 and o.status == 'P'", "o.n * 10", "o.lines | sum('amount')", "o.status in ['P', 'Q']", "o.lines | length > 0", "o.n // 2",
    "o.nope | default('x')", "o.amt / 3", "o.n ** 2", "'b' in o.tags", "o.tags | first", "o.status is string", "o.n % 2 == 1",
    "(o.lines | first).sku", "o.lines[o.n - 3].sku", "o.tags | reverse | list", "o.amt | abs | round", "1 < o.n < 5", "o.status ~ o.n ~ o.amt",
]  # fmt: skip
CASES = [("jmespath", t) for t in JMESPATH] + [("template", t) for t in TEMPLATES] + [("calc", t) for t in CALC]


def floats(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: floats(each) for key, each in value.items()}
    return [floats(each) for each in value] if isinstance(value, list) else value


def seconds(work: Any) -> float:
    timer = timeit.Timer(work)
    number = max(1, timer.autorange()[0] // 20)
    return min(timer.repeat(7, number)) / number


def interpreter(language: str, text: str) -> Any:
    if language == "jmespath":
        compiled, plain = jmespath.compile(text), {"o": floats(ORDER)}
        return lambda: compiled.search(plain)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    if language == "template":
        template = environment.from_string(text)
        return lambda: template.render(o=ORDER)
    expression = environment.compile_expression(text)
    return lambda: expression(o=ORDER)


@pytest.mark.parametrize(("language", "text"), CASES, ids=[text for _, text in CASES])
def test_ratio(language: Any, text: str) -> None:
    code = Code()
    code.line(f"return {emit(parse(language, text), code, {'o': 'o'})}")
    function, fuel = code.build("o, fuel").function, Fuel(10**15)
    with exact_numbers():
        ours = seconds(lambda: function(ORDER, fuel))
    theirs = seconds(interpreter(language, text))
    figure(f"{ours * 1e9:6.0f} ns  {language} {text}"[:64], theirs / ours, least=AT_LEAST)
