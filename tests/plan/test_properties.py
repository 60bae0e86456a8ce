"""Any flow the checker takes compiles and maps any record: the same outcome twice, the same with explain, the record
left alone, what is sent is JSON, and every refusal has its class, its words and its place.

The flows are drawn from the whole language: each way to get a value, lookups of each kind, converters, conditions,
defaults, loops and objects in each other, rules and variables that need each other.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowrun.connector import discover
from flowrun.diagnostics import NOWHERE
from flowrun.flow import check_project
from flowrun.lookups import Snapshot
from flowrun.plan import Mapped, Plan, Rejected, Skipped, Wanted, compile_plan
from flowrun.project import load_project
from flowrun.values import decode_json, encode_json

PATHS = ["r.a", "r.b", "r.n", "r.d", "r.none", "r.o.a", "r.o.l[0].a", "r.l[0].b", "r.missing", "r.l[-1].n", "env.home"]
JMESPATH = [
    "r.l[*].a", "r.l[?n > `1`].b | [0]", "length(r.l)", "r.o.*", "sort_by(r.l, &a)[0].n", "not_null(r.missing, r.a)",
    "r.a || r.b", "[r.a, r.b]", "{x: r.a, y: r.n}", "to_string(r.o)", "r.l[].n | max(@)", "r.a == r.b", "join('-', r.w)",
]  # fmt: skip
TEMPLATES = [
    "{{ r.a }}", "x-{{ r.n }}-{{ r.b }}", "{% for w in r.w %}{{ w }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{{ r.a | upper }}{{ r.o.a | default('-') }}", "{% set q = r.n %}{{ q }}", "{{ r.l | map(attribute='a') | join }}", "{{ vars.v }}",
]  # fmt: skip
CALCS = [
    "r.n * 2", "r.d + r.n", "r.a ~ r.b", "r.n > 3", "r.l | length", "r.l | sum('n')", "r.missing is missing", "r.d / 3",
    "r.a == 'x' and flag", "flag or r.n < 0", "r.w | sort | first | default('')", "r.n if r.n is defined else 0", "vars.v is missing",
]  # fmt: skip
CONDITIONS = [
    "r.n > 1",
    "r.a == 'x'",
    "r.missing is missing",
    "flag",
    "r.l | length > 1",
    "r.none is none",
    "other",
    "r.d < r.n",
]
CONVERTERS = [
    "trim", "upper", "lower", "truncate 3", "pad 4", "alpha 5", "digits", "replace a b", "word 1", "before -", "after x",
    "integer", "decimal 2", "decimal 1 half_up", "not_below 0", "not_above 5", "boolean x y", "boolean", "text", "list", "json",
    "unjson", "hash", "date", "date unix UTC", "datetime unix", "datetime Europe/Berlin", "time", "date '%d.%m.%Y'",
]  # fmt: skip
LOOKUPS = {
    "t": {"table": {"x": "X", "1": "one", "y": ""}, "on_miss": "error"},
    "s": {"table": {"x": "X"}, "on_miss": "skip", "ignore_case": "true"},
    "u": {"table": {"x": "X"}, "on_miss": {"use": {"from": "vars.w"}, "warn": "true"}, "trim": "true"},
    "z": {"table": {"q": "Q"}, "on_miss": {"use": {"first": [{"when": "flag", "value": "F"}, {"from": "r.b", "lookup": "u"}]}}},
    "x": {"xref": "people", "on_miss": "error"},
    "y": {"xref": "people", "reverse": "true", "on_miss": {"use": "nobody"}},
}  # fmt: skip


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


loops = st.shared(st.integers(0, 10**6), key="loops")


def values(depth: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    rows = [f"{name}.{field}" for name in names for field in ("a", "n", "b")]
    path = st.sampled_from([*PATHS, "vars.v", "vars.w", *rows * 2])
    plain = st.one_of(
        path.map(lambda p: {"from": p}),
        st.sampled_from(JMESPATH).map(lambda p: {"from": p}),
        st.sampled_from(TEMPLATES).map(lambda t: {"text": t}),
        st.sampled_from(CALCS).map(lambda c: {"calc": c}),
        st.sampled_from(["x", "", "7", 12, 1.5, True, None]).map(lambda v: {"value": v}),
        st.lists(path, min_size=1, max_size=1).map(lambda p: {"lookup": "t", "key": p}),
    )
    if depth:
        inner = values(depth - 1, names)
        name = f"row{depth}"
        inside = values(depth - 1, (*names, name))
        fields = st.dictionaries(st.sampled_from(["p", "q", "s.t", "s.u"]), inner, min_size=1, max_size=3)
        looped = st.dictionaries(st.sampled_from(["p", "q"]), inside, min_size=1, max_size=2)
        lists = ["r.l", "r.missing", "r.o.l", "r.w", "r.a", "r.l[?n > `1`]"]
        cases = st.lists(st.tuples(st.sampled_from(CONDITIONS), inner), max_size=2)
        plain = st.one_of(
            plain,
            fields.map(lambda f: {"map": f}),
            st.tuples(
                st.sampled_from(lists),
                looped,
                st.fixed_dictionaries(
                    {},
                    optional={
                        "where": st.sampled_from([f"{name}.n is missing or {name}.n > 1", "flag"]),
                        "number": st.just(f"n{depth}"),
                        "at_least": st.just(1),
                        "empty": st.just("keep"),
                    },
                ),
            ).map(lambda t: merged({"each": f"{name} in {t[0]}", "map": t[1]}, t[2])),
            st.tuples(cases, inner).map(
                lambda t: {"first": [*(merged({"when": w}, {k: v for k, v in c.items() if k != "when"}) for w, c in t[0] if isinstance(c, dict)),
                                     {k: v for k, v in t[1].items() if k != "when"} if isinstance(t[1], dict) else {"value": "l"}]}
            ),
            st.lists(inner, min_size=1, max_size=3),
        )  # fmt: skip
    more = st.fixed_dictionaries(
        {},
        optional={
            "lookup": st.sampled_from(sorted(LOOKUPS)),
            "as": st.lists(st.sampled_from(CONVERTERS), min_size=1, max_size=3),
            "default": st.sampled_from(["", "d", 0, None, {"from": "r.b"}, {"calc": "r.n + 1"}]),
            "optional": st.just(True),
            "blank": st.just("keep"),
            "null": st.just("send"),
            "when": st.sampled_from(CONDITIONS),
        },
    )
    few = st.one_of(st.just({}), st.just({}), more)
    return st.tuples(plain, few).map(lambda t: merged(t[1], t[0]) if isinstance(t[0], dict) else t[0])


texts = st.one_of(
    st.sampled_from(
        ["", " ", "x", "X", "y", "q", "1", "2.50", "-3", "a-b", "2026-05-04", "1777888800", "04.05.2026", "[1]"]
    ),
    st.text(max_size=4),
)
numbers = st.one_of(st.integers(-5, 10**10), st.decimals(-1000, 1000, places=2, allow_nan=False))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), texts, numbers),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "n", "l"]), inner, max_size=3)
    ),
    max_leaves=5,
)
rows = st.lists(
    st.one_of(st.fixed_dictionaries({"a": texts, "n": numbers}, optional={"b": anything}), anything), max_size=3
)
sensible = st.fixed_dictionaries(
    {"id": st.just("1"), "a": texts, "b": texts, "n": numbers, "d": numbers, "none": st.none(), "l": rows,
     "w": st.lists(texts, max_size=3), "o": st.fixed_dictionaries({"a": texts, "l": rows})},
)  # fmt: skip
records = st.one_of(
    sensible, st.dictionaries(st.sampled_from(["id", "a", "b", "n", "d", "l", "w", "o"]), anything, max_size=8)
)


def flow_text(fields: dict[str, Any], v: Any, only_when: str | None) -> str:
    source: dict[str, Any] = {
        "connection": "f", "object": "in.jsonl", "record": "r",
        "trigger": {"poll": {"every": "1m", "full": True}}, "key": {"from": "r.id", "default": "none"},
    }  # fmt: skip
    if only_when:
        source["only_when"] = only_when
    idempotency = {"key": {"from": "r.id", "default": "none"}, "find_existing": "id"}
    return json.dumps({
        "flowrun": 1, "flow": "t", "source": source,
        "require": [{"rule": "flag or true", "message": "no {{ r.a }}", "level": "warn"}],
        "rules": {"flag": "r.n > 2", "other": "flag and vars.w is missing"},
        "vars": {"v": v, "w": {"from": "r.b", "optional": True}},
        "lookups": LOOKUPS, "map": fields,
        "target": {"connection": "f", "object": "out.jsonl", "action": "create", "idempotency": idempotency},
    })  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("project")
    (made / "flows").mkdir()
    (made / "flowrun.yaml").write_text(
        "flowrun: 1\nconnections: { f: { connector: file, root: data } }\nenvironments: { test: { values: { home: US } } }\n"
    )
    return made


REGISTRY = discover()
SEEN: dict[str, int] = {}


def plan_or_findings(root: Path, text: str) -> Plan | None:
    (root / "flows/t.json.yaml").write_text(text, encoding="utf-8")
    checked = check_project(load_project(root), REGISTRY)
    if not checked.flows:
        assert any(d.severity == "error" and d.message and d.span.line == 1 for d in checked.diagnostics)
        return None
    return compile_plan(checked.flows[0], {"home": "US"})


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from(["f", "g", "h.i", "h.j"]), values(2), min_size=1, max_size=3),
    values(1),
    st.one_of(st.none(), st.sampled_from(CONDITIONS)),
    st.lists(records, min_size=1, max_size=4),
)
def test_plans(root: Path, fields: dict[str, Any], v: Any, only_when: str | None, given_: list[dict[str, Any]]) -> None:
    plan = plan_or_findings(root, flow_text(fields, v, only_when))
    SEEN["flows" if plan else "refused"] = SEEN.get("flows" if plan else "refused", 0) + 1
    for record in given_ if plan is not None else ():
        assert plan is not None
        before = copy.deepcopy(record)
        snapshot = Snapshot({"x": {"x": "1"}, "y": {"1": "x"}}, closed=True)
        outcome = plan.apply(record, snapshot)
        SEEN[type(outcome).__name__] = SEEN.get(type(outcome).__name__, 0) + 1
        assert plan.apply(record, snapshot) == outcome
        explanation = plan.explain(record, snapshot)
        assert explanation.outcome == outcome
        assert record == before, "the record is left alone"
        assert isinstance(plan.apply(record, Snapshot()), Mapped | Skipped | Rejected | Wanted)
        plan.identify(record)
        assert record == before
        if isinstance(outcome, Mapped):
            assert decode_json(encode_json(outcome.body)) is not None
            assert outcome.idempotency_key
        elif isinstance(outcome, Rejected):
            assert (outcome.error_class, bool(outcome.message)) == ("bad_data", True)
            assert outcome.span != NOWHERE and outcome.field, outcome
        else:
            assert isinstance(outcome, Skipped) and outcome.reason


def test_the_draws_were_rich() -> None:
    """Runs after the property: flows were taken and refused, records mapped, refused and skipped, in numbers."""
    if not SEEN:
        pytest.skip("the property did not run in this process")
    assert SEEN["flows"] > 50, SEEN
    assert SEEN["Mapped"] > 20 and SEEN["Rejected"] > 50 and SEEN["Skipped"] > 5, SEEN
