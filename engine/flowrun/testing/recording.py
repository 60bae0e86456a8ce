"""A real record, masked, as a test at the end of its flow file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrun.document import Map, Seq, parse
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import MISS, Snapshot
from flowrun.plan import Mapped, Plan, Rejected, Skipped, Wanted
from flowrun.runner import resolve
from flowrun.store import Row, Store
from flowrun.testing.flow_tests import record_name
from flowrun.values import encode_json

PERSONAL = ("firstname", "lastname", "name", "email", "phone", "street", "company", "address", "iban", "login")
"""Field names that hold personal data; what stands in them is replaced by a text of the same length."""


def mask(value: Any, name: str = "") -> Any:
    """The record without personal data. Texts of masked fields keep their length, so that limits still bite."""
    if isinstance(value, Mapping):
        return {key: mask(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [mask(inner, name) for inner in value]
    if isinstance(value, str) and value.strip() and any(word in name.lower() for word in PERSONAL):
        return "x" * len(value)
    return value


def recorded(flow: Flow, plan: Plan, row: Row, store: Store) -> str:
    """The YAML of a test for this record, as it comes out now. Raises ProjectError when nothing can be said of it."""
    record = mask(row.payload)
    snapshot = Snapshot()
    outcome = plan.apply(record, snapshot)
    for _ in range(20):
        if not isinstance(outcome, Wanted):
            break
        for name, keys in outcome.keys.items():
            snapshot.add(name, resolve(flow, store, name, set(keys), {}))
        outcome = plan.apply(record, snapshot)
    given: dict[str, Any] = {record_name(flow): record}
    xrefs: dict[str, dict[str, Any]] = {}
    for name, rows in snapshot.held.items():
        lookup = flow.lookups[name]
        pairs = {str(key): answer for key, answer in rows.items() if answer is not MISS}
        if lookup.reverse:
            pairs = {answer: key for key, answer in pairs.items()}
        xrefs.setdefault(lookup.xref or name, {}).update(pairs)
    if xrefs:
        given["xref"] = xrefs
    if isinstance(outcome, Mapped):
        expected = f"    expect: {_flow(outcome.body)}"
    elif isinstance(outcome, Rejected):
        wanted = {"class": outcome.error_class, "field": outcome.field, "message_has": outcome.message}
        expected = f"    expect_error: {_flow(wanted)}"
    elif isinstance(outcome, Skipped):
        expected = f"    expect_skipped: {outcome.reason}"
    else:
        raise ProjectError(f"record {row.key} needs look-ups that depend on each other without end")
    title = f"recorded {row.key} of run {row.run}"
    return f"  - name: {_flow(title)}\n    given: {_flow(given)}\n{expected}\n"


def append_test(text: str, file: str, test: str) -> str:
    """The flow file's text with the test at the end of its ``tests:``; comments and all else stay.

    Raises ProjectError when ``tests:`` is written in a form that cannot be added to.
    """
    root = parse(text, file).root
    tests = root.get("tests") if isinstance(root, Map) else None
    if tests is None:
        return text.rstrip("\n") + "\n\ntests:\n" + test
    if not isinstance(tests, Seq) or text[tests.span.start] == "[":
        raise ProjectError(f"{tests.span}: tests: is not a list of '- name: …' lines")
    indent = " " * (tests.span.column - 1)
    shifted = "".join((indent + line[2:] if line.strip() else line) for line in test.splitlines(keepends=True))
    end = tests.span.end
    rest = text[end:]
    return text[:end] + "\n\n" + shifted.rstrip("\n") + (rest if rest.startswith("\n") else "\n" + rest)


def _flow(value: Any) -> str:
    """One line of JSON, which is YAML too; exact numbers."""
    return encode_json(value).decode()
