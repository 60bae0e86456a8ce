"""The official JMESPath compliance suite, whole: every result, every error and the class of the error."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowrun.errors import ExpressionError
from flowrun.expressions import compile_jmespath

SUITE = Path(__file__).parent / "compliance"
CASES_KNOWN = 862  # of go-jmespath 0.4.0
CODES = {
    "syntax": {"FR101"},
    "unknown-function": {"FR110"},
    "invalid-arity": {"FR112"},
    "invalid-type": {"FR113"},
    "invalid-value": {"FR113"},
}


def cases(parse_float: type) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for path in sorted(SUITE.glob("*.json")):
        for block in json.loads(path.read_text(encoding="utf-8"), parse_float=parse_float):
            for case in block["cases"]:
                yield path.stem, block["given"], case


def exactly(value: Any) -> Any:
    """Value and type together: true is not 1, and a number is the number it is written as."""
    if isinstance(value, list):
        return [exactly(each) for each in value]
    if isinstance(value, dict):
        return {key: exactly(each) for key, each in value.items()}
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return ("number", Decimal(str(value)))
    return (type(value).__name__, value)


@pytest.mark.parametrize("number", [Decimal, float], ids=["exact numbers", "floats"])
def test_every_case(number: type) -> None:
    failed: list[str] = []
    ran = 0
    for name, value, case in cases(number):
        ran += 1
        expression = case["expression"]
        try:
            found = compile_jmespath(expression)(value)
        except ExpressionError as error:
            if error.code not in CODES.get(case.get("error", ""), ()):
                failed.append(f"{name}: {expression} → {error.code} {error}, not {case.get('error', case)}")
            continue
        if "error" in case or exactly(found) != exactly(case["result"]):
            failed.append(f"{name}: {expression} → {found!r}, not {case.get('error', case.get('result'))!r}")
    assert ran == CASES_KNOWN
    assert not failed, "\n".join(failed)


def test_errors_are_value_errors() -> None:
    assert issubclass(ExpressionError, ValueError)
