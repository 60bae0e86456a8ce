"""Hostile records and hostile expressions: bad_data within a second and in little memory, and the next record goes on."""

from __future__ import annotations

import time
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from test_plan import plan_of

from flowrun.cli.main import main
from flowrun.plan import Mapped, Rejected

SECONDS, BYTES = 1.0, 200_000_000
GOOD: dict[str, Any] = {"id": "2", "a": "1", "n": 1, "l": [1]}
HUGE = Decimal("1E+999999")
DEEP: Any = []
for _ in range(5_000):
    DEEP = [DEEP]

CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("a replacement that grows", 'a: { from: r.a, as: "replace x yyyyyyyyyyyyyyyyyyyy" }', {"a": "x" * 900_000}, "longer than"),
    ("JSON in a text, too deep", "a: { from: r.a, as: [unjson, json] }", {"a": "[" * 100_000}, "is not JSON"),
    ("JSON of something deep", "a: { from: r.a, as: json }", {"a": DEEP}, "budget_exceeded"),
    ("a hash of something deep", "a: { from: r.a, as: hash }", {"a": DEEP}, "budget_exceeded"),
    ("something deep in a template", 'a: "{{ r.a }}"', {"a": DEEP}, "budget_exceeded"),
    ("a tower of powers", "a: { calc: 9 ** (9 ** r.n) }", {"n": 9}, "budget_exceeded"),
    ("a power of the record", "a: { calc: r.n ** r.n }", {"n": 99_999_999}, "budget_exceeded"),
    ("many digits", "a: { calc: r.a * r.a }", {"a": "9" * 100_000}, "budget_exceeded"),
    ("nested multiselects", 'a: "r.l[*].[@,@,@][].[@,@,@][].[@,@,@][]"', {"l": list(range(300_000))}, "budget_exceeded"),
    ("loops in a template", 'a: "{% for x in r.l %}{% for y in r.l %}{% for z in r.l %}x{% endfor %}{% endfor %}{% endfor %}"',
     {"l": list(range(3_000))}, "budget_exceeded"),
    ("loops in the map", "a: { each: x in r.l, map: { b: { each: y in r.l, map: { c: { each: z in r.l, map: { d: z } } } } } }",
     {"l": list(range(1_000))}, "budget_exceeded"),
    ("a text many times over", 'a: "{{ r.l | tojson }}{{ r.l | tojson }}"', {"l": ["x" * 1_000] * 900}, "budget_exceeded"),
    ("a sort", 'a: "sort(r.l)[0]"', {"l": list(range(900_000, 0, -1))}, "budget_exceeded"),
    ("each in each", "a: { calc: \"r.l | select('in', r.l) | list | length\" }", {"l": list(range(60_000))}, "budget_exceeded"),
    ("a whole number of a million digits", "a: { from: r.a, as: integer }", {"a": HUGE}, "budget_exceeded"),
    ("a place of a million digits", "a: { calc: \"[1, 2][r.a]\" }", {"a": HUGE}, "nothing at"),
    ("a sum of a million digits", "a: { calc: r.a + 1 }", {"a": HUGE}, "budget_exceeded"),
    ("a million digits, rounded", "a: { calc: r.a | round(2) }", {"a": HUGE}, "no result"),
    ("a million digits after the point", "a: { from: r.a, as: decimal 2 }", {"a": HUGE}, "no result"),
    ("a date of many digits", "a: { from: r.a, as: \"date '%Y%m%d%H%M%S%f%j'\" }", {"a": "1" * 100_000}, "not in the form"),
    ("tags without end", 'a: "{{ r.a | striptags }}"', {"a": "<a " * 100_000}, "budget_exceeded"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "record", "words"), CASES, ids=[case[0] for case in CASES])
def test_the_record_is_refused_and_the_next_goes_on(
    tmp_path: Path, name: str, fields: str, record: dict[str, Any], words: str
) -> None:
    plan = plan_of(tmp_path, fields)
    plan.apply(GOOD)
    began = time.process_time()
    outcome = plan.apply({"id": "1", **record})
    took = time.process_time() - began
    tracemalloc.start()  # makes everything several times slower, so the time is taken without it
    plan.apply({"id": "1", **record})
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(outcome, Rejected), outcome
    assert outcome.error_class == "bad_data"
    assert words in outcome.message
    assert took < SECONDS
    assert most < BYTES
    assert isinstance(plan.apply({"id": "3", "a": "5", "n": 1, "l": []}), Mapped | Rejected)


def test_hostile_lines_are_refused_one_by_one(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(tmp_path, "a: r.a")
    lines = [
        b'{"id": "1", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id": "1", "a": NaN}',
        b'{"id": "1", "a": -Infinity}',
        b'{"id": "1", "a": "\\ud800"}',
        b'{"id": "1", "a": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe",
        b"[1]",
        b'{"id": "1", "a": {{7*7}}}',
        b'{"id": "2", "a": "{{ 7 * 7 }}{% for x in range(9) %}"}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        main(["map", "t", "--input", "in.jsonl"])
    shown = capfdbinary.readouterr()
    assert shown.out == b'{"a":"{{ 7 * 7 }}{% for x in range(9) %}"}\n'  # data is never a template
    said = shown.err.decode().splitlines()
    assert [line.split(":")[0] for line in said] == [f"line {number}" for number in range(1, 9)]
