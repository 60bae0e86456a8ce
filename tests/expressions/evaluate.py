"""Runs one expression over named values, as a flow's plan does."""

from typing import Any

from flowrun.expressions import Code, emit, parse
from flowrun.expressions.numbers import exact_numbers
from flowrun.expressions.runtime import Fuel, as_data_error


class Trace:
    """What the explain mode records."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, Any]] = []

    def __call__(self, event: tuple[Any, ...]) -> None:
        word, path, value = event
        assert word == "read"
        self.reads.append((path, value))


def build(language: Any, text: str, names: list[str], *, explain: bool = False) -> Any:
    code = Code(explain=explain)
    locals_ = {name: f"n_{place}" for place, name in enumerate(names)}
    code.line(f"return {emit(parse(language, text), code, locals_)}")
    return code.build(", ".join([*locals_.values(), "fuel", *(["trace"] if explain else [])])).function


def evaluate(language: Any, text: str, /, **scope: Any) -> Any:
    function = build(language, text, list(scope))
    try:
        with exact_numbers():
            return function(*scope.values(), Fuel())
    except (ArithmeticError, RecursionError, MemoryError) as error:
        raise as_data_error(error) or error from None


def explained(language: Any, text: str, /, **scope: Any) -> tuple[Any, list[tuple[str, Any]]]:
    function = build(language, text, list(scope), explain=True)
    trace = Trace()
    with exact_numbers():
        return function(*scope.values(), Fuel(), trace), trace.reads
