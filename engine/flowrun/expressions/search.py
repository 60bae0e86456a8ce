"""JMESPath alone over plain JSON values, as everybody knows it; floats are welcome here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Any

from flowrun.expressions.code import Code
from flowrun.expressions.jmespath_emit import emit_jmespath
from flowrun.expressions.jmespath_parse import Node, parse_jmespath
from flowrun.expressions.numbers import exact_numbers
from flowrun.expressions.runtime import Fuel, as_data_error


@lru_cache(maxsize=1024)
def compile_jmespath(expression: str) -> Callable[[Any], Any]:
    """A function from a JSON value to what the expression finds in it (None for JMESPath's null).

    Numbers stay as they come: int, Decimal (``json.loads(…, parse_float=Decimal)``) or float. Where the expression
    itself makes a number with a fraction, it is a Decimal, or a float when the value it works on holds floats.
    Raises ExpressionError on bad syntax, an unknown function, wrong arity (here) or a wrong type (here or in the
    call). The official compliance suite passes.
    """
    parsed = parse_jmespath(expression)
    code = Code()
    code.line(f"return {emit_jmespath(parsed, code, {}, 'value')}")
    function = code.build("value, fuel", name="search").function
    makes_numbers = _makes_numbers(parsed.tree)

    def search(value: Any) -> Any:
        try:
            if not makes_numbers:
                return function(value, Fuel())
            with exact_numbers():
                return _as_given(function(value, Fuel()), value)
        except (DecimalException, RecursionError, MemoryError) as error:
            raise as_data_error(error) or error from None

    return search


def _makes_numbers(node: Node) -> bool:
    """Whether the expression can give a Decimal that the value did not hold."""
    if node["type"] == "function_expression" and node["value"] in ("avg", "to_number", "sum", "abs", "ceil", "floor"):
        return True
    if node["type"] == "literal" and _holds(node["value"], Decimal):
        return True
    return any(_makes_numbers(child) for child in node["children"] if isinstance(child, dict))


def _holds(value: Any, kind: type) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, kind):
            return True
        if isinstance(each, Mapping):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def _as_given(result: Any, value: Any) -> Any:
    """Decimals become floats when the caller works with floats, who could not compare or print them otherwise."""
    if _holds(result, Decimal) and not _holds(value, Decimal) and _holds(value, float):
        return _floats(result)
    return result


def _floats(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_floats(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _floats(each) for key, each in value.items()}
    return value
