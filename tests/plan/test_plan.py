"""What a plan makes of records: table-driven, through flow files a user could have written."""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.lookups import Snapshot
from flowrun.plan import Mapped, Plan, Rejected, Skipped, Wanted, compile_plan
from flowrun.project import load_project

HEAD = """
flowrun: 1
flow: t
source: {{ connection: files, object: in.jsonl, record: r, trigger: {{ poll: {{ every: 1m, full: true }} }}, key: r.id }}
{more}
map:
{map}
target: {{ connection: files, object: out.jsonl, action: create, idempotency: {{ key: r.id, find_existing: id }} }}
"""


def plan_of(tmp_path: Path, fields: str, more: str = "") -> Plan:
    (tmp_path / "flowrun.yaml").write_text(
        "flowrun: 1\nconnections: { files: { connector: file, root: data } }\nenvironments: { test: { values: { home: US } } }\n"
    )
    (tmp_path / "flows").mkdir(exist_ok=True)
    text = HEAD.format(map="\n".join("  " + line for line in fields.splitlines()), more=more)
    (tmp_path / "flows/t.yaml").write_text(text)
    project = load_project(tmp_path)
    return compile_plan(load_flow("t", project, discover()), project.environment("test").values)


LOOKUPS = """lookups:
  c: { table: { US: "1", DE: "2" }, on_miss: error }
  s: { table: { US: "1" }, on_miss: skip }
  u: { table: { US: "1" }, on_miss: { use: "9", warn: true } }
  x: { xref: customers, on_miss: error }
  k: { table: { us: "1" }, on_miss: error, ignore_case: true, trim: true }
"""

CASES: list[tuple[str, str, dict[str, Any], Any]] = [
    ("a path", "a: r.a", {"a": "x"}, {"a": "x"}),
    ("numbers keep their digits", "a: r.a", {"a": Decimal("1.10")}, {"a": Decimal("1.10")}),
    ("a template", 'a: "X-{{ r.a }}"', {"a": 5}, {"a": "X-5"}),
    ("a constant", 'a: { value: "10" }', {}, {"a": "10"}),
    ("norway", "a: { value: NO }", {}, {"a": "NO"}),
    ("arithmetic", "a: { calc: r.a * 2 }", {"a": "1.5"}, {"a": Decimal("3.0")}),
    ("an environment's value", "a: env.home", {}, {"a": "US"}),
    ("no value", "a: r.a", {"a": None}, "bad_data"),
    ("blank is no value", "a: r.a", {"a": "  "}, "bad_data"),
    ("blank kept", "a: { from: r.a, blank: keep }", {"a": "  "}, {"a": "  "}),
    ("default", "a: { from: r.a, default: x }", {}, {"a": "x"}),
    ("default null is sent", "a: { from: r.a, default: null }", {}, {"a": None}),
    ("default from elsewhere", "a: { from: r.a, default: { from: r.b } }", {"b": "y"}, {"a": "y"}),
    ("optional", "a: { from: r.a, optional: true }\nb: r.b", {"b": 1}, {"b": 1}),
    ("null: send", "a: { from: r.a, null: send }", {}, {"a": None}),
    ("converted to nothing", "a: { from: r.a, as: digits, default: none }", {"a": "abc"}, {"a": "none"}),
    ("lookup", "a: { from: r.a, lookup: c }", {"a": "DE"}, {"a": "2"}),
    ("lookup misses", "a: { from: r.a, lookup: c }", {"a": "FR"}, "c has no row for 'FR'"),
    ("lookup skips", "a: { from: r.a, lookup: s }", {"a": "FR"}, "skipped"),
    ("lookup uses", "a: { from: r.a, lookup: u }", {"a": "FR"}, {"a": "9"}),
    ("lookup forgives", "a: { from: r.a, lookup: k }", {"a": " Us "}, {"a": "1"}),
    ("xref", "a: { from: r.a, lookup: x, as: alpha 4 }", {"a": "7"}, {"a": "0077"}),
    ("then as", "a: { from: r.a, as: [trim, upper, truncate 2] }", {"a": " abc "}, {"a": "AB"}),
    ("first", "a: { first: [{ when: r.a > 5, value: big }, { value: small }] }", {"a": 6}, {"a": "big"}),
    ("first otherwise", "a: { first: [{ when: r.a > 5, value: big }, { value: small }] }", {"a": "5.0"}, {"a": "small"}),
    ("nested", "a: { map: { b: r.a } }", {"a": 1}, {"a": {"b": 1}}),
    ("dotted", "a.b: r.a\na.c: r.a", {"a": 1}, {"a": {"b": 1, "c": 1}}),
    ("each", "a: { each: l in r.l, number: n, map: { n: { calc: n * 10 }, v: l.v } }", {"l": [{"v": 1}, {"v": 2}]},
     {"a": [{"n": 10, "v": 1}, {"n": 20, "v": 2}]}),
    ("each where counts what is left", "a: { each: l in r.l, where: l.v > 1, number: n, map: { n: { calc: n } } }",
     {"l": [{"v": 1}, {"v": 2}]}, {"a": [{"n": 1}]}),
    ("each of nothing", "a: { each: l in r.l, map: { v: l.v } }\nb: { value: 1 }", {}, {"b": 1}),
    ("each of nothing kept", "a: { each: l in r.l, map: { v: l.v }, empty: keep }", {"l": []}, {"a": []}),
    ("each at least", "a: { each: l in r.l, map: { v: l.v }, at_least: 1 }", {"l": []}, "at least 1"),
    ("each of no list", "a: { each: l in r.l, map: { v: l.v } }", {"l": "x"}, "not a list"),
    ("each, then as", "a: { each: l in r.l, map: { v: l }, as: json }", {"l": [1]}, {"a": '[{"v":1}]'}),
    ("each of nothing, then as", "a: { each: l in r.l, map: { v: l }, as: json }\nb: { value: 1 }", {"l": []}, {"b": 1}),
    ("each of nothing, kept, then as", "a: { each: l in r.l, map: { v: l }, as: json, empty: keep }", {}, {"a": "[]"}),
    ("each of nothing, sent as null", "a: { each: l in r.l, map: { v: l }, null: send }", {}, {"a": None}),
    ("each of nothing, defaulted", "a: { each: l in r.l, map: { v: l }, default: none }", {}, {"a": "none"}),
    ("an object of nothing, sent as null", "a: { map: { v: { from: r.v, optional: true } }, null: send }", {}, {"a": None}),
    ("an object, then as", "a: { map: { v: r.v }, as: json }", {"v": 1}, {"a": '{"v":1}'}),
    ("no minus before nothing", "a: { from: r.a, as: [decimal 2 half_up, text] }", {"a": "-0.001"}, {"a": "0.00"}),
    ("a fixed list", "a: [r.a, r.b]", {"a": 1, "b": 2}, {"a": [1, 2]}),
    ("when", "a: { from: r.a, when: r.b == 1 }\nb: r.b", {"a": 1, "b": 2}, {"b": 2}),
    ("text is not joined with +", "a: { calc: r.a + r.b }", {"a": "x", "b": "y"}, "~"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "record", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_cases(tmp_path: Path, name: str, fields: str, record: dict[str, Any], wanted: Any) -> None:
    used = [key for key in "csuxk" if f"lookup: {key}" in fields]
    plan = plan_of(tmp_path, fields, LOOKUPS if used else "")
    snapshot = Snapshot(closed=True)
    snapshot.add("x", {"7": "77"})
    given = {"id": "1", **record}
    before = copy.deepcopy(given)
    outcome = plan.apply(given, snapshot)
    assert given == before, "apply changes nothing"
    assert plan.apply(given, snapshot) == outcome
    assert plan.explain(given, snapshot).outcome == outcome
    if wanted == "skipped":
        assert outcome == Skipped("s")
    elif isinstance(wanted, str):
        assert isinstance(outcome, Rejected)
        assert outcome.error_class == "bad_data"
        assert outcome.field.startswith("a")
        assert outcome.span.line > 4
        if wanted != "bad_data":
            assert wanted in outcome.message + outcome.help
    else:
        assert isinstance(outcome, Mapped)
        assert outcome.body == wanted


def test_an_error_deep_in_a_list_names_its_place(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "a:\n  each: l in r.l\n  map:\n    v: l.v")
    outcome = plan.apply({"id": "1", "l": [{"v": 1}, {"v": None}]})
    assert isinstance(outcome, Rejected)
    assert outcome.field == "a[1].v"


def test_what_is_missing_is_wanted(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "a: { from: r.a, lookup: x }", "lookups: { x: { xref: customers, on_miss: error } }")
    assert plan.apply({"id": "1", "a": "7"}, Snapshot()) == Wanted({"x": frozenset({"7"})})


def test_explain_says_reads_rules_rows_and_converters(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "a:\n  first:\n    - { when: big, value: B }\n    - { from: r.c, lookup: c, as: pad 3 }",
        "rules: { big: r.n > 1000 }\nlookups: { c: { table: { US: '1' }, on_miss: error } }",
    )  # fmt: skip
    (why,) = plan.explain({"id": "1", "n": "999.99", "c": "US"}).of("a")
    text = "\n".join(why.steps)
    assert "big = false (r.n > 1000; r.n = '999.99')" in text
    assert "lookup c: 'US' → '1'   (flows/t.yaml:" in text
    assert "as pad 3: '1' → '001'" in text


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.text(max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abvl"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(record=st.dictionaries(st.sampled_from(["a", "b", "l", "n"]), _VALUES))
def test_any_record_gives_an_outcome_and_explain_agrees(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    plan = _shared(tmp_path_factory)
    given_ = {"id": "1", **record}
    before = copy.deepcopy(given_)
    outcome = plan.apply(given_)
    assert isinstance(outcome, Mapped | Rejected)
    assert plan.explain(given_).outcome == outcome
    assert given_ == before


_PLANS: list[Plan] = []


def _shared(factory: pytest.TempPathFactory) -> Plan:
    if not _PLANS:
        fields = (
            "t: { from: r.a, as: [text, truncate 3], optional: true }\nd: { from: r.b, as: decimal 1 half_up, default: 0 }\n"
            "x: { each: l in r.l, map: { v: { from: l.v, optional: true } } }\n"
            "f: { first: [{ when: r.n is missing, value: none }, { when: r.n > 5, from: r.n }, { value: small }] }"
        )
        _PLANS.append(plan_of(factory.mktemp("p"), fields))
    return _PLANS[0]
