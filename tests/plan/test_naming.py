"""What names a record and what is remembered of it: keys, versions, lanes, saved ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.lookups import Snapshot
from flowrun.plan import Mapped, Plan, Rejected, compile_plan
from flowrun.plan.outcomes import SavedXref
from flowrun.project import load_project

FLOW = """
flowrun: 1
flow: t
source:
  connection: files
  object: in.jsonl
  record: r
  trigger: {{ poll: {{ every: 1m, full: true }} }}
  {source}
rules: {{ loud: r.a == 'X' }}
vars:
  low: {{ from: r.a, as: lower, optional: true }}
  rest: {{ from: r.b, when: r.b != 'no' }}
  rows: {{ each: l in r.l, map: {{ v: l }} }}
  through: {{ from: r.a, lookup: c }}
  other: {{ value: O }}
  shown: {{ first: [{{ when: vars.rest is missing, value: none }}, {{ from: vars.rest }}] }}
lookups:
  c: {{ table: {{ X: "1" }}, on_miss: {{ use: {{ first: [{{ when: odd, value: odd }}, {{ from: vars.other }}] }} }} }}
  x: {{ xref: people, on_miss: error }}
map:
  low: {{ from: vars.low, default: none }}
  loud: {{ calc: loud or odd }}
  rest: {{ calc: vars.rest is missing }}
  rows: {{ calc: vars.rows is missing }}
  through: vars.through
  shown: vars.shown
target:
  connection: files
  object: out.jsonl
  action: create
  idempotency: {{ key: {key}, find_existing: id }}
  {target}
"""


def plan_of(tmp_path: Path, source: str = "key: r.id", target: str = "batch: 1", key: str = "r.id") -> Plan:
    (tmp_path / "flowrun.yaml").write_text("flowrun: 1\nconnections: { files: { connector: file, root: data } }\n")
    (tmp_path / "flows").mkdir(exist_ok=True)
    text = FLOW.format(source=source, target=target, key=key).replace("'X' }", "'X', odd: r.a == 'ODD' }", 1)
    (tmp_path / "flows/t.yaml").write_text(text)
    return compile_plan(load_flow("t", load_project(tmp_path), discover()), {})


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("key: { from: r.a, as: [trim, lower] }", ("x", None, "x")),
        ("key: { from: r.a, lookup: c }", ("1", None, "1")),
        ("key: { from: r.b, lookup: c }", ("O", None, "O")),
        ("key: { first: [{ when: loud, value: L }, { from: r.id }] }", ("L", None, "L")),
        ('key: "{{ r.a }}-{{ vars.low }}"', ("X-x", None, "X-x")),
        ("key: { calc: r.id * 2 }", ("14", None, "14")),
        ("key: r.id\n  version: vars.low\n  keep_order_by: { from: r.none, default: lane }", ("7", "x", "lane")),
        ("key: r.id\n  version: { from: r.none, optional: true }", ("7", None, "7")),
        ("key: { from: r.none, optional: true }", "the key has no value"),
        ("key: { from: r.id, when: r.a == 'Y' }", "the key has no value"),
        ("key: { from: r.none, default: '' }", "the key has no value"),
        ("key: r.l", "a key is one value"),
    ],
)
def test_identity(tmp_path: Path, source: str, wanted: Any) -> None:
    """The same right-hand sides work here as in the map; and no record is without a key, which would make all of them
    one record."""
    found = plan_of(tmp_path, source).identify({"id": "7", "a": "X", "b": "B", "l": [1]})
    if isinstance(wanted, str):
        assert isinstance(found, Rejected)
        assert (found.field, found.span.line) == ("source.key", 9)
        assert wanted in found.message
    else:
        assert not isinstance(found, Rejected)
        assert (found.key, found.version, found.lane) == wanted


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"a": "X", "b": "B", "l": [1]},
         {"low": "x", "loud": True, "rest": False, "rows": False, "through": "1", "shown": "B"}),
        ({"a": "Q", "b": "no", "l": []},
         {"low": "q", "loud": False, "rest": True, "rows": True, "through": "O", "shown": "none"}),
        ({"a": "ODD", "b": "no"},
         {"low": "odd", "loud": True, "rest": True, "rows": True, "through": "odd", "shown": "none"}),
    ],
)  # fmt: skip
def test_a_variable_that_is_left_out_is_missing(tmp_path: Path, record: dict[str, Any], wanted: dict[str, Any]) -> None:
    """By ``when``, without rows; and what on_miss of its table reads is there before it."""
    plan = plan_of(tmp_path)
    outcome = plan.apply({"id": "1", **record})
    assert isinstance(outcome, Mapped), outcome
    assert outcome.body == wanted
    assert plan.explain({"id": "1", **record}).outcome == outcome


def test_no_idempotency_key_is_bad_data(tmp_path: Path) -> None:
    outcome = plan_of(tmp_path, key="{ from: r.none, optional: true }").apply({"id": "1", "a": "X", "b": "B"})
    assert isinstance(outcome, Rejected)
    assert (outcome.field, outcome.message) == ("idempotency.key", "the idempotency key has no value")


SAVE = "save: [{{ xref: a, source_id: {}, target_id: response.id }}, {{ xref: b, source_id: r.id, target_id: {} }}]"


def test_saved_ids_may_come_through_a_cross_reference(tmp_path: Path) -> None:
    target = SAVE.format("{ from: r.b, lookup: x }", "{ from: response.other, optional: true }")
    plan = plan_of(tmp_path, target=target)
    record = {"id": "1", "a": "X", "b": "B"}
    assert not isinstance(plan.apply(record, Snapshot()), Mapped), "the row is asked for before anything is sent"
    missing = plan.apply(record, Snapshot(closed=True))
    assert isinstance(missing, Rejected) and "x has no row for 'B'" in missing.message
    outcome = plan.apply(record, Snapshot({"x": {"B": "17"}}))
    assert isinstance(outcome, Mapped)
    assert plan.saves(record, {"id": "T1"}, outcome.lookups) == (SavedXref("a", "17", "T1"),)
    both = plan.saves(record, {"id": "T1", "other": "T2"}, outcome.lookups)
    assert both == (SavedXref("a", "17", "T1"), SavedXref("b", "1", "T2"))
