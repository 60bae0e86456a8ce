"""A secret that got among a record's values by mistake: nothing that an expression can do with it shows its text."""

from __future__ import annotations

from typing import Any

import pytest
from evaluate import evaluate
from test_jinja_closed_sets import ARGUMENTS, TEST_ARGUMENTS

from flowrun.errors import FlowrunError
from flowrun.expressions.jinja_filters import FILTERS, SPECIAL
from flowrun.expressions.jinja_tests import TESTS
from flowrun.expressions.jmespath_functions import FUNCTIONS
from flowrun.values import Secret

CANARY = "canary-5b1e"
HOLDERS: list[Any] = [Secret(CANARY), [Secret(CANARY)], {"n": Secret(CANARY)}, [{"n": Secret(CANARY), "w": "x"}]]


def shown(language: str, text: str, value: Any) -> str:
    """What an analyst would see: the value and its representation, or the error in full."""
    try:
        result = evaluate(language, text, x=value)
    except FlowrunError as error:
        return f"{error} {error!r} {error.message} {error.help}"
    return f"{result} {result!r}"


@pytest.mark.parametrize("name", sorted({*FILTERS, *SPECIAL}))
def test_no_filter_shows_it(name: str) -> None:
    for arguments in ARGUMENTS.get(name, [""]):
        for value in HOLDERS:
            assert CANARY not in shown("calc", f"x|{name}{arguments}", value)
            assert CANARY not in shown("template", f"{{{{ x|{name}{arguments} }}}}", value)


@pytest.mark.parametrize("name", sorted(TESTS))
def test_no_test_tells_it(name: str) -> None:
    for arguments in TEST_ARGUMENTS.get(name, [""]):
        for value in HOLDERS:
            assert CANARY not in shown("calc", f"x is {name}{arguments}", value)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_function_shows_it(name: str) -> None:
    for arguments in ("x", "x, x", "'a', x", "x, 'a'", "&n, x", "x, &n"):
        for value in HOLDERS:
            assert CANARY not in shown("jmespath", f"{name}({arguments})", value)


@pytest.mark.parametrize("text", ["x ~ 'a'", "x + 1", "x * 2", "x - x", "x / 2", "x == 'canary-5b1e'", "x < 1", "x in 'a'", "not x", "-x", "x[0]", "x.n", "x[0:3]", "x if x else 1", "[x, {'k': x}]"])  # fmt: skip
def test_no_operator_shows_it(text: str) -> None:
    for value in HOLDERS:
        assert CANARY not in shown("calc", text, value)
        assert CANARY not in shown("template", f"{{{{ {text} }}}}", value)


def test_its_text_is_no_text_to_compare_with() -> None:
    assert evaluate("calc", f"x == '{CANARY}'", x=Secret(CANARY)) is False
