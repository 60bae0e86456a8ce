"""What no test of the flow would notice: fields that none looks at, cases that none expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowrun.diagnostics import Span
from flowrun.document import Node
from flowrun.flow.model import Each, FieldMap, First, FlowTest, Items, Literal_, Nested, Value
from flowrun.flow.reading import Reader

Path = tuple[str, ...]
"""A field's place in the body, list positions left out: ("to_Item", "Material")."""


def check_coverage(
    r: Reader, parts: Mapping[str, Node], tests: Sequence[FlowTest], fields: FieldMap | None, name: Span
) -> None:
    if "tests" not in parts:
        help = "add tests: with given and expect; flowrun test --record makes one from a run"
        r.say("FR187", "the flow has no tests", name, severity="lint", help=help)
        return
    if fields is None or not tests:
        return
    expected = [(path, value) for test in tests for path, value in _expectations(test)]
    seen = {path[:depth] for path, _ in expected for depth in range(1, len(path) + 1)}
    whole = any(test.expect_exact is not None for test in tests)
    for path, value, span in leaves(fields):
        if not whole and path not in seen and not _constant(value):
            message = f"no test looks at '{'.'.join(path)}'"
            r.say("FR188", message, span, severity="lint", help="name it under expect: of a test")
        elif isinstance(value.origin, First):
            answers = [found for where, found in expected if where == path]
            _cases(r, value.origin, path, answers)


def check_steps_coverage(
    r: Reader, tests: Sequence[FlowTest], maps: Mapping[str, tuple[FieldMap | None, set[str]]]
) -> None:
    """The same of what each step sends."""
    for name, (fields, _) in maps.items() if tests else ():
        expected = [
            found
            for test in tests
            for one in test.expect_steps
            if one.get("id") == name and "sent" in one
            for found in _inside((), one["sent"])
        ]
        seen = {path[:depth] for path, _ in expected for depth in range(1, len(path) + 1)}
        for path, value, span in leaves(fields) if fields is not None else ():
            if path not in seen and not _constant(value):
                message = f"no test looks at '{'.'.join(path)}' of step '{name}'"
                help = f"expect_steps: [{{ id: {name}, sent: {{ … }} }}]"
                r.say("FR188", message, span, severity="lint", help=help)
            elif isinstance(value.origin, First):
                _cases(r, value.origin, path, [answer for where, answer in expected if where == path])


def _cases(r: Reader, first: First, path: Path, answers: Sequence[Any]) -> None:
    """Only where a case gives a constant that no other case gives can its absence be told from the expectations."""
    for case in first.cases:
        same = [c for c in first.cases if isinstance(c.value.origin, Literal_) and c.value.origin == case.value.origin]
        if not isinstance(case.value.origin, Literal_) or len(same) != 1 or case.value.lookup or case.value.converters:
            continue
        constant = case.value.origin.value
        if not any(_equal(answer, constant) for answer in answers):
            message = f"no test expects '{'.'.join(path)}' to be {constant}"
            r.say("FR198", message, case.span, severity="lint", help="add a test in which this case holds")


def _equal(answer: Any, constant: Any) -> bool:
    return answer == constant if isinstance(constant, bool) else str(answer) == str(constant)


def _constant(value: Value) -> bool:
    return isinstance(value.origin, Literal_) and value.lookup is None and value.when is None


def leaves(fields: FieldMap, above: Path = ()) -> Iterator[tuple[Path, Value, Span]]:
    """Every field that is built from a value, with its place in the body."""
    for one in fields.fields:
        path = (*above, *one.path)
        yield from _value_leaves(one.value, path, one.span)


def _value_leaves(value: Value, path: Path, span: Span) -> Iterator[tuple[Path, Value, Span]]:
    origin = value.origin
    if isinstance(origin, Each | Nested):
        if not (isinstance(origin, Nested) and origin.fragment):  # a fragment's fields stand in another file
            yield from leaves(origin.map, path)
    elif isinstance(origin, Items):
        for item in origin.values:
            yield from _value_leaves(item, path, span)
    else:
        yield path, value, span


def _expectations(test: FlowTest) -> Iterator[tuple[Path, Any]]:
    for expected in (test.expect, test.expect_exact):
        if expected is not None:
            yield from _inside((), expected)
    for absent in test.expect_absent:
        yield dotted(absent), None
    if test.expect_error and test.expect_error.get("field"):
        yield dotted(test.expect_error["field"]), None


def _inside(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inside((*path, str(key)), inner)
    elif isinstance(value, list):
        if not value:
            yield path, value
        for item in value:
            yield from _inside(path, item)
    else:
        yield path, value


def dotted(text: str) -> Path:
    """``to_Item[1].Material`` → ("to_Item", "Material")."""
    return tuple(part.split("[")[0] for part in text.split(".") if part)
