"""The tests written in flow files: given a record, the mapping must come out as expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from flowrun.expressions.text import number_text
from flowrun.flow.model import Flow, FlowTest, Lookup
from flowrun.lookups import Key, Snapshot
from flowrun.plan import Mapped, Outcome, Plan, Rejected, Skipped, compile_plan
from flowrun.plan.explain import Explanation
from flowrun.testing.comparison import NOTHING, Difference, compare, reach, shown
from flowrun.testing.rehearsal import compared, expects_failure, rehearse


@dataclass(frozen=True, slots=True)
class TestResult:
    flow: Flow
    test: FlowTest
    outcome: Outcome
    differences: tuple[Difference, ...]
    explanation: Explanation | None = None

    @property
    def passed(self) -> bool:
        return not self.differences


def run_tests(flow: Flow, env: Mapping[str, Any]) -> Iterator[TestResult]:
    """Run every test of the flow; env: the values of environment ``test``."""
    plan = compile_plan(flow, env)
    for test in flow.tests:
        yield run_test(plan, test, env)


def run_test(plan: Plan, test: FlowTest, env: Mapping[str, Any], *, explain: bool = True) -> TestResult:
    """One test. ``given.env`` changes values of the environment for this test, ``given.lookups`` whole tables."""
    flow = plan.flow
    changed, tables = test.given.get("env") or {}, _tables(flow, test.given)
    if changed or tables:
        plan = compile_plan(replace(flow, lookups={**flow.lookups, **tables}), {**env, **changed})
    record = test.given[record_name(flow)]
    snapshot = stand_ins(flow, test.given)
    if flow.steps:
        done = rehearse(plan, record, snapshot, test.given.get("steps") or {})
        found = (*_differences(flow, test, plan, record, done.outcome), *compared(test, done))
        return TestResult(flow, test, done.outcome, found)
    outcome = plan.apply(record, snapshot)
    differences = tuple(_differences(flow, test, plan, record, outcome))
    explanation = plan.explain(record, snapshot) if differences and explain else None
    return TestResult(flow, test, outcome, differences, explanation)


def record_name(flow: Flow) -> str:
    return "group" if flow.source.group_by is not None else flow.source.record


def stand_ins(flow: Flow, given: Mapping[str, Any]) -> Snapshot:
    """``given.xref`` holds cross-references by their own name, ``given.lookups`` answers of live look-ups."""
    snapshot = Snapshot(closed=True)
    for name, rows in (given.get("lookups") or {}).items():
        if name not in flow.lookups or flow.lookups[name].kind not in ("table", "file"):
            keyed: dict[Key, Any] = {_key(key): _text(row) for key, row in (rows or {}).items()}
            snapshot.add(name, keyed)
    for name, lookup in flow.lookups.items():
        if lookup.kind == "xref":
            pairs = (given.get("xref") or {}).get(lookup.xref) or {}
            rows = {str(k): _text(v) for k, v in pairs.items()}
            snapshot.add(name, {v: k for k, v in rows.items()} if lookup.reverse else rows)
    return snapshot


def _tables(flow: Flow, given: Mapping[str, Any]) -> dict[str, Lookup]:
    """The flow's tables that ``given.lookups`` replaces, with the rows given."""
    found = {}
    for name, rows in (given.get("lookups") or {}).items():
        lookup = flow.lookups.get(name)
        if lookup is not None and lookup.kind in ("table", "file"):
            keys = {key: _key(key) for key in rows or {}}
            made = {(key,) if isinstance(key, str) else key: _text(rows[written]) for written, key in keys.items()}
            found[name] = replace(lookup, rows=made, row_spans={})
    return found


def _key(key: str) -> Key:
    """A composite key stands as ``a, b``."""
    parts = tuple(part.strip() for part in str(key).split(","))
    return parts if len(parts) > 1 else str(key)


def _text(value: Any) -> Any:
    return number_text(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _differences(flow: Flow, test: FlowTest, plan: Plan, record: Any, outcome: Outcome) -> Iterator[Difference]:
    if test.expect_error is not None:
        yield from _error(test.expect_error, outcome)
    elif test.expect_skipped is not None:
        if not (isinstance(outcome, Skipped) and outcome.reason == test.expect_skipped):
            yield Difference("", f"skipped: {test.expect_skipped}", describe(outcome))
    elif test.expect_dead_letter is None and not isinstance(outcome, Mapped) and not expects_failure(test):
        yield Difference("", "mapped", describe(outcome))
    if test.expect_dead_letter is not None:
        yield from _dead_letter(flow, test.expect_dead_letter, plan, record, outcome)
    if not isinstance(outcome, Mapped):
        return
    for path, wanted in (test.expect or {}).items():
        yield from compare(path, wanted, reach(outcome.body, path), subset=True)
    if test.expect_exact is not None:
        yield from compare("", test.expect_exact, outcome.body, subset=False)
    for path in test.expect_absent:
        found = reach(outcome.body, path)
        if found is not NOTHING:
            yield Difference(path, "absent", shown(found))


def _error(wanted: Mapping[str, str], outcome: Outcome) -> Iterator[Difference]:
    if not isinstance(outcome, Rejected):
        yield Difference("", f"error {wanted.get('class', '')}".strip(), describe(outcome))
        return
    if "class" in wanted and outcome.error_class != wanted["class"]:
        yield Difference(outcome.field, f"class {wanted['class']}", f"class {outcome.error_class}: {outcome.message}")
    if "field" in wanted and outcome.field != wanted["field"]:
        yield Difference(wanted["field"], "an error here", f"{outcome.field}: {outcome.message}")
    if "message_has" in wanted and wanted["message_has"] not in outcome.message:
        yield Difference(outcome.field, f"a message with: {wanted['message_has']}", outcome.message)


def _dead_letter(
    flow: Flow, wanted: Mapping[str, Any], plan: Plan, record: Any, outcome: Outcome
) -> Iterator[Difference]:
    if not isinstance(outcome, Rejected):
        yield Difference("", "a dead letter", describe(outcome))
        return
    policy = flow.on_error.get(outcome.error_class) or flow.on_error["other"]
    queue = policy.dead_letter or flow.name
    if "queue" in wanted and queue != wanted["queue"]:
        yield Difference("", f"queue {wanted['queue']}", f"queue {queue}")
    identity = plan.identify(record)
    key = getattr(identity, "key", "")
    if "key" in wanted and key != str(wanted["key"]):
        yield Difference("", f"key {wanted['key']}", f"key {key}")


def describe(outcome: Outcome) -> str:
    if isinstance(outcome, Rejected):
        return f"{outcome.error_class}: {outcome.field}: {outcome.message}"
    if isinstance(outcome, Skipped):
        return f"skipped: {outcome.reason}"
    return "mapped" if isinstance(outcome, Mapped) else "a look-up that the test does not give"
