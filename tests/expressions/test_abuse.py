"""Attacks on expressions: each is an error in its own words, quickly and in little memory, or plain harmless text.

Known chains of template injection (HackTricks, PayloadsAllTheThings, the n8n advisories of 2025 and 2026) and the
resource attacks that the security table of the acceptance page names.
"""

import time
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from evaluate import evaluate

from flowrun.errors import DataError, ExpressionError, FlowrunError
from flowrun.expressions import compile_jmespath, parse

SECONDS, BYTES = 1.0, 200_000_000


class Tempting:
    """An object that must never come into reach, should one ever be handed in."""

    password = "hunter2"
    dropped = False

    def drop(self) -> str:
        Tempting.dropped = True
        return "dropped"


ORDER: dict[str, Any] = {
    "id": "1001", "n": 3, "d": Decimal("1.5"), "items": [{"a": "x", "b": 1}], "text": "abc", "none": None,
    "long": "x" * 500_000, "many": list(range(20_000)), "huge": Decimal("1E+999999"), "tiny": Decimal("1E-999999"),
    "format": "{0.__class__}", "__class__": "mine", "digits": "9" * 100_000,
}  # fmt: skip

INJECTION = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ order.text.__class__ }}",
    "{{ order.text['__class__'] }}",
    "{{ order.items.__len__() }}",
    "{{ order.items.append(1) }}",
    "{{ order.items[0].update({'a': 2}) }}",
    "{{ order.items.pop() }}",
    "{{ order | attr('__class__') }}",
    "{{ order.text | attr('for' ~ 'mat') }}",
    "{{ order.text.format(order) }}",
    "{{ '{0.__class__}'.format(order) }}",
    "{{ '%s' % order }}",
    "{{ '{0.__class__}' | format(order) }}",
    "{{ '%x' | format(255) }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ config }}",
    "{{ config.items() }}",
    "{{ request.application.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum(1000000) }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ get_flashed_messages.__globals__.__builtins__ }}",
    "{{ url_for.__globals__ }}",
    "{{ g.pop.__globals__.__builtins__ }}",
    "{{ range.__class__ }}",
    "{{ ().__class__.__bases__[0] }}",
    "{{ [].__class__.__base__ }}",
    "{{ {}.__class__ }}",
    "{{ (1).__class__ }}",
    "{{ order.n.__class__ }}",
    "{{ order.d.as_tuple() }}",
    "{{ order.d.__reduce__() }}",
    "{{ order.text.encode().decode() }}",
    "{{ order.text | map(attribute='__class__') | list }}",
    "{{ [order.text] | map(attribute='__class__') | list }}",
    "{{ [order.text] | map('attr', '__class__') | list }}",
    "{{ [order.text] | groupby('__class__') }}",
    "{{ [order.n] | sum('__class__') }}",
    "{{ [order.n] | sort(attribute='__class__') }}",
    "{{ [order.n] | selectattr('__class__') | list }}",
    "{{ [order.text] | map('format') | list }}",
    "{{ [''] | map('xmlattr') | list }}",
    "{% import 'os' as os %}{{ os }}",
    "{% from 'os' import system %}",
    "{% include '/etc/passwd' %}",
    "{% include order.text %}",
    "{% extends 'base.html' %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% call order() %}x{% endcall %}",
    "{% block b %}x{% endblock %}",
    "{% autoescape true %}{{ order.id }}{% endautoescape %}",
    "{% filter upper %}x{% endfilter %}",
    "{% with a = 1 %}{{ a }}{% endwith %}",
    "{% do order.update({}) %}",
    "{% for x in order recursive %}{{ loop([x]) }}{% endfor %}",
    "{% set order.id = 2 %}",
    "{% set order = 2 %}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}",
    "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop }}{% endfor %}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os').system('id') }}",
    "{{ _as_dict0 }}",
    "{{ fuel }}",
    "{{ trace }}",
    "{{ Decimal }}",
    "{{ n_0 }}",
    "{{ order.id if False }}",
    "{{ order.missing }}",
    "{{ ordr.id }}",
    "{{ True.__class__ }}",
    "{{ order['it' ~ 'ems']['__class__'] }}",
    "{{ x.__init__ }}{{ 1/0 }}",
]


def bounded(work: Any, *, fails: bool = True) -> Any:
    """Runs it within the second and the memory; gives the error it must end in."""
    tracemalloc.start()
    started = time.perf_counter()
    error = None
    try:
        work()
    except FlowrunError as found:
        error = found
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < SECONDS * 4, f"{took:.1f} s"  # tracing slows allocation some four times
    assert peak < BYTES, f"{peak:,} bytes"
    if fails:
        assert error is not None, "no error"
        assert isinstance(error, (ExpressionError, DataError))
    return error


@pytest.mark.parametrize("template", INJECTION)
def test_injection(template: str) -> None:
    before = repr(ORDER)
    error = bounded(lambda: evaluate("template", template, order=ORDER))
    assert "object at 0x" not in str(error) and "<class" not in str(error) and "root:" not in str(error)
    assert repr(ORDER) == before


@pytest.mark.parametrize("template", [t for t in INJECTION if t.startswith("{{")])
def test_injection_in_calc(template: str) -> None:
    bounded(lambda: evaluate("calc", template[2:-2].split("}}")[0].strip(), order=ORDER))


def test_a_key_named_like_python_is_just_a_key() -> None:
    assert evaluate("template", "{{ order.__class__ }} {{ order.format }}", order=ORDER) == "mine {0.__class__}"
    assert evaluate("template", "{{ order.items[0].a }}", order=ORDER) == "x"


def test_an_object_is_never_read_into() -> None:
    for expression in (
        "thing.password",
        "thing.drop()",
        "thing['password']",
        "[thing] | map(attribute='password') | list",
    ):
        bounded(lambda expression=expression: evaluate("calc", expression, thing=Tempting()))
    assert evaluate("jmespath", "thing.password", thing=Tempting()) is None
    assert not Tempting.dropped


def test_data_is_never_a_template() -> None:
    hostile = "{{ 7 * 7 }}{% include '/etc/passwd' %}"
    assert evaluate("template", "a {{ order.text }}", order={"text": hostile}) == f"a {hostile}"
    assert evaluate("template", "{{ order.text | upper }}", order={"text": hostile}) == hostile.upper()


LOOP = "{% for i in range(1000) %}"
RESOURCES = [
    ("template", "{{ range(10**9) | list | length }}"),
    ("template", "{{ range(999999999999999999999) | length }}"),
    ("template", LOOP * 4 + "x" + "{% endfor %}" * 4),
    ("template", "{% for i in range(1000) %}{% for j in range(1000) %}{% for k in range(1000) %}{% endfor %}{% endfor %}{% endfor %}"),
    ("template", "{% for i in range(100000) %}{{ order.long }}{% endfor %}"),
    ("template", "{% for i in range(100000) %}{{ order.long | upper }}{% endfor %}"),
    ("template", "{% for i in range(100000) %}{% set x = order.many | sort %}{% endfor %}"),
    ("template", "{% for i in range(100000) %}{{ order.many | length }}{{ order.many | sum }}{% endfor %}"),
    ("template", "{{ 'a' * 10**9 }}"),
    ("template", "{{ [1] * 10**9 }}"),
    ("template", "{{ order.text * 999999999 }}"),
    ("template", "{{ '%999999999d' % 1 }}"),
    ("template", "{{ '{:>999999999}'.format(1) }}"),
    ("template", "{{ 'a' | center(10**9) }}"),
    ("template", "{{ 'a\nb' | indent(10**9) }}"),
    ("template", "{{ order.long | indent(200) | replace('x', order.long) }}"),
    ("template", "{{ order.long | replace('', order.long) }}"),
    ("template", "{{ order.many | join(order.long) }}"),
    ("template", "{{ order.many | batch(10**9, 'x') | list }}"),
    ("template", "{{ order.many | slice(10**9, 'x') | list }}"),
    ("template", "{{ 9 ** 999 ** 99 }}"),
    ("template", "{{ 9 ** (9 ** 9) }}"),
    ("template", "{{ 9.5 ** 99999999 }}"),
    ("template", "{{ 2 ** 0.5 ** -99999999 }}"),
    ("template", "{{ order.huge }}"),
    ("template", "{{ order.huge | int }}"),
    ("template", "{{ order.huge | round(2) }}"),
    ("template", "{{ order.huge + 1 }}"),
    ("template", "{{ order.tiny + 1 }}"),
    ("template", "{{ order.huge * order.huge }}"),
    ("template", "{{ [order.huge] | tojson }}"),
    ("template", "{{ order.digits + 1 }}"),
    ("template", "{{ 1.5 | round(99999999) }}"),
    ("template", "{{ ((((((10 ** 400) ** 2) ** 2) ** 2) ** 2) ** 2) ** 2 }}"),
    ("template", "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}"),
    ("template", "{% set x = [1, 1] %}" + "{% set x = x + x %}" * 40 + "{{ x }}"),
    ("template", "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}"),
    ("template", "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x | tojson }}"),
    ("template", "{% set x = 7 %}" + "{% set x = x * x %}" * 40 + "{{ x }}"),
    ("template", "{% set x = 7.7 %}" + "{% set x = x * x %}" * 40 + "{{ x }}"),
    ("template", "{{ order.long ~ order.long ~ order.long ~ order.long }}"),
    ("template", "{{ order.long }}" * 10),
    ("template", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"),
    ("template", "{{ " + "not " * 1500 + "1 }}"),
    ("template", "{{ " + "-" * 1500 + "1 }}"),
    ("template", "{{ " + "[" * 300 + "]" * 300 + " }}"),
    ("template", "{% if 1 %}" * 300 + "{% endif %}" * 300),
    ("template", "{{ 1" + " + 1" * 4000 + " }}"),
    ("template", "x" * 100_000),
    ("template", "{{ " + "9" * 9000 + " }}"),
    ("template", "{{ 0x" + "f" * 9000 + " }}"),
    ("calc", "order.n" + ".a" * 4000),
    ("calc", "order.n" + "[0]" * 3000),
    ("calc", "order.n" + " if order.n else order.n" * 300),
    ("calc", "order.id" + " | upper" * 1000),
    ("jmespath", "(" * 5000 + "order" + ")" * 5000),
    ("jmespath", "[" * 1000 + "order" + "]" * 1000),
    ("jmespath", "!" * 1500 + "order"),
    ("jmespath", "order" + ".a" * 6000),
    ("jmespath", "order" + "[*].a" * 1500),
    ("jmespath", "order" + " || order" * 1000),
    ("jmespath", "order.many | [@, @] | [@, @] | [@, @] | [@, @][] | [@, @][] | [*][*][*][*]" + " | [@, @]" * 30),
    ("jmespath", "order" + " | [@, @]" * 40 + " | to_string(@)"),
    ("jmespath", "order.many" + " | [@, @][]" * 30 + " | length(@)"),
    ("jmespath", "order.many | map(&[@, @, @], @)[] | map(&[@, @, @], @)[] | map(&[@, @, @], @)[]"),
    ("jmespath", "order.many[*].[@, @, @][] | [*].[@, @, @][] | [*].[@, @, @][]"),
    ("jmespath", "map(&sort(`" + str(list(range(500))) + "`), order.many)"),
    ("jmespath", "join(order.long, map(&to_string(@), order.many))"),
    ("jmespath", "ceil(order.huge)"),
    ("jmespath", "`" + "[" * 3000 + "]" * 3000 + "`"),
    ("jmespath", "sum([order.huge, order.tiny])"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text"), RESOURCES, ids=[text[:40] for _, text in RESOURCES])
def test_resources(language: str, text: str) -> None:
    bounded(lambda: evaluate(language, text, order=ORDER))
    assert evaluate("calc", "order.n + 1", order=ORDER) == 4  # the next one goes on


def test_a_million_numbers_doubled() -> None:
    million = list(range(1_000_000))
    search = compile_jmespath("[*].[@, @] | [*].[@, @] | [*].[@, @]")
    bounded(lambda: search(million))


def test_equality_of_shared_lists() -> None:
    shared = "order" + " | [@, @]" * 40
    bounded(lambda: evaluate("jmespath", f"({shared}) == ({shared})", order=ORDER))


@pytest.mark.parametrize(
    "text",
    ["{{", "{%", "{{ order", "{% if %}", "{{ order | }}", "{{ 1 2 }}", "\x00", "{{ '\\N{x}' }}", "{{ ٣ }}", "{#"],
)
def test_broken_text_is_an_expression_error_or_text(text: str) -> None:
    try:
        evaluate("template", text, order=ORDER)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)


def test_parsing_is_cached() -> None:
    assert parse("calc", "order.n") is parse("calc", "order.n")
