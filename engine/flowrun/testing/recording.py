"""A real record, masked, as a test at the end of its flow file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flowrun.document import Map, Seq, parse
from flowrun.errors import ProjectError
from flowrun.flow.model import Flow
from flowrun.lookups import MISS, Key, Snapshot
from flowrun.masking import mask_of
from flowrun.plan import Mapped, Plan, Rejected, Skipped, Wanted
from flowrun.planning.looking import looked_up
from flowrun.store import Row, Store
from flowrun.testing.flow_tests import record_name
from flowrun.values import encode_json

PERSONAL = (
    "firstname", "lastname", "name", "mail", "phone", "mobile", "fax", "street", "company", "address", "iban", "login",
    "birth", "passw", "token", "secret", "card", "note", "comment", "remark",
)  # fmt: skip
"""Parts of the names of fields that hold personal data; a text of the same length takes the place of theirs."""

_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.\w+")


def mask(value: Any, name: str = "") -> Any:
    """The record without personal data. Texts of masked fields keep their length, so that limits still bite; whole
    numbers their number of digits. Mail addresses are masked wherever they stand."""
    if isinstance(value, Mapping):
        return {key: mask(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [mask(inner, name) for inner in value]
    personal = any(word in name.lower() for word in PERSONAL)
    if isinstance(value, str) and value.strip() and (personal or _MAIL.search(value)):
        return "x" * len(value)
    if personal and isinstance(value, int) and not isinstance(value, bool):
        return int("1" * len(str(abs(value))))
    return value


def _stood_in(value: Any, shown: Any, original: Any) -> Any:
    """The same for what the flow masks. shown: the record as it may be seen."""
    if isinstance(original, dict):
        return {name: _stood_in(value[name], shown[name], inner) for name, inner in original.items()}
    if isinstance(original, list):
        return [_stood_in(*one) for one in zip(value, shown, original, strict=True)]
    if shown == original:
        return value
    return "x" * len(original) if isinstance(original, str) else int("1" * len(str(original).split(".")[0].lstrip("-")))


def recorded(flow: Flow, plan: Plan, row: Row, store: Store) -> str:
    """The YAML of a test for this record, as it comes out now. Raises ProjectError when nothing can be said of it."""
    record = _stood_in(mask(row.payload), mask_of(flow).record(row.payload), row.payload)
    known = looked_up(flow, plan, row.payload, store)
    if isinstance(plan.apply(row.payload, known), Wanted):
        raise ProjectError(f"record {row.key} needs look-ups that depend on each other without end")
    heard = _Heard(known)
    plan.apply(row.payload, heard)
    masked = _StoodIn(heard.answers)
    plan.apply(record, masked)
    outcome = plan.apply(record, Snapshot(masked.found, closed=True))
    given: dict[str, Any] = {record_name(flow): record}
    for name, rows in masked.found.items():
        lookup = flow.lookups[name]
        pairs = {
            key if isinstance(key, str) else ", ".join(key): answer
            for key, answer in rows.items()
            if answer is not MISS
        }
        if lookup.reverse:
            pairs = {answer: key for key, answer in pairs.items()}
        box, title = ("xref", lookup.xref or name) if lookup.kind == "xref" else ("lookups", name)
        given.setdefault(box, {}).setdefault(title, {}).update(pairs)
    if isinstance(outcome, Mapped):
        expected = f"    expect: {_flow(outcome.body)}"
    elif isinstance(outcome, Rejected):
        wanted = {"class": outcome.error_class, "field": outcome.field, "message_has": outcome.message}
        expected = f"    expect_error: {_flow(wanted)}"
    elif isinstance(outcome, Skipped):
        expected = f"    expect_skipped: {outcome.reason}"
    else:
        raise AssertionError("a closed snapshot wants nothing")
    return f"  - name: {_flow(title_of(row))}\n    given: {_flow(given)}\n{expected}\n"


class _Heard(Snapshot):
    """Gives what ``known`` holds, and keeps the answers in the order they were asked for."""

    def __init__(self, known: Snapshot) -> None:
        super().__init__()
        self._known = known
        self.answers: list[tuple[str, Any]] = []

    def get(self, lookup: str, key: Key) -> Any:
        answer = self._known.held.get(lookup, {}).get(key, MISS)
        self.answers.append((lookup, answer))
        return answer


class _StoodIn(Snapshot):
    """Gives the masked record the answers that the real one got, one after the other: a masked value is a key without
    a row. found: the tables in which they would have stood."""

    def __init__(self, answers: Sequence[tuple[str, Any]]) -> None:
        super().__init__()
        self._answers = list(answers)
        self.found: dict[str, dict[Key, Any]] = {}

    def get(self, lookup: str, key: Key) -> Any:
        place = next((n for n, (name, _) in enumerate(self._answers) if name == lookup), None)
        answer = MISS if place is None else self._answers.pop(place)[1]
        return self.found.setdefault(lookup, {}).setdefault(key, answer)


def title_of(row: Row) -> str:
    """The name of the test that a record becomes."""
    return f"recorded {mask(row.key)} of run {row.run}"


def append_test(text: str, file: str, test: str) -> str:
    """The flow file's text with the test at the end of its ``tests:``; comments and all else stay.

    Raises ProjectError when ``tests:`` is written in a form that cannot be added to.
    """
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    root = parse(text, file).root
    tests = root.get("tests") if isinstance(root, Map) else None
    if tests is None:
        return text.rstrip("\r\n") + ("\n\ntests:\n" + test).replace("\n", end_of_line)
    if not isinstance(tests, Seq) or text[tests.span.start] == "[":
        raise ProjectError(f"{tests.span}: tests: is not a list of '- name: …' lines")
    indent = " " * (tests.span.column - 1)
    shifted = "".join((indent + line[2:] if line.strip() else line) for line in test.splitlines(keepends=True))
    end = tests.span.end
    rest = text[end:]
    added = ("\n\n" + shifted.rstrip("\n")).replace("\n", end_of_line)
    return text[:end] + added + (rest if rest.startswith(end_of_line) else end_of_line + rest)


def _flow(value: Any) -> str:
    """One line of JSON, which is YAML too; exact numbers."""
    return encode_json(value).decode()
