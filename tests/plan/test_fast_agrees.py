"""The plan takes short cuts that its explain mode does not: both give the same outcome, for any value.

Short cuts: text made at once, tests that are not asked again, converters inline, results remembered. Every plan here is
asked twice, so that the second answer comes from memory.
"""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_plan import plan_of

from flowrun.contract import Field, Shape
from flowrun.expressions.memo import Memo
from flowrun.flow.model import Flow
from flowrun.lookups import Snapshot
from flowrun.plan import Mapped, Plan, compile_plan

CALLS = [
    "trim", "upper", "lower", "truncate 3", "pad 4", "alpha 4", "digits", "replace a bc", "word 1", "before a", "after a",
    "integer", "decimal 2", "decimal 1 half_up", "not_below 0", "not_above 9", "boolean Y N", "date", "datetime", "time",
    "date unix America/New_York", "datetime unix", "text", "list", "json", "hash", "unjson",
    "[trim, upper]", "[trim, truncate 3]", "[truncate 3, trim]", "[upper, truncate 2, pad 4]", "[decimal 2 half_up, text]",
    "[unjson, integer]", "[digits, integer]", "[text, date]", "[integer, pad 3]", "[alpha 3, truncate 2]", "[trim, alpha 3]",
    "[integer, list]",
]  # fmt: skip
ENDS = ["", ", optional: true", ", default: d", ", default: ' '", ", null: send", ", blank: keep", ", optional: true, blank: keep",
        ", default: { from: r.b, optional: true }", ", lookup: c", ", lookup: c, optional: true", ", lookup: u", ", lookup: u, default: x",
        ", lookup: k, optional: true"]  # fmt: skip
TABLES = """lookups:
  c: { table: { a: "1", "1": a, Y: " ", "12.50": "2024-01-02", b: "" }, on_miss: error }
  u: { table: { a: "1", "1": "12" }, on_miss: { use: "7.25", warn: true } }
  w: { table: { a: "1", "12": "22" }, on_miss: error }
  k: { table: { a: "abcdef", "12": Y }, on_miss: { use: null }, ignore_case: true, trim: true }
"""
FIELDS = [None, Field("f", "text"), Field("f", "text", max_length=2), Field("f", "text", max_length=3, enum=("a", "ABC")),
          Field("f", "decimal", precision=5, scale=2), Field("f", "decimal", scale=1), Field("f", "integer"), Field("f", "date"),
          Field("f", "datetime"), Field("f", "time"), Field("f", "boolean"), Field("f", "list", item=Field("", "text", max_length=2))]  # fmt: skip

ODD: list[Any] = [
    None, "", " ", "\u2003", "    abc", "12", "12.50", "-3.1", "+3", "1e3", "1_0", ".5", "5.", "0012", "9" * 45, "9" * 50 + ".1", "1" * 1500,
    "NaN", "Infinity", "2024-01-02", "2024-01-02T03:04:05Z", "10:30", "1777888800", "Y", "N", "a", "abc", " abc ", "ABC", "e\u0301" * 4, "\u0661\u0662",
    "\u00b2", '["a"]', "null", "a" * 41, "\r\n\r\na", "\u00df\u0130", "\U0001f1e9\U0001f1ea" * 3, 0, 7, -7, 1777888800, 10**18, 10**1200, True, False,
    Decimal("12.50"), Decimal("-0.00"), Decimal("1E+5"), Decimal("1E-9"), Decimal("12345.6"), [], ["a"], ["abc", 1], {}, {"a": "1"},
]  # fmt: skip
_alphabet = "aAbY .+-01259e\u0301\u00df\u0130\u00b2\u0663\r\n\t\u00a0\U0001f1e9"
_texts = st.text(max_size=5) | st.text(st.sampled_from(_alphabet), max_size=7)
_numbers = st.integers(-20, 20) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-9999, max_value=9999, places=3
)
VALUES = (
    st.sampled_from(ODD)
    | _texts
    | _numbers
    | st.lists(_texts, max_size=2)
    | st.dictionaries(st.just("a"), _texts, max_size=1)
)

_PLANS: dict[tuple[int, bool], Plan] = {}


def agree(plan: Plan, record: dict[str, Any], known: Snapshot) -> None:
    first = plan.apply(copy.deepcopy(record), known)
    if isinstance(first, Mapped):
        wanted = copy.deepcopy(first.body)
        spoil(first.body)  # what one record was given is no other record's
        first.body = wanted
    assert plan.apply(record, known) == first
    with plan.applying(known) as apply:
        assert apply(record) == first
    explained = plan.explain(record, known)
    assert explained.outcome == first
    assert isinstance(explained.fields, tuple)
    if isinstance(first, Mapped):
        assert exactly(explained.outcome.body) == exactly(first.body)  # type: ignore[union-attr]


def spoil(value: Any) -> None:
    if isinstance(value, dict):
        for each in value.values():
            spoil(each)
        value["spoilt"] = True
    elif isinstance(value, list):
        value.append("spoilt")


def exactly(value: Any) -> Any:
    """A value with its types and digits, which == does not see."""
    if isinstance(value, dict):
        return {key: exactly(each) for key, each in value.items()}
    return [exactly(each) for each in value] if isinstance(value, list) else (type(value).__name__, str(value))


def flow_of(factory: pytest.TempPathFactory) -> Flow:
    """One field for each converter with each ending, twice over the same source, so that one knows what the other saw."""
    lines = []
    for place, call in enumerate(["", *CALLS]):
        for end in ENDS:
            words = f", as: {call}" if call else ""
            lines.append(f"f{place}_{ENDS.index(end)}: {{ from: r.a{words}{end} }}")
    return plan_of(factory.mktemp("fast"), "\n".join(lines), TABLES).flow


def one_field(flow: Flow, place: int, contract: Field | None, text_numbers: bool) -> Plan:
    """The flow with only the field in that place, once alone and once in a list's row, for a target with that contract."""
    field = replace(flow.map.fields[place], contract=contract)
    twice = replace(field, path=("again",))
    shape = Shape("o", {}, text_numbers=text_numbers)
    return compile_plan(
        replace(flow, map=replace(flow.map, fields=(field, twice)), target=replace(flow.target, shape=shape)), {}
    )


_FLOW: list[Flow] = []


def test_every_converter_and_ending_with_odd_values(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each field meets some of the contracts; over the endings each converter meets them all."""
    flow = flow_of(tmp_path_factory)
    known = Snapshot(closed=True)
    mapped = 0
    for place in range(len(flow.map.fields)):
        for turn in range(2):
            plan = one_field(flow, place, FIELDS[(place * 2 + turn) % len(FIELDS)], bool(place % 2))
            for value in ODD:
                agree(plan, {"id": "1", "a": value, "b": "b"}, known)
                mapped += isinstance(plan.apply({"id": "1", "a": value, "b": "b"}, known), Mapped)
    assert mapped > len(flow.map.fields) * len(ODD) / 4


PAIRED = ["{ from: r.a, as: text, optional: true }", "{ from: r.a, as: upper, default: d }", "{ from: r.a, lookup: u }",
          "{ from: r.a, lookup: w, as: alpha 4 }", "{ from: r.a, lookup: u, as: [trim, pad 3], optional: true }", "r.a",
          "{ from: r.a, as: [trim, truncate 3], optional: true }"]  # fmt: skip


@pytest.mark.parametrize("contract", FIELDS[:3])
def test_what_one_field_learnt_another_may_use(tmp_path: Path, contract: Field | None) -> None:
    known = Snapshot(closed=True)
    for first in PAIRED:
        for second in PAIRED:
            flow = plan_of(tmp_path, f"a: {first}\nb: {second}", TABLES).flow
            fields = tuple(replace(field, contract=contract) for field in flow.map.fields)
            plan = compile_plan(replace(flow, map=replace(flow.map, fields=fields)), {})
            for value in ODD:
                agree(plan, {"id": "1", "a": value}, known)


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_each_converter_and_ending_and_contract(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    if not _FLOW:
        _FLOW.append(flow_of(tmp_path_factory))
    place = data.draw(st.integers(0, len(_FLOW[0].map.fields) - 1))
    contract = data.draw(st.sampled_from(FIELDS))
    plan = one_field(_FLOW[0], place, contract, data.draw(st.booleans()))
    for _ in range(6):
        agree(plan, {"id": "1", "a": data.draw(VALUES), "b": data.draw(VALUES)}, Snapshot(closed=True))


MIXED = """t: "{{ r.a }}-{{ r.b }}"
u: { text: "{{ r.a }}{{ r.b }}", as: [trim, truncate 3], optional: true }
v: { from: vars.x, as: alpha 4 }
w: { from: vars.x, as: pad 4, when: big }
x.y: { from: r.a, as: upper, optional: true }
x.z: { from: r.b, as: upper, optional: true }
p: { lookup: pairs, key: [vars.x, { from: r.b, as: upper, default: none }] }
q: [{ from: r.a, optional: true }, { when: big, map: { s: { from: r.b, optional: true } } }]
n: { first: [{ when: big, value: B }, { when: r.b is missing, from: r.a }, { value: " " }], default: none }
l:
  each: i in r.l
  number: n
  where: i.a is not missing
  map:
    n: { calc: n * 10, as: pad 6 }
    a: { from: i.a, as: decimal 1 half_up, default: 0 }
    b: { from: r.b, as: [trim, upper], optional: true }
    x: { from: i.b, lookup: c, as: text, optional: true }
s: { calc: r.l | sum('a'), as: decimal 2 half_up, when: r.l is not missing }
o: { from: r.c, lookup: ref, as: alpha 4, optional: true }
h: env.home"""
MIXED_HEAD = (
    "rules: { big: r.n > 5 }\nvars: { x: { from: r.a, as: text, default: { from: r.b, as: text } }, y: { calc: r.n * 2 } }\n"
    + TABLES
    + '  pairs: { file: lookups/pairs.csv, find: [a, b], return: c, on_miss: { use: "0" } }\n'
    + "  ref: { xref: ref, on_miss: error }\n"
)
_rows = st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES})
_records = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": VALUES, "c": VALUES, "n": VALUES, "l": st.lists(_rows, max_size=3) | VALUES}
)
_MIXED: list[Plan] = []


@settings(max_examples=400, deadline=None)
@given(record=_records)
def test_values_that_share_what_is_known(tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]) -> None:
    if not _MIXED:
        root = tmp_path_factory.mktemp("mixed")
        (root / "lookups").mkdir()
        (root / "lookups/pairs.csv").write_text("a,b,c\na,B,1\n12,NONE,\n1,none,22\n")
        _MIXED.append(plan_of(root, MIXED, MIXED_HEAD))
    known = Snapshot(closed=True)
    known.add("ref", {"a": "7", "12": None, "b": " ", "1": 5})
    agree(_MIXED[0], {"id": "1", **record}, known)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_shipped_flow_with_odd_values(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    plan = shipped()
    record = next(iter(plan.flow.tests)).given["order"]
    places = [
        (record, key) for key in record
    ] + [(record["items"][0], key) for key in record["items"][0]] + [
        (record["shipping_address"], key) for key in record["shipping_address"]
    ]  # fmt: skip
    changed = {"id": 1}
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places))
        changed[f"{id(holder)} {key}"] = data.draw(VALUES)

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed.get(f"{id(value)} {key}", copied(each)) for key, each in value.items()}
        return [copied(each) for each in value] if isinstance(value, list) else value

    known = Snapshot(closed=True)
    known.add("customers", {"42": "17100001"})
    agree(plan, copied(record), known)


def shipped() -> Plan:
    if not _SHIPPED:
        from flowrun.cli.project import open_flow

        _SHIPPED.append(open_flow(str(Path(__file__).parents[2] / "flows/xcart-s4hana/orders-to-s4.yaml"), "test")[3])
    return _SHIPPED[0]


_SHIPPED: list[Plan] = []


def test_what_is_remembered_is_bounded() -> None:
    asked: list[Any] = []

    def work(value: Any) -> Any:
        asked.append(value)
        if value == "bad":
            raise ValueError(value)
        return f"{value}!"

    memo = Memo(work)
    for _ in range(2):
        assert memo["a"] == "a!"
        with pytest.raises(ValueError, match="bad"):
            memo["bad"]
        assert memo["x" * 100] == "x" * 100 + "!"
    assert asked.count("a") == 1
    assert asked.count("bad") == asked.count("x" * 100) == 2
    for number in range(200_000):
        assert memo[number] == f"{number}!"
    assert len(memo) <= 1024
    assert asked.count("a") == 1
    assert 199_999 in memo, "it begins anew after many misses, so that other values get their turn"
